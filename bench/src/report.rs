//! What a run says: a table of 80 columns for people, and JSON with every window for the record.

pub(crate) mod plot;

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::churn::ChurnResult;
use crate::cold_start::ColdStartResult;
use crate::latency::{LatencyResult, PERCENTILES};
use crate::measure::{INTRUDERS_MAX, Plan, STEAL_MAX, Series};
use crate::memory::IdleResult;
use crate::reload::ReloadResult;
use crate::statistics::Paired;
use crate::window::Window;
use crate::workload::{HOSTS_FEW, HOSTS_MANY, Workload};

/// Everything that one run has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Seconds since 1970.
    pub(crate) started: i64,
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
    Churn(Vec<ChurnResult>),
    ColdStart(Vec<ColdStartResult>),
    Latency(Vec<LatencyResult>),
}

/// One program with few, many and most hosts.
#[derive(Debug, Serialize)]
pub(crate) struct HostsResult {
    pub(crate) most_hosts: usize,
    pub(crate) few: Series,
    /// A second instance with few hosts: how much two equal programs differ here.
    pub(crate) again: Series,
    pub(crate) many: Series,
    pub(crate) most: Series,
    /// Resident bytes without generated hosts, before any window.
    pub(crate) empty_bytes: u64,
    /// Resident bytes after the last window.
    pub(crate) many_bytes: u64,
    pub(crate) most_bytes: u64,
}

impl Report {
    /// Everything as a page of Markdown, beside the pictures that lie in `pictures`.
    pub(crate) fn markdown(&self, pictures: &[String]) -> String {
        let day =
            Timestamp::from_second(self.started).map_or(String::new(), |at| at.strftime("%F").to_string());
        let mut text =
            format!("# Results of {day}\n\n{}, `bench/run {}`\n", self.machine, self.command.join(" "));
        text.extend(pictures.iter().map(|name| format!("\n![{name}]({name})\n")));
        for finding in &self.findings {
            let table = finding.table(&self.plan);
            let (title, rest) = table.trim_start().split_once('\n').unwrap_or((&table, ""));
            text.push_str(&format!("\n## {title}\n\n```\n{rest}```\n"));
        }
        text
    }
}

impl Finding {
    /// The finding as a table, without a line longer than 80 columns.
    pub(crate) fn table(&self, plan: &Plan) -> String {
        let mut text = format!("\n{}\n", self.workload.title());
        // Writing to a string cannot fail.
        let _ = match &self.data {
            Data::Cost(all) => cost(&mut text, plan, self.workload, all),
            Data::Hosts(all) => hosts(&mut text, plan, all),
            Data::Idle(all) => idle(&mut text, all),
            Data::Reload(all) => reload(&mut text, all),
            Data::Churn(all) => churn(&mut text, all),
            Data::ColdStart(all) => cold_start(&mut text, all),
            Data::Latency(all) => latency(&mut text, all),
        };
        text
    }
}

fn cost(text: &mut String, plan: &Plan, workload: Workload, all: &[Series]) -> std::fmt::Result {
    rounds(text, plan)?;
    let Some(subject) = all.first() else { return Ok(()) };
    let head = format!("{} ÷", subject.label);
    writeln!(
        text,
        "{:<15} {:<8} {:>7} {:>6} {:>6} {head:>11} {:>13} {:>7}",
        "", "", "µs/req", "calls", "req/s", "95 %", "dropped"
    )?;
    for (place, series) in all.iter().enumerate() {
        let (ratio, interval) = match place {
            0 => (String::new(), String::new()),
            _ => ratio_columns(subject.ratio_to(series)),
        };
        writeln!(
            text,
            "{:<15} {:<8} {:>7.2} {:>6} {:>6.0} {ratio:>11} {interval:>13} {:>7}",
            series.label,
            short(&series.version),
            series.cost_us(),
            series.syscalls.map_or("-".into(), |calls| format!("{calls:.2}")),
            series.rate(),
            series.disturbed + series.failed,
        )?;
    }
    let without = workload.without().and_then(|(label, _)| all.iter().find(|series| series.label == label));
    if let Some((label, more)) =
        without.and_then(|without| Some((&without.label, subject.more_than(without)?)))
    {
        let Paired { median, low, high, .. } = more;
        writeln!(text, "{} − {label}: {median:+.2} µs each ({low:+.2} to {high:+.2})", subject.label)?;
    }
    notes(text, plan, all.iter())
}

