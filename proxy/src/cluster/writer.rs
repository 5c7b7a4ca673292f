//! Writes statuses, Services and Events, on the replica that leads.
//!
//! An object is read before it is written, and written on the condition that nobody has changed it since; then it is left
//! alone until its wanted status or its version changes. What fails is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::api::plural;
use super::events::{self, EventWriter, Told};
use super::leader::{Candidate, Seat, Tenure};
use super::services;
use super::status::{self, Status, Wanted};
use super::write::{self, WriteError};
use crate::config::objects::Objects;
use crate::config::problem::{ObjectRef, Problem};
use crate::config::status::RouteStatus;
use crate::replicas::programmed::Judged;
use crate::settings::Settings;

/// The way to the writer. Dropping it ends the writing; [`StatusWriter::stop`] also gives the Lease back.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    wanted: watch::Sender<Arc<[Wanted]>>,
    told: watch::Sender<Arc<[Told]>>,
    leads: watch::Receiver<bool>,
    tenure: Arc<Tenure>,
    stop: oneshot::Sender<()>,
    candidate: JoinHandle<()>,
}

impl StatusWriter {
    pub(super) fn start(client: &Client, seat: Seat) -> StatusWriter {
        let (candidate, leads) = Candidate::new(client.clone(), seat);
        let tenure = Arc::new(candidate.tenure());
        let (stop, stopped) = oneshot::channel();
        let (wanted, wishes) = watch::channel(Arc::from([]));
        let candidate = tokio::spawn(candidate.run(stopped));
        let pass = Writer { client: client.clone(), leads: leads.clone(), written: HashMap::default() };
        tokio::spawn(pass.run(wishes));
        let (told, problems) = watch::channel(Arc::from([]));
        tokio::spawn(EventWriter::new(client.clone(), leads.clone()).run(problems));
        StatusWriter { wanted, told, leads, tenure, stop, candidate }
    }

    /// Whether this replica leads, now and later.
    pub(crate) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// The same for who must not act a moment too long.
    pub(super) fn tenure(&self) -> Arc<Tenure> {
        self.tenure.clone()
    }

    /// Waits until this replica begins or ceases to lead. Safe to drop before it is ready.
    pub(crate) async fn elected(&mut self) {
        if self.leads.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says what should be written; on a replica that does not lead this costs nothing.
    pub(crate) fn want<'a>(
        &self,
        objects: &Objects,
        settings: &Settings,
        Judged { statuses, held, again_at: _ }: &Judged,
        problems: &[Problem],
        routes: impl Iterator<Item = &'a Arc<RouteStatus>>,
    ) {
        if *self.leads.borrow() {
            let mut wanted = status::wanted(objects, settings, statuses, routes);
            wanted.retain(|wanted| !held.contains(&wanted.object));
            wanted.extend(services::wanted(objects, settings, statuses));
            self.wanted.send_replace(wanted.into());
            self.told.send_replace(events::wanted(objects, problems).into());
        }
    }

    /// Ends the writing and gives the Lease back, so that another replica need not wait for it to run out.
    pub(crate) async fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, self.candidate).await;
    }
}

struct Writer {
    client: Client,
    leads: watch::Receiver<bool>,
    /// What each object was given, and the version that it has had since.
    written: HashMap<ObjectRef, Wanted, RandomState>,
}

