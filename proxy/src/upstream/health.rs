//! Passive health of one endpoint: one packed atomic, written only on failure and on recovery.
//!
//! Five failures in a row eject the endpoint for 5 s, then 10 s, 15 s … up to five minutes. When that time is over it is
//! half open: one request in [`PROBE`] may try it, and what happens to that one decides for the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that eject an endpoint.
pub const FAILURES_MAX: u8 = 5;
/// The first ejection; each further one is longer by the same.
pub const EJECTION_STEP: Duration = Duration::from_secs(5);
/// No ejection is longer.
pub const EJECTION_MAX: Duration = Duration::from_secs(300);
/// A half-open endpoint gets one request in this time until one of them succeeds.
pub const PROBE: Duration = Duration::from_secs(5);

/// Failures in a row, ejections so far, and the moment until which the endpoint is left alone.
///
/// Layout, from the low end: 48 bits of milliseconds, 8 bits of ejections, 7 bits of failures, 1 bit for a probe under way.
/// Zero is a healthy endpoint, so a success on a healthy endpoint reads one word and writes nothing.
#[derive(Debug, Default)]
pub struct Health(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    probing: bool,
    failures: u8,
    ejections: u8,
    until_ms: u64,
}

impl Health {
    /// True when requests may go to the endpoint at `now_ms` without any thought. Changes nothing.
    pub fn is_open(&self, now_ms: u64) -> bool {
        let packed = self.0.load(Ordering::Relaxed);
        packed == 0 || {
            let state = State::unpack(packed);
            state.failures < FAILURES_MAX && state.until_ms <= now_ms
        }
    }

    /// True when the endpoint is ejected now.
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        !self.is_open(now_ms)
    }

    /// Takes the one probe of a half-open endpoint: true for exactly one caller in each [`PROBE`].
    pub fn claim_probe(&self, now_ms: u64) -> bool {
        let packed = self.0.load(Ordering::Relaxed);
        let state = State::unpack(packed);
        if state.failures < FAILURES_MAX || state.until_ms > now_ms {
            return false;
        }
        let claimed = State { probing: true, until_ms: now_ms + millis(PROBE), ..state };
        self.0.compare_exchange(packed, claimed.pack(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A try failed at `now_ms`. Returns true when this failure ejected the endpoint, or kept it out after a probe.
    pub fn failed(&self, now_ms: u64) -> bool {
        let mut ejected = false;
        // `Err` says that nothing had to be changed.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let mut state = State::unpack(packed);
            if state.failures >= FAILURES_MAX && !state.probing {
                // Requests that were under way when the endpoint was ejected say nothing new.
                ejected = false;
                return None;
            }
            state.failures = (state.failures + 1).min(FAILURES_MAX);
            state.probing = false;
            ejected = state.failures == FAILURES_MAX;
            if ejected {
                state.ejections = state.ejections.saturating_add(1);
                let pause = EJECTION_STEP.saturating_mul(u32::from(state.ejections)).min(EJECTION_MAX);
                state.until_ms = now_ms + millis(pause);
            }
            Some(state.pack())
        });
        ejected
    }

    /// A try succeeded: the endpoint is healthy. Returns true when it was not before.
    pub fn succeeded(&self) -> bool {
        if self.0.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.0.swap(0, Ordering::Relaxed) != 0
    }
}

impl State {
    fn pack(self) -> u64 {
        (u64::from(self.probing) << 63)
            | (u64::from(self.failures) << 56)
            | (u64::from(self.ejections) << 48)
            | (self.until_ms & UNTIL_MASK)
    }

    fn unpack(packed: u64) -> Self {
        State {
            probing: packed >> 63 == 1,
            failures: (packed >> 56) as u8 & 0x7f,
            ejections: (packed >> 48) as u8,
            until_ms: packed & UNTIL_MASK,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(UNTIL_MASK)
}

const UNTIL_MASK: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_eject_and_fewer_do_not() {
        let health = Health::default();
        for _ in 0..4 {
            assert!(!health.failed(0));
            assert!(health.is_open(0));
        }
        assert!(health.failed(0));
        assert!(health.is_ejected(0));
        assert!(health.is_ejected(4_999));
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        let health = Health::default();
        for _ in 0..4 {
            health.failed(0);
        }
        assert!(health.succeeded());
        assert!(!health.succeeded());
        for _ in 0..4 {
            assert!(!health.failed(0));
        }
        assert!(health.is_open(0));
    }

    #[test]
    fn a_half_open_endpoint_gets_one_probe_at_a_time() {
        let health = Health::default();
        for _ in 0..5 {
            health.failed(0);
        }
        assert!(!health.claim_probe(4_999));
        assert!(health.claim_probe(5_000));
        assert!(!health.claim_probe(5_001));
        assert!(health.claim_probe(10_000));
        assert!(health.succeeded());
        assert!(health.is_open(10_001));
    }

    #[test]
    fn what_was_under_way_at_the_ejection_does_not_lengthen_it() {
        let health = Health::default();
        let ejections = (0..64).filter(|_| health.failed(0)).count();
        assert_eq!(ejections, 1);
        assert!(health.claim_probe(5_000));
    }

    #[test]
    fn ejections_grow_to_five_minutes_and_no_further() {
        let health = Health::default();
        let mut now = 0;
        let mut longest = 0;
        for _ in 0..1_000 {
            health.failed(now);
            let mut until = now;
            while !health.is_open(until) && !health.claim_probe(until) {
                until += 1_000;
            }
            longest = longest.max(until - now);
            now = until;
        }
        assert_eq!(longest, 300_000);
    }
}
