//! One measured window: what was answered, and what it cost.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::child::{LOAD_CPU, PROXY_CPU};
use crate::failure::Failure;
use crate::procfs::{self, Ticks, Usage};
use crate::syscalls::Counter;

/// What a load generator saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Whole answers with the status that was expected; messages, where those are counted.
    pub(crate) answers: u64,
    /// Other answers, broken ones, connections that failed.
    pub(crate) errors: u64,
    /// The first error in words.
    pub(crate) error: Option<String>,
    /// Times from a request to its answer, where the generator tells them.
    pub(crate) latency: Option<Latency>,
}

impl Counted {
    /// Counts an error.
    pub(crate) fn failed(&mut self, error: &str) {
        self.errors += 1;
        self.error.get_or_insert_with(|| error.to_owned());
    }
}

/// Times from a request to its answer, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

/// What happened between the two ends of one measured window.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Window {
    /// See [`Counted::answers`].
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) error: Option<String>,
    pub(crate) latency: Option<Latency>,
    pub(crate) elapsed_ns: u64,
    /// CPU time of the watched processes.
    pub(crate) cpu_ns: u64,
    /// How long their threads could have run and did not.
    pub(crate) wait_ns: u64,
    /// How often one of their threads was put on a CPU.
    pub(crate) slices: u64,
    /// Time that CPU 1 spent on anything else, as a part of the window.
    pub(crate) intruders: f64,
    /// Time that the hypervisor took from CPUs 0 and 1, as a part of the window (the worse of both).
    pub(crate) steal: f64,
    /// System calls of the watched processes, where they were counted.
    pub(crate) syscalls: Option<u64>,
}

impl Window {
    /// CPU microseconds of the watched processes per request.
    pub(crate) fn cost_us(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.requests as f64
    }
}

/// Reads the counters at both ends of a window.
pub(crate) struct Meter {
    pids: Vec<u32>,
    syscalls: Option<Counter>,
    started: Option<Snapshot>,
    stopped: Option<Snapshot>,
}

impl Meter {
    /// Watches `pids`.
    pub(crate) fn new(pids: Vec<u32>) -> Meter {
        Meter { pids, syscalls: None, started: None, stopped: None }
    }

    /// Watches `pids` and counts their system calls, which makes these dearer: nothing else of such a window is worth telling.
    /// `None` where they cannot be counted.
    pub(crate) fn of_syscalls(pids: Vec<u32>) -> Result<Option<Meter>, Failure> {
        let counter = Counter::attach(&pids)?;
        Ok(counter.map(|counter| Meter { syscalls: Some(counter), ..Meter::new(pids) }))
    }

    /// The window begins.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.started = Some(Snapshot::take(&self.pids)?);
        self.syscalls.as_mut().map_or(Ok(()), Counter::start)
    }

    /// The window ends.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.stopped = Some(Snapshot::take(&self.pids)?);
        self.syscalls.as_mut().map_or(Ok(()), Counter::stop)
    }

    /// What the window held. A generator that never began or ended one is at fault.
    pub(crate) fn window(self, counted: Counted) -> Result<Window, Failure> {
        let (Some(before), Some(after)) = (self.started, self.stopped) else {
            return Err(Failure::Load("no window was measured".into()));
        };
        let elapsed_ns = (after.at - before.at).as_nanos() as u64;
        let part = |nanoseconds: u64| nanoseconds as f64 / elapsed_ns as f64;
        let cpu_ns = after.usage.cpu_ns.saturating_sub(before.usage.cpu_ns);
        let busy_ns = (after.proxy_cpu.busy - before.proxy_cpu.busy) * procfs::TICK_NS;
        let steal = (after.proxy_cpu.steal - before.proxy_cpu.steal)
            .max(after.load_cpu.steal - before.load_cpu.steal);
        Ok(Window {
            requests: counted.answers,
            errors: counted.errors,
            error: counted.error,
            latency: counted.latency,
            elapsed_ns,
            cpu_ns,
            wait_ns: after.usage.wait_ns.saturating_sub(before.usage.wait_ns),
            slices: after.usage.slices.saturating_sub(before.usage.slices),
            intruders: part(busy_ns.saturating_sub(cpu_ns)),
            steal: part(steal * procfs::TICK_NS),
            syscalls: self.syscalls.map(Counter::calls).transpose()?,
        })
    }
}

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    usage: Usage,
    proxy_cpu: Ticks,
    load_cpu: Ticks,
}

impl Snapshot {
    fn take(pids: &[u32]) -> Result<Snapshot, Failure> {
        Ok(Snapshot {
            at: Instant::now(),
            usage: procfs::usage(pids)?,
            proxy_cpu: procfs::ticks(PROXY_CPU)?,
            load_cpu: procfs::ticks(LOAD_CPU)?,
        })
    }
}
