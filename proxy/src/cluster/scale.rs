//! Workloads of a cluster, put to sleep and woken.
//!
//! Deployments, StatefulSets and whatever else has a scale subresource are written by that alone: the right to change the
//! objects themselves would be the right to run anything. CloudNativePG Clusters have none and are hibernated by their
//! annotation. How many replicas there were is kept in a ConfigMap of ours, never on the workload.

mod backup;
pub(crate) mod commands;
mod contest;
mod discover;
mod find;
mod follow;
mod tell;
mod trouble;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wake::machine::Event;
use wake::scaler::{Observation, ScaleError, Scaler};
use wake::workload::{Kind, Workload};

use self::follow::Followed;
use self::tell::{Tale, Teller, Weight};
use self::trouble::Troubles;
use super::write::{self, WriteError};
use crate::workload::cause::Why;
use crate::workload::trouble::Trouble;

/// The scaler of a cluster. Clones are the same.
#[derive(Clone)]
pub(crate) struct Kubernetes {
    client: Client,
    /// Of this process: where the ConfigMap is.
    namespace: Arc<str>,
    kinds: discover::Kinds,
    followed: Arc<Mutex<Followed>>,
    troubles: Arc<Mutex<Troubles>>,
    /// To whoever follows workloads.
    events: Arc<OnceLock<mpsc::Sender<Event>>>,
    /// `None`: others write Events.
    teller: Option<Teller>,
}

impl Kubernetes {
    pub(super) fn new(client: &Client, writes: bool) -> Self {
        let kinds = discover::Kinds::default();
        Kubernetes {
            teller: writes.then(|| Teller::start(client.clone(), kinds.clone())),
            client: client.clone(),
            namespace: client.default_namespace().into(),
            kinds,
            followed: Arc::default(),
            troubles: Arc::default(),
            events: Arc::default(),
        }
    }

    /// Tells of every change of these workloads, and of no others, from now on.
    pub(crate) fn follow(&self, workloads: HashSet<Workload>, events: &mpsc::Sender<Event>) {
        let _ = self.events.set(events.clone());
        follow::follow(self, workloads, events);
    }

    /// Finds out why a workload that others woke is not ready yet, until it is.
    pub(crate) fn watch_for_trouble(&self, workload: &Workload) {
        trouble::watch(self, workload.clone());
    }

    /// Why a workload that wakes is not ready yet, as far as its Pods say.
    pub(crate) fn trouble(&self, workload: &Workload) -> Option<Arc<Trouble>> {
        trouble::known(self, workload)
    }

    /// Finds out who scales a workload up again and again, and says so on it.
    pub(crate) fn tell_who_contests(&self, workload: &Workload) {
        if self.teller.is_none() {
            return;
        }
        let (kubernetes, workload) = (self.clone(), workload.clone());
        tokio::spawn(async move {
            let message = contest::words(&kubernetes, &workload).await;
            tracing::warn!(%workload, reason = "Contested", "{message}");
            kubernetes.tell(&workload, Weight::Warning, "Contested", message);
        });
    }

    /// Says on each of these that sleep whether a backup that runs now would miss its volumes.
    pub(crate) fn tell_missed_by_backup(&self, workloads: Vec<Workload>) {
        if self.teller.is_some() && !workloads.is_empty() {
            tokio::spawn(backup::tell(self.clone(), workloads));
        }
    }

    fn tell(&self, workload: &Workload, weight: Weight, reason: &'static str, message: String) {
        if let Some(teller) = &self.teller {
            teller.tell(Tale { workload: workload.clone(), weight, reason, message });
        }
    }

