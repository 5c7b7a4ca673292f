//! The admin listener: health, metrics and insight. It runs on the control runtime, away from the workers, so that it
//! answers whatever the edge is doing.

pub mod api;
pub mod client;
pub mod explain;
pub mod metrics;
pub(crate) mod socket;
pub mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use crate::admin::explain::Grounds;
use crate::admin::metrics::{Configuration, Metrics};
use crate::config::problem::Problem;
use crate::edge::Bound;
use crate::reject::refusals::{Record, Refusals};
use crate::route::table::Table;
use crate::settings::Settings;

/// What the admin listener can see. Made once; the control thread puts each new configuration into it.
#[derive(Debug)]
pub struct State {
    pub metrics: Arc<Metrics>,
    /// One for each worker.
    pub refusals: Vec<Arc<Refusals>>,
    live: ArcSwapOption<Live>,
    closed: AtomicBool,
}

/// The configuration that requests are served with.
#[derive(Debug)]
pub struct Live {
    pub version: u64,
    pub applied: Timestamp,
    pub table: Arc<Table>,
    pub settings: Arc<Settings>,
    pub bound: Vec<Bound>,
    pub routes: usize,
    /// With their places.
    pub problems: Vec<Problem>,
    /// When the first certificate in use ends.
    pub certificates_expire: Option<Timestamp>,
}

impl Live {
    /// What `explain` goes by.
    pub(crate) fn grounds(&self) -> Grounds<'_> {
        Grounds { table: &self.table, settings: &self.settings, bound: &self.bound }
    }
}

impl State {
    /// Nothing is live yet, so the process is not ready.
    pub fn new(metrics: Arc<Metrics>, refusals: Vec<Arc<Refusals>>) -> State {
        State { metrics, refusals, live: ArcSwapOption::empty(), closed: AtomicBool::new(false) }
    }

    /// Says what is live now, here and in the metrics. From the first time on the process is ready.
    pub fn publish(&self, live: Live) {
        self.metrics.set_configuration(Configuration {
            version: live.version,
            applied: Some(live.applied),
            listeners: live.table.listeners.len(),
            routes: live.routes,
            problems: Configuration::count_problems(live.problems.iter().map(|problem| problem.severity)),
            certificates_expire: live.certificates_expire,
        });
        self.live.store(Some(Arc::new(live)));
    }

    /// Says that no more connections are taken: the process is not ready any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// What is live now; `None` before the first configuration is.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// The problems of the live configuration, and those that traffic has shown.
    pub fn problems(&self) -> Vec<Problem> {
        let compiled = self.live().map(|live| live.problems.clone()).unwrap_or_default();
        compiled.into_iter().chain(self.metrics.untrusted_forwarding()).collect()
    }

    /// The newest refusal with this request id, on whatever worker it was.
    pub fn why(&self, request_id: &str) -> Option<Record> {
        self.refusals.iter().filter_map(|refusals| refusals.find(request_id)).max_by_key(|record| record.at)
    }

    /// The newest refusals of all workers, newest first, at most `limit`.
    pub fn latest_refusals(&self, limit: usize) -> Vec<Record> {
        let mut records: Vec<Record> =
            self.refusals.iter().flat_map(|refusals| refusals.latest(limit)).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.at));
        records.truncate(limit);
        records
    }
}
