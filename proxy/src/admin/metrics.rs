//! Counters of what the edge does, and their Prometheus text.
//!
//! Each counter has one writer, its worker, so counting is a load and a store and never a locked instruction; the sums are
//! made when somebody asks. The number of time series is bounded: per route object (at most [`ROUTES_LABELLED_MAX`], the
//! rest and what matches no route share one label each) and by closed lists; nothing that a client chooses becomes a label.

mod certificates;
mod encode;
mod replicas;
mod worker;
mod workloads;

pub use worker::WorkerMetrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use ipnet::IpNet;
use jiff::Timestamp;

use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::http2::streams::Abuse;
use crate::limit::Limiter;
use crate::message::Protocol;
use crate::overload::Vitals;
use crate::replicas::counters::Counters;
use crate::workload::counters::{Counters as WorkloadCounters, Counts};

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    workers: Vec<Arc<WorkerMetrics>>,
    shared: Arc<Shared>,
    /// Lines of the access log that were never written.
    access_log_dropped: Arc<AtomicU64>,
    vitals: Vitals,
    started: Timestamp,
    /// Of the port between replicas, where there is one.
    replicas: OnceLock<Arc<Counters>>,
    workloads: OnceLock<Arc<WorkloadCounters>>,
    /// What the manager of certificates says, where this process orders them.
    pub certificates: ArcSwapOption<acme::manager::Report>,
}

/// What workers and the control thread share. Nothing in it is written on the path of an ordinary request.
#[derive(Debug)]
struct Shared {
    routes: Mutex<BTreeMap<ObjectRef, Arc<RouteMetrics>>>,
    /// For requests that no route took, whatever host they named.
    unmatched: Arc<RouteMetrics>,
    /// For routes beyond the bound.
    others: Arc<RouteMetrics>,
    configuration: Mutex<Configuration>,
    /// Networks of peers whose forwarding headers were not believed.
    untrusted: Mutex<BTreeSet<IpNet>>,
    limiter: OnceLock<Arc<Limiter>>,
    workers: usize,
}

/// A number that only grows and has one writer.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

/// What is counted for one object with routes. It is kept across configuration changes.
#[derive(Debug)]
pub struct RouteMetrics {
    label: Label,
    /// By worker; made when the worker first has something to count.
    slots: Box<[OnceLock<Box<RouteSlot>>]>,
}

/// A route's way to its counters: looked up by name once, with its first request.
#[derive(Clone, Debug, Default)]
pub struct RouteHandle(OnceLock<Arc<RouteMetrics>>);

/// What a family of routes is called.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    Object(ObjectRef),
    Unmatched,
    Others,
}

/// In this order in memory: the counters of a quick request stand in two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct RouteSlot {
    microseconds: Counter,
    /// Requests by duration; one more than the bounds, for what is longer.
    durations: [Counter; DURATION_BOUNDS_MS.len() + 1],
    requests: [[Counter; STATUS_CLASSES.len()]; PROTOCOLS.len()],
}

/// What is live now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Counts from 1 with each snapshot that went live; 0: none yet.
    pub version: u64,
    pub applied: Option<Timestamp>,
    pub listeners: usize,
    pub routes: usize,
    /// Refused, degraded, warning.
    pub problems: [usize; 3],
    /// When the first certificate in use ends.
    pub certificates_expire: Option<Timestamp>,
}