    /// As [`Scaler::wake`], and tells of it.
    pub(crate) async fn wake_for(&self, workload: &Workload, why: &Why) -> Result<Observation, ScaleError> {
        let now = self.observe(workload).await?;
        if now.desired > 0 {
            return Ok(now);
        }
        let woken = match workload.reference.kind {
            Kind::PostgresCluster => self.hibernate(workload, "off", None).await,
            Kind::Deployment | Kind::StatefulSet | Kind::Process | Kind::Scalable(_) => {
                match self.replicas_to_restore(workload).await {
                    Ok(replicas) => self.scale(workload, replicas, None).await,
                    Err(error) => Err(error),
                }
            }
        };
        match &woken {
            Ok(seen) => {
                let message = format!("Woken with {} replicas for {why}.", seen.desired);
                self.tell(workload, Weight::Normal, "Woken", message);
                trouble::watch(self, workload.clone());
            }
            // Somebody else is at it.
            Err(ScaleError::Conflict) => {}
            Err(error) => {
                let message = format!("It cannot be woken for {why}: {error}.");
                self.tell(workload, Weight::Warning, "WakeFailed", message);
            }
        }
        woken
    }

    /// The object itself, as it is now.
    async fn read(&self, workload: &Workload) -> Result<Value, ScaleError> {
        let path = self.path(workload, "").await?;
        write::read(&self.client, &path).await.map_err(|error| fault(workload, "read", &error))
    }

    async fn path(&self, workload: &Workload, part: &str) -> Result<String, ScaleError> {
        let resource = self.kinds.of(&self.client, &workload.reference.kind).await?;
        let name = &workload.reference.name;
        Ok(write::path(&resource.api_version, &resource.plural, &workload.namespace, name, part))
    }

    /// Writes the number of replicas, of the version that is given or of any.
    async fn scale(
        &self,
        workload: &Workload,
        replicas: u32,
        version: Option<u64>,
    ) -> Result<Observation, ScaleError> {
        let mut path = self.path(workload, "scale").await?;
        path.push_str(WRITE_QUERY);
        let mut patch = json!({"spec": {"replicas": replicas}});
        if let Some(version) = version {
            patch["metadata"] = json!({"resourceVersion": version.to_string()});
        }
        let written = write::patch(&self.client, &path, &patch).await;
        let scale = written.map_err(|error| fault(workload, "scale", &error))?;
        let ready = scale["status"]["replicas"].as_u64().unwrap_or(0);
        Ok(Observation {
            version: version_of(&scale),
            desired: replicas,
            // Those that there are, ready or not, when it falls asleep; none of a new one is ready yet.
            ready: if replicas == 0 { u32::try_from(ready).unwrap_or(u32::MAX) } else { 0 },
            by_us: true,
        })
    }

