use super::*;
use crate::config::objects::Object;
use crate::config::problem::Kind;

fn problem(name: &str, severity: Severity, message: &str) -> Problem {
    Problem {
        severity,
        object: Some(ObjectRef { kind: Kind::Ingress, namespace: "shop".into(), name: name.into() }),
        field: "spec.rules[0]".into(),
        reason: "BackendNotFound",
        message: message.into(),
        place: None,
    }
}

fn objects() -> Objects {
    let mut objects = Objects::new();
    let web = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}, "spec": {}});
    objects.apply(Object::deserialize(Kind::Ingress, web).unwrap());
    objects
}

#[test]
fn a_problem_is_told_once_on_an_object_that_is_there() {
    let problems = [
        problem("web", Severity::Refused, "there is no Service"),
        problem("web", Severity::Refused, "there is no Service"),
        problem("gone", Severity::Refused, "there is no Service"),
        Problem { object: None, ..problem("web", Severity::Refused, "of nobody") },
    ];
    let told = wanted(&objects(), &problems);
    assert_eq!(told.len(), 1);
    let event = told[0].event("Warning", told[0].reason, &told[0].message, Timestamp::UNIX_EPOCH);
    assert_eq!(event["message"], "spec.rules[0]: there is no Service");
    assert_eq!(event["involvedObject"]["uid"], "u-1");
    assert_eq!(event["involvedObject"]["apiVersion"], "networking.k8s.io/v1");
    assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
}

#[test]
fn names_say_the_same_for_the_same_and_nothing_else() {
    let told = |message: &str| wanted(&objects(), &[problem("web", Severity::Refused, message)]).remove(0);
    assert_eq!(told("a").name(), told("a").name());
    assert_ne!(told("a").name(), told("b").name());
}

#[test]
fn too_many_problems_leave_out_the_mild_ones_and_long_words_are_cut() {
    let mut problems: Vec<Problem> =
        (0..EVENTS_LEN_MAX).map(|number| problem("web", Severity::Warning, &number.to_string())).collect();
    problems.push(problem("web", Severity::Refused, &"ä".repeat(2000)));
    let told = wanted(&objects(), &problems);
    assert_eq!(told.len(), EVENTS_LEN_MAX);
    assert!(told[0].message.contains('ä'));
    let event = told[0].event("Warning", "x", &told[0].message, Timestamp::UNIX_EPOCH);
    assert!(event["message"].as_str().unwrap().len() <= MESSAGE_BYTES_MAX);
}
