//! What the port has taken, refused and called.

use std::sync::atomic::{AtomicU64, Ordering};

use super::seal::Refusal;

/// For the metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    taken: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    failed: AtomicU64,
    known: AtomicU64,
    silent: AtomicU64,
}

/// The numbers of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls of others that were answered.
    pub(crate) taken: u64,
    /// Calls that were not believed, by reason.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Calls of this replica that were not answered.
    pub(crate) failed: u64,
    /// Replicas that there are, this one included.
    pub(crate) known: u64,
    /// Those of them that did not answer when they were asked last.
    pub(crate) silent: u64,
}

impl Counters {
    pub(super) fn count_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_known(&self, known: usize) {
        self.known.store(known as u64, Ordering::Relaxed);
    }

    pub(super) fn set_silent(&self, silent: usize) {
        self.silent.store(silent as u64, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reasons = Refusal::ALL.iter().map(|refusal| refusal.as_str());
        Counts {
            taken: value(&self.taken),
            refused: reasons.zip(&self.refused).map(|(reason, counter)| (reason, value(counter))).collect(),
            failed: value(&self.failed),
            known: value(&self.known),
            silent: value(&self.silent),
        }
    }
}
