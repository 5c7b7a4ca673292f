use super::*;
use crate::config::objects::httproute::ParentReference;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn parent(name: &str, accepted: Condition) -> ParentStatus {
    ParentStatus {
        parent: ParentReference {
            group: Some("gateway.networking.k8s.io".into()),
            kind: Some("Gateway".into()),
            namespace: None,
            name: name.into(),
            section_name: None,
            port: Some(80),
        },
        gateway: ObjectRef { kind: Kind::Gateway, namespace: "n".into(), name: name.into() },
        accepted,
        resolved_refs: Condition::yes("ResolvedRefs"),
        partially_invalid: None,
        listeners: Vec::new(),
    }
}

fn route(generation: i64, parents: Vec<ParentStatus>) -> Status {
    let route = ObjectRef { kind: Kind::HTTPRoute, namespace: "n".into(), name: "r".into() };
    Status::Route(Arc::new(RouteStatus { route, generation, parents }))
}

#[test]
fn the_same_is_not_written_twice_and_a_time_moves_only_with_its_status() {
    let first = at("2026-11-21T10:00:00Z");
    let later = at("2026-11-21T11:00:00Z");
    let wanted = route(1, vec![parent("edge", Condition::yes("Accepted"))]);
    let written = merged(&wanted, &Value::Null, first).unwrap();
    assert_eq!(merged(&wanted, &written, later), None);
    // A new generation: written, and the time stays.
    let wanted = route(2, vec![parent("edge", Condition::yes("Accepted"))]);
    let written = merged(&wanted, &written, later).unwrap();
    let condition = &written["parents"][0]["conditions"][0];
    assert_eq!(condition["observedGeneration"], 2);
    assert_eq!(condition["lastTransitionTime"], "2026-11-21T10:00:00Z");
    let wanted = route(2, vec![parent("edge", Condition::no("NoMatchingParent", "no such listener"))]);
    let written = merged(&wanted, &written, later).unwrap();
    let conditions = &written["parents"][0]["conditions"];
    assert_eq!(conditions[0]["lastTransitionTime"], "2026-11-21T11:00:00Z");
    assert_eq!(conditions[1]["lastTransitionTime"], "2026-11-21T10:00:00Z");
}

#[test]
fn entries_of_others_are_left_alone_and_ours_go_with_their_parents() {
    let now = at("2026-11-21T10:00:00Z");
    let theirs =
        json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/other", "conditions": []});
    let old = json!({"parents": [theirs]});
    let both = vec![parent("a", Condition::yes("Accepted")), parent("b", Condition::yes("Accepted"))];
    let written = merged(&route(1, both), &old, now).unwrap();
    assert_eq!(written["parents"].as_array().unwrap().len(), 3);
    assert_eq!(written["parents"][0], theirs);
    assert_eq!(written["parents"][1]["parentRef"]["port"], 80);
    let written = merged(&route(1, vec![parent("b", Condition::yes("Accepted"))]), &written, now).unwrap();
    let names: Vec<&Value> =
        written["parents"].as_array().unwrap().iter().map(|parent| &parent["parentRef"]["name"]).collect();
    assert_eq!(names, ["edge", "b"]);
}

#[test]
fn a_gateway_keeps_foreign_conditions_and_loses_listeners_that_are_gone() {
    let now = at("2026-11-21T10:00:00Z");
    let listener = |name: &str| ListenerStatus {
        name: name.into(),
        supported_kinds: vec!["HTTPRoute"],
        attached_routes: 2,
        accepted: Condition::yes("Accepted"),
        programmed: Condition::yes("Programmed"),
        resolved_refs: Condition::yes("ResolvedRefs"),
        conflicted: Condition::no("NoConflicts", ""),
    };
    let mut status = GatewayStatus {
        gateway: ObjectRef { kind: Kind::Gateway, namespace: "n".into(), name: "g".into() },
        generation: 3,
        accepted: Condition::yes("Accepted"),
        programmed: Condition::yes("Programmed"),
        resolved_refs: None,
        attached_listener_sets: 0,
        addresses: Vec::new(),
        insecure_frontend_validation: Some(Condition::yes("ConfigurationChanged")),
        listeners: vec![listener("a"), listener("b")],
    };
    let foreign = json!({"type": "example.com/Seen", "status": "True"});
    let waiting = json!({"type": "Accepted", "status": "Unknown", "reason": "Pending"});
    let old = json!({"conditions": [foreign, waiting], "attachedListenerSets": 0});
    let addresses: Arc<[Address]> =
        [Address::Ip([192, 0, 2, 7].into()), Address::Name("lb.example.com".into())].into();
    let wanted = |status: &GatewayStatus, addresses: &Arc<[Address]>| {
        Status::Gateway(Box::new(status.clone()), addresses.clone())
    };
    let written = merged(&wanted(&status, &addresses), &old, now).unwrap();
    assert_eq!(written["conditions"][0], foreign);
    assert_eq!(written["conditions"][3]["type"], "InsecureFrontendValidationMode");
    assert_eq!(written["attachedListenerSets"], 0);
    assert_eq!(written["addresses"][1], json!({"type": "Hostname", "value": "lb.example.com"}));
    assert_eq!(written["listeners"][1]["attachedRoutes"], 2);
    assert_eq!(merged(&wanted(&status, &addresses), &written, now), None);

    status.insecure_frontend_validation = None;
    status.listeners.pop();
    let written = merged(&wanted(&status, &[].into()), &written, now).unwrap();
    assert_eq!(written["conditions"].as_array().unwrap().len(), 3);
    assert_eq!(written["conditions"][2]["reason"], "AddressNotAssigned");
    assert_eq!(written["listeners"].as_array().unwrap().len(), 1);
}

