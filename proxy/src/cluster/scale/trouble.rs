//! Why something that was woken is not ready: what its Pods and conditions say.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use wake::workload::Workload;

use super::super::write;
use super::{Kubernetes, observation};

/// Looks every now and then until it is ready, or was put to sleep again, or [`LOOKING_MAX`] is over.
pub(super) fn watch(kubernetes: &Kubernetes, workload: Workload) {
    let kubernetes = kubernetes.clone();
    tokio::spawn(async move {
        let end = Instant::now() + LOOKING_MAX;
        while Instant::now() < end {
            sleep(INTERVAL).await;
            let Ok(object) = kubernetes.read(&workload).await else { continue };
            let seen = observation(&workload.reference.kind, &object);
            if seen.desired == 0 || seen.ready > 0 {
                break;
            }
            let found = match of_conditions(&object) {
                Some(found) => Some(found),
                None => pods(&kubernetes, &workload, &object).await.iter().find_map(of_pod),
            };
            note(&kubernetes, &workload, found);
        }
        note(&kubernetes, &workload, None);
    });
}

fn note(kubernetes: &Kubernetes, workload: &Workload, found: Option<String>) {
    let mut troubles = kubernetes.troubles.lock().unwrap_or_else(PoisonError::into_inner);
    match found {
        Some(words) => {
            let words: Arc<str> = words.into();
            if troubles.insert(workload.clone(), words.clone()).as_ref() != Some(&words) {
                tracing::warn!(%workload, "slow to wake: {words}");
            }
        }
        None => {
            troubles.remove(workload);
        }
    }
}

/// The Pods that the selector of the workload takes.
async fn pods(kubernetes: &Kubernetes, workload: &Workload, object: &Value) -> Vec<Value> {
    let Some(labels) = object["spec"]["selector"]["matchLabels"].as_object() else { return Vec::new() };
    let selector: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}%3D{}", value.as_str()?))).collect();
    let path = write::path("v1", "pods", &workload.namespace, "", "");
    let path = format!("{path}?limit={PODS_MAX}&labelSelector={}", selector.join(",").replace('/', "%2F"));
    let Ok(mut list) = write::read(&kubernetes.client, &path).await else { return Vec::new() };
    list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// A quota or an admission rule lets no Pod come into being.
pub(super) fn of_conditions(object: &Value) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let failure = conditions.iter().find(|condition| {
        condition["type"].as_str() == Some("ReplicaFailure") && condition["status"].as_str() == Some("True")
    })?;
    let message = failure["message"].as_str().unwrap_or_default();
    Some(if message.contains("exceeded quota") {
        "A quota of the namespace leaves no room for it.".to_owned()
    } else {
        "The cluster does not let it start.".to_owned()
    })
}

/// In words for whoever waits; the names of images and nodes are not theirs to know.
pub(super) fn of_pod(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    let list = |key: &str| status[key].as_array().map_or(&[][..], Vec::as_slice);
    let containers = list("initContainerStatuses").iter().chain(list("containerStatuses"));
    let reason = containers.filter_map(|container| container["state"]["waiting"]["reason"].as_str()).next();
    let words = match reason {
        Some("ImagePullBackOff" | "ErrImagePull" | "InvalidImageName") => "Its image cannot be fetched.",
        Some("CrashLoopBackOff") => "It starts and ends again at once.",
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            "Its configuration is incomplete."
        }
        Some(_) | None => {
            let unschedulable = list("conditions").iter().any(|condition| {
                condition["type"].as_str() == Some("PodScheduled")
                    && condition["reason"].as_str() == Some("Unschedulable")
            });
            if !unschedulable {
                return None;
            }
            "The cluster has no room for it at the moment; a new machine may be on its way."
        }
    };
    Some(words.to_owned())
}

const INTERVAL: Duration = Duration::from_secs(2);
const LOOKING_MAX: Duration = Duration::from_secs(600);
const PODS_MAX: u32 = 20;
