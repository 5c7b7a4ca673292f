//! What must be able to be done to a workload. Two live: programs of this machine, and an API server.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::workload::Workload;

/// Looks at workloads, wakes them and puts them to sleep.
///
/// Each call is bounded in time by the implementation, and ends with the state that it found or made.
pub trait Scaler {
    /// What is there now.
    fn observe(&self, workload: &Workload) -> impl Future<Output = Result<Observation, ScaleError>> + Send;

    /// Makes it run as it ran before it slept: with as many replicas as were remembered, never fewer than an autoscaler's
    /// minimum. What runs already is left alone.
    fn wake(&self, workload: &Workload) -> impl Future<Output = Result<Observation, ScaleError>> + Send;

    /// Remembers how it runs, then puts it to sleep, unless it has changed since `version`. Nothing of this may happen later
    /// than `within` from now, even if the answer is lost.
    fn sleep(
        &self,
        workload: &Workload,
        version: u64,
        within: Duration,
    ) -> impl Future<Output = Result<Observation, ScaleError>> + Send;
}

/// A workload as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Grows with every change; an older observation tells nothing that a newer one does not.
    pub version: u64,
    /// Replicas that are wanted; 0 is asleep.
    pub desired: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Whether it was last scaled by us, this replica or another.
    pub by_us: bool,
}

/// Why a workload could not be seen or scaled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    #[error("it does not exist")]
    Missing,
    /// Somebody changed it meanwhile.
    #[error("it was changed meanwhile")]
    Conflict,
    /// It will not work until somebody mends it; the words name the mend.
    #[error("{0}")]
    Refused(Arc<str>),
    /// It may have been done, or not.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

impl ScaleError {
    /// Makes [`ScaleError::Unreachable`] of any words.
    pub fn unreachable(cause: impl fmt::Display) -> Self {
        ScaleError::Unreachable(cause.to_string().into())
    }
}