#[test]
fn an_ingress_with_the_same_addresses_is_left_alone() {
    let now = at("2026-11-21T10:00:00Z");
    let wanted = Status::Ingress([Address::Ip([192, 0, 2, 7].into())].into());
    let written = merged(&wanted, &json!({"loadBalancer": {}}), now).unwrap();
    assert_eq!(written, json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}));
    let with_ports = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ports": [{"port": 80}]}]}});
    assert_eq!(merged(&wanted, &with_ports, now), None);
}

#[test]
fn a_policy_keeps_the_ancestors_of_others_and_names_ours() {
    let now = at("2026-11-21T10:00:00Z");
    let gateway = |name: &str| ObjectRef { kind: Kind::Gateway, namespace: "n".into(), name: name.into() };
    let mut status = PolicyStatus {
        policy: ObjectRef { kind: Kind::BackendTLSPolicy, namespace: "n".into(), name: "p".into() },
        generation: 2,
        ancestors: vec![gateway("a"), gateway("b")],
        accepted: Condition::yes("Accepted"),
        resolved_refs: Condition::yes("ResolvedRefs"),
    };
    let foreign =
        json!({"ancestorRef": {"name": "x"}, "controllerName": "example.com/other", "conditions": []});
    let old = json!({"ancestors": [foreign]});
    let written = merged(&Status::Policy(Box::new(status.clone())), &old, now).unwrap();
    assert_eq!(written["ancestors"][0], foreign);
    assert_eq!(written["ancestors"][2]["ancestorRef"]["name"], "b");
    assert_eq!(written["ancestors"][2]["conditions"][0]["observedGeneration"], 2);
    assert_eq!(merged(&Status::Policy(Box::new(status.clone())), &written, now), None);

    status.ancestors.clear();
    let written = merged(&Status::Policy(Box::new(status.clone())), &written, now).unwrap();
    assert_eq!(written["ancestors"], json!([foreign]));
    assert_eq!(merged(&Status::Policy(Box::new(status.clone())), &Value::Null, now), None);
    // No more than the API takes, whoever wrote the others.
    status.ancestors = (0..20).map(|number| gateway(&number.to_string())).collect();
    let written = merged(&Status::Policy(Box::new(status)), &written, now).unwrap();
    assert_eq!(written["ancestors"].as_array().unwrap().len(), ANCESTORS_MAX);
}

#[test]
fn versions_of_the_definitions_are_judged() {
    for bundle in ["v1.2.0", "v1.6.3", "v1.5.0-rc.1"] {
        assert_eq!(supported_version(bundle).reason, "SupportedVersion", "{bundle}");
    }
    for bundle in ["v1.1.0", "v1.7.0", "v2.0.0", "latest"] {
        let condition = supported_version(bundle);
        assert_eq!((condition.holds, condition.reason), (false, "UnsupportedVersion"), "{bundle}");
    }
}

#[test]
fn features_are_sorted_as_the_api_wants_them() {
    assert!(FEATURES.is_sorted());
}

#[test]
fn what_every_replica_had_stays_programmed_under_the_next_leader() {
    let now = at("2026-11-21T10:00:00Z");
    let yes = Condition::yes("Programmed");
    let pending = Condition::no(PENDING, "10.0.0.1:9443 does not answer");
    let write = |old: &Value, condition: &Condition, generation| {
        conditions(old, &[("Programmed", Some(condition))], generation, now)
    };
    let programmed = write(&Value::Null, &yes, 3);
    assert_eq!(write(&programmed, &pending, 3), programmed);
    // Another generation, or another reason, is told.
    assert_eq!(write(&programmed, &pending, 4)[0]["status"], "False");
    assert_eq!(write(&programmed, &Condition::no("Invalid", "no listener"), 3)[0]["status"], "False");
    let waiting = write(&Value::Null, &pending, 3);
    assert_eq!(waiting[0]["status"], "False");
    assert_eq!(write(&waiting, &yes, 3)[0]["status"], "True");
}
