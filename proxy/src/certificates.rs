//! Certificates by ACME: from objects and settings to wishes for the manager of the crate `acme`, and its reports back.
//!
//! What is ordered goes into the store, and is served when the ordinary watch shows it, here as on every other replica.

pub(crate) mod challenges;
mod client;
pub(crate) mod exposure;
mod issuers;
pub(crate) mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use acme::Clock;
use acme::issuer::Issuer;
use acme::manager::{Report, Wishes};
use acme::plan::CertificateId;
use acme::store::Store;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::objects::Objects;
use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::settings::Settings;

use self::requests::Requested;

/// The way to the manager. Dropping it ends what is under way, which whoever comes next goes on with.
#[derive(Debug)]
pub(crate) struct Certificates {
    wishes: watch::Sender<Arc<Wishes>>,
    report: watch::Receiver<Option<Arc<Report>>>,
    /// Of the last wishes: kept as they are while nothing that they are made from changed.
    issuers: Vec<Arc<Issuer>>,
    /// Who asked for each certificate.
    by: BTreeMap<CertificateId, ObjectRef>,
    /// Of the last report.
    problems: Vec<Problem>,
}

impl Certificates {
    /// Starts the manager on this runtime.
    pub(crate) fn start(store: Arc<dyn Store>) -> Certificates {
        let (wishes, wished) = watch::channel(Arc::default());
        let (reporter, report) = watch::channel(None);
        tokio::spawn(acme::manager::run(store, clock(), wished, reporter));
        Certificates { wishes, report, issuers: Vec::new(), by: BTreeMap::new(), problems: Vec::new() }
    }

    /// Says what is wanted by these objects. Returns what stands in the way.
    pub(crate) fn want(
        &mut self,
        objects: &Objects,
        settings: &Settings,
        requested: Requested,
    ) -> Vec<Problem> {
        let (issuers, mut problems) = issuers::issuers(objects, settings, &self.issuers, &clock());
        self.issuers = issuers;
        problems.extend(requested.problems);
        self.by = requested.by;
        self.problems = self.failures();
        problems.extend(self.problems.iter().cloned());
        let wishes =
            Wishes { wanted: requested.plan.wanted, issuers: self.issuers.clone(), seen: requested.seen };
        self.wishes.send_if_modified(|old| {
            let is_same = old.wanted == wishes.wanted
                && old.seen == wishes.seen
                && old.issuers.len() == wishes.issuers.len()
                && old.issuers.iter().zip(&wishes.issuers).all(|(old, new)| Arc::ptr_eq(old, new));
            if !is_same {
                *old = Arc::new(wishes);
            }
            !is_same
        });
        problems
    }

    /// Waits until the manager says something new. Safe to drop before it is ready.
    pub(crate) async fn reported(&mut self) {
        if self.report.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the manager says; `None` where another process holds the lock.
    pub(crate) fn report(&mut self) -> Option<Arc<Report>> {
        self.report.borrow_and_update().clone()
    }

    /// Whether other certificates fail than when [`Certificates::want`] was last called, or fail otherwise.
    pub(crate) fn problems_changed(&self) -> bool {
        self.failures() != self.problems
    }

    /// Certificates whose last attempt failed, as problems of the objects that ask for them.
    fn failures(&self) -> Vec<Problem> {
        let Some(report) = self.report.borrow().clone() else { return Vec::new() };
        let failed = report.certificates.iter().filter_map(|status| {
            let error = status.last_error.as_ref()?;
            let id = CertificateId { namespace: (*status.namespace).into(), name: (*status.name).into() };
            let is_late = status.not_after.is_none() || status.alarm != "fine";
            Some(Problem {
                severity: if is_late { Severity::Degraded } else { Severity::Warning },
                object: self.by.get(&id).cloned(),
                field: "".into(),
                reason: "CertificateFailed",
                // Not when it is tried again: each time would be another problem, and another Event.
                message: format!("{} ({}): {}", id, error.reason, error.message).into(),
                place: None,
            })
        });
        failed.collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of the manager, where time comes in")]
fn clock() -> Clock {
    Arc::new(Timestamp::now)
}
