//! Who scales a workload besides us, and how the two are kept from each other's way.

use serde_json::Value;
use wake::workload::Workload;

use super::super::write;
use super::Kubernetes;

/// For people: who it is, as far as the object and its autoscalers say, and the mend.
pub(super) async fn words(kubernetes: &Kubernetes, workload: &Workload) -> String {
    let object = kubernetes.read(workload).await.unwrap_or_default();
    let path = write::path("autoscaling/v2", "horizontalpodautoscalers", &workload.namespace, "", "");
    let list = write::read(&kubernetes.client, &path).await.unwrap_or_default();
    let autoscaler =
        list["items"].as_array().and_then(|items| items.iter().find(|item| super::targets(item, workload)));
    let rival = rival(manager(&object), autoscaler);
    format!("Scaled up by {rival} as often as it is put to sleep; it is left alone for an hour.")
}

/// Who wrote the number of replicas last.
pub(super) fn manager(object: &Value) -> Option<&str> {
    let managers = object["metadata"]["managedFields"].as_array()?;
    let scales = |entry: &&Value| {
        let fields = &entry["fieldsV1"];
        fields["f:spec"].get("f:replicas").is_some()
            || fields["f:metadata"]["f:annotations"].get(format!("f:{}", super::HIBERNATION)).is_some()
    };
    // Of several who apply the same value, the newest.
    let newest =
        managers.iter().filter(scales).max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?;
    newest["manager"].as_str()
}

/// The rival's name, and the mend for its kind.
pub(super) fn rival(manager: Option<&str>, autoscaler: Option<&Value>) -> String {
    if let Some(name) = autoscaler.and_then(scaled_object) {
        return format!(
            "the ScaledObject {name} (KEDA), which has to leave it at 0: give it minReplicaCount 0, or leave sleeping to KEDA and \
             set wake-idle to never"
        );
    }
    let Some(manager) = manager else {
        return "somebody else: if that is Flux or Argo CD, take spec.replicas out of the manifest"
            .to_owned();
    };
    let mend = match manager {
        "kustomize-controller" | "helm-controller" => {
            "Flux: take spec.replicas out of the manifest (of a chart: out of its values)"
        }
        "argocd-controller" | "argocd-application-controller" => {
            "Argo CD: give the Application ignoreDifferences with jsonPointers [/spec/replicas] and the sync option \
             RespectIgnoreDifferences=true"
        }
        "keda" | "keda-operator" => {
            "KEDA: give its ScaledObject minReplicaCount 0, or set wake-idle to never"
        }
        "vestibule-wake" => {
            "another Vestibule, which knows nothing of this one: have one of them look after it"
        }
        _ => "have it leave spec.replicas alone, or set wake-idle to never",
    };
    format!("{} ({mend})", manager.escape_debug())
}

/// The ScaledObject that an autoscaler was made for: KEDA owns one for each.
fn scaled_object(autoscaler: &Value) -> Option<&str> {
    let owners = autoscaler["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"].as_str() == Some("ScaledObject"))?;
    owner["name"].as_str()
}

#[cfg(test)]
mod tests;
