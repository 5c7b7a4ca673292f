//! What a run says: a table of 80 columns for people, and JSON with every window for the record.

use std::fmt::Write;

use serde::Serialize;

use crate::measure::{INTRUDERS_MAX, Plan, STEAL_MAX, Series};
use crate::memory::IdleResult;
use crate::reload::ReloadResult;
use crate::statistics::Ratio;
use crate::workload::{HOSTS_FEW, HOSTS_MANY, Workload};

/// Everything that one run has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Seconds since 1970.
    pub(crate) started: u64,
    pub(crate) machine: String,
    pub(crate) command: Vec<String>,
    pub(crate) plan: Plan,
    pub(crate) findings: Vec<Finding>,
}

/// What one workload has found.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) workload: Workload,
    #[serde(flatten)]
    pub(crate) data: Data,
}

/// The forms of a finding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Data {
    /// The subject first, then the subject again, then the peers.
    Cost(Vec<Series>),
    /// For each program.
    Hosts(Vec<HostsResult>),
    Idle(Vec<IdleResult>),
    Reload(Vec<ReloadResult>),
}

/// One program with few and with many hosts.
#[derive(Debug, Serialize)]
pub(crate) struct HostsResult {
    pub(crate) few: Series,
    /// A second instance with few hosts: how much two equal programs differ here.
    pub(crate) again: Series,
    pub(crate) many: Series,
    /// Resident bytes after the last window.
    pub(crate) few_bytes: u64,
    pub(crate) many_bytes: u64,
}

impl Finding {
    /// The finding as a table, without a line longer than 80 columns.
    pub(crate) fn table(&self, plan: &Plan) -> String {
        let mut text = format!("\n{}\n", self.workload.title());
        // Writing to a string cannot fail.
        let _ = match &self.data {
            Data::Cost(all) => cost(&mut text, plan, all),
            Data::Hosts(all) => hosts(&mut text, plan, all),
            Data::Idle(all) => idle(&mut text, all),
            Data::Reload(all) => reload(&mut text, all),
        };
        text
    }
}

fn cost(text: &mut String, plan: &Plan, all: &[Series]) -> std::fmt::Result {
    rounds(text, plan)?;
    let Some(subject) = all.first() else { return Ok(()) };
    let head = format!("{} ÷", subject.label);
    writeln!(
        text,
        "{:<15} {:<9} {:>7} {:>7} {head:>11} {:>13} {:>8}",
        "", "", "µs/req", "req/s", "95 %", "dropped"
    )?;
    for (place, series) in all.iter().enumerate() {
        let (ratio, interval) = match place {
            0 => (String::new(), String::new()),
            _ => ratio_columns(subject.ratio_to(series)),
        };
        writeln!(
            text,
            "{:<15} {:<9} {:>7.2} {:>7.0} {ratio:>11} {interval:>13} {:>8}",
            series.label,
            short(&series.version),
            series.cost_us(),
            series.rate(),
            series.disturbed + series.failed,
        )?;
    }
    notes(text, plan, all.iter())
}

fn hosts(text: &mut String, plan: &Plan, all: &[HostsResult]) -> std::fmt::Result {
    rounds(text, plan)?;
    writeln!(text, "µs/req with few and with many hosts; last interval: two programs with few hosts")?;
    let few = format!("{HOSTS_FEW} hosts");
    let row = |text: &mut String, columns: [&str; 8]| {
        let [label, version, few, many, ratio, interval, equal, memory] = columns;
        writeln!(
            text,
            "{label:<9} {version:<8} {few:>8} {many:>8} {ratio:>6} {interval:>11} {equal:>11} {memory:>10}"
        )
    };
    row(text, ["", "", &few, &HOSTS_MANY.to_string(), "ratio", "95 %", "equal 95 %", "MiB (more)"])?;
    for result in all {
        let (ratio, interval) = ratio_columns(result.many.ratio_to(&result.few));
        let (_, equal) = ratio_columns(result.again.ratio_to(&result.few));
        let (few, many) = (format!("{:.2}", result.few.cost_us()), format!("{:.2}", result.many.cost_us()));
        let more = result.many_bytes as f64 - result.few_bytes as f64;
        let memory = format!("{:.0} ({:+.0})", result.many_bytes as f64 / MIB, more / MIB);
        let version = short(&result.few.version);
        row(text, [&result.few.label, &version, &few, &many, &ratio, &interval, &equal, &memory])?;
    }
    notes(text, plan, all.iter().flat_map(|result| [&result.few, &result.again, &result.many]))
}

