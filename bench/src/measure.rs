//! CPU time per request: windows of all targets in turn, round after round.

use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::generator::{self, Sending};
use crate::statistics::{Paired, difference, median, ratio};
use crate::target::{Site, Target};
use crate::window::{Meter, Window};
use crate::workload::Traffic;

/// How much is measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) window_ms: u64,
    pub(crate) warm_up_ms: u64,
    pub(crate) connections: usize,
    /// Count windows in which something else ran, too. Only windows with errors are dropped then.
    pub(crate) keep_disturbed: bool,
}

/// The load of one series.
pub(crate) struct Load<'a> {
    /// In the first column of the table.
    pub(crate) label: String,
    pub(crate) target: &'a Target,
    pub(crate) traffic: Traffic,
    /// Generated hosts to spread the requests over; 0 is the one of the traffic.
    pub(crate) hosts: usize,
}

/// All windows of one target.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) version: String,
    /// One for each round; `None` where every attempt was disturbed.
    pub(crate) windows: Vec<Option<Window>>,
    /// Windows that were thrown away: something else ran, or the hypervisor took the CPU.
    pub(crate) disturbed: usize,
    /// Windows that were thrown away because of errors, and the first error.
    pub(crate) failed: usize,
    pub(crate) error: Option<String>,
    /// System calls for each request, from a window of their own. `None` where they cannot be counted.
    pub(crate) syscalls: Option<f64>,
}

impl Series {
    /// CPU microseconds per request, round by round.
    pub(crate) fn costs(&self) -> Vec<Option<f64>> {
        self.windows.iter().map(|window| window.as_ref().map(Window::cost_us)).collect()
    }

    /// The median of them.
    pub(crate) fn cost_us(&self) -> f64 {
        median(self.costs().into_iter().flatten().collect())
    }

    /// The median of requests per second. The load runs in a closed loop: this is no more than how busy the load was.
    pub(crate) fn rate(&self) -> f64 {
        let rates = self.windows.iter().flatten();
        median(rates.map(|window| window.requests as f64 * 1e9 / window.elapsed_ns as f64).collect())
    }

    /// How this series stands to another of the same run.
    pub(crate) fn ratio_to(&self, other: &Series) -> Option<Paired> {
        ratio(&self.costs(), &other.costs())
    }

    /// How many microseconds more a request costs than one of another series of the same run.
    pub(crate) fn more_than(&self, other: &Series) -> Option<Paired> {
        difference(&self.costs(), &other.costs())
    }
}

/// Measures all `loads` in each round, in an order that changes from round to round.
pub(crate) fn run(site: &Site, plan: &Plan, title: &str, loads: &[Load<'_>]) -> Result<Vec<Series>, Failure> {
    let mut all: Vec<Series> = loads
        .iter()
        .map(|load| Series {
            label: load.label.clone(),
            version: load.target.version.clone(),
            windows: Vec::new(),
            disturbed: 0,
            failed: 0,
            error: None,
            syscalls: None,
        })
        .collect();
    let mut order: Vec<usize> = (0..loads.len()).collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    // Code, buffers and connections to the backend: what every busy program has.
    let brief = Plan { window_ms: plan.warm_up_ms, ..plan.clone() };
    for load in loads {
        window(site, &brief, load)?;
    }
    let mut progress = Progress::start(title, plan.rounds * loads.len());
    for _ in 0..plan.rounds {
        random.shuffle(&mut order);
        for &place in &order {
            let window = attempt(site, plan, &loads[place], &mut all[place])?;
            all[place].windows.push(window);
            progress.step(&all[place]);
        }
    }
    progress.end();
    for (load, series) in loads.iter().zip(&mut all) {
        if let Some(meter) = Meter::of_syscalls(load.target.pids()?)? {
            let window = window_by(meter, site, &brief, load)?;
            series.syscalls = window.syscalls.map(|calls| calls as f64 / window.requests as f64);
        }
    }
    Ok(all)
}

/// One window, tried again a few times while something disturbs it.
fn attempt(
    site: &Site,
    plan: &Plan,
    load: &Load<'_>,
    series: &mut Series,
) -> Result<Option<Window>, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let window = window(site, plan, load)?;
        if window.errors > 0 || window.requests == 0 {
            series.failed += 1;
            series.error = series.error.take().or(window.error).or_else(|| Some("no answer at all".into()));
        } else if plan.keep_disturbed || (window.steal <= STEAL_MAX && window.intruders <= INTRUDERS_MAX) {
            return Ok(Some(window));
        } else {
            series.disturbed += 1;
        }
    }
    Ok(None)
}

/// One window of `load`, whatever disturbs it.
pub(crate) fn window(site: &Site, plan: &Plan, load: &Load<'_>) -> Result<Window, Failure> {
    window_by(Meter::new(load.target.pids()?), site, plan, load)
}

fn window_by(mut meter: Meter, site: &Site, plan: &Plan, load: &Load<'_>) -> Result<Window, Failure> {
    let sending = Sending {
        site,
        target: load.target,
        traffic: load.traffic,
        hosts: load.hosts,
        connections: plan.connections,
        warm_up: Duration::from_millis(plan.warm_up_ms),
        window: Duration::from_millis(plan.window_ms),
    };
    let counted = generator::send(&sending, &mut meter)
        .map_err(|failure| Failure::Load(format!("{failure} ({})", load.label)))?;
    meter.window(counted)
}

/// One line on standard error that says how far a run is.
struct Progress {
    title: String,
    done: usize,
    total: usize,
    terminal: bool,
}

impl Progress {
    fn start(title: &str, total: usize) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("{title}: {total} windows");
        }
        Progress { title: title.to_owned(), done: 0, total, terminal }
    }

    fn step(&mut self, series: &Series) {
        self.done += 1;
        if self.terminal {
            let cost = series.windows.last().and_then(Option::as_ref).map_or(f64::NAN, Window::cost_us);
            let line = format!("{}: {}/{} {} {cost:.1} µs", self.title, self.done, self.total, series.label);
            let line: String = line.chars().take(LINE_WIDTH).collect();
            eprint!("\r{line:<LINE_WIDTH$}");
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r{:LINE_WIDTH$}\r", "");
        }
    }
}

/// Other work on the measured CPU, as a part of the window. The counters behind it have steps of 10 ms.
pub(crate) const INTRUDERS_MAX: f64 = 0.05;

/// Time that the hypervisor took, as a part of the window.
pub(crate) const STEAL_MAX: f64 = 0.01;

const ATTEMPTS_MAX: usize = 3;
const SEED: u64 = 2;
const LINE_WIDTH: usize = 79;