    async fn hibernate(
        &self,
        workload: &Workload,
        to: &str,
        version: Option<u64>,
    ) -> Result<Observation, ScaleError> {
        let mut path = self.path(workload, "").await?;
        path.push_str(WRITE_QUERY);
        let mut patch = json!({"metadata": {"annotations": {HIBERNATION: to}}});
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = json!(version.to_string());
        }
        let written = write::patch(&self.client, &path, &patch).await;
        let cluster = written.map_err(|error| fault(workload, "patch", &error))?;
        Ok(Observation { by_us: true, ..observation(&workload.reference.kind, &cluster) })
    }

    async fn put_to_sleep(
        &self,
        workload: &Workload,
        version: u64,
        within: Duration,
    ) -> Result<Observation, ScaleError> {
        let late = || ScaleError::unreachable("no answer in time");
        let prepare = async {
            let now = self.observe(workload).await?;
            if now.version != version {
                return Err(ScaleError::Conflict);
            }
            match workload.reference.kind {
                Kind::PostgresCluster => Ok(()),
                Kind::Deployment | Kind::StatefulSet | Kind::Process | Kind::Scalable(_) => {
                    self.remember(workload, now.desired).await
                }
            }
        };
        // The server may take WRITE_TIME over the write itself, and has to be told of it early enough.
        timeout(within.saturating_sub(WRITE_TIME), prepare).await.map_err(|_| late())??;
        let write = async {
            match workload.reference.kind {
                Kind::PostgresCluster => self.hibernate(workload, "on", Some(version)).await,
                Kind::Deployment | Kind::StatefulSet | Kind::Process | Kind::Scalable(_) => {
                    self.scale(workload, 0, Some(version)).await
                }
            }
        };
        timeout(WRITE_TIME, write).await.map_err(|_| late())?
    }

    /// How many replicas it is woken to: as it was, at least what an autoscaler would give it.
    async fn replicas_to_restore(&self, workload: &Workload) -> Result<u32, ScaleError> {
        let remembered = self.remembered(workload).await?;
        let minimum = self.autoscaler_minimum(workload).await;
        let labelled = match (remembered, &workload.reference.kind) {
            // Somebody else put it to sleep: what its labels say, or one.
            (None, Kind::Deployment | Kind::StatefulSet) => {
                find::active_replicas(&self.read(workload).await?)
            }
            (Some(_), _) | (None, _) => None,
        };
        Ok(remembered.or(labelled).unwrap_or(1).max(minimum).clamp(1, REPLICAS_MAX))
    }

    async fn remembered(&self, workload: &Workload) -> Result<Option<u32>, ScaleError> {
        match write::read(&self.client, &self.memory_path(MEMORY)).await {
            Ok(memory) => {
                Ok(memory["data"][memory_key(workload)].as_str().and_then(|text| text.parse().ok()))
            }
            Err(WriteError::Missing) => Ok(None),
            Err(error) => Err(fault(workload, "remember", &error)),
        }
    }

    /// Writes nothing when the same is there already.
    async fn remember(&self, workload: &Workload, replicas: u32) -> Result<(), ScaleError> {
        if self.remembered(workload).await? == Some(replicas) {
            return Ok(());
        }
        let data = json!({memory_key(workload): replicas.to_string()});
        let fault = |error| fault(workload, "remember", &error);
        match write::patch(&self.client, &self.memory_path(MEMORY), &json!({"data": data})).await {
            Err(WriteError::Missing) => {
                let memory = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": MEMORY, "namespace": &*self.namespace},
                    "data": data,
                });
                write::create(&self.client, &self.memory_path(""), &memory).await.map(drop).map_err(fault)
            }
            written => written.map(drop).map_err(fault),
        }
    }

    fn memory_path(&self, name: &str) -> String {
        write::path("v1", "configmaps", &self.namespace, name, "")
    }

    /// The `minReplicas` of the HorizontalPodAutoscaler for it; 0 when there is none, or none may be read.
    async fn autoscaler_minimum(&self, workload: &Workload) -> u32 {
        let path = write::path("autoscaling/v2", "horizontalpodautoscalers", &workload.namespace, "", "");
        let Ok(list) = write::read(&self.client, &path).await else { return 0 };
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        items
            .iter()
            .find(|item| targets(item, workload))
            .map(|item| &item["spec"])
            .map_or(0, |spec| spec["minReplicas"].as_u64().map_or(1, |n| u32::try_from(n).unwrap_or(1)))
    }
}

impl Scaler for Kubernetes {
    async fn observe(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        Ok(observation(&workload.reference.kind, &self.read(workload).await?))
    }

    async fn wake(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        self.wake_for(workload, &Why::Schedule).await
    }

    async fn sleep(
        &self,
        workload: &Workload,
        version: u64,
        within: Duration,
    ) -> Result<Observation, ScaleError> {
        let slept = self.put_to_sleep(workload, version, within).await;
        match &slept {
            Ok(_) => {
                let message = "Put to sleep: nobody uses it. The next request wakes it as it was.".to_owned();
                self.tell(workload, Weight::Normal, "PutToSleep", message);
            }
            Err(ScaleError::Refused(reason)) => {
                let message = format!("It cannot be put to sleep: {reason}.");
                self.tell(workload, Weight::Warning, "SleepFailed", message);
            }
            // It changed, it is gone, or it is tried again.
            Err(ScaleError::Conflict | ScaleError::Missing | ScaleError::Unreachable(_)) => {}
        }
        slept
    }
}

