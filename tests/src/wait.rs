//! Waiting for a condition, never for time.

use std::time::{Duration, Instant};

/// The longest that anything here waits for something that should happen.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Returns once `condition` holds; panics with `what` when it does not within [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Returns the first value that `produce` has; panics with `what` when there is none within [`DEADLINE`].
#[track_caller]
pub fn eventually_some<T>(what: &str, mut produce: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = produce() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "after {DEADLINE:?} it is still not so: {what}");
        std::thread::sleep(POLL);
    }
}

const POLL: Duration = Duration::from_millis(5);
