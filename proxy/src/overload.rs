//! When there is more to do than the process can: what it measures, and in which steps it sheds load.
//!
//! Memory is measured for the process, the lag of the event loop for each worker. Both workers and control write into
//! [`Vitals`]; nothing on the path of a request does. Whatever happens, health, metrics and insight are answered: they run on
//! the control thread, on a listener of their own.
//!
//! | mark | step |
//! |---|---|
//! | 85 % of the memory | connections of HTTP/1 end after their answer, idle ones to endpoints are let go |
//! | 95 % of the memory, or a lag beyond `limits.workerLag` | requests are refused with 503 |
//! | 98 % of the memory | new connections are closed at once |
//!
//! A worker whose clock has stood still for [`STALL_TOLD_AFTER`] is told of in the log, and after [`STALL_FATAL_AFTER`]
//! `/livez` fails, so that whoever watches the process starts it anew.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::settings::Settings;

/// What a worker does about too much load; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    #[default]
    Serve,
    EndConnections,
    RefuseRequests,
    RefuseConnections,
}

/// How the process is, as its threads see it.
#[derive(Debug)]
pub struct Vitals {
    started: Instant,
    workers: Box<[Pulse]>,
    memory_step: AtomicU8,
    memory_limit: AtomicU64,
    /// How long the clock of some worker has stood still, as control saw it last.
    stalled_ms: AtomicU64,
}

/// Written by one worker, at each of its ticks.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Pulse {
    beat_ms: AtomicU64,
    lag_ms: AtomicU32,
}

impl Vitals {
    /// Of a process with so many workers. None of them counts as stalled before its first tick.
    pub(crate) fn new(workers: usize) -> Self {
        Vitals {
            started: Instant::now(),
            workers: (0..workers).map(|_| Pulse::default()).collect(),
            memory_step: AtomicU8::new(0),
            memory_limit: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
        }
    }

    /// A worker's tick, which was due `expected` after the last one. Returns what the worker is to do from now on.
    pub(crate) fn beat(&self, worker: usize, now: Instant, expected: Duration, settings: &Settings) -> Step {
        let pulse = &self.workers[worker];
        let now_ms = self.since_start(now);
        let last_ms = pulse.beat_ms.swap(now_ms.max(1), Ordering::Relaxed);
        let late_ms = match last_ms {
            0 => 0,
            _ => now_ms.saturating_sub(last_ms).saturating_sub(expected.as_millis() as u64),
        };
        let smoothed = (u64::from(pulse.lag_ms.load(Ordering::Relaxed)) * 3 + late_ms) / 4;
        pulse.lag_ms.store(u32::try_from(smoothed).unwrap_or(u32::MAX), Ordering::Relaxed);
        let limit = settings.limits.worker_lag;
        let lags = !limit.is_zero() && u128::from(smoothed) > limit.as_millis();
        let step = Step::of(self.memory_step.load(Ordering::Relaxed));
        if lags { step.max(Step::RefuseRequests) } else { step }
    }

    /// The longest lag of any worker, smoothed over some ticks.
    pub(crate) fn lag(&self) -> Duration {
        let longest = self.workers.iter().map(|pulse| pulse.lag_ms.load(Ordering::Relaxed)).max();
        Duration::from_millis(longest.unwrap_or(0).into())
    }

    /// The bound on memory that is in force, in bytes; `None`: there is none.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.memory_limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// True when a worker has stood still for so long that only a new process helps.
    pub(crate) fn is_stalled(&self) -> bool {
        u128::from(self.stalled_ms.load(Ordering::Relaxed)) >= STALL_FATAL_AFTER.as_millis()
    }

