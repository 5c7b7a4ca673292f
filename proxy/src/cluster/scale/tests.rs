use super::discover::plural_of;
use super::find::{Candidate, own};
use super::*;

fn deployment(name: &str, labels: Value) -> Candidate {
    let object = json!({"metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": labels}}}});
    Candidate { kind: Kind::Deployment, object }
}

#[test]
fn a_services_own_workload_is_found_by_its_template() {
    let candidates = [
        deployment("web", json!({"app": "web", "tier": "front"})),
        deployment("api", json!({"app": "api"})),
        deployment("api-2", json!({"app": "api"})),
    ];
    let find = |selector: Value| own(&selector, &candidates).map(|reference| reference.to_string());
    assert_eq!(find(json!({"app": "web"})).as_deref(), Ok("deployment/web"));
    let ambiguous = find(json!({"app": "api"})).expect_err("two");
    assert!(ambiguous.contains("deployment/api and deployment/api-2"), "{ambiguous}");
    assert!(find(json!({"app": "none"})).is_err());
    assert!(find(json!({})).is_err(), "a Service without selector takes none, not all");
    assert!(find(Value::Null).is_err());
}

#[test]
fn what_an_operator_owns_is_left_to_it() {
    let mut owned = deployment("web", json!({"app": "web"}));
    owned.object["metadata"]["ownerReferences"] =
        json!([{"kind": "App", "name": "shop", "controller": true}]);
    let refused = own(&json!({"app": "web"}), &[owned]).expect_err("owned");
    assert!(refused.contains("belongs to App shop"), "{refused}");
}

#[test]
fn an_object_says_how_many_it_has() {
    let object = json!({
        "metadata": {"resourceVersion": "42", "managedFields": [
            {"manager": "vestibule-wake", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]},
        "spec": {"replicas": 3},
        "status": {"readyReplicas": 2},
    });
    let expected = Observation { version: 42, desired: 3, ready: 2, by_us: true };
    assert_eq!(observation(&Kind::Deployment, &object), expected);
    // The API fills in what is not written.
    let bare = json!({"metadata": {"resourceVersion": "7"}, "spec": {}});
    let expected = Observation { version: 7, desired: 1, ready: 0, by_us: false };
    assert_eq!(observation(&Kind::StatefulSet, &bare), expected);
}

#[test]
fn a_hibernated_cluster_sleeps() {
    let cluster = |hibernation: &str| {
        json!({
            "metadata": {"resourceVersion": "9", "annotations": {"cnpg.io/hibernation": hibernation}},
            "spec": {"instances": 3}, "status": {"readyInstances": 1},
        })
    };
    assert_eq!(observation(&Kind::PostgresCluster, &cluster("on")).desired, 0);
    assert_eq!(observation(&Kind::PostgresCluster, &cluster("off")).desired, 3);
}

#[test]
fn kinds_with_a_scale_subresource_are_discovered() {
    let list = json!({"resources": [
        {"name": "rollouts", "singularName": "rollout", "kind": "Rollout"},
        {"name": "rollouts/scale", "kind": "Scale"},
        {"name": "analysisruns", "singularName": "analysisrun", "kind": "AnalysisRun"},
    ]});
    assert_eq!(plural_of(&list, "rollout").as_deref(), Some("rollouts"));
    assert_eq!(plural_of(&list, "analysisrun"), None, "it cannot be scaled");
    assert_eq!(plural_of(&list, "other"), None);
}

#[test]
fn keys_of_the_memory_are_those_of_a_config_map() {
    let workload = wake::workload::Reference::parse("rollout.argoproj.io/web").expect("a reference");
    let key = memory_key(&workload.within(&"shop".into()));
    assert_eq!(key, "shop_rollout.argoproj.io_web");
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
}
