use super::*;

#[test]
fn a_child_is_in_the_tree() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let tree = tree(std::process::id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(tree[0], std::process::id());
    assert!(tree.contains(&child.id()));
}

#[test]
fn work_shows_in_the_usage() {
    let pids = [std::process::id()];
    let before = usage(&pids).unwrap().cpu_ns;
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 30 {}
    assert!(usage(&pids).unwrap().cpu_ns > before);
}

#[test]
fn memory_that_is_touched_is_resident() {
    let pids = [std::process::id()];
    let before = resident_bytes(&pids).unwrap()[0];
    let block = vec![1_u8; 32 << 20];
    let after = resident_bytes(&pids).unwrap()[0];
    assert_eq!(std::hint::black_box(&block).len(), 32 << 20);
    assert!(after > before + (16 << 20), "{before} → {after}");
}

#[test]
fn the_first_cpu_was_busy_once() {
    assert!(ticks(0).unwrap().busy > 0);
    assert!(matches!(ticks(100_000), Err(Failure::Proc(_))));
}
