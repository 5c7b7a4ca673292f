//! What became of workloads, for the metrics and the overview: as this process sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wake::machine::{Note, State};
use wake::workload::Workload;

use super::gate::Bell;
use super::trouble::Trouble;

/// Written by the driver, read by whoever asks for metrics. There are as many rows as there are workloads behind gates.
#[derive(Debug)]
pub(crate) struct Counters {
    bell: Arc<Bell>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<Workload, Row>,
    starts: Starts,
}

/// What is known of one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// Times that it was woken from here and became ready.
    pub(crate) woken: u64,
    pub(crate) wakes_failed: u64,
    pub(crate) slept: u64,
    /// Times that somebody used it while it was about to be put to sleep.
    pub(crate) sleeps_aborted: u64,
    pub(crate) sleeps_failed: u64,
    /// Times that it was left alone because somebody else scales it up again and again.
    pub(crate) contested: u64,
    pub(crate) condition: Option<Condition>,
    /// Why it is not awake though it should be.
    pub(crate) trouble: Option<Arc<str>>,
    asleep_since: Option<Instant>,
    asleep: Duration,
}

/// What a workload is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Unknown,
    Awake,
    Asleep,
    Waking,
    Failed,
}

/// How long it took from asking for a workload until it was ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Starts {
    /// By duration; one more than the bounds, for what is longer.
    pub(crate) durations: [u64; START_BOUNDS_SECONDS.len() + 1],
    pub(crate) sum: Duration,
}

/// All numbers of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// With the time that each was asleep.
    pub(crate) rows: Vec<(Workload, Row, Duration)>,
    pub(crate) starts: Starts,
    /// Requests that wait for something to wake.
    pub(crate) waiting: usize,
}

impl Counters {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Counters { bell, kept: Mutex::default() }
    }

    /// Takes up what the workloads are doing now; forgets those that are not among them.
    pub(super) fn see<'w>(
        &self,
        now: Instant,
        workloads: impl Iterator<Item = (&'w Workload, State)>,
        trouble: impl Fn(&Workload) -> Option<Arc<Trouble>>,
    ) {
        let mut kept = self.kept();
        let mut known = std::mem::take(&mut kept.rows);
        for (workload, state) in workloads {
            let (workload, mut row) =
                known.remove_entry(workload).unwrap_or_else(|| (workload.clone(), Row::default()));
            row.see(now, Condition::of(&state));
            row.trouble = match state {
                State::Failed(reason) => Some(reason),
                State::Waking { .. } => trouble(&workload).map(|trouble| trouble.to_string().into()),
                State::Unknown | State::Awake | State::Quiet | State::Asleep => None,
            };
            kept.rows.insert(workload, row);
        }
    }

    pub(super) fn note(&self, workload: &Workload, note: &Note) {
        let mut kept = self.kept();
        if let Note::Awake { took: Some(took) } = note {
            kept.starts.count(*took);
        }
        let Some(row) = kept.rows.get_mut(workload) else { return };
        let counter = match note {
            Note::Awake { took: Some(_) } => &mut row.woken,
            Note::WakeFailed(_) => &mut row.wakes_failed,
            Note::Asleep => &mut row.slept,
            Note::SleepAborted => &mut row.sleeps_aborted,
            Note::SleepFailed(_) => &mut row.sleeps_failed,
            Note::Contested => &mut row.contested,
            // What comes of it is counted when it has come.
            Note::Waking | Note::Awake { took: None } => return,
        };
        *counter += 1;
    }

    pub(crate) fn counts(&self, now: Instant) -> Counts {
        let kept = self.kept();
        let rows = kept.rows.iter();
        Counts {
            rows: rows.map(|(workload, row)| (workload.clone(), row.clone(), row.asleep(now))).collect(),
            starts: kept.starts.clone(),
            waiting: self.bell.waiting(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn see(&mut self, now: Instant, condition: Condition) {
        self.condition = Some(condition);
        match (condition, self.asleep_since) {
            (Condition::Asleep, None) => self.asleep_since = Some(now),
            (Condition::Asleep, Some(_)) | (_, None) => {}
            (_, Some(since)) => {
                self.asleep += now.saturating_duration_since(since);
                self.asleep_since = None;
            }
        }
    }

    /// The time that it was asleep, this moment included.
    fn asleep(&self, now: Instant) -> Duration {
        self.asleep + self.asleep_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Condition {
    pub(crate) const ALL: [Condition; 5] =
        [Condition::Unknown, Condition::Awake, Condition::Asleep, Condition::Waking, Condition::Failed];

    pub(super) fn of(state: &State) -> Self {
        match state {
            State::Unknown => Condition::Unknown,
            // One that is about to sleep still serves.
            State::Awake | State::Quiet => Condition::Awake,
            State::Asleep => Condition::Asleep,
            State::Waking { .. } => Condition::Waking,
            State::Failed(_) => Condition::Failed,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Condition::Unknown => "unknown",
            Condition::Awake => "awake",
            Condition::Asleep => "asleep",
            Condition::Waking => "waking",
            Condition::Failed => "failed",
        }
    }
}

impl Starts {
    fn count(&mut self, took: Duration) {
        let bucket = START_BOUNDS_SECONDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.durations[bucket.unwrap_or(START_BOUNDS_SECONDS.len())] += 1;
        self.sum += took;
    }
}

/// From a program of this machine to a cluster that needs another node first.
pub(crate) const START_BOUNDS_SECONDS: [f64; 11] =
    [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0];

#[cfg(test)]
mod tests;
