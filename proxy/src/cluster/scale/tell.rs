//! Events on workloads: who woke them, when they were put to sleep, and what went wrong. Written by replicas that may write, in
//! the background: nothing waits for an Event.

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wake::workload::{Kind, Workload};

use super::super::write;
use super::discover::Kinds;

/// The way to whoever writes Events.
#[derive(Clone)]
pub(super) struct Teller(mpsc::Sender<Tale>);

/// What is told of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tale {
    pub(super) workload: Workload,
    pub(super) weight: Weight,
    /// One word, which does not change from version to version: people filter by it.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Normal,
    Warning,
}

impl Teller {
    pub(super) fn start(client: Client, kinds: Kinds) -> Self {
        let (sender, mut tales) = mpsc::channel::<Tale>(TALES_LEN_MAX);
        tokio::spawn(async move {
            while let Some(tale) = tales.recv().await {
                if let Err(error) = write_event(&client, &kinds, &tale).await {
                    tracing::debug!(workload = %tale.workload, reason = tale.reason, %error, "an Event is not written");
                }
            }
        });
        Teller(sender)
    }

    /// More than can be written in time are dropped: the log has them.
    pub(super) fn tell(&self, tale: Tale) {
        let _ = self.0.try_send(tale);
    }
}

async fn write_event(client: &Client, kinds: &Kinds, tale: &Tale) -> Result<(), String> {
    let Workload { namespace, reference } = &tale.workload;
    if reference.kind == Kind::Process {
        return Ok(());
    }
    let resource = kinds.of(client, &reference.kind).await.map_err(|error| error.to_string())?;
    let path = write::path(&resource.api_version, &resource.plural, namespace, &reference.name, "");
    let object = write::read(client, &path).await.map_err(|error| error.to_string())?;
    let path = write::path("v1", "events", namespace, "", "");
    let event = event(tale, &object, now());
    write::create(client, &path, &event).await.map(drop).map_err(|error| error.to_string())
}

/// The Event as it is written.
pub(super) fn event(tale: &Tale, object: &Value, now: Timestamp) -> Value {
    let end = tale.message.floor_char_boundary(MESSAGE_BYTES_MAX);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "vestibule-wake-", "namespace": &*tale.workload.namespace},
        "involvedObject": {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "namespace": &*tale.workload.namespace,
            "name": &*tale.workload.reference.name,
            "uid": object["metadata"]["uid"],
        },
        "reason": tale.reason,
        "message": &tale.message[..end],
        "type": match tale.weight {
            Weight::Normal => "Normal",
            Weight::Warning => "Warning",
        },
        "source": {"component": "vestibule"},
        "firstTimestamp": format!("{now:.0}"),
        "lastTimestamp": format!("{now:.0}"),
        "count": 1,
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place where the times of these Events come from")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Events that wait to be written.
const TALES_LEN_MAX: usize = 256;
/// The API takes 1,024 bytes.
const MESSAGE_BYTES_MAX: usize = 1000;
