//! Events on the objects at fault: a [`Problem`] is told once, renewed while it lasts, and its end is told, too.
//!
//! Only the replica that leads writes them. An Event has a name made of what it says, so that a replica which takes over goes
//! on with the same ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use foldhash::fast::RandomState;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::write::{self, WriteError};
use crate::config::objects::Objects;
use crate::config::problem::{ObjectRef, Problem, Severity};

/// What should be told of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Told {
    object: ObjectRef,
    uid: Box<str>,
    reason: &'static str,
    /// With the field at fault before it.
    message: Arc<str>,
}

/// The problems that can be told on an object, each once; at most [`EVENTS_LEN_MAX`], the worst first.
pub(super) fn wanted(objects: &Objects, problems: &[Problem]) -> Vec<Told> {
    // By severity first, so that what is left out is what matters least.
    let mut told: BTreeMap<(Severity, Told), ()> = BTreeMap::new();
    for problem in problems {
        let Some(object) = &problem.object else { continue };
        let Some(metadata) = objects.metadata_of(object) else { continue };
        let message = if problem.field.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.field, problem.message).into()
        };
        let one = Told { object: object.clone(), uid: metadata.uid.clone(), reason: problem.reason, message };
        told.insert((problem.severity, one), ());
    }
    told.into_keys().map(|(_, told)| told).take(EVENTS_LEN_MAX).collect()
}

/// Writes Events until the wishes end.
pub(super) struct EventWriter {
    client: Client,
    leads: watch::Receiver<bool>,
    /// What was told, and when last.
    told: HashMap<Told, Instant, RandomState>,
}

impl EventWriter {
    pub(super) fn new(client: Client, leads: watch::Receiver<bool>) -> Self {
        EventWriter { client, leads, told: HashMap::default() }
    }

    pub(super) async fn run(mut self, mut wishes: watch::Receiver<Arc<[Told]>>) {
        loop {
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                () = sleep(LOOK_INTERVAL) => {}
            }
            let wanted = wishes.borrow_and_update().clone();
            self.pass(&wanted).await;
            // Many changes in a row, as while a cluster starts, come to one look.
            sleep(PAUSE).await;
        }
    }

    async fn pass(&mut self, wanted: &[Told]) {
        if !*self.leads.borrow() {
            self.told.clear();
            return;
        }
        for told in wanted {
            let last = self.told.get(told);
            if last.is_some_and(|last| last.elapsed() < RENEWAL_INTERVAL) {
                continue;
            }
            if self.tell(told).await {
                self.told.insert(told.clone(), Instant::now());
            }
        }
        let gone: Vec<Told> = self.told.keys().filter(|told| !wanted.contains(told)).cloned().collect();
        for told in gone {
            self.mended(&told).await;
            self.told.remove(&told);
        }
    }

    /// Makes the Event, or renews it; false when it has to be tried again.
    async fn tell(&self, told: &Told) -> bool {
        let path = |name: &str| write::path("v1", "events", told.namespace(), name, "");
        let now = now();
        let event = told.event("Warning", told.reason, &told.message, now);
        match write::create(&self.client, &path(""), &event).await {
            Ok(_) => true,
            Err(WriteError::Conflict) => {
                let count = match write::read(&self.client, &path(&told.name())).await {
                    Ok(event) => event["count"].as_i64().unwrap_or(1),
                    Err(_) => return false,
                };
                let renewed = json!({"lastTimestamp": format!("{now:.0}"), "count": count + 1});
                write::patch(&self.client, &path(&told.name()), &renewed).await.is_ok()
            }
            Err(error) => {
                tracing::debug!(object = %told.object, %error, "an Event is tried again");
                false
            }
        }
    }

    /// Says that the problem is no more. Not tried again: nobody waits for it.
    async fn mended(&self, told: &Told) {
        let path = write::path("v1", "events", told.namespace(), "", "");
        let message = format!("mended: {}", told.message);
        let mut event = told.event("Normal", "Mended", &message, now());
        event["metadata"] = json!({"generateName": "vestibule-mended-", "namespace": told.namespace()});
        let _ = write::create(&self.client, &path, &event).await;
    }
}

impl Told {
    /// Where the Event stands: beside its object, or with those of objects without a namespace.
    fn namespace(&self) -> &str {
        if self.object.namespace.is_empty() { "default" } else { &self.object.namespace }
    }

    /// The same for the same words about the same object.
    fn name(&self) -> String {
        let text = format!("{}\n{}\n{}\n{}", self.object, self.uid, self.reason, self.message);
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash: String = hash.as_ref().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("vestibule-{hash}")
    }

    fn event(&self, kind: &str, reason: &str, message: &str, now: Timestamp) -> Value {
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.name(), "namespace": self.namespace()},
            "involvedObject": {
                "apiVersion": self.object.kind.api_versions()[0],
                "kind": self.object.kind.as_str(),
                "namespace": self.object.namespace,
                "name": self.object.name,
                "uid": self.uid,
            },
            "reason": reason,
            "message": &message[..end],
            "type": kind,
            "source": {"component": "vestibule"},
            "firstTimestamp": format!("{now:.0}"),
            "lastTimestamp": format!("{now:.0}"),
            "count": 1,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the times of Events come from")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Problems that are told at a time; more would drown the rest.
const EVENTS_LEN_MAX: usize = 500;
/// API servers keep an Event for an hour.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30 * 60);
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);
/// The API takes 1,024 bytes.
const MESSAGE_BYTES_MAX: usize = 1000;
const HASH_BYTES: usize = 10;

#[cfg(test)]
mod tests;