fn idle(text: &mut String, all: &[IdleResult]) -> std::fmt::Result {
    writeln!(text, "Resident memory: growth for each connection after one request on it")?;
    writeln!(
        text,
        "{:<15} {:<9} {:>11} {:>13} {:>9} {:>9} {:>7}",
        "", "", "connections", "kB/connection", "before", "held", "closed"
    )?;
    for result in all {
        writeln!(
            text,
            "{:<15} {:<9} {:>11} {:>13.2} {:>5.1} MiB {:>4.1} MiB {:>3.1} MiB",
            result.label,
            short(&result.version),
            result.connections,
            result.per_connection() / 1000.0,
            result.before_bytes as f64 / MIB,
            result.held_bytes as f64 / MIB,
            result.closed_bytes as f64 / MIB,
        )?;
    }
    Ok(())
}

fn reload(text: &mut String, all: &[ReloadResult]) -> std::fmt::Result {
    writeln!(text, "{:<15} {:<9} {:>8} {:>11} {:>11} {:>11}", "", "", "changes", "median", "p99", "max")?;
    for result in all {
        writeln!(
            text,
            "{:<15} {:<9} {:>8} {:>8.1} ms {:>8.1} ms {:>8.1} ms",
            result.label,
            short(&result.version),
            result.milliseconds.len(),
            result.median_ms(),
            result.p99_ms(),
            result.max_ms(),
        )?;
    }
    Ok(())
}

fn rounds(text: &mut String, plan: &Plan) -> std::fmt::Result {
    let (rounds, seconds) = (plan.rounds, plan.window_ms as f64 / 1000.0);
    writeln!(
        text,
        "{} connections, {rounds} rounds of {seconds} s each, CPU time of one core",
        plan.connections
    )
}

fn notes<'a>(text: &mut String, plan: &Plan, all: impl Iterator<Item = &'a Series>) -> std::fmt::Result {
    let (mut disturbed, mut missing) = (0, 0);
    for series in all {
        disturbed += series.disturbed;
        missing += series.windows.iter().filter(|window| window.is_none()).count();
        if let Some(error) = &series.error {
            let line = format!("{}: {} windows with errors: {error}", series.label, series.failed);
            writeln!(text, "{}", line.chars().take(LINE_WIDTH).collect::<String>())?;
        }
    }
    if plan.keep_disturbed {
        writeln!(text, "Disturbed windows were kept: these figures are for orientation only.")?;
    } else if disturbed > 0 {
        let (steal, intruders) = (STEAL_MAX * 100.0, INTRUDERS_MAX * 100.0);
        writeln!(
            text,
            "{disturbed} windows dropped: steal over {steal} % or other work over {intruders} % of the CPU"
        )?;
    }
    if missing > 0 {
        writeln!(text, "{missing} windows are missing: no attempt was undisturbed")?;
    }
    Ok(())
}

fn ratio_columns(ratio: Option<Ratio>) -> (String, String) {
    match ratio {
        None => ("-".into(), "too few".into()),
        Some(ratio) => (format!("{:.3}", ratio.median), format!("{:.3}–{:.3}", ratio.low, ratio.high)),
    }
}

fn short(version: &str) -> String {
    version.chars().take(8).collect()
}

const MIB: f64 = (1 << 20) as f64;
const LINE_WIDTH: usize = 80;

#[cfg(test)]
mod tests;
