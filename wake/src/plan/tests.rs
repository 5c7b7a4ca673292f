use super::*;

#[track_caller]
fn described(text: &str) -> Vec<String> {
    let plan = Plan::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let after =
        |needs: &BTreeSet<Reference>| needs.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    plan.members().map(|(reference, needs)| format!("{reference}<{}", after(needs))).collect()
}

#[test]
fn stages_start_after_one_another() {
    assert_eq!(described("deployment/app"), ["deployment/app<"]);
    assert_eq!(described("deploy/a, deploy/b"), ["deployment/a<", "deployment/b<"]);
    assert_eq!(
        described("deployment/app after statefulset/db, cluster.postgresql.cnpg.io/pg"),
        [
            "deployment/app<statefulset/db+cluster.postgresql.cnpg.io/pg",
            "statefulset/db<",
            "cluster.postgresql.cnpg.io/pg<",
        ]
    );
    assert_eq!(
        described("deploy/web after deploy/api after sts/db"),
        ["deployment/api<statefulset/db", "deployment/web<deployment/api", "statefulset/db<"]
    );
    assert_eq!(
        described("deploy/web after sts/db; deploy/job after sts/db;"),
        ["deployment/job<statefulset/db", "deployment/web<statefulset/db", "statefulset/db<"]
    );
}

#[test]
fn what_cannot_start_is_refused() {
    let error = |text: &str| Plan::parse(text).expect_err(text);
    assert_eq!(error(""), PlanError::Empty);
    assert_eq!(error(" ; "), PlanError::Empty);
    for text in [
        "deploy/a deploy/b",
        "deploy/a,,deploy/b",
        "after deploy/a",
        "deploy/a after",
        "deploy/a after after deploy/b",
    ] {
        assert!(matches!(error(text), PlanError::List(_)), "{text}");
    }
    assert!(matches!(error("deploy/a after deploy/a"), PlanError::Circle(_)));
    assert!(matches!(error("deploy/a after deploy/b; deploy/b after deploy/a"), PlanError::Circle(_)));
    assert!(matches!(error("deploy/a after web"), PlanError::Reference(ReferenceError::Form(_))));
}

#[test]
fn there_is_an_end_to_their_number() {
    let list = |count: usize| (0..count).map(|n| format!("deploy/w{n}")).collect::<Vec<_>>().join(", ");
    assert!(Plan::parse(&list(WORKLOADS_MAX)).is_ok());
    assert_eq!(Plan::parse(&list(WORKLOADS_MAX + 1)), Err(PlanError::TooMany(WORKLOADS_MAX + 1)));
}
