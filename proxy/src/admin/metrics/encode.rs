//! The Prometheus text of [`Metrics`].

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::overload::resident_bytes;

use super::{
    ABUSES, Counter, DURATION_BOUNDS_MS, HANDSHAKE_REASONS, Label, Metrics, PROTOCOLS, REASONS,
    REASONS_UNFINISHED, RouteMetrics, STATUS_CLASSES, WorkerMetrics,
};

pub(super) fn encode(metrics: &Arc<Metrics>, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("vestibule");
    registry.register_collector(Box::new(Collected { metrics: metrics.clone(), now }));
    let mut process = Registry::with_prefix("process");
    process.register_collector(Box::new(Process { started: metrics.started }));
    let mut text = String::with_capacity(TEXT_BYTES);
    prometheus_client::encoding::text::encode_registry(&mut text, &process)?;
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collected {
    metrics: Arc<Metrics>,
    now: Timestamp,
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_routes(&mut encoder)?;
        self.encode_workers(&mut encoder)?;
        self.encode_configuration(&mut encoder)?;
        if let Some(counters) = self.metrics.replicas.get() {
            super::replicas::encode(&counters.counts(), &mut encoder)?;
        }
        if let Some(counts) = self.metrics.workloads().filter(|counts| !counts.rows.is_empty()) {
            super::workloads::encode(&counts, &mut encoder)?;
        }
        match &*self.metrics.certificates.load() {
            Some(report) => super::certificates::encode(report, &mut encoder),
            None => Ok(()),
        }
    }
}

