//! Series of workloads that sleep and wake. There are as many as there are workloads behind routes that wake.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use wake::workload::Workload;

use crate::workload::counters::{Condition, Counts, Row, START_BOUNDS_SECONDS};

pub(super) fn encode(counts: &Counts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Workloads behind routes that wake, by what they are doing";
    let mut family = encoder.encode_descriptor("workloads", help, None, MetricType::Gauge)?;
    for condition in Condition::ALL {
        let count = counts.rows.iter().filter(|(_, row, _)| row.condition == Some(condition)).count();
        let labels = [("state", condition.as_str())];
        family.encode_family(&labels)?.encode_gauge(&(count as f64))?;
    }
    for (name, help, results) in RESULTS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (workload, row, _) in &counts.rows {
            for (result, number) in results {
                let number = number(row);
                if number > 0 {
                    let text = workload.reference.to_string();
                    let [namespace, name] = labels(workload, &text);
                    let labels = [namespace, name, ("result", result)];
                    let mut series = family.encode_family(&labels)?;
                    series.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
                }
            }
        }
    }
    let help = "The time that workloads were asleep, as this process saw it";
    let mut family =
        encoder.encode_descriptor("workload_asleep", help, Some(&Unit::Seconds), MetricType::Counter)?;
    for (workload, _, asleep) in counts.rows.iter().filter(|(_, _, asleep)| !asleep.is_zero()) {
        let text = workload.reference.to_string();
        let labels = labels(workload, &text);
        let mut series = family.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, f64, f64>(&asleep.as_secs_f64(), None)?;
    }
    let help = "From asking for a workload that sleeps until it was ready";
    let mut family =
        encoder.encode_descriptor("wake_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    let bounds = START_BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.starts.durations).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    family.encode_histogram::<NoLabelSet>(counts.starts.sum.as_secs_f64(), count, &buckets, None)?;
    let help = "Requests that wait for something to wake";
    let mut family = encoder.encode_descriptor("wake_waiting_requests", help, None, MetricType::Gauge)?;
    family.encode_gauge(&(counts.waiting as f64))
}

fn labels<'a>(workload: &'a Workload, text: &'a str) -> [(&'static str, &'a str); 2] {
    [("namespace", &workload.namespace), ("workload", text)]
}

type Number = fn(&Row) -> u64;
/// A name, its help, and what may come of it.
type Family = (&'static str, &'static str, &'static [(&'static str, Number)]);

const RESULTS: [Family; 2] = [
    (
        "wakes",
        "Workloads that were woken from here, and what came of it",
        &[("awake", |row| row.woken), ("failed", |row| row.wakes_failed)],
    ),
    (
        "sleeps",
        "Workloads that were put to sleep from here, and what came of it",
        &[
            ("asleep", |row| row.slept),
            ("aborted", |row| row.sleeps_aborted),
            ("failed", |row| row.sleeps_failed),
            ("contested", |row| row.contested),
        ],
    ),
];
