//! The way out: what this edge put to sleep is woken, and what it made in the cluster is removed.
//!
//! [`look`] changes nothing. Certificates stay, because whoever comes next can serve them, and so do statuses, as those of
//! any controller do until another writes its own: whoever reads addresses from them would take names out of DNS.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use acme::store::directory::{OWNER, OWNER_LABEL};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::Value;
use wake::scaler::{ScaleError, Scaler};
use wake::workload::{Kind, Reference, Workload};

use super::scale::{Kubernetes, MEMORY};
use super::write::{self, WriteError};
use super::{ClusterError, ClusterOptions, client_in};
use crate::config::gateway::{GATEWAY_LABEL, MANAGED_BY, MANAGED_BY_LABEL};

/// Which installation is left.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where it runs; `None`: the namespace of the service account, or of the kubeconfig's context.
    pub(crate) namespace: Option<Arc<str>>,
    /// The Lease of those that write.
    pub(crate) lease: Arc<str>,
}

/// What there is to do, in its order.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// What is left as it is, and why, one sentence each.
    pub(crate) left: Vec<String>,
    /// Why nothing may be done yet.
    pub(crate) obstacle: Option<Obstacle>,
    workloads: Kubernetes,
    client: Client,
}

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Wake(Workload),
    /// `path` is that of the object at the API server.
    Delete {
        kind: &'static str,
        namespace: Box<str>,
        name: Box<str>,
        path: Box<str>,
    },
}

/// Why a plan may not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error(
        "{holder} holds the Lease {lease} and would make anew what is removed: uninstall Vestibule first, or scale what writes to 0"
    )]
    StillLeads { holder: Box<str>, lease: Box<str> },
    #[error(
        "there is no Lease {0}, so it cannot be known that nobody writes any more: name it by --lease and --namespace"
    )]
    NoLease(Box<str>),
}

/// Finds out what there is to do.
pub(crate) async fn look(installation: &Installation, now: Timestamp) -> Result<Plan, ClusterError> {
    let options = ClusterOptions { kubeconfig: installation.kubeconfig.clone(), ..ClusterOptions::default() };
    let client = client_in(&options, installation.namespace.as_deref()).await?;
    let namespace: Arc<str> = client.default_namespace().into();
    let mut plan = Plan {
        steps: Vec::new(),
        left: Vec::new(),
        obstacle: None,
        workloads: Kubernetes::new(&client, false),
        client,
    };
    let memory_path = write::path("v1", "configmaps", &namespace, MEMORY, "");
    let memory = plan.found("the ConfigMap of sleeping workloads", &memory_path).await?;
    let remembered = memory.as_ref().map(remembered).unwrap_or_default();
    for workload in remembered.into_iter().chain(plan.hibernated().await?) {
        plan.look_at(workload).await?;
    }
    plan.look_for_services(&namespace).await?;
    if memory.is_some() {
        plan.steps.push(Step::Delete {
            kind: "ConfigMap",
            namespace: (&*namespace).into(),
            name: MEMORY.into(),
            path: memory_path.into(),
        });
    }
    plan.count_certificates().await;
    let lease_name = format!("{namespace}/{}", installation.lease);
    let path = write::path("coordination.k8s.io/v1", "leases", &namespace, &installation.lease, "");
    match plan.found("the Lease", &path).await? {
        Some(lease) => {
            plan.obstacle = holder(&lease, now)
                .map(|holder| Obstacle::StillLeads { holder: holder.into(), lease: lease_name.into() });
            // The last one: as long as it is there, the way out can be begun again.
            plan.steps.push(Step::Delete {
                kind: "Lease",
                namespace: (&*namespace).into(),
                name: (&*installation.lease).into(),
                path: path.into(),
            });
        }
        None if plan.steps.is_empty() => {}
        None => plan.obstacle = Some(Obstacle::NoLease(lease_name.into())),
    }
    Ok(plan)
}