impl Collected {
    fn encode_routes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.metrics.all_routes();
        let help = "Requests that ended, by the object whose route took them";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for route in &routes {
            for (protocol, protocol_name) in PROTOCOLS.iter().enumerate() {
                for (class, class_name) in STATUS_CLASSES.iter().enumerate() {
                    let count = sum(route, |slot| &slot.requests[protocol][class]);
                    if count > 0 {
                        let [kind, namespace, name] = label(route);
                        let labels =
                            [kind, namespace, name, ("protocol", protocol_name), ("status", class_name)];
                        counter(&mut family.encode_family(&labels)?, count)?;
                    }
                }
            }
        }
        let help = "From a request's first byte to its answer's last";
        let mut family = encoder.encode_descriptor(
            "request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for route in &routes {
            let bounds = DURATION_BOUNDS_MS.iter().map(|bound| bound / 1000.0).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds
                .enumerate()
                .map(|(at, bound)| (bound, sum(route, |slot| &slot.durations[at])))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            if count > 0 {
                let seconds = sum(route, |slot| &slot.microseconds) as f64 / 1e6;
                family
                    .encode_family(&label(route))?
                    .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = &self.metrics.workers;
        let (rejects, unfinished) = REASONS.split_at(REASONS.len() - REASONS_UNFINISHED.len());
        let first_unfinished = rejects.len();
        self.encode_reasons(encoder, REJECTS, rejects, |worker, index| &worker.reasons.0[index])?;
        self.encode_reasons(encoder, UNFINISHED, unfinished, |worker, index| {
            &worker.reasons.0[first_unfinished + index]
        })?;
        self.encode_reasons(encoder, HANDSHAKES_FAILED, &HANDSHAKE_REASONS, |worker, index| {
            &worker.tls_handshakes_failed[index]
        })?;
        self.encode_reasons(encoder, THROWN_OUT, &ABUSES, |worker, index| &worker.thrown_out[index])?;
        for (name, help, field) in COUNTERS {
            let count = workers.iter().map(|worker| field(worker).value()).sum();
            counter(&mut encoder.encode_descriptor(name, help, None, MetricType::Counter)?, count)?;
        }
        let totals = self.metrics.totals();
        for (name, help, value) in [
            ("connections_open", "Connections that are open", totals.connections_open),
            ("workers", "Threads that serve requests", workers.len() as u64),
        ] {
            gauge(encoder, name, help, None, value as f64)?;
        }
        let vitals = self.metrics.vitals();
        let help = "How late the latest worker is with its work";
        gauge(encoder, "worker_lag", help, Some(&Unit::Seconds), vitals.lag().as_secs_f64())?;
        if let Some(limit) = vitals.memory_limit() {
            let help = "The bound from which the marks for shedding load are counted";
            gauge(encoder, "memory_limit", help, Some(&Unit::Bytes), limit as f64)?;
        }
        let dropped = self.metrics.access_log_dropped.load(std::sync::atomic::Ordering::Relaxed);
        let forgotten = self.metrics.shared.limiter.get().map_or(0, |limiter| limiter.forgotten());
        let help = "Keys of rate limits that were forgotten before their time, for want of room";
        counter(
            &mut encoder.encode_descriptor("limit_keys_forgotten", help, None, MetricType::Counter)?,
            forgotten,
        )?;
        let (failures, untold) = self
            .metrics
            .shared
            .limiter
            .get()
            .map_or((0, 0), |limiter| (limiter.exchange_failures(), limiter.untold()));
        for (name, help, value) in [
            ("limit_exchange_failures", "Exchanges of rates with the shared store that failed", failures),
            (
                "limit_requests_untold",
                "Requests that other replicas do not hear of, for want of room",
                untold,
            ),
        ] {
            counter(&mut encoder.encode_descriptor(name, help, None, MetricType::Counter)?, value)?;
        }
        let help = "Lines of the access log that were not written, because its reader was too slow";
        counter(
            &mut encoder.encode_descriptor("access_log_dropped", help, None, MetricType::Counter)?,
            dropped,
        )
    }

    /// One series for each reason that occurred.
    fn encode_reasons(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        reasons: &[&str],
        field: impl Fn(&WorkerMetrics, usize) -> &Counter,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (index, reason) in reasons.iter().enumerate() {
            let count = self.metrics.workers.iter().map(|worker| field(worker, index).value()).sum();
            if count > 0 {
                counter(&mut family.encode_family(&[("reason", *reason)])?, count)?;
            }
        }
        Ok(())
    }

    fn encode_configuration(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let live = self.metrics.configuration();
        let help = "Counts the configurations that went live; 0 before the first";
        gauge(encoder, "config_version", help, None, live.version as f64)?;
        if let Some(applied) = live.applied {
            let age = self.now.duration_since(applied).as_secs_f64().max(0.0);
            let help = "Time since the configuration went live";
            gauge(encoder, "config_age", help, Some(&Unit::Seconds), age)?;
        }
        gauge(encoder, "listeners", "Listeners of the live configuration", None, live.listeners as f64)?;
        gauge(encoder, "routes", "Routes of the live configuration", None, live.routes as f64)?;
        let help = "Problems of the live configuration, by severity";
        let mut family = encoder.encode_descriptor("config_problems", help, None, MetricType::Gauge)?;
        for (severity, count) in ["refused", "degraded", "warning"].iter().zip(live.problems) {
            family.encode_family(&[("severity", *severity)])?.encode_gauge(&(count as f64))?;
        }
        if let Some(expiry) = live.certificates_expire {
            let help = "When the first certificate in use ends, since the epoch";
            let seconds = expiry.as_second() as f64;
            gauge(encoder, "certificates_expire_timestamp", help, Some(&Unit::Seconds), seconds)?;
        }
        let mut family =
            encoder.encode_descriptor("build", "The version that runs", None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// What every Prometheus client says about its process, where `/proc` tells it.
#[derive(Debug)]
struct Process {
    started: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let started = self.started.as_millisecond() as f64 / 1000.0;
        let help = "When the process started, since the epoch";
        gauge(encoder, "start_time", help, Some(&Unit::Seconds), started)?;
        if let Some(bytes) = resident_bytes() {
            gauge(encoder, "resident_memory", "Memory in use", Some(&Unit::Bytes), bytes as f64)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // The listing itself is one.
            let open = entries.count().saturating_sub(1);
            gauge(encoder, "open_fds", "Open file descriptors", None, open as f64)?;
        }
        Ok(())
    }
}

fn sum(route: &RouteMetrics, field: impl Fn(&super::RouteSlot) -> &Counter) -> u64 {
    route.slots.iter().filter_map(std::sync::OnceLock::get).map(|slot| field(slot).value()).sum()
}

fn label(route: &RouteMetrics) -> [(&'static str, &str); 3] {
    let (kind, namespace, name) = match &route.label {
        Label::Object(object) => (object.kind.as_str(), &*object.namespace, &*object.name),
        Label::Unmatched => ("none", "", ""),
        Label::Others => ("others", "", ""),
    };
    [("kind", kind), ("namespace", namespace), ("name", name)]
}

fn counter(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
}

type Field = fn(&WorkerMetrics) -> &Counter;

const REJECTS: (&str, &str) = ("rejects", "Requests that the edge answered itself, by reason");
const UNFINISHED: (&str, &str) = ("answers_unfinished", "Answers that did not reach their end, by reason");
const THROWN_OUT: (&str, &str) =
    ("connections_thrown_out", "HTTP/2 connections closed because of how their client behaved, by reason");
const HANDSHAKES_FAILED: (&str, &str) = ("tls_handshakes_failed", "TLS handshakes that failed, by reason");

const COUNTERS: [(&str, &str, Field); 15] = [
    ("connections", "Connections that were taken", |worker| &worker.connections_opened),
    ("connections_refused", "Connections closed at once because of a bound", |worker| {
        &worker.connections_refused
    }),
    ("accepts_failed", "Times that the system gave no connection", |worker| &worker.accepts_failed),
    ("tls_handshakes", "TLS handshakes that succeeded", |worker| &worker.tls_handshakes),
    ("request_body_bytes", "Bytes of request bodies", |worker| &worker.bytes_in),
    ("response_body_bytes", "Bytes of answer bodies", |worker| &worker.bytes_out),
    ("upstream_connects", "Connections begun to endpoints", |worker| &worker.upstream_connects),
    ("upstream_connects_failed", "Connections to endpoints that did not come about", |worker| {
        &worker.upstream_connects_failed
    }),
    ("endpoint_ejections", "Endpoints left alone for a while after failures", |worker| &worker.ejections),
    ("retries", "Tries at endpoints beyond the first", |worker| &worker.retries),
    ("limited_dry_run", "Requests that a limit on trial would have refused", |worker| {
        &worker.limited_dry_run
    }),
    ("relay_sessions", "Connections and clients of UDP that were passed on unread", |worker| {
        &worker.relay_sessions
    }),
    ("relay_faults", "Those of them that ended otherwise than both sides meant", |worker| {
        &worker.relay_faults
    }),
    ("relay_received_bytes", "Bytes of clients that were passed on unread", |worker| &worker.relay_bytes_in),
    ("relay_sent_bytes", "Bytes for clients that were passed on unread", |worker| &worker.relay_bytes_out),
];

const TEXT_BYTES: usize = 16 << 10;
