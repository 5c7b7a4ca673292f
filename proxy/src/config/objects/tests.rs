use super::*;

fn ingress(name: &str, version: &str, host: &str) -> Object {
    let value = serde_json::json!({
        "metadata": {"name": name, "resourceVersion": version, "annotations": null},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Fancy", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
        ]}}], "tls": null}
    });
    Object::deserialize(Kind::Ingress, value).expect("a readable Ingress")
}

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: NAMESPACE_DEFAULT.into(), name: name.into() }
}

#[test]
fn an_absent_namespace_is_default() {
    assert_eq!(ingress("web", "1", "a.example").reference(), reference(Kind::Ingress, "web"));
}

#[test]
fn a_cluster_wide_kind_has_no_namespace() {
    let value =
        serde_json::json!({"metadata": {"name": "x", "namespace": "y"}, "spec": {"controllerName": "c"}});
    let class = Object::deserialize(Kind::GatewayClass, value).expect("a readable class");
    assert_eq!(&*class.metadata().namespace, "");
}

#[test]
fn an_unknown_word_does_not_fail_the_object() {
    let Object::Ingress(ingress) = ingress("web", "1", "a.example") else { panic!("not an Ingress") };
    let paths = ingress.spec.rules[0].http.as_ref().expect("paths");
    assert_eq!(paths.paths[0].path_type, Some(metadata::Known::Unknown("Fancy".into())));
}

#[test]
fn a_moved_resource_version_is_no_change() {
    let mut objects = Objects::new();
    assert_eq!(objects.apply(ingress("web", "1", "a.example")), Change::Added);
    assert_eq!(objects.apply(ingress("web", "2", "a.example")), Change::None);
    let stored = objects.ingresses.find("default", "web").expect("stored");
    assert_eq!(&*stored.metadata.resource_version, "2");
    assert_eq!(objects.apply(ingress("web", "3", "b.example")), Change::Updated);
    assert!(objects.remove(&reference(Kind::Ingress, "web")));
    assert!(!objects.remove(&reference(Kind::Ingress, "web")));
    assert!(objects.is_empty());
}

#[test]
fn the_journal_tells_what_changed() {
    let mut objects = Objects::new();
    let start = objects.cursor();
    objects.apply(ingress("web", "1", "a.example"));
    let middle = objects.cursor();
    objects.remove(&reference(Kind::Ingress, "web"));
    assert_eq!(objects.changes_since(start).expect("known").count(), 2);
    assert_eq!(objects.changes_since(middle).expect("known").count(), 1);
    assert!(Objects::new().changes_since(start).is_none());
}

#[test]
fn a_journal_that_overflowed_says_so() {
    let mut objects = Objects::new();
    let start = objects.cursor();
    for index in 0..=JOURNAL_ENTRIES_MAX {
        objects.apply(ingress("web", "1", &format!("h{index}.example")));
    }
    assert!(objects.changes_since(start).is_none());
}

#[test]
fn slices_are_found_by_their_service() {
    let slice = |name: &str, service: &str| {
        let value = serde_json::json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]
        });
        Object::deserialize(Kind::EndpointSlice, value).expect("a readable slice")
    };
    let mut objects = Objects::new();
    objects.apply(slice("web-1", "web"));
    objects.apply(slice("web-2", "web"));
    assert_eq!(objects.slices_of("default", "web").count(), 2);
    objects.apply(slice("web-2", "api"));
    assert_eq!(objects.slices_of("default", "web").count(), 1);
    objects.remove(&reference(Kind::EndpointSlice, "web-1"));
    assert_eq!(objects.slices_of("default", "web").count(), 0);
    assert_eq!(objects.slices_of("default", "api").count(), 1);
}

#[test]
fn a_secret_never_prints_its_values() {
    let value = serde_json::json!({
        "metadata": {"name": "s"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": "aGVs\nbG8="}, "stringData": {"tls.key": "hunter2"}
    });
    let secret = Object::deserialize(Kind::Secret, value).expect("a readable Secret");
    let printed = format!("{secret:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("hello") && printed.contains("tls.key"),
        "{printed}"
    );
    let Object::Secret(secret) = secret else { panic!("not a Secret") };
    assert_eq!(secret.data["tls.crt"].expose(), b"hello");
    let broken = serde_json::json!({"metadata": {"name": "s"}, "data": {"k": "hunter2!"}});
    let error = Object::deserialize(Kind::Secret, broken).expect_err("not base64").to_string();
    assert!(!error.contains("hunter2") && error.contains("stringData"), "{error}");
}

#[test]
fn the_copy_that_kubectl_leaves_is_not_kept() {
    let value = serde_json::json!({"metadata": {"name": "n", "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}}});
    let namespace = Object::deserialize(Kind::Namespace, value).expect("a readable Namespace");
    assert_eq!(namespace.metadata().annotations.iter().collect::<Vec<_>>(), [("a", "b")]);
}

#[test]
fn undated_objects_are_the_youngest() {
    let metadata = |name: &str, created: Option<&str>| Metadata {
        name: name.into(),
        creation_timestamp: created.map(|text| text.parse().expect("a timestamp")),
        ..Metadata::default()
    };
    let old = metadata("z", Some("2024-01-01T00:00:00Z"));
    let young = metadata("b", Some("2025-01-01T00:00:00Z"));
    let undated = metadata("a", None);
    assert!(old.seniority() < young.seniority() && young.seniority() < undated.seniority());
}
