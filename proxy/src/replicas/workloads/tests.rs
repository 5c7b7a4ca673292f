use tokio::net::TcpListener;

use super::super::key::CallKeys;
use super::super::wall_clock;
use super::*;
use crate::options::Role;
use crate::workload::cause::Agent;

fn web() -> Workload {
    Reference::parse("deployment/web").expect("a reference").within(&Arc::from("shop"))
}

fn messages() -> Vec<Message> {
    let (round, workload) = (Round(u64::MAX), web());
    let observation = Observation { version: u64::MAX, desired: 0, ready: 2, by_us: true };
    vec![
        Message::Quiesce { round, workload: workload.clone(), ttl: Duration::from_millis(8000) },
        Message::Quiesced { round, workload: workload.clone() },
        Message::Busy { round, workload: workload.clone() },
        Message::Release { round, workload: workload.clone() },
        Message::Asleep { round, workload, observation },
    ]
}

#[test]
fn what_is_said_is_what_is_heard() {
    for message in messages() {
        let text = serde_json::to_string(&Said::from(message.clone())).expect("JSON");
        let said: Said = serde_json::from_str(&text).expect("our own text");
        assert_eq!(Message::try_from(said), Ok(message), "{text}");
    }
    let endless = Said::Quiesce { round: 1, workload: Name::from(&web()), ttl_ms: u64::MAX };
    let Ok(Message::Quiesce { ttl, .. }) = Message::try_from(endless) else { panic!("a message") };
    assert_eq!(ttl, TTL_MAX);
    let nobody = Name { namespace: "shop".into(), workload: "web".into() };
    assert!(Message::try_from(Said::Busy { round: 1, workload: nobody }).is_err());
}

/// Two replicas that believe each other, with what the second one's driver is asked.
async fn pair(role: Role) -> (Replicas, Replicas, SocketAddr, mpsc::Receiver<Call>) {
    let text = CallKeys::new(wall_clock()).expect("random bytes").to_text();
    let mut replicas = Vec::new();
    for role in [Role::Edge, role] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let one = Replicas::start(listener, role);
        one.set_keys(CallKeys::parse(&text).expect("our own text"));
        replicas.push((one, address));
    }
    let (other, address) = replicas.pop().expect("the second");
    let (one, _) = replicas.pop().expect("the first");
    let calls = other.calls().expect("nobody else took them");
    (one, other, address, calls)
}

/// As if the second had asked the first what it serves.
fn heard(one: &Replicas, other: &Replicas, address: SocketAddr, leads: bool) {
    let question =
        AppliedQuestion { leads, wakes: true, address: Some(address), ..AppliedQuestion::default() };
    one.hear(other.incarnation(), &question);
}

#[tokio::test]
async fn a_message_reaches_the_process_it_is_for_and_no_other() {
    let (one, other, address, mut calls) = pair(Role::Control).await;
    heard(&one, &other, address, true);
    let (events, mut told) = mpsc::channel(8);
    for message in messages() {
        one.tell(PeerId(other.incarnation().clone()), message.clone(), events.clone());
        let Some(Call::Told { from, message: arrived }) = calls.recv().await else { panic!("a message") };
        assert_eq!((from, arrived), (PeerId(one.incarnation().clone()), message));
    }
    // A process that is no more, at an address where another one answers: it cannot promise, so it counts as busy.
    let gone: Incarnation = "00000000deadbeef".into();
    let question = AppliedQuestion { leads: true, address: Some(address), ..AppliedQuestion::default() };
    one.hear(&gone, &question);
    for (peer, why) in
        [(gone, "another process answers there"), ("00000000cafecafe".into(), "nobody knows it")]
    {
        let quiesce = messages().swap_remove(0);
        one.tell(PeerId(peer.clone()), quiesce, events.clone());
        let busy = Message::Busy { round: Round(u64::MAX), workload: web() };
        assert_eq!(told.recv().await, Some(Event::Told { from: PeerId(peer), message: busy }), "{why}");
    }
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn activity_is_summed_and_silence_is_no_rest() {
    let (one, _other, address, mut calls) = pair(Role::Edge).await;
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let Call::Activity { gates, reply } = call else { panic!("nothing else is asked") };
            let count = |gate: Box<str>| Count { holds: gate.len() as u64, idle: Duration::from_secs(7) };
            let _ = reply.send(gates.into_iter().map(count).collect());
        }
    });
    // More than one call can carry.
    let key: Box<str> = "0123456789abcdef0123456789abcdef".into();
    let gates = vec![key; GATES_PER_CALL_MAX + 1];
    let counts = one.activity(&[address, address], &gates).await.expect("both answer");
    assert_eq!(counts, vec![Count { holds: 64, idle: Duration::from_secs(7) }; GATES_PER_CALL_MAX + 1]);
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = nobody.local_addr().expect("an address");
    drop(nobody);
    assert_eq!(one.activity(&[address, silent], &gates).await, None);
}

