//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double from [`FIRST`] to a bound, each shortened by chance to as little as half, so that replicas do not come
/// back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Backoff { next: FIRST, max }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait, never shorter than what the server asks for (of which at most the bound is believed).
    pub(super) fn wait(&mut self, asked: Duration) -> Duration {
        let full = self.next.min(self.max);
        self.next = (full * 2).min(self.max);
        let jittered = full / 2 + (full / 2).mul_f64(fastrand::f64());
        jittered.max(asked.min(self.max))
    }
}

/// The first wait, before chance shortens it.
const FIRST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over() {
        let max = Duration::from_secs(2);
        let mut backoff = Backoff::new(max);
        for full in [250, 500, 1000, 2000, 2000] {
            let full = Duration::from_millis(full);
            let wait = backoff.wait(Duration::ZERO);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        assert_eq!(backoff.wait(Duration::from_secs(60)), max, "a server's wish has the same bound");
        backoff.reset();
        assert!(backoff.wait(Duration::ZERO) <= FIRST);
    }
}