/// Sums over all workers, for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    pub connections_opened: u64,
    pub connections_open: u64,
    pub connections_refused: u64,
    pub tls_handshakes: u64,
    pub tls_handshakes_failed: u64,
    pub requests: u64,
    pub rejects: u64,
    pub upstream_connects: u64,
    pub upstream_connects_failed: u64,
    pub ejections: u64,
    pub retries: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Counter {
    fn increment(&self) {
        self.add(1);
    }

    /// Not atomic as a whole: there is one writer, and readers may see the value before or after.
    fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// `access_log_dropped` is [`crate::access::Sink::dropped`].
    pub fn new(workers: usize, access_log_dropped: Arc<AtomicU64>, now: Timestamp) -> Metrics {
        let shared = Arc::new(Shared {
            routes: Mutex::default(),
            unmatched: Arc::new(RouteMetrics::new(Label::Unmatched, workers)),
            others: Arc::new(RouteMetrics::new(Label::Others, workers)),
            configuration: Mutex::default(),
            untrusted: Mutex::default(),
            limiter: OnceLock::new(),
            workers,
        });
        let worker = |index| Arc::new(WorkerMetrics::new(index, shared.clone()));
        Metrics {
            workers: (0..workers).map(worker).collect(),
            shared,
            access_log_dropped,
            vitals: Vitals::new(workers),
            started: now,
            replicas: OnceLock::new(),
            workloads: OnceLock::new(),
            certificates: ArcSwapOption::empty(),
        }
    }

    /// The counters of one worker, from 0; it must be one of those that this was made for.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        self.workers[index].clone()
    }

    /// Tells of this limiter, too.
    pub(crate) fn watch(&self, limiter: &Arc<Limiter>) {
        // Of two edges in one process the first is told of.
        let _ = self.shared.limiter.set(Arc::clone(limiter));
    }

    /// Tells of the port between replicas, too.
    pub(crate) fn watch_replicas(&self, counters: &Arc<Counters>) {
        let _ = self.replicas.set(Arc::clone(counters));
    }

    /// Tells of workloads that sleep and wake, too.
    pub(crate) fn watch_workloads(&self, counters: &Arc<WorkloadCounters>) {
        let _ = self.workloads.set(Arc::clone(counters));
    }

    /// What workloads are doing; `None` before anything looks after them.
    pub(crate) fn workloads(&self) -> Option<Counts> {
        self.workloads.get().map(|counters| counters.counts(Instant::now()))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How the process is.
    pub(crate) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Forgets the objects that `exists` no longer knows, so that they make room for others.
    pub fn retain_routes(&self, exists: impl Fn(&ObjectRef) -> bool) {
        lock(&self.shared.routes).retain(|object, _| exists(object));
    }

    /// Says what is live now.
    pub fn set_configuration(&self, configuration: Configuration) {
        *lock(&self.shared.configuration) = configuration;
    }

    pub fn configuration(&self) -> Configuration {
        lock(&self.shared.configuration).clone()
    }

    /// The problem that proxies are in front whose words nobody told us to believe; one that names every network.
    pub fn untrusted_forwarding(&self) -> Option<Problem> {
        let networks = lock(&self.shared.untrusted);
        if networks.is_empty() {
            return None;
        }
        let names: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        Some(Problem {
            severity: Severity::Warning,
            object: None,
            field: "trust.forwarded".into(),
            reason: "UntrustedForwarding",
            message: format!(
                "peers in {} send forwarding headers, which are dropped; where these are your load balancers, add their \
                 networks to trust.forwarded in the settings",
                names.join(", ")
            )
            .into(),
            place: None,
        })
    }

    /// Sums over all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            // Closed is read first: what opens between the two readings must not make the difference negative.
            let closed = worker.connections_closed.value();
            totals.connections_open += worker.connections_opened.value().saturating_sub(closed);
            totals.connections_opened += worker.connections_opened.value();
            totals.connections_refused += worker.connections_refused.value();
            totals.tls_handshakes += worker.tls_handshakes.value();
            totals.tls_handshakes_failed +=
                worker.tls_handshakes_failed.iter().map(Counter::value).sum::<u64>();
            totals.requests += worker.requests.value();
            let rejects = &worker.reasons.0[..REASONS.len() - REASONS_UNFINISHED.len()];
            totals.rejects += rejects.iter().map(Counter::value).sum::<u64>();
            totals.upstream_connects += worker.upstream_connects.value();
            totals.upstream_connects_failed += worker.upstream_connects_failed.value();
            totals.ejections += worker.ejections.value();
            totals.retries += worker.retries.value();
            totals.bytes_in += worker.bytes_in.value();
            totals.bytes_out += worker.bytes_out.value();
        }
        totals
    }

    /// The Prometheus text (OpenMetrics 1.0), for [`CONTENT_TYPE`].
    pub fn encode(self: &Arc<Self>, now: Timestamp) -> Result<String, std::fmt::Error> {
        encode::encode(self, now)
    }

    fn all_routes(&self) -> Vec<Arc<RouteMetrics>> {
        let routes = lock(&self.shared.routes);
        routes.values().chain([&self.shared.unmatched, &self.shared.others]).cloned().collect()
    }
}

impl Shared {
    /// The counters of an object with routes: the same ones as before when it was known.
    fn route(&self, object: &ObjectRef) -> Arc<RouteMetrics> {
        let mut routes = lock(&self.routes);
        if let Some(known) = routes.get(object) {
            return known.clone();
        }
        if routes.len() >= ROUTES_LABELLED_MAX {
            return self.others.clone();
        }
        let made = Arc::new(RouteMetrics::new(Label::Object(object.clone()), self.workers));
        routes.insert(object.clone(), made.clone());
        made
    }
}

