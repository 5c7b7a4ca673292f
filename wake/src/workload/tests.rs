use super::*;

#[test]
fn kinds_are_read_as_kubectl_takes_them() {
    for (text, kind) in [
        ("deployment/web", Kind::Deployment),
        ("deploy/web", Kind::Deployment),
        ("Deployments.apps/web", Kind::Deployment),
        ("sts/web", Kind::StatefulSet),
        ("statefulset/web", Kind::StatefulSet),
        ("cluster.postgresql.cnpg.io/web", Kind::PostgresCluster),
        ("process/web", Kind::Process),
        ("rollout.argoproj.io/web", Kind::Scalable("rollout.argoproj.io".into())),
    ] {
        let read = Reference::parse(text).expect(text);
        assert_eq!((read.kind, &*read.name), (kind, "web"), "{text}");
    }
}

#[test]
fn what_names_no_workload_is_told_apart() {
    for text in ["web", "", "deployment"] {
        assert!(matches!(Reference::parse(text), Err(ReferenceError::Form(_))), "{text}");
    }
    let long = format!("deployment/{}", "a".repeat(NAME_LEN_MAX + 1));
    for text in ["deployment/", "deployment/Web", "deployment/a/b", "deployment/-a", "deployment/a..b", &long]
    {
        assert!(matches!(Reference::parse(text), Err(ReferenceError::Name(_))), "{text}");
    }
    for text in ["deploymnt/web", "daemonset/web", "/web", "rollout.io/web", "a b.c.d/web"] {
        assert!(matches!(Reference::parse(text), Err(ReferenceError::Kind(_))), "{text}");
    }
    let longest = format!("deployment/{}", "a".repeat(NAME_LEN_MAX));
    assert!(Reference::parse(&longest).is_ok());
}

#[test]
fn its_text_names_the_namespace() {
    let workload = Reference::parse("sts/db").expect("a reference").within(&"shop".into());
    assert_eq!(workload.to_string(), "shop/statefulset/db");
}
