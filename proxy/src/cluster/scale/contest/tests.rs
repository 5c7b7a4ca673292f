use serde_json::json;

use super::*;

#[test]
fn whoever_wrote_the_number_last_is_named() {
    let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "time": time, "fieldsV1": fields});
    let replicas = || json!({"f:spec": {"f:replicas": {}}});
    let object = json!({"metadata": {"managedFields": [
        entry("helm", "2026-11-21T10:00:00Z", replicas()),
        entry("kustomize-controller", "2026-11-21T10:01:00Z", replicas()),
        entry("kube-controller-manager", "2026-11-21T10:02:00Z", json!({"f:status": {"f:replicas": {}}})),
    ]}});
    assert_eq!(manager(&object), Some("kustomize-controller"));
    assert_eq!(manager(&json!({"metadata": {}})), None);
    let hibernated = json!({"metadata": {"managedFields": [
        entry("argocd-controller", "", json!({"f:metadata": {"f:annotations": {"f:cnpg.io/hibernation": {}}}})),
    ]}});
    assert_eq!(manager(&hibernated), Some("argocd-controller"));
}

#[test]
fn the_mend_is_that_of_the_rival() {
    for (manager, mend) in [
        (Some("kustomize-controller"), "take spec.replicas out"),
        (Some("argocd-controller"), "RespectIgnoreDifferences=true"),
        (Some("keda-operator"), "minReplicaCount 0"),
        (Some("kubectl-edit"), "wake-idle to never"),
        (None, "Flux or Argo CD"),
    ] {
        let words = rival(manager, None);
        assert!(words.contains(mend), "{words}");
    }
    let keda = json!({"metadata": {"ownerReferences": [{"kind": "ScaledObject", "name": "web"}]}});
    let words = rival(Some("kube-controller-manager"), Some(&keda));
    assert!(words.contains("ScaledObject web"), "{words}");
    let own = json!({"metadata": {"name": "web"}});
    assert!(!rival(Some("x"), Some(&own)).contains("KEDA"));
}
