//! What sleeps while backups run, and has volumes: tools that copy from running Pods, or dump a database, miss it.

use serde_json::Value;
use wake::scaler::Observation;
use wake::workload::{Kind, Workload};

use super::tell::Weight;
use super::{Kubernetes, observation};

/// Looks at one after the other: they may be many, and nobody waits.
pub(super) async fn tell(kubernetes: Kubernetes, workloads: Vec<Workload>) {
    for workload in workloads {
        let Ok(object) = kubernetes.read(&workload).await else { continue };
        let Observation { desired, .. } = observation(&workload.reference.kind, &object);
        let volumes = volumes(&workload.reference.kind, &object);
        if desired > 0 || volumes.is_empty() {
            continue;
        }
        let message = format!(
            "It sleeps while backups run, and has volumes ({}): what copies from running Pods only misses them. \
             vestibule.dev/wake-keep-awake with the window of the backup keeps it awake then.",
            volumes.join(", ")
        );
        tracing::warn!(%workload, reason = "AsleepDuringBackup", "{message}");
        kubernetes.tell(&workload, Weight::Warning, "AsleepDuringBackup", message);
    }
}

/// The names of the claims that its Pods would have.
pub(super) fn volumes(kind: &Kind, object: &Value) -> Vec<String> {
    if *kind == Kind::PostgresCluster {
        return vec!["the database".to_owned()];
    }
    let spec = &object["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let templates = list(&spec["volumeClaimTemplates"]);
    let templates = templates.iter().filter_map(|claim| claim["metadata"]["name"].as_str());
    let volumes = list(&spec["template"]["spec"]["volumes"]);
    let claims = volumes.iter().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    templates.chain(claims).take(NAMED_MAX).map(str::to_owned).collect()
}

/// Enough to know which are meant.
const NAMED_MAX: usize = 8;

#[cfg(test)]
mod tests;