impl Writer {
    async fn run(mut self, mut wishes: watch::Receiver<Arc<[Wanted]>>) {
        let mut must_retry = false;
        loop {
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                () = sleep(RETRY_INTERVAL), if must_retry => {}
            }
            let wanted = wishes.borrow_and_update().clone();
            must_retry = self.pass(&wanted).await;
        }
    }

    /// Writes what differs; true when something has to be tried again.
    async fn pass(&mut self, wanted: &[Wanted]) -> bool {
        if !*self.leads.borrow() {
            // Another replica writes now; what this one wrote may be overtaken.
            self.written.clear();
            return false;
        }
        let mut failed = false;
        let mut tasks = JoinSet::new();
        let differing = wanted.iter().filter(|wanted| self.written.get(&wanted.object) != Some(*wanted));
        for wanted in differing.cloned().collect::<Vec<_>>() {
            if tasks.len() >= WRITES_AT_ONCE {
                failed |= self.note(tasks.join_next().await);
            }
            if !*self.leads.borrow() {
                break;
            }
            let client = self.client.clone();
            tasks.spawn(async move {
                let written = write_one(&client, &wanted).await;
                (wanted, written)
            });
        }
        while !tasks.is_empty() {
            failed |= self.note(tasks.join_next().await);
        }
        if self.written.len() > wanted.len() {
            let present: std::collections::HashSet<&ObjectRef, RandomState> =
                wanted.iter().map(|wanted| &wanted.object).collect();
            self.written.retain(|object, _| present.contains(object));
        }
        failed
    }

    fn note(&mut self, done: Option<Result<Outcome, tokio::task::JoinError>>) -> bool {
        let Some(Ok((mut wanted, written))) = done else { return true };
        match written {
            Ok(resource_version) => {
                wanted.resource_version = resource_version;
                self.written.insert(wanted.object.clone(), wanted);
                false
            }
            // It will be wanted no more.
            Err(WriteError::Missing) => false,
            Err(error) => {
                tracing::debug!(object = %wanted.object, %error, "the status is tried again");
                true
            }
        }
    }
}

type Outcome = (Wanted, Result<Box<str>, WriteError>);

/// Gives one object its status; returns the version that it has then.
async fn write_one(client: &Client, wanted: &Wanted) -> Result<Box<str>, WriteError> {
    let object = &wanted.object;
    let mut missing = Err(WriteError::Missing);
    // An older server may have the kind in an older version only.
    for api_version in object.kind.api_versions() {
        missing = write_as(client, wanted, api_version).await;
        if missing != Err(WriteError::Missing) {
            break;
        }
    }
    missing
}

async fn write_as(client: &Client, wanted: &Wanted, api_version: &str) -> Result<Box<str>, WriteError> {
    let object = &wanted.object;
    let path = |part| write::path(api_version, plural(object.kind), &object.namespace, &object.name, part);
    match &wanted.status {
        Status::Applied(body) => return write::apply(client, &path(""), body).await.map(version),
        Status::Gone => return write::delete(client, &path("")).await.map(|_| Box::default()),
        Status::Ingress(_)
        | Status::GatewayClass { .. }
        | Status::Gateway(..)
        | Status::ListenerSet(_)
        | Status::Policy(_)
        | Status::Route(_) => {}
    }
    let mut current = write::read(client, &path("")).await?;
    let status = current.get("status").cloned().unwrap_or(Value::Null);
    let mut wish = wanted.status.clone();
    if let Status::GatewayClass { supported, .. } = &mut wish {
        *supported = bundle_version(client).await.map(|version| status::supported_version(&version));
    }
    if let Some(status) = status::merged(&wish, &status, now()) {
        let version = &current["metadata"]["resourceVersion"];
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        current = write::patch(client, &path("status"), &patch).await?;
    }
    Ok(version(current))
}

fn version(object: Value) -> Box<str> {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().into()
}

/// The version of Gateway API whose definitions the server has. `None`: it does not say, or not to us.
async fn bundle_version(client: &Client) -> Option<String> {
    let definition = "gatewayclasses.gateway.networking.k8s.io";
    let path = write::path("apiextensions.k8s.io/v1", "customresourcedefinitions", "", definition, "");
    let definition = write::read(client, &path).await.ok()?;
    let annotations = &definition["metadata"]["annotations"];
    annotations["gateway.networking.k8s.io/bundle-version"].as_str().map(str::to_owned)
}

#[expect(clippy::disallowed_methods, reason = "the one place where transition times come from")]
fn now() -> Timestamp {
    Timestamp::now()
}

const WRITES_AT_ONCE: usize = 16;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