impl Plan {
    /// Does one step; what is gone already counts as done.
    pub(crate) async fn carry_out(&self, step: &Step) -> Result<(), String> {
        match step {
            Step::Wake(workload) => match self.workloads.wake(workload).await {
                Ok(_) | Err(ScaleError::Missing) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Step::Delete { path, .. } => match write::delete(&self.client, path).await {
                Ok(_) | Err(WriteError::Missing) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    async fn look_at(&mut self, workload: Workload) -> Result<(), ClusterError> {
        match self.workloads.observe(&workload).await {
            Ok(seen) if seen.desired > 0 => {}
            // Whose hand it was that scaled to 0 last, the API server does not note; that we once did is remembered.
            Ok(_) => self.steps.push(Step::Wake(workload)),
            Err(ScaleError::Missing) => {}
            Err(error) => return Err(ClusterError::Client(format!("{workload}: {error}"))),
        }
        Ok(())
    }

    /// CloudNativePG Clusters that hibernate by our annotation: nothing is remembered of them.
    async fn hibernated(&self) -> Result<Vec<Workload>, ClusterError> {
        let path = write::path("postgresql.cnpg.io/v1", "clusters", "", "", "");
        let list = self.found("the Clusters of CloudNativePG", &path).await?;
        let workload = |item: &Value| {
            let metadata = &item["metadata"];
            let namespace: Arc<str> = metadata["namespace"].as_str()?.into();
            let name = metadata["name"].as_str()?.into();
            Some(Reference { kind: Kind::PostgresCluster, name }.within(&namespace))
        };
        let is_ours = |item: &&Value| super::scale::is_hibernated_by_us(item);
        Ok(items(list.as_ref()).iter().filter(is_ours).filter_map(workload).collect())
    }

    /// Those of this installation: another one marks its own in the same way, and keeps them in its own namespace.
    async fn look_for_services(&mut self, own: &str) -> Result<(), ClusterError> {
        let label = MANAGED_BY_LABEL.replace('/', "%2F");
        let path = format!("/api/v1/services?labelSelector={label}%3D{MANAGED_BY}");
        let list = self.found("the Services", &path).await?;
        for service in items(list.as_ref()) {
            let metadata = &service["metadata"];
            let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str())
            else {
                continue;
            };
            if metadata["annotations"][GATEWAY_LABEL].is_string() && belongs_to(service, namespace, own) {
                self.steps.push(Step::Delete {
                    kind: "Service",
                    namespace: namespace.into(),
                    name: name.into(),
                    path: write::path("v1", "services", namespace, name, "").into(),
                });
            }
        }
        Ok(())
    }

    async fn count_certificates(&mut self) {
        let path = format!("/api/v1/secrets?labelSelector={}%3D{OWNER}", OWNER_LABEL.replace('/', "%2F"));
        // Who may not read them cannot harm them either.
        if let Ok(Some(list)) = self.found("the Secrets", &path).await {
            let number = items(Some(&list)).len();
            if number > 0 {
                self.left.push(format!("{number} Secrets with certificates stay"));
            }
        }
    }

    async fn found(&self, what: &str, path: &str) -> Result<Option<Value>, ClusterError> {
        match write::read(&self.client, path).await {
            Ok(object) => Ok(Some(object)),
            Err(WriteError::Missing) => Ok(None),
            Err(error) => Err(ClusterError::Client(format!("{what}: {error}"))),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Wake(workload) => write!(f, "wake {workload}"),
            Step::Delete { kind, namespace, name, .. } => write!(f, "delete {kind} {namespace}/{name}"),
        }
    }
}

/// The workloads that a ConfigMap of ours remembers; its keys are `namespace_kind_name`.
fn remembered(memory: &Value) -> Vec<Workload> {
    let keys = memory["data"].as_object().into_iter().flat_map(|data| data.keys());
    let workload = |key: &String| {
        let mut parts = key.splitn(3, '_');
        let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Reference::parse(&format!("{kind}/{name}")).ok()?.within(&namespace.into()))
    };
    keys.filter_map(workload).collect()
}

/// Whether a Service that is marked as ours was made by the installation in the namespace `own`.
fn belongs_to(service: &Value, namespace: &str, own: &str) -> bool {
    match service["spec"]["externalName"].as_str() {
        // The alias in a Gateway's namespace says where what it stands for is.
        Some(target) => target.ends_with(&format!(".{own}.svc.cluster.local")),
        None => namespace == own || service["spec"]["clusterIP"].as_str() == Some("None"),
    }
}

/// Who holds the Lease, if it has not run out.
fn holder(lease: &Value, now: Timestamp) -> Option<&str> {
    let spec = &lease["spec"];
    let holder = spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?;
    let renewed: Option<Timestamp> = spec["renewTime"].as_str().and_then(|time| time.parse().ok());
    let lasts = SignedDuration::from_secs(spec["leaseDurationSeconds"].as_i64().unwrap_or(0));
    let has_run_out = renewed.is_some_and(|renewed| now.duration_since(renewed) > lasts);
    (!has_run_out).then_some(holder)
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(|list| list["items"].as_array()).map_or(&[], Vec::as_slice)
}