/// Whether a HorizontalPodAutoscaler is for this workload.
fn targets(autoscaler: &Value, workload: &Workload) -> bool {
    let kind = workload.reference.kind.as_str();
    let kind = kind.split('.').next().unwrap_or(kind);
    let target = &autoscaler["spec"]["scaleTargetRef"];
    target["name"].as_str() == Some(&*workload.reference.name)
        && target["kind"].as_str().is_some_and(|word| word.eq_ignore_ascii_case(kind))
}

/// What an object of this kind says of itself.
fn observation(kind: &Kind, object: &Value) -> Observation {
    let number =
        |value: &Value, default: u64| u32::try_from(value.as_u64().unwrap_or(default)).unwrap_or(u32::MAX);
    let (spec, status) = (&object["spec"], &object["status"]);
    let (desired, ready) = match kind {
        Kind::PostgresCluster => {
            let hibernates = object["metadata"]["annotations"][HIBERNATION].as_str() == Some("on");
            let desired = if hibernates { 0 } else { number(&spec["instances"], 1) };
            (desired, number(&status["readyInstances"], 0))
        }
        Kind::Deployment | Kind::StatefulSet | Kind::Process | Kind::Scalable(_) => {
            (number(&spec["replicas"], 1), number(&status["readyReplicas"], 0))
        }
    };
    Observation { version: version_of(object), desired, ready, by_us: was_scaled_by_us(object) }
}

/// Versions of one kind grow with every write (KEP-5504).
fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether the number of replicas is as we wrote it: then we are noted as its manager.
fn was_scaled_by_us(object: &Value) -> bool {
    let managers = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    managers.iter().any(|entry| {
        let fields = &entry["fieldsV1"];
        let scales = fields["f:spec"].get("f:replicas").is_some();
        let hibernates = fields["f:metadata"]["f:annotations"].get(format!("f:{HIBERNATION}")).is_some();
        entry["manager"].as_str() == Some(FIELD_MANAGER) && (scales || hibernates)
    })
}

/// Whether a CloudNativePG Cluster hibernates because we said so.
pub(super) fn is_hibernated_by_us(cluster: &Value) -> bool {
    let seen = observation(&Kind::PostgresCluster, cluster);
    seen.desired == 0 && seen.by_us
}

fn memory_key(workload: &Workload) -> String {
    // Keys of a ConfigMap hold letters, digits, `-`, `_` and `.`; a name has no `_`.
    format!("{}_{}_{}", workload.namespace, workload.reference.kind.as_str(), workload.reference.name)
}

fn fault(workload: &Workload, verb: &str, error: &WriteError) -> ScaleError {
    use super::api::Failure;
    match error {
        WriteError::Missing => ScaleError::Missing,
        WriteError::Conflict => ScaleError::Conflict,
        WriteError::Failed(Failure::Forbidden(message)) => ScaleError::Refused(
            format!("the API server forbids to {verb} {workload}: {message}; grant it in this namespace")
                .into(),
        ),
        WriteError::Failed(failure) => ScaleError::unreachable(failure),
    }
}

const HIBERNATION: &str = "cnpg.io/hibernation";
const FIELD_MANAGER: &str = "vestibule-wake";
/// The server gives up a write after [`WRITE_TIME`].
const WRITE_QUERY: &str = "?fieldManager=vestibule-wake&timeout=2s";
const WRITE_TIME: Duration = Duration::from_secs(2);
/// Where the numbers of replicas are kept.
pub(super) const MEMORY: &str = "vestibule-wake";
/// A slip in the ConfigMap must not fill a cluster.
const REPLICAS_MAX: u32 = 1000;

#[cfg(test)]
mod tests;
