use serde_json::json;

use super::*;

#[test]
fn remembered_workloads_are_read_back() {
    let memory = json!({"data": {
        "default_deployment_web": "3",
        "shop_rollout.argoproj.io_a.b": "1",
        "not a key": "1",
    }});
    let texts: Vec<String> = remembered(&memory).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["default/deployment/web", "shop/rollout.argoproj.io/a.b"]);
    assert_eq!(remembered(&json!({})), []);
}

#[test]
fn services_of_another_installation_stay() {
    let alias = |target: &str| json!({"spec": {"type": "ExternalName", "externalName": target}});
    let for_clients = json!({"spec": {"clusterIP": "10.0.0.7"}});
    assert!(belongs_to(&for_clients, "vestibule", "vestibule"));
    assert!(!belongs_to(&for_clients, "other", "vestibule"));
    assert!(belongs_to(&alias("edge.vestibule.svc.cluster.local"), "shop", "vestibule"));
    assert!(!belongs_to(&alias("edge.other.svc.cluster.local"), "shop", "vestibule"));
    assert!(belongs_to(&json!({"spec": {"clusterIP": "None"}}), "shop", "vestibule"));
}

#[test]
fn a_lease_that_was_given_back_or_has_run_out_has_no_holder() {
    let lease = |holder: &str, renewed: &str| json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}});
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    assert_eq!(holder(&lease("a", "2026-01-01T00:00:50Z"), now), Some("a"));
    assert_eq!(holder(&lease("a", "2026-01-01T00:00:30Z"), now), None);
    assert_eq!(holder(&lease("", "2026-01-01T00:00:50Z"), now), None);
    // Without a time nobody can say that it has run out.
    assert_eq!(holder(&json!({"spec": {"holderIdentity": "a"}}), now), Some("a"));
}
