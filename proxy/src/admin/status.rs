//! An overview of a running process, for `vestibule status`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::State;
use super::metrics::Totals;
use crate::config::problem::{Place, Problem, Severity};
use crate::edge::Bound;
use crate::workload::counters::Condition;

/// What `/status` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub now: Timestamp,
    pub started: Timestamp,
    pub ready: bool,
    pub workers: usize,
    /// Counts the configurations that went live.
    pub config_version: u64,
    pub config_applied: Option<Timestamp>,
    pub routes: usize,
    pub listeners: Vec<ListenerStatus>,
    /// Refused, degraded, warning.
    pub problems: [usize; 3],
    /// The worst, at most [`PROBLEMS_SHOWN_MAX`].
    pub worst: Vec<ProblemStatus>,
    pub certificates_expire: Option<Timestamp>,
    pub totals: Totals,
    /// Behind routes that wake, by what they are doing: `awake`, `asleep`, `waking`, `failed`, `unknown`.
    #[serde(default)]
    pub workloads: BTreeMap<String, usize>,
    /// Those that do not wake, at most [`PROBLEMS_SHOWN_MAX`].
    #[serde(default)]
    pub late: Vec<WorkloadStatus>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub name: String,
    pub addresses: Vec<String>,
    pub tls: bool,
}

/// A workload that sleeps and wakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// `shop/deployment/web`.
    pub name: String,
    pub state: String,
    /// Why it is not awake though it should be.
    pub trouble: Option<String>,
    pub asleep_seconds: u64,
}

/// A problem in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemStatus {
    /// `refused`, `degraded` or `warning`.
    pub severity: String,
    /// `Ingress shop/web`.
    pub object: Option<String>,
    pub field: String,
    pub reason: String,
    pub message: String,
    /// `web.yaml:12`.
    pub place: Option<String>,
}

impl Status {
    pub fn of(state: &State, now: Timestamp) -> Status {
        let all = WorkloadStatus::all(state);
        let mut workloads = BTreeMap::new();
        for workload in &all {
            *workloads.entry(workload.state.clone()).or_default() += 1;
        }
        let late = all.into_iter().filter(|workload| workload.trouble.is_some());
        let live = state.live();
        let mut problems = state.problems();
        let counts =
            super::metrics::Configuration::count_problems(problems.iter().map(|problem| problem.severity));
        problems.sort();
        let table = live.as_ref().map(|live| live.table.clone()).unwrap_or_default();
        let bound = live.as_ref().map_or(&[][..], |live| &live.bound);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now,
            started: state.metrics.started(),
            ready: live.is_some(),
            workers: state.metrics.workers(),
            config_version: live.as_ref().map_or(0, |live| live.version),
            config_applied: live.as_ref().map(|live| live.applied),
            routes: live.as_ref().map_or(0, |live| live.routes),
            listeners: table
                .listeners
                .iter()
                .map(|listener| ListenerStatus {
                    name: listener.key.to_string(),
                    addresses: listener
                        .addresses
                        .iter()
                        .map(|wanted| Bound::actual(bound, &listener.key, *wanted).to_string())
                        .collect(),
                    tls: listener.tls.is_some(),
                })
                .collect(),
            problems: counts,
            worst: problems.iter().take(PROBLEMS_SHOWN_MAX).map(ProblemStatus::from).collect(),
            certificates_expire: live.as_ref().and_then(|live| live.certificates_expire),
            totals: state.metrics.totals(),
            workloads,
            late: late.take(PROBLEMS_SHOWN_MAX).collect(),
        }
    }
}

impl WorkloadStatus {
    /// All that this process knows of, in the order of their names.
    pub fn all(state: &State) -> Vec<WorkloadStatus> {
        let Some(counts) = state.metrics.workloads() else { return Vec::new() };
        let rows = counts.rows.into_iter();
        rows.map(|(workload, row, asleep)| WorkloadStatus {
            name: workload.to_string(),
            state: row.condition.unwrap_or(Condition::Unknown).as_str().to_owned(),
            trouble: row.trouble.as_deref().map(str::to_owned),
            asleep_seconds: asleep.as_secs(),
        })
        .collect()
    }
}

impl From<&Problem> for ProblemStatus {
    fn from(problem: &Problem) -> Self {
        ProblemStatus {
            severity: match problem.severity {
                Severity::Refused => "refused",
                Severity::Degraded => "degraded",
                Severity::Warning => "warning",
            }
            .to_owned(),
            object: problem.object.as_ref().map(ToString::to_string),
            field: problem.field.to_string(),
            reason: problem.reason.to_owned(),
            message: problem.message.to_string(),
            place: problem.place.as_ref().map(Place::to_string),
        }
    }
}

pub const PROBLEMS_SHOWN_MAX: usize = 8;
