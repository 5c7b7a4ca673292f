//! Why something that was woken is not ready: what its Pods, its conditions and their Events say.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use wake::machine::Event;
use wake::workload::Workload;

use super::super::write;
use super::tell::Weight;
use super::{Kubernetes, observation};
use crate::workload::trouble::{Trouble, TroubleReason};

/// What is known, and what is being looked at.
#[derive(Default)]
pub(super) struct Troubles {
    known: HashMap<Workload, Arc<Trouble>>,
    watched: HashSet<Workload>,
}

/// Looks every now and then until it is ready, or was put to sleep again, or [`LOOKING_MAX`] is over.
pub(super) fn watch(kubernetes: &Kubernetes, workload: Workload) {
    if !troubles(kubernetes).watched.insert(workload.clone()) {
        return;
    }
    let kubernetes = kubernetes.clone();
    tokio::spawn(async move {
        let (end, since) = (Instant::now() + LOOKING_MAX, now());
        while Instant::now() < end {
            sleep(INTERVAL).await;
            let Ok(object) = kubernetes.read(&workload).await else { continue };
            let seen = observation(&workload.reference.kind, &object);
            if seen.desired == 0 || seen.ready > 0 {
                break;
            }
            let found = find(&kubernetes, &workload, &object, since).await;
            note(&kubernetes, &workload, found);
        }
        note(&kubernetes, &workload, None);
        troubles(&kubernetes).watched.remove(&workload);
    });
}

pub(super) fn known(kubernetes: &Kubernetes, workload: &Workload) -> Option<Arc<Trouble>> {
    troubles(kubernetes).known.get(workload).cloned()
}

fn troubles(kubernetes: &Kubernetes) -> MutexGuard<'_, Troubles> {
    kubernetes.troubles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the object says of itself, else what its Pods say, else what was told of either.
async fn find(
    kubernetes: &Kubernetes,
    workload: &Workload,
    object: &Value,
    since: Timestamp,
) -> Option<Trouble> {
    if let Some(found) = of_conditions(object) {
        return Some(found);
    }
    let pods = pods(kubernetes, workload, object).await;
    if let Some(found) = pods.iter().find_map(of_pod) {
        return Some(found);
    }
    let newest = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).take(PODS_ASKED_MAX);
    for name in std::iter::once(&*workload.reference.name).chain(newest) {
        let path = write::path("v1", "events", &workload.namespace, "", "");
        let path =
            format!("{path}?limit={EVENTS_MAX}&fieldSelector=involvedObject.name%3D{name},type%3DWarning");
        let Ok(list) = write::read(&kubernetes.client, &path).await else { continue };
        if let Some(found) = of_events(&list, since) {
            return Some(found);
        }
    }
    None
}

