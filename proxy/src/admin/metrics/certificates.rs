//! Series of certificates that this process orders. There are as many as there are certificates: what bounds them is what
//! the objects ask for and the issuers allow.

use std::fmt;

use acme::manager::{Report, Status};
use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

type Moment = fn(&Status) -> Option<Timestamp>;

pub(super) fn encode(report: &Report, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, moment) in MOMENTS {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for status in &report.certificates {
            if let Some(moment) = moment(status) {
                family.encode_family(&labels(status))?.encode_gauge(&(moment.as_second() as f64))?;
            }
        }
    }
    let help = "How late its renewal is: 0 not, 1 late, 2 close to its end, 3 expired";
    let mut family = encoder.encode_descriptor("certificate_alarm", help, None, MetricType::Gauge)?;
    for status in &report.certificates {
        let level = ["fine", "warning", "critical", "expired"].iter().position(|word| *word == status.alarm);
        family.encode_family(&labels(status))?.encode_gauge(&(level.unwrap_or_default() as f64))?;
    }
    let help = "Certificates that were ordered and stored";
    let mut family = encoder.encode_descriptor("certificate_orders", help, None, MetricType::Counter)?;
    for (issuer, count) in &report.counters.orders {
        let labels = [("issuer", &**issuer)];
        let mut series = family.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, u64, f64>(count, None)?;
    }
    let help = "Attempts at a certificate that failed, by reason";
    let mut family = encoder.encode_descriptor("certificate_failures", help, None, MetricType::Counter)?;
    for ((issuer, reason), count) in &report.counters.failures {
        let labels = [("issuer", &**issuer), ("reason", reason)];
        let mut series = family.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, u64, f64>(count, None)?;
    }
    let help = "Times that a CA moved a renewal to an earlier moment";
    let mut family =
        encoder.encode_descriptor("certificate_windows_moved", help, None, MetricType::Counter)?;
    family.encode_counter::<NoLabelSet, u64, f64>(&report.counters.windows_moved, None)
}

fn labels(status: &Status) -> [(&'static str, &str); 3] {
    [("namespace", &status.namespace), ("name", &status.name), ("issuer", &status.issuer)]
}

const MOMENTS: [(&str, &str, Moment); 4] = [
    ("certificate_expiry_timestamp", "When the certificate ends, since the epoch", |status| status.not_after),
    ("certificate_renewal_timestamp", "When it is to be renewed", |status| status.renew_at),
    ("certificate_last_attempt_timestamp", "When it was last ordered", |status| status.last_attempt),
    ("certificate_next_attempt_timestamp", "After a failure, when it is tried again", |status| {
        status.next_try
    }),
];
