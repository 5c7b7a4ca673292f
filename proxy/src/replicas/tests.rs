use std::collections::BTreeMap;

use super::call::{CallError, call};
use super::message::{AppliedAnswer, AppliedQuestion};
use super::*;

/// A replica on a free port of loopback, without keys.
async fn replica(role: Role) -> (Replicas, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (Replicas::start(listener, role), address)
}

/// The same keys for all.
fn share_keys(replicas: &[&Replicas]) {
    let text = CallKeys::new(wall_clock()).expect("random bytes").to_text();
    for replicas in replicas {
        replicas.set_keys(CallKeys::parse(&text).expect("our own text"));
    }
}

async fn ask(from: &Replicas, to: SocketAddr) -> Result<AppliedAnswer, CallError> {
    call(from, to, APPLIED_VERSION, &AppliedQuestion::default(), Duration::from_secs(20)).await
}

#[tokio::test]
async fn replicas_with_the_same_keys_answer_each_other() {
    let ((one, _), (other, address)) = (replica(Role::Control).await, replica(Role::Edge).await);
    share_keys(&[&one, &other]);
    let answer = ask(&one, address).await.expect("an answer");
    assert_eq!(answer.incarnation, Some(Arc::clone(&other.0.incarnation)));
    assert!(answer.serves && !answer.ready && answer.applied.is_none());

    let generations = BTreeMap::from([("Gateway shop/public".into(), 7)]);
    other.set_applied(Applied::new(3, generations.clone()));
    let answer = ask(&one, address).await.expect("an answer");
    assert_eq!((answer.ready, answer.version, answer.applied), (true, 3, Some(generations.clone())));
    let same = AppliedQuestion { digest: Applied::new(9, generations).digest, ..AppliedQuestion::default() };
    let answer: AppliedAnswer =
        call(&one, address, APPLIED_VERSION, &same, Duration::from_secs(20)).await.expect("an answer");
    assert_eq!(answer.applied, None, "what both have is not sent");
}

#[tokio::test]
async fn whoever_has_other_keys_is_refused_and_counted() {
    let ((one, own), (other, address)) = (replica(Role::All).await, replica(Role::All).await);
    assert_eq!(ask(&one, address).await, Err(CallError::NoKeys));
    share_keys(&[&one]);
    assert_eq!(
        ask(&one, address).await,
        Err(CallError::Stranger { address }),
        "the other has no keys yet: 503"
    );
    share_keys(&[&other]);
    assert_eq!(ask(&one, address).await, Err(CallError::Refused { address }));
    assert_eq!(ask(&other, own).await, Err(CallError::Refused { address: own }));
    let counts = other.counters().counts();
    let refused: Vec<_> = counts.refused.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!((counts.taken, refused), (0, vec![("no_keys", 1), ("unknown_key", 1)]));
    assert_eq!(other.counters().counts().failed, 1);
}

#[tokio::test]
async fn an_answer_larger_than_the_bound_is_none() {
    let ((one, _), (other, address)) = (replica(Role::Control).await, replica(Role::Edge).await);
    share_keys(&[&one, &other]);
    let gateways = |count: usize| -> BTreeMap<Box<str>, i64> {
        (0..count).map(|number| (format!("Gateway shop/{number:0>100}").into(), 1)).collect()
    };
    other.set_applied(Applied::new(1, gateways(30_000)));
    let answer = ask(&one, address).await.expect("an answer of 3.6 MB");
    assert_eq!(answer.applied.map(|applied| applied.len()), Some(30_000));
    other.set_applied(Applied::new(2, gateways(40_000)));
    assert!(matches!(ask(&one, address).await, Err(CallError::Unreachable { .. })));
}