#[tokio::test]
async fn an_edge_has_a_workload_woken_by_whoever_may() {
    let (one, other, address, mut calls) = pair(Role::Control).await;
    let seen = Observation { version: 7, desired: 2, ready: 0, by_us: true };
    let cause = Cause {
        route: "Ingress shop/web".into(),
        request_id: "1".into(),
        user: Some("ada".into()),
        agent: Agent::Browser,
    };
    let cause_text = cause.to_string();
    tokio::spawn(async move {
        let answers = [Ok(seen), Err(ScaleError::Refused("forbidden".into())), Err(ScaleError::Missing)];
        for answer in answers {
            let Some(Call::Wake { workload, cause, reply }) = calls.recv().await else { panic!("a wake") };
            assert_eq!(workload, web());
            assert_eq!(cause.map(|cause| cause.to_string()), Some(cause_text.clone()));
            let _ = reply.send(answer);
        }
    });
    // Somebody who is gone is asked in vain first, because it led.
    let gone: Incarnation = "00000000deadbeef".into();
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = nobody.local_addr().expect("an address");
    drop(nobody);
    let question = AppliedQuestion { leads: true, address: Some(silent), ..AppliedQuestion::default() };
    one.hear(&gone, &question);
    heard(&one, &other, address, false);
    assert_eq!(one.wake(&web(), Some(&cause)).await, Ok(seen));
    assert_eq!(one.wake(&web(), Some(&cause)).await, Err(ScaleError::Refused("forbidden".into())));
    assert_eq!(one.wake(&web(), Some(&cause)).await, Err(ScaleError::Missing));
}

#[tokio::test]
async fn an_edge_wakes_nothing_for_others() {
    let (one, other, address, _calls) = pair(Role::Edge).await;
    heard(&one, &other, address, true);
    let error = one.wake(&web(), None).await.expect_err("an edge may not");
    assert!(error.to_string().contains("403"), "{error}");
}

#[tokio::test]
async fn who_is_introduced_has_joined() {
    let (one, other, _, _calls) = pair(Role::Control).await;
    let joined = one.joined();
    let to = |whom: &Replicas| AppliedQuestion {
        introduced: Some(whom.incarnation().clone()),
        ..AppliedQuestion::default()
    };
    one.hear(other.incarnation(), &to(&other));
    assert!(!*joined.borrow(), "that was for another process at this address");
    one.hear(other.incarnation(), &to(&one));
    assert!(*joined.borrow());
}

#[tokio::test]
async fn calls_that_nobody_takes_are_refused_when_there_is_no_room() {
    let (one, other, address, calls) = pair(Role::Edge).await;
    heard(&one, &other, address, true);
    let busy = Message::Busy { round: Round(1), workload: web() };
    let mut taken = 0;
    while other.0.calls.capacity() > 0 {
        let call = Call::Told { from: PeerId(one.incarnation().clone()), message: busy.clone() };
        other.0.calls.try_send(call).expect("there is room");
        taken += 1;
    }
    assert_eq!(taken, super::super::CALLS_LEN_MAX);
    let telling = Telling { to: other.incarnation().clone(), said: Said::from(busy) };
    let told = call::<Done>(&one, address, QUIESCE, &telling, Duration::from_secs(20)).await;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(told.map(|_| ()), Err(super::super::call::CallError::Status { address, status }));
    drop(calls);
}

#[tokio::test]
async fn no_more_wakers_are_remembered_than_the_bound() {
    let (one, _other, _, _calls) = pair(Role::Edge).await;
    for number in 0..=WAKERS_LEN_MAX {
        let port = u16::try_from(number + 1).expect("a port");
        let address = Some(SocketAddr::from(([10, 0, 0, 1], port)));
        let question = AppliedQuestion { wakes: true, address, ..AppliedQuestion::default() };
        one.hear(&format!("{number:016x}").into(), &question);
    }
    assert_eq!(one.0.wakers.borrow().len(), WAKERS_LEN_MAX);
}
