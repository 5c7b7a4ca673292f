//! What the manager has to tell: to metrics, to people, to the objects' events.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::plan::CertificateId;
use crate::renewal::{Alarm, Held, alarm, renew_at};
use crate::state::LastError;

/// Every wanted certificate, and what was counted since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub certificates: Vec<Status>,
    pub counters: Counters,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub namespace: String,
    pub name: String,
    pub issuer: String,
    pub names: Vec<String>,
    /// Absent before there is a certificate.
    pub not_after: Option<Timestamp>,
    pub renew_at: Option<Timestamp>,
    pub last_attempt: Option<Timestamp>,
    /// Nothing is tried before; absent when nothing has failed.
    pub next_try: Option<Timestamp>,
    pub last_error: Option<LastError>,
    pub is_under_way: bool,
    /// How late its renewal is: `fine`, `warning`, `critical` or `expired`.
    pub alarm: String,
}

/// Sums since the process began. The keys are names of issuers, and reasons from a closed set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub orders: BTreeMap<Arc<str>, u64>,
    pub failures: BTreeMap<(Arc<str>, &'static str), u64>,
    /// How often a CA moved a renewal to an earlier time.
    pub windows_moved: u64,
}

impl Counters {
    pub(super) fn succeeded(&mut self, issuer: &str) {
        *self.orders.entry(issuer.into()).or_default() += 1;
    }

    pub(super) fn failed(&mut self, issuer: &str, reason: &'static str) {
        *self.failures.entry((issuer.into(), reason)).or_default() += 1;
    }
}

pub(super) fn of(entries: &BTreeMap<CertificateId, Entry>, counters: &Counters, now: Timestamp) -> Report {
    let certificates = entries.values().filter_map(|entry| {
        let wanted = entry.wanted.as_ref()?;
        let facts = match &entry.held {
            Held::Chain(facts) => Some(facts),
            Held::Nothing | Held::Unusable => None,
        };
        let alarm = facts.map_or(Alarm::Fine, |facts| alarm(facts, now));
        Some(Status {
            namespace: wanted.id.namespace.to_string(),
            name: wanted.id.name.to_string(),
            issuer: wanted.issuer.to_string(),
            names: wanted.names.iter().map(|name| name.to_string()).collect(),
            not_after: facts.map(|facts| facts.not_after),
            renew_at: facts.map(|facts| renew_at(facts, &entry.state)),
            last_attempt: entry.state.last_attempt,
            next_try: entry.state.next_try,
            last_error: entry.state.last_error.clone(),
            is_under_way: entry.is_ordering,
            alarm: match alarm {
                Alarm::Fine => "fine",
                Alarm::Warning => "warning",
                Alarm::Critical => "critical",
                Alarm::Expired => "expired",
            }
            .to_owned(),
        })
    });
    Report { certificates: certificates.collect(), counters: counters.clone() }
}
