use super::super::cause::Agent;
use super::*;
use crate::tls::upstream::UpstreamTlsCache;
use crate::upstream::{BackendKey, BackendProtocol, Balance, EndpointAddress, EndpointSpec};
use wake::policy::Wish;

fn backend(service: &str) -> Arc<Backend> {
    let key = BackendKey {
        namespace: "shop".into(),
        service: service.into(),
        port: 80,
        protocol: BackendProtocol::Http1,
        tls: None,
        balance: Balance::PowerOfTwo,
    };
    Arc::new(Backend::new(key, &UpstreamTlsCache::default()))
}

fn words(wish: &str) -> Words {
    Words { wake: Some(Wish::parse(wish).expect(wish)), ..Words::default() }
}

fn obtain(gates: &mut Gates, wish: &str, backend: &Arc<Backend>) -> Arc<Gate> {
    gates.obtain(&"shop".into(), &words(wish), &[backend]).expect("a gate")
}

#[test]
fn routes_that_ask_for_the_same_share_a_gate() {
    let mut gates = Gates::default();
    let (web, api) = (backend("web"), backend("api"));
    let own = obtain(&mut gates, "true", &web);
    assert!(Arc::ptr_eq(&own, &obtain(&mut gates, "true", &web)));
    assert!(!Arc::ptr_eq(&own, &obtain(&mut gates, "true", &api)), "another Service has another workload");
    let named = obtain(&mut gates, "deploy/app", &web);
    assert!(Arc::ptr_eq(&named, &obtain(&mut gates, "deployment/app", &api)));
    assert_eq!(named.backends().len(), 2);
    assert!(gates.obtain(&"shop".into(), &words("false"), &[&web]).is_none());
}

#[test]
fn a_gate_lives_as_long_as_a_route_or_a_request() {
    let mut gates = Gates::default();
    let web = backend("web");
    let gate = obtain(&mut gates, "true", &web);
    let hold = gate.enter(false);
    drop(gate);
    assert_eq!(gates.live().len(), 1, "a request under way");
    drop(hold);
    assert!(gates.live().is_empty());
}

#[test]
fn what_entered_is_counted_until_it_is_dropped() {
    let gate = obtain(&mut Gates::default(), "true", &backend("web"));
    let (first, second) = (gate.enter(false), gate.enter(true));
    assert_eq!(gate.count().holds, 2);
    drop(first);
    assert_eq!(gate.count().holds, 1);
    drop(second);
    assert_eq!(gate.count().holds, 0);
}

#[test]
fn a_quiet_visit_does_not_begin_the_idle_time_anew() {
    let gate = obtain(&mut Gates::default(), "true", &backend("web"));
    drop(gate.enter(true));
    let slots = || gate.slots.iter().map(|slot| slot.last_ms.load(Ordering::Relaxed)).max();
    assert_eq!(slots(), Some(0));
}

#[test]
fn whoever_enters_sees_the_gate_closed_or_is_counted() {
    // The two sides of the race, many times over on two threads.
    for _ in 0..200 {
        let gate = obtain(&mut Gates::default(), "true", &backend("web"));
        let start = std::sync::Barrier::new(2);
        let (passed, holds) = std::thread::scope(|scope| {
            let visitor = scope.spawn(|| {
                start.wait();
                let hold = gate.enter(false);
                let passed = gate.is_open();
                // Still inside when the other side counts.
                std::mem::forget(hold);
                passed
            });
            start.wait();
            gate.set(Passage::Closed);
            let holds = gate.count().holds;
            (visitor.join().expect("a visitor"), holds)
        });
        assert!(!passed || holds == 1, "it passed, and was not counted");
    }
}

#[test]
fn the_driver_hears_once_however_many_ask() {
    let mut gates = Gates::default();
    let gate = obtain(&mut gates, "true", &backend("web"));
    let cause = || Cause { route: "r".into(), request_id: "1".into(), user: None, agent: Agent::Program };
    for _ in 0..1000 {
        gate.want(cause);
    }
    assert_eq!(gates.bell().take().len(), 1);
    assert!(gates.bell().take().is_empty());
    gate.want(cause);
    assert!(gates.bell().take().is_empty(), "it was heard of, and not dealt with yet");
    assert!(gate.take_cause().is_some());
    gate.want(cause);
    assert_eq!(gates.bell().take().len(), 1);
}

#[test]
fn places_are_bounded_and_given_back() {
    let mut gates = Gates::default();
    let gate = obtain(&mut gates, "true", &backend("web"));
    let places: Vec<Place<'_>> = (0..WAITING_PER_GATE_MAX).map(|_| gate.queue().expect("a place")).collect();
    assert!(gate.queue().is_none());
    drop(places);
    assert_eq!(gate.waiting(), 0);
    let all: Vec<Arc<Gate>> = (0..=WAITING_MAX / WAITING_PER_GATE_MAX)
        .map(|n| obtain(&mut gates, &format!("deploy/w{n}"), &backend("web")))
        .collect();
    let (last, others) = all.split_last().expect("gates");
    let taken: Vec<Place<'_>> = others
        .iter()
        .flat_map(|gate| (0..WAITING_PER_GATE_MAX).map(|_| gate.queue().expect("a place")))
        .collect();
    assert_eq!(taken.len(), WAITING_MAX);
    assert!(last.queue().is_none(), "all gates together have so many places");
}

#[test]
fn a_backend_is_proven_until_the_gate_closes() {
    let gate = obtain(&mut Gates::default(), "true", &backend("none"));
    let web = backend("web");
    let shares = [WeightedBackend::whole(web.clone())];
    gate.prove(&web);
    assert!(!gate.is_proven(&shares), "it has no endpoint");
    let address = EndpointAddress::Socket("127.0.0.1:1".parse().expect("an address"));
    web.publish(&[EndpointSpec { address, local: false }]);
    assert!(gate.is_proven(&shares));
    gate.set(Passage::Closed);
    assert!(!gate.is_proven(&shares));
}