fn hosts(text: &mut String, plan: &Plan, all: &[HostsResult]) -> std::fmt::Result {
    rounds(text, plan)?;
    writeln!(
        text,
        "Ratio to the cost with {HOSTS_FEW} hosts; memory over that of the program without hosts"
    )?;
    writeln!(
        text,
        "{:<11}{:<9}{:>9}{:>9}{:>8}{:>14}{:>18}",
        "", "", "hosts", "µs/req", "ratio", "95 %", "MiB (empty)"
    )?;
    for result in all {
        let rows = [
            (HOSTS_FEW, &result.few, None),
            (HOSTS_FEW, &result.again, None),
            (HOSTS_MANY, &result.many, Some(result.many_bytes)),
            (result.most_hosts, &result.most, Some(result.most_bytes)),
        ];
        for (row, (hosts, series, bytes)) in rows.into_iter().enumerate() {
            let (ratio, interval) = match row {
                0 => (String::new(), String::new()),
                _ => ratio_columns(series.ratio_to(&result.few)),
            };
            let memory = bytes.map_or(String::new(), |bytes| {
                let more = bytes as f64 - result.empty_bytes as f64;
                format!("{:+.0} ({:.0})", more / MIB, result.empty_bytes as f64 / MIB)
            });
            let label = if row == 1 { "again" } else { &result.few.label };
            let version = short(&series.version);
            let cost = series.cost_us();
            writeln!(
                text,
                "{label:<11}{version:<9}{hosts:>9}{cost:>9.2}{ratio:>8}{interval:>14}{memory:>18}"
            )?;
        }
    }
    notes(text, plan, all.iter().flat_map(|result| [&result.few, &result.again, &result.many, &result.most]))
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

fn churn(text: &mut String, all: &[ChurnResult]) -> std::fmt::Result {
    writeln!(text, "Latency in a closed loop, so that only the two columns of one line compare")?;
    writeln!(
        text,
        "{:<15} {:<8} {:>8} {:>10} {:>8} {:>12} {:>12}",
        "", "", "changes", "answers", "errors", "p99 without", "p99 with"
    )?;
    for result in all {
        let p99 =
            |window: &Window| window.latency.as_ref().map_or(f64::NAN, |latency| latency.p99_us / 1000.0);
        writeln!(
            text,
            "{:<15} {:<8} {:>8} {:>10} {:>8} {:>9.2} ms {:>9.2} ms",
            result.label,
            short(&result.version),
            result.changes,
            result.changing.requests,
            result.changing.errors,
            p99(&result.quiet),
            p99(&result.changing),
        )?;
    }
    Ok(())
}

fn cold_start(text: &mut String, all: &[ColdStartResult]) -> std::fmt::Result {
    writeln!(
        text,
        "{:<15} {:<9} {:>6} {:>11} {:>11} {:>13} {:>9}",
        "", "", "starts", "median", "CPU", "wrong answers", "memory"
    )?;
    for result in all {
        writeln!(
            text,
            "{:<15} {:<9} {:>6} {:>8.0} ms {:>8.0} ms {:>13} {:>5.0} MiB",
            result.label,
            short(&result.version),
            result.milliseconds.len(),
            result.median_ms(),
            result.cpu_ms,
            result.wrong,
            result.resident_bytes as f64 / MIB,
        )?;
    }
    Ok(())
}

fn latency(text: &mut String, all: &[LatencyResult]) -> std::fmt::Result {
    let rate = all.first().map_or(0, |result| result.rate);
    writeln!(text, "{rate} requests a second, due at even times; milliseconds, and what a proxy adds")?;
    write!(text, "{:<15} {:<8}", "", "")?;
    let shown = [1, 3, 5, 6];
    for place in shown {
        write!(text, " {:>13}", format!("{} %", PERCENTILES[place]))?;
    }
    writeln!(text)?;
    for result in all {
        write!(text, "{:<15} {:<8}", result.label, short(&result.version))?;
        for place in shown {
            let (time, direct) = (result.milliseconds[place], all[0].milliseconds[place]);
            write!(text, " {:>13}", format!("{time:.2} ({:+.2})", time - direct))?;
        }
        writeln!(text)?;
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

fn ratio_columns(ratio: Option<Paired>) -> (String, String) {
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