fn note(kubernetes: &Kubernetes, workload: &Workload, found: Option<Trouble>) {
    let found = found.map(Arc::new);
    let before = match &found {
        Some(trouble) => troubles(kubernetes).known.insert(workload.clone(), Arc::clone(trouble)),
        None => troubles(kubernetes).known.remove(workload),
    };
    if before == found {
        return;
    }
    let reason = |trouble: &Arc<Trouble>| trouble.reason;
    if let Some(trouble) = &found
        && before.as_ref().map(reason) != Some(trouble.reason)
    {
        tracing::warn!(%workload, reason = trouble.reason.as_str(), "slow to wake: {}", trouble.detail);
        let message = format!("{} {}", trouble.reason.words(), trouble.detail);
        kubernetes.tell(workload, Weight::Warning, "SlowToWake", message);
    }
    // Those who wait are shown it.
    if let Some(events) = kubernetes.events.get() {
        let _ = events.try_send(Event::Tick);
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
pub(super) fn of_conditions(object: &Value) -> Option<Trouble> {
    let conditions = object["status"]["conditions"].as_array()?;
    let failure = conditions.iter().find(|condition| {
        condition["type"].as_str() == Some("ReplicaFailure") && condition["status"].as_str() == Some("True")
    })?;
    Some(not_created(failure["message"].as_str().unwrap_or_default()))
}

fn not_created(message: &str) -> Trouble {
    let is_quota = message.contains("exceeded quota") || message.contains("failed quota");
    trouble(if is_quota { TroubleReason::Quota } else { TroubleReason::Rejected }, message)
}

/// What the statuses of its containers say, and the scheduler.
pub(super) fn of_pod(pod: &Value) -> Option<Trouble> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let status = &pod["status"];
    let list = |key: &str| status[key].as_array().map_or(&[][..], Vec::as_slice);
    let mut containers = list("initContainerStatuses").iter().chain(list("containerStatuses"));
    if let Some((reason, words)) = containers.find_map(of_container) {
        return Some(trouble(reason, &format!("Pod {name}: {words}")));
    }
    let unscheduled = list("conditions").iter().find(|condition| {
        condition["type"].as_str() == Some("PodScheduled")
            && condition["reason"].as_str() == Some("Unschedulable")
    })?;
    let message = unscheduled["message"].as_str().unwrap_or("no machine takes it");
    Some(trouble(unschedulable(message), &format!("Pod {name}: {message}")))
}

fn of_container(container: &Value) -> Option<(TroubleReason, String)> {
    let name = container["name"].as_str().unwrap_or_default();
    let waiting = &container["state"]["waiting"];
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    let reason = match waiting["reason"].as_str() {
        Some("ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull") => {
            TroubleReason::Image
        }
        Some("CrashLoopBackOff") => TroubleReason::Crash,
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            TroubleReason::Configuration
        }
        // Between two starts.
        Some(_) | None if restarts > 0 && container["ready"] != Value::Bool(true) => TroubleReason::Crash,
        Some(_) | None => return None,
    };
    let word = waiting["reason"].as_str().unwrap_or("it was started anew");
    let message = waiting["message"].as_str().unwrap_or_default();
    let ended = ["state", "lastState"].into_iter().find_map(|key| {
        let terminated = &container[key]["terminated"];
        let code = terminated["exitCode"].as_i64()?;
        Some(format!("; it ended with {code} ({})", terminated["reason"].as_str().unwrap_or("Error")))
    });
    let words = format!("container {name}: {word} {message}");
    Some((reason, format!("{}{}", words.trim_end(), ended.unwrap_or_default())))
}

/// The newest that says something, of those since then.
pub(super) fn of_events(list: &Value, since: Timestamp) -> Option<Trouble> {
    let time = |event: &Value| -> Option<Timestamp> {
        let text = |key: &str| event[key].as_str();
        text("lastTimestamp").or_else(|| text("eventTime")).or_else(|| text("firstTimestamp"))?.parse().ok()
    };
    let items = list["items"].as_array()?.iter();
    // Their times are whole seconds.
    let mut fresh: Vec<(Timestamp, &Value)> = items
        .filter_map(|event| Some((time(event)?, event)))
        .filter(|(time, _)| *time >= since - EVENT_SLACK)
        .collect();
    fresh.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    fresh.into_iter().find_map(|(_, event)| {
        let message = event["message"].as_str().unwrap_or_default();
        let reason = match event["reason"].as_str()? {
            "FailedCreate" => return Some(not_created(message)),
            "FailedScheduling" => unschedulable(message),
            "FailedMount" | "FailedAttachVolume" | "FailedBinding" | "ProvisioningFailed" => {
                TroubleReason::Volume
            }
            "FailedCreatePodSandBox" | "NetworkNotReady" => TroubleReason::Machine,
            "BackOff" if message.contains("pulling") => TroubleReason::Image,
            "BackOff" => TroubleReason::Crash,
            "Failed" if message.contains("pull") => TroubleReason::Image,
            "Failed" => TroubleReason::Configuration,
            "Unhealthy" => TroubleReason::Unready,
            _ => return None,
        };
        Some(trouble(reason, message))
    })
}

fn unschedulable(message: &str) -> TroubleReason {
    let of_storage =
        ["persistentvolumeclaim", "PersistentVolumeClaim", "persistent volume", "volume node affinity"];
    match of_storage.iter().any(|words| message.contains(words)) {
        true => TroubleReason::Volume,
        false => TroubleReason::Room,
    }
}

fn trouble(reason: TroubleReason, detail: &str) -> Trouble {
    let end = detail.floor_char_boundary(DETAIL_BYTES_MAX);
    Trouble { reason, detail: detail[..end].escape_debug().to_string().into() }
}

#[expect(clippy::disallowed_methods, reason = "Events carry the time of day")]
fn now() -> Timestamp {
    Timestamp::now()
}

const INTERVAL: Duration = Duration::from_secs(1);
const LOOKING_MAX: Duration = Duration::from_secs(600);
const EVENT_SLACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
const PODS_MAX: u32 = 20;
/// Pods whose Events are looked at.
const PODS_ASKED_MAX: usize = 2;
const EVENTS_MAX: u32 = 50;
const DETAIL_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests;
