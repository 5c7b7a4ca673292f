use serde_json::json;

use super::*;

#[test]
fn claims_of_pods_and_templates_are_volumes_and_nothing_else_is() {
    let set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    assert_eq!(volumes(&Kind::StatefulSet, &set), ["data"]);
    let deployment = json!({"spec": {"template": {"spec": {"volumes": [
        {"name": "cache", "emptyDir": {}},
        {"name": "library", "persistentVolumeClaim": {"claimName": "films"}},
    ]}}}});
    assert_eq!(volumes(&Kind::Deployment, &deployment), ["films"]);
    assert!(volumes(&Kind::Deployment, &json!({"spec": {}})).is_empty());
    assert_eq!(volumes(&Kind::PostgresCluster, &json!({})), ["the database"]);
}
