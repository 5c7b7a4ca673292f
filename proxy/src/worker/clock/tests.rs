use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_deadline_is_never_early_and_wakes_once_it_has_passed() {
    let start = Instant::now();
    let clock = Clock::new(start);
    let watch = clock.watch();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);

    watch.arm(&clock, Duration::from_millis(250));
    assert!(!watch.poll_expired(&clock, &mut cx));
    clock.tick(start + Duration::from_millis(300));
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    clock.tick(start + Duration::from_millis(400));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(watch.poll_expired(&clock, &mut cx));
}

#[test]
fn moving_the_deadline_keeps_the_task_asleep() {
    let start = Instant::now();
    let clock = Clock::new(start);
    let watch = clock.watch();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);

    for second in 1..10 {
        watch.arm(&clock, Duration::from_secs(2));
        assert!(!watch.poll_expired(&clock, &mut cx));
        clock.tick(start + Duration::from_secs(second));
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_dropped_watch_is_forgotten() {
    let start = Instant::now();
    let clock = Clock::new(start);
    let kept = clock.watch();
    for _ in 0..100 {
        drop(clock.watch());
    }
    clock.tick(start);
    assert_eq!(clock.watches.borrow().len(), 1);
    drop(kept);
}

#[test]
fn only_idle_tasks_are_woken_to_drain() {
    let clock = Clock::new(Instant::now());
    let (busy, idle) = (clock.watch(), clock.watch());
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    idle.set_idle(true);
    for (watch, count) in [&busy, &idle].into_iter().zip(&counts) {
        let waker = Waker::from(count.clone());
        assert!(!watch.poll_expired(&clock, &mut Context::from_waker(&waker)));
    }
    clock.wake_idle();
    assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::Relaxed)), [0, 1]);
}

#[test]
fn a_body_may_be_slow_at_first_and_while_nobody_waits_for_it() {
    let grace = Duration::from_secs(30);
    let mut pace = Pace::starting_at(1_000);
    pace.add(300);
    assert!(!pace.is_below(Some(10), grace, 31_000));
    assert!(pace.is_below(Some(10), grace, 32_000));
    assert!(!pace.is_below(Some(9), grace, 32_000));
    assert!(!pace.is_below(None, grace, u64::MAX));
    pace.excuse(1_000);
    assert!(!pace.is_below(Some(10), grace, 32_000));
    assert!(pace.is_below(Some(10), grace, 33_000));
}
