//! Watching workloads: one stream for each kind and namespace that has any.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::DynamicObject;
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use wake::machine::Event;
use wake::scaler::ScaleError;
use wake::workload::{Kind, Reference, Workload};

use super::commands::Asked;
use super::{Kubernetes, observation};

/// Which workloads are told of, and the streams that this takes.
#[derive(Default)]
pub(super) struct Followed {
    workloads: HashSet<Workload>,
    /// What people asked for by annotations, as the machine was told.
    asked: HashMap<Workload, Asked>,
    streams: HashMap<(Kind, Arc<str>), JoinHandle<()>>,
}

pub(super) fn follow(kubernetes: &Kubernetes, workloads: HashSet<Workload>, events: &mpsc::Sender<Event>) {
    let mut followed = kubernetes.followed.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted: HashSet<(Kind, Arc<str>)> = workloads
        .iter()
        .filter(|workload| workload.reference.kind != Kind::Process)
        .map(|workload| (workload.reference.kind.clone(), workload.namespace.clone()))
        .collect();
    followed.asked.retain(|workload, _| workloads.contains(workload));
    followed.workloads = workloads;
    followed.streams.retain(|key, task| {
        let stays = wanted.contains(key);
        if !stays {
            task.abort();
        }
        stays
    });
    for (kind, namespace) in wanted {
        let (kubernetes, events) = (kubernetes.clone(), events.clone());
        followed
            .streams
            .entry((kind.clone(), namespace.clone()))
            .or_insert_with(|| tokio::spawn(run(kubernetes, kind, namespace, events)));
    }
}

/// Watches one kind in one namespace, for as long as it is wanted.
async fn run(kubernetes: Kubernetes, kind: Kind, namespace: Arc<str>, events: mpsc::Sender<Event>) {
    let resource = loop {
        match kubernetes.kinds.of(&kubernetes.client, &kind).await {
            Ok(resource) => break resource,
            Err(error) => {
                tracing::warn!(kind = kind.as_str(), %namespace, %error, "workloads cannot be watched");
                sleep(AGAIN_AFTER).await;
            }
        }
    };
    let (group, version) = resource.api_version.split_once('/').unwrap_or(("", &resource.api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: resource.api_version.to_string(),
        kind: String::new(),
        plural: resource.plural.to_string(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(kubernetes.client.clone(), &namespace, &resource);
    let mut stream = pin!(watcher(api, watcher::Config::default()));
    loop {
        match stream.try_next().await {
            Ok(None) => return,
            Ok(Some(change)) => {
                for event in tell(&kubernetes, &kind, &namespace, change).into_iter().flatten() {
                    let _ = events.send(event).await;
                }
            }
            Err(error) => {
                tracing::debug!(kind = kind.as_str(), %namespace, %error, "watching workloads");
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

fn tell(
    kubernetes: &Kubernetes,
    kind: &Kind,
    namespace: &Arc<str>,
    change: watcher::Event<DynamicObject>,
) -> Option<Vec<Event>> {
    let (object, is_there) = match change {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => (object, true),
        watcher::Event::Delete(object) => (object, false),
        watcher::Event::Init | watcher::Event::InitDone => return None,
    };
    let name: Arc<str> = object.metadata.name.as_deref()?.into();
    let workload = Reference { kind: kind.clone(), name }.within(namespace);
    let mut followed = kubernetes.followed.lock().unwrap_or_else(PoisonError::into_inner);
    if !followed.workloads.contains(&workload) {
        return None;
    }
    if !is_there {
        followed.asked.remove(&workload);
        return Some(vec![Event::Observed { workload, result: Err(ScaleError::Missing) }]);
    }
    let object: Value = serde_json::to_value(&object).ok()?;
    let asked = Asked::of(&object);
    let before = followed.asked.insert(workload.clone(), asked).unwrap_or_default();
    let mut events =
        vec![Event::Observed { workload: workload.clone(), result: Ok(observation(kind, &object)) }];
    if let Some(command) = asked.command(before, now()) {
        tracing::info!(%workload, ?command, "somebody asks for this by annotation");
        events.push(Event::Commanded { workload, command });
    }
    Some(events)
}

#[expect(clippy::disallowed_methods, reason = "what people ask for ends at a time of day")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
