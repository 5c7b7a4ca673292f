use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::config::problem::Kind;
use crate::config::status::GatewayStatus;
use crate::replicas::call::CallError;
use crate::replicas::members::Member;
use crate::replicas::poll::Answer;

fn gateway() -> ObjectRef {
    ObjectRef { kind: Kind::Gateway, namespace: "shop".into(), name: "public".into() }
}

fn statuses(generation: i64) -> Statuses {
    let listener = ListenerStatus {
        name: "web".into(),
        supported_kinds: Vec::new(),
        attached_routes: 0,
        accepted: Condition::yes("Accepted"),
        programmed: Condition::yes("Programmed"),
        resolved_refs: Condition::yes("ResolvedRefs"),
        conflicted: Condition::no("NoConflicts", ""),
    };
    let status = GatewayStatus {
        gateway: gateway(),
        generation,
        accepted: Condition::yes("Accepted"),
        programmed: Condition::yes("Programmed"),
        resolved_refs: None,
        insecure_frontend_validation: None,
        attached_listener_sets: 0,
        addresses: Vec::new(),
        listeners: vec![listener],
    };
    Statuses { gateways: vec![status], ..Statuses::default() }
}

fn replica(port: u16, generation: Option<i64>) -> Known {
    let generations: BTreeMap<Box<str>, i64> =
        generation.into_iter().map(|generation| (gateway().to_string().into(), generation)).collect();
    let answer = Answer {
        incarnation: format!("{port:016x}").into(),
        serves: true,
        ready: true,
        writes: false,
        generations: Arc::new(generations),
    };
    let member = Member { address: ([10, 0, 0, 1], port).into(), ready: true };
    Known { member, answer: Some(answer), silent: None }
}

fn all(replicas: Vec<Known>) -> Surroundings {
    Surroundings { complete: true, own: None, replicas }
}

#[test]
fn nothing_is_programmed_before_every_ready_replica_has_it() {
    let mut confirmations = Confirmations::default();
    let start = Instant::now();
    let old = all(vec![replica(1, Some(2)), replica(2, Some(1))]);
    let judged = confirmations.judge(&statuses(2), &old, start);
    assert!(judged.held.contains(&gateway()));
    assert_eq!(judged.again_at, Some(start + APPLIED_WAIT));

    let new = all(vec![replica(1, Some(2)), replica(2, Some(2))]);
    let judged = confirmations.judge(&statuses(2), &new, start);
    assert_eq!(judged, Judged { statuses: statuses(2), ..Judged::default() });
    // What was confirmed stays, and the next generation waits anew.
    assert!(confirmations.judge(&statuses(2), &old, start).held.is_empty());
    assert!(!confirmations.judge(&statuses(3), &new, start).held.is_empty());
    // One that is ahead has it, too.
    let ahead = all(vec![replica(1, Some(4)), replica(2, Some(3))]);
    assert!(confirmations.judge(&statuses(3), &ahead, start).held.is_empty());
}

#[test]
fn after_the_wait_the_status_says_who_lacks_it() {
    let mut confirmations = Confirmations::default();
    let start = Instant::now();
    let mut silent = replica(4, None);
    silent.answer = None;
    silent.silent = Some(CallError::Unreachable { address: silent.member.address, cause: "refused".into() });
    let others = all(vec![replica(1, Some(2)), replica(2, Some(1)), replica(3, None), silent]);
    confirmations.judge(&statuses(2), &others, start);
    let just_before = start + APPLIED_WAIT - Duration::from_millis(1);
    assert!(!confirmations.judge(&statuses(2), &others, just_before).held.is_empty());
    let judged = confirmations.judge(&statuses(2), &others, start + APPLIED_WAIT);
    assert!(judged.held.is_empty() && judged.again_at.is_none());
    let programmed = &judged.statuses.gateways[0].programmed;
    assert_eq!((programmed.holds, programmed.reason), (false, "Pending"));
    assert_eq!(
        &*programmed.message,
        "1 of 4 replicas serve generation 2: 10.0.0.1:2 still serves generation 1; 10.0.0.1:3 does not serve it; 10.0.0.1:4: refused"
    );
    assert_eq!(judged.statuses.gateways[0].listeners[0].programmed, *programmed);
    assert!(judged.statuses.gateways[0].accepted.holds);
}

#[test]
fn those_to_whom_no_client_comes_need_not_have_it() {
    let mut confirmations = Confirmations::default();
    let (mut control, mut starting, mut ending) = (replica(2, None), replica(3, None), replica(4, None));
    control.answer.as_mut().expect("an answer").serves = false;
    starting.answer.as_mut().expect("an answer").ready = false;
    ending.member.ready = false;
    let others = all(vec![replica(1, Some(1)), control, starting, ending]);
    assert!(confirmations.judge(&statuses(1), &others, Instant::now()).held.is_empty());
}

#[test]
fn many_are_counted_and_not_named() {
    let others = all((1..=9).map(|port| replica(port, None)).collect());
    let message = lacking(&gateway().to_string(), 1, &others).expect("nobody has it");
    assert!(message.starts_with("0 of 9 replicas"), "{message}");
    assert!(message.ends_with("; and 6 more"), "{message}");
    assert!(
        lacking(&gateway().to_string(), 1, &all(Vec::new())).is_some(),
        "without replicas nothing is served"
    );
    assert!(lacking(&gateway().to_string(), 1, &Surroundings::default()).is_some());
}

#[test]
fn what_is_wrong_anyway_does_not_wait() {
    let mut confirmations = Confirmations::default();
    let mut broken = statuses(1);
    broken.gateways[0].programmed = Condition::no("Invalid", "no listener is valid");
    let judged = confirmations.judge(&broken, &all(vec![replica(1, None)]), Instant::now());
    assert_eq!(judged, Judged { statuses: broken, ..Judged::default() });
}
