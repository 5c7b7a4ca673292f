use std::sync::{Arc, Mutex};

use super::super::tests::{Answer, Scripted};
use super::*;

fn seat() -> Seat {
    Seat { namespace: "vestibule".into(), name: "vestibule".into(), identity: "me".into() }
}

fn held(by: &str, version: u32) -> Answer {
    let lease = json!({
        "metadata": {"name": "vestibule", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": by, "leaseDurationSeconds": 1, "leaseTransitions": 4},
    });
    Answer::Json(200, lease.to_string())
}

#[tokio::test]
async fn a_lease_that_is_not_there_is_made() {
    let server = Scripted::start(|method, _, _| match method {
        "GET" => Answer::Json(404, "{}".into()),
        _ => Answer::Json(201, "{}".into()),
    })
    .await;
    let (mut candidate, leads) = Candidate::new(server.client.clone(), seat());
    candidate.round().await;
    assert!(*leads.borrow());
    assert_eq!(server.asked()[1], "/apis/coordination.k8s.io/v1/namespaces/vestibule/leases");
}

#[tokio::test]
async fn anothers_lease_is_taken_only_when_it_does_not_change_for_its_duration() {
    let version = Arc::new(Mutex::new(1));
    let shared = version.clone();
    let server = Scripted::start(move |method, _, _| match method {
        "GET" => held("other", *shared.lock().unwrap()),
        _ => Answer::Json(200, "{}".into()),
    })
    .await;
    let (mut candidate, leads) = Candidate::new(server.client.clone(), seat());
    candidate.round().await;
    assert!(!*leads.borrow());
    seen_longer_ago(&mut candidate);
    *version.lock().unwrap() = 2;
    candidate.round().await;
    assert!(!*leads.borrow(), "it was renewed meanwhile");
    seen_longer_ago(&mut candidate);
    candidate.round().await;
    assert!(*leads.borrow());
}

/// As if the Lease had been seen longer ago than it lasts.
fn seen_longer_ago(candidate: &mut Candidate) {
    let (_, since) = candidate.seen.as_mut().expect("seen");
    *since -= Duration::from_millis(1100);
}

#[tokio::test]
async fn who_comes_second_does_not_lead() {
    let server = Scripted::start(|method, _, _| match method {
        "GET" => held("", 1),
        _ => Answer::Json(409, "{}".into()),
    })
    .await;
    let (mut candidate, leads) = Candidate::new(server.client.clone(), seat());
    candidate.round().await;
    assert!(!*leads.borrow());
}

#[tokio::test]
async fn a_holder_that_cannot_renew_steps_down_before_the_lease_runs_out() {
    let server = Scripted::start(|method, _, before| match (method, before) {
        ("GET", 0) => held("me", 1),
        ("PUT", _) => Answer::Json(200, "{}".into()),
        _ => Answer::Json(500, "{}".into()),
    })
    .await;
    let (mut candidate, leads) = Candidate::new(server.client.clone(), seat());
    candidate.round().await;
    assert!(*leads.borrow());
    candidate.round().await;
    assert!(*leads.borrow(), "one failure is no loss");
    // As if the last renewal were longer ago.
    candidate.renewed = candidate.renewed.map(|renewed| renewed - (LEASE_DURATION - ROUND_TIME_MAX));
    candidate.round().await;
    assert!(!*leads.borrow());
}

#[tokio::test]
async fn a_process_that_stood_still_has_lost_the_lease_before_it_notices() {
    let holder = Arc::new(Mutex::new("me"));
    let shared = holder.clone();
    let server = Scripted::start(move |method, _, _| match method {
        "GET" => held(*shared.lock().unwrap(), 1),
        _ => Answer::Json(200, "{}".into()),
    })
    .await;
    let (mut candidate, leads) = Candidate::new(server.client.clone(), seat());
    let tenure = candidate.tenure();
    assert!(!tenure.is_held());
    candidate.round().await;
    assert!(tenure.is_held() && tenure.is_confirmed().await.unwrap());
    // Another has taken it, which this one has not seen yet.
    *holder.lock().unwrap() = "other";
    assert!(tenure.is_held() && !tenure.is_confirmed().await.unwrap());
    // As if the last renewal were longer ago than a Lease holds.
    candidate.ends.send_modify(|ends| *ends = ends.map(|ends| ends - LEASE_DURATION));
    assert!(*leads.borrow() && !tenure.is_held());
    *holder.lock().unwrap() = "me";
    candidate.round().await;
    tenure.begun().await;
}

#[test]
fn a_renewal_keeps_the_count_and_a_takeover_raises_it() {
    let (candidate, _) = Candidate::new(client(), seat());
    let old = |holder: &str| json!({"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": holder, "leaseTransitions": 4, "acquireTime": "then"}});
    let renewed = candidate.lease(&old("me"));
    assert_eq!(
        (&renewed["spec"]["leaseTransitions"], &renewed["spec"]["acquireTime"]),
        (&json!(4), &json!("then"))
    );
    assert_eq!(renewed["metadata"]["resourceVersion"], "7", "nobody else may have written meanwhile");
    let taken = candidate.lease(&old("other"));
    assert_eq!(taken["spec"]["leaseTransitions"], 5);
    assert_ne!(taken["spec"]["acquireTime"], "then");
}

fn client() -> Client {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap()
}