impl RouteMetrics {
    fn new(label: Label, workers: usize) -> Self {
        RouteMetrics { label, slots: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// Counts one request that ended. `worker` is the caller's own number: nobody else may use it.
    fn record(&self, worker: usize, protocol: Protocol, status: u16, duration: Duration) {
        let Some(slot) = self.slots.get(worker) else { return };
        let slot = slot.get_or_init(Box::default);
        let protocol = match protocol {
            Protocol::Http10 => 0,
            Protocol::Http11 => 1,
            Protocol::Http2 => 2,
        };
        let class = usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        slot.requests[protocol][class].increment();
        let milliseconds = duration.as_secs_f64() * 1000.0;
        let bucket = DURATION_BOUNDS_MS.iter().position(|bound| milliseconds <= *bound);
        slot.durations[bucket.unwrap_or(DURATION_BOUNDS_MS.len())].increment();
        slot.microseconds.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The requests of this object since the process started.
    #[cfg(test)]
    fn requests(&self) -> u64 {
        let slots = self.slots.iter().filter_map(OnceLock::get);
        slots.flat_map(|slot| &slot.durations).map(Counter::value).sum()
    }
}

impl Configuration {
    /// Counts problems by severity.
    pub fn count_problems(severities: impl Iterator<Item = Severity>) -> [usize; 3] {
        let mut counts = [0; 3];
        for severity in severities {
            match severity {
                Severity::Refused => counts[0] += 1,
                Severity::Degraded => counts[1] += 1,
                Severity::Warning => counts[2] += 1,
            }
        }
        counts
    }
}

/// What [`Metrics::encode`] is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Objects with series of their own.
pub const ROUTES_LABELLED_MAX: usize = 5000;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Networks that [`Metrics::untrusted_forwarding`] names.
pub const NETWORKS_LEN_MAX: usize = 16;

/// Counted as the status where the client left before there was one.
const STATUS_NONE: u16 = 499;
const PROTOCOLS: [&str; 3] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const DURATION_BOUNDS_MS: [f64; 14] =
    [1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 60_000.0];

/// The reasons of [`crate::reject::Reject::reason`]; `other` stands for one that is not among them, of which a test knows
/// none. Then those of answers that were not finished.
const REASONS: [&str; 51] = [
    "bad_head",
    "bad_framing",
    "head_too_large",
    "head_timeout",
    "version_unsupported",
    "expectation_failed",
    "method_unsupported",
    "method_not_allowed",
    "bad_target",
    "target_too_long",
    "misdirected",
    "host_not_found",
    "route_not_found",
    "refused",
    "route_status",
    "backend_invalid",
    "address_denied",
    "client_certificate",
    "subject_denied",
    "unauthenticated",
    "forbidden",
    "unidentified",
    "auth_unavailable",
    "body_too_large",
    "body_timeout",
    "body_aborted",
    "too_many_connections",
    "rate_limited",
    "too_many_at_once",
    "no_endpoints",
    "wake_timeout",
    "wake_failed",
    "asleep",
    "asleep_by_schedule",
    "too_many_waiting",
    "connect_failed",
    "connect_timeout",
    "upstream_tls",
    "upstream_protocol",
    "upstream_reset",
    "upstream_timeout",
    "request_deadline",
    "upgrade_failed",
    "overloaded",
    "draining",
    "internal",
    "other",
    REASONS_UNFINISHED[0],
    REASONS_UNFINISHED[1],
    REASONS_UNFINISHED[2],
    REASONS_UNFINISHED[3],
];

/// Why an answer that had begun did not end as the upstream meant.
const REASONS_UNFINISHED: [&str; 4] =
    ["client_gone", "answer_stalled", "answer_broken_off", "answer_too_old"];

/// The reasons of [`Abuse::reason`].
const ABUSES: [&str; 4] =
    [Abuse::Cancelled.reason(), Abuse::Stalled.reason(), Abuse::Glitches.reason(), Abuse::Flood.reason()];

/// The reasons of [`crate::tls::accept::HandshakeError::reason`].
const HANDSHAKE_REASONS: [&str; 9] = [
    "unknown_name",
    "timeout",
    "not_tls",
    "client_certificate_required",
    "bad_client_certificate",
    "protocol_version",
    "refused_by_client",
    "connection_lost",
    "other",
];

#[cfg(test)]
mod tests;