    /// Control looks at the workers: which of them stand still, and for how long.
    pub(crate) fn look(&self, now: Instant) -> Vec<(usize, Duration)> {
        let now_ms = self.since_start(now);
        let beats = self.workers.iter().map(|pulse| pulse.beat_ms.load(Ordering::Relaxed)).enumerate();
        let silent = beats
            .filter(|(_, beat_ms)| *beat_ms > 0)
            .map(|(worker, beat_ms)| (worker, Duration::from_millis(now_ms.saturating_sub(beat_ms))));
        let stalled: Vec<_> = silent.filter(|(_, silence)| *silence >= STALL_TOLD_AFTER).collect();
        let longest = stalled.iter().map(|(_, silence)| silence.as_millis() as u64).max().unwrap_or(0);
        self.stalled_ms.store(longest, Ordering::Relaxed);
        stalled
    }

    /// Control weighs the memory in use. Returns the step when it is another than before.
    fn weigh(&self, used: u64, limit: Option<u64>) -> Option<Step> {
        self.memory_limit.store(limit.unwrap_or(0), Ordering::Relaxed);
        let percent = limit.map_or(0, |limit| u128::from(used) * 100 / u128::from(limit.max(1)));
        let step = MEMORY_MARKS
            .iter()
            .rev()
            .find(|(mark, _)| percent >= *mark)
            .map_or(Step::Serve, |(_, step)| *step);
        let before = self.memory_step.swap(step as u8, Ordering::Relaxed);
        (before != step as u8).then_some(step)
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Step {
    fn of(number: u8) -> Step {
        match number {
            0 => Step::Serve,
            1 => Step::EndConnections,
            2 => Step::RefuseRequests,
            _ => Step::RefuseConnections,
        }
    }
}

/// Control's look at memory and workers, once every [`LOOK_EVERY`].
#[derive(Debug, Default)]
pub(crate) struct Watchman {
    looked: Option<Instant>,
    /// Workers whose stall was told of.
    told: Vec<usize>,
}

impl Watchman {
    /// Measures, and writes to the log what has changed.
    pub(crate) fn look(&mut self, vitals: &Vitals, settings: &Settings, now: Instant) {
        let late = self.looked.replace(now).is_some_and(|looked| now - looked >= STALL_TOLD_AFTER);
        // Where control itself stood still (a machine that slept), the workers have to be given the time to go on.
        if !late {
            let stalled = vitals.look(now);
            for (worker, silence) in &stalled {
                if !self.told.contains(worker) {
                    tracing::error!(worker, ?silence, "a worker stands still; its connections wait");
                }
            }
            for worker in &self.told {
                if !stalled.iter().any(|(known, _)| known == worker) {
                    tracing::warn!(worker, "a worker that stood still goes on");
                }
            }
            self.told = stalled.into_iter().map(|(worker, _)| worker).collect();
        }
        let limit = settings.limits.memory_bytes.as_limit().or_else(memory_limit_of_the_system);
        let Some(used) = resident_bytes() else { return };
        if let Some(step) = vitals.weigh(used, limit) {
            tracing::warn!(used, limit, ?step, "the memory in use has crossed a mark");
        }
    }
}

/// The memory of this process, without what is swapped out or only mapped. `None` where `/proc` does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The bound of the control group that the process runs in, of version 2 or 1. `None`: there is none.
fn memory_limit_of_the_system() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    // In a container the group is the root of what can be seen, whatever its name is outside.
    let files = [
        format!("/sys/fs/cgroup{own}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    files.iter().find_map(|file| std::fs::read_to_string(file).ok()).and_then(|text| limit_in(&text))
}

/// `max`, and what is more than any machine has, stand for no bound.
fn limit_in(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < MEMORY_BYTES_UNBOUNDED)
}

/// How often control looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A worker that has not ticked for so long stands still.
pub(crate) const STALL_TOLD_AFTER: Duration = Duration::from_secs(5);
/// And after so long it is not believed to go on.
pub(crate) const STALL_FATAL_AFTER: Duration = Duration::from_secs(30);
const MEMORY_MARKS: [(u128, Step); 3] =
    [(85, Step::EndConnections), (95, Step::RefuseRequests), (98, Step::RefuseConnections)];
const MEMORY_BYTES_UNBOUNDED: u64 = 1 << 60;
