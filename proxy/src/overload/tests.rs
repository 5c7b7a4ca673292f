use super::*;
use crate::settings::units::Bytes;

const TICK: Duration = Duration::from_millis(100);

#[test]
fn each_mark_of_memory_is_a_step() {
    let vitals = Vitals::new(1);
    let settings = Settings::default();
    let now = Instant::now();
    for (used, step) in [
        (0, Step::Serve),
        (849, Step::Serve),
        (850, Step::EndConnections),
        (950, Step::RefuseRequests),
        (979, Step::RefuseRequests),
        (980, Step::RefuseConnections),
        (5_000, Step::RefuseConnections),
        (849, Step::Serve),
    ] {
        let before = vitals.beat(0, now, TICK, &settings);
        assert_eq!(vitals.weigh(used, Some(1_000)), (before != step).then_some(step), "{used} of 1000");
        assert_eq!(vitals.beat(0, now, TICK, &settings), step, "{used} of 1000");
    }
    vitals.weigh(5_000, Some(1_000));
    assert_eq!(vitals.weigh(5_000, None), Some(Step::Serve), "without a bound nothing is too much");
    assert_eq!(vitals.memory_limit(), None);
}

#[test]
fn a_worker_that_lags_sheds_until_it_has_caught_up() {
    let vitals = Vitals::new(2);
    let mut settings = Settings::default();
    settings.limits.worker_lag = Duration::from_secs(1);
    let mut now = Instant::now();
    let mut tick = |late_ms: u64, settings: &Settings| {
        now += TICK + Duration::from_millis(late_ms);
        vitals.beat(0, now, TICK, settings)
    };
    assert!((0..20).all(|_| tick(0, &settings) == Step::Serve));
    // One late tick is a hiccup.
    assert_eq!(tick(3_000, &settings), Step::Serve);
    assert_eq!(tick(3_000, &settings), Step::RefuseRequests);
    assert!(vitals.lag() > Duration::from_secs(1));
    settings.limits.worker_lag = Duration::ZERO;
    assert_eq!(tick(3_000, &settings), Step::Serve, "zero bears any lag");
    settings.limits.worker_lag = Duration::from_secs(1);
    assert!((0..20).any(|_| tick(0, &settings) == Step::Serve));
    assert_eq!(vitals.beat(1, Instant::now(), TICK, &settings), Step::Serve, "the other one has no lag");
}

#[test]
fn a_worker_that_stands_still_is_seen() {
    let vitals = Vitals::new(2);
    let settings = Settings::default();
    let start = Instant::now();
    assert_eq!(vitals.look(start + STALL_FATAL_AFTER), [], "before its first tick nobody stands still");
    for worker in 0..2 {
        vitals.beat(worker, start, TICK, &settings);
    }
    let told = start + STALL_TOLD_AFTER + TICK;
    vitals.beat(1, told, TICK, &settings);
    let stalled = vitals.look(told);
    assert_eq!(stalled.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0]);
    assert!(!vitals.is_stalled(), "it may go on yet");
    vitals.look(start + STALL_FATAL_AFTER + TICK);
    assert!(vitals.is_stalled());
    vitals.beat(0, start + STALL_FATAL_AFTER + TICK, TICK, &settings);
    vitals.beat(1, start + STALL_FATAL_AFTER + TICK, TICK, &settings);
    vitals.look(start + STALL_FATAL_AFTER + TICK);
    assert!(!vitals.is_stalled());
}

#[test]
fn control_that_was_asleep_itself_accuses_nobody() {
    let vitals = Vitals::new(1);
    let settings = Settings::default();
    let start = Instant::now();
    vitals.beat(0, start, TICK, &settings);
    let mut watchman = Watchman::default();
    watchman.look(&vitals, &settings, start);
    let woken = start + Duration::from_secs(3_600);
    watchman.look(&vitals, &settings, woken);
    assert!(!vitals.is_stalled() && watchman.told.is_empty());
    watchman.look(&vitals, &settings, woken + LOOK_EVERY);
    assert!(vitals.is_stalled() && watchman.told == [0]);
}

#[test]
fn the_operators_bound_on_memory_is_weighed_against_what_is_used() {
    let vitals = Vitals::new(1);
    let mut settings = Settings::default();
    settings.limits.memory_bytes = Bytes(1);
    Watchman::default().look(&vitals, &settings, Instant::now());
    assert_eq!(vitals.memory_limit(), Some(1));
    assert_eq!(vitals.beat(0, Instant::now(), TICK, &settings), Step::RefuseConnections);
    settings.limits.memory_bytes = Bytes(1 << 50);
    Watchman::default().look(&vitals, &settings, Instant::now());
    assert_eq!(vitals.beat(0, Instant::now(), TICK, &settings), Step::Serve);
}

#[test]
fn bounds_are_read_as_the_kernel_writes_them() {
    assert_eq!(limit_in("268435456\n"), Some(268_435_456));
    assert_eq!(limit_in("max\n"), None);
    assert_eq!(limit_in("9223372036854771712\n"), None);
}
