//! Every file of `tests/scenarios/`, against an edge in this process.

use std::path::{Path, PathBuf};

use tests::scenario::run;

/// So that a wrong path cannot pass for success.
const SCENARIOS_MIN: usize = 25;

#[test]
fn every_scenario_goes_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let mut failures = Vec::new();
    let count: usize = files.iter().map(|file| run(file, &mut failures)).sum();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= SCENARIOS_MIN, "only {count} scenarios");
}
