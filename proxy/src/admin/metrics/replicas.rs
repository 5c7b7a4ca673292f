//! Series of the port between replicas.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::replicas::counters::Counts;

pub(super) fn encode(counts: &Counts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, value) in [
        ("replicas", "Replicas of this edge that there are", counts.known),
        (
            "replicas_silent",
            "Replicas that did not answer when this one, which leads, asked last",
            counts.silent,
        ),
    ] {
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(value as f64))?;
    }
    for (name, help, value) in [
        ("replica_calls_taken", "Calls of other replicas that were answered", counts.taken),
        ("replica_calls_failed", "Calls to other replicas that were not answered", counts.failed),
    ] {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
    }
    let help = "Calls to the port between replicas that were not believed, by reason";
    let mut family = encoder.encode_descriptor("replica_calls_refused", help, None, MetricType::Counter)?;
    for (reason, count) in counts.refused.iter().filter(|(_, count)| *count > 0) {
        let labels = [("reason", *reason)];
        let mut series = family.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, u64, f64>(count, None)?;
    }
    Ok(())
}
