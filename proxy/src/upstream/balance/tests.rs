use std::collections::HashMap;

use super::*;
use crate::upstream::{BackendKey, BackendProtocol, EndpointAddress, EndpointSpec};

fn backend(balance: Balance, local: &[bool]) -> Backend {
    let key = BackendKey {
        namespace: "shop".into(),
        service: "web".into(),
        port: 80,
        protocol: BackendProtocol::Http1,
        tls: None,
        balance,
    };
    let backend = Backend::new(key, &Default::default());
    let specs: Vec<EndpointSpec> = local
        .iter()
        .enumerate()
        .map(|(index, &local)| EndpointSpec {
            address: EndpointAddress::Socket(([10, 0, 0, index as u8], 80).into()),
            local,
        })
        .collect();
    backend.publish(&specs);
    backend
}

const IN_FLIGHT_MAX: u32 = 100;

fn choose_at(pools: &Pools, backend: &Backend, tried: &[u64], now_ms: u64) -> Result<Choice, NoChoice> {
    choose(View { pools, in_flight_max: IN_FLIGHT_MAX, now_ms, prefers: Prefers::Any }, backend, tried)
}

fn eject(endpoint: &Endpoint) {
    (0..5).for_each(|_| {
        endpoint.health.failed(0);
    });
}

fn shares(pools: &Pools, backend: &Backend, tried: &[u64], now_ms: u64) -> HashMap<u64, usize> {
    let mut shares = HashMap::new();
    for _ in 0..1_000 {
        let choice = choose_at(pools, backend, tried, now_ms).expect("an endpoint");
        *shares.entry(choice.endpoint.id).or_default() += 1;
    }
    shares
}

#[test]
fn a_backend_without_endpoints_says_so() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[]);
    assert_eq!(choose_at(&pools, &backend, &[], 0).err(), Some(NoChoice::NoEndpoints));
}

#[test]
fn equal_endpoints_share_alike() {
    for balance in [Balance::PowerOfTwo, Balance::RoundRobin] {
        let pools = Pools::default();
        let backend = backend(balance, &[false; 4]);
        let shares = shares(&pools, &backend, &[], 0);
        assert_eq!(shares.len(), 4);
        assert!(shares.values().all(|share| (180..=320).contains(share)), "{balance:?}: {shares:?}");
    }
}

#[test]
fn the_slower_of_two_gets_less_and_the_busier_too() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 3]);
    let endpoints = backend.endpoints();
    for (endpoint, latency_ms) in endpoints.iter().zip([1, 1, 10]) {
        pools.of(endpoint).observe(std::time::Duration::from_millis(latency_ms), 0);
    }
    assert!(!shares(&pools, &backend, &[], 0).contains_key(&endpoints[2].id));
    let _busy: Vec<_> =
        (0..20).map(|_| [pools.of(&endpoints[0]).enter(), pools.of(&endpoints[1]).enter()]).collect();
    assert!(shares(&pools, &backend, &[], 0)[&endpoints[2].id] > 500);
}

#[test]
fn near_endpoints_come_first_until_they_fail() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[true, false, false]);
    let endpoints = backend.endpoints();
    let near = endpoints[0].id;
    assert_eq!(shares(&pools, &backend, &[], 0).keys().collect::<Vec<_>>(), [&near]);
    eject(&endpoints[0]);
    assert!(!shares(&pools, &backend, &[], 0).contains_key(&near));
}

#[test]
fn an_ejected_endpoint_gets_one_probe_when_its_time_is_over() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 3]);
    let endpoints = backend.endpoints();
    eject(&endpoints[1]);
    assert!(!shares(&pools, &backend, &[], 4_999).contains_key(&endpoints[1].id));
    assert_eq!(shares(&pools, &backend, &[], 5_000)[&endpoints[1].id], 1);
}

#[test]
fn when_most_are_ejected_all_are_tried() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 3]);
    let endpoints = backend.endpoints();
    endpoints.iter().take(2).for_each(|endpoint| eject(endpoint));
    assert_eq!(shares(&pools, &backend, &[], 0).len(), 3);
}

#[test]
fn a_retry_goes_elsewhere_if_there_is_an_elsewhere() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 2]);
    let ids: Vec<u64> = backend.endpoints().iter().map(|endpoint| endpoint.id).collect();
    assert_eq!(shares(&pools, &backend, &ids[..1], 0).keys().collect::<Vec<_>>(), [&ids[1]]);
    assert_eq!(shares(&pools, &backend, &ids, 0).len(), 2);
}

#[test]
fn a_full_endpoint_is_passed_over_and_full_everywhere_is_saturation() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 2]);
    let endpoints = backend.endpoints();
    let first: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| pools.of(&endpoints[0]).enter()).collect();
    assert_eq!(shares(&pools, &backend, &[], 0).keys().collect::<Vec<_>>(), [&endpoints[1].id]);
    let second: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| pools.of(&endpoints[1]).enter()).collect();
    assert_eq!(choose_at(&pools, &backend, &[], 0).err(), Some(NoChoice::Saturated));
    drop((first, second));
    assert!(choose_at(&pools, &backend, &[], 0).is_ok());
}

#[test]
fn one_slow_answer_is_forgiven_in_time() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 2]);
    let endpoints = backend.endpoints();
    for _ in 0..50 {
        pools.of(&endpoints[0]).observe(std::time::Duration::from_millis(1), 0);
    }
    pools.of(&endpoints[1]).observe(std::time::Duration::from_secs(1), 0);
    assert!(!shares(&pools, &backend, &[], 0).contains_key(&endpoints[1].id));
    pools.of(&endpoints[0]).observe(std::time::Duration::from_millis(1), 60_000);
    assert!(shares(&pools, &backend, &[], 60_000).contains_key(&endpoints[1].id));
}

#[test]
fn an_endpoint_that_hangs_does_not_attract_everything() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 2]);
    let endpoints = backend.endpoints();
    for _ in 0..50 {
        pools.of(&endpoints[0]).observe(std::time::Duration::from_millis(2), 0);
    }
    let mut held = Vec::new();
    for _ in 0..50 {
        let choice = choose_at(&pools, &backend, &[], 0).expect("an endpoint");
        if choice.endpoint.id == endpoints[1].id {
            held.push(choice.pool.enter());
        }
    }
    assert!(held.len() < 10, "{} requests went to the endpoint that never answers", held.len());
}

fn prefer(pools: &Pools, backend: &Backend, prefers: Prefers, tried: &[u64]) -> u64 {
    let view = View { pools, in_flight_max: IN_FLIGHT_MAX, now_ms: 0, prefers };
    choose(view, backend, tried).expect("an endpoint").endpoint.id
}

#[test]
fn a_session_keeps_its_endpoint_while_it_can() {
    let pools = Pools::default();
    let backend = backend(Balance::RoundRobin, &[false, true, true]);
    let endpoints = backend.endpoints();
    let wanted = &endpoints[0];
    for _ in 0..50 {
        assert_eq!(prefer(&pools, &backend, Prefers::Endpoint(wanted.token), &[]), wanted.id);
    }
    assert_ne!(prefer(&pools, &backend, Prefers::Endpoint(wanted.token), &[wanted.id]), wanted.id);
    eject(wanted);
    assert_ne!(prefer(&pools, &backend, Prefers::Endpoint(wanted.token), &[]), wanted.id);
    prefer(&pools, &backend, Prefers::Endpoint(1), &[]);
}

#[test]
fn a_key_has_its_endpoint_and_few_move_when_one_goes() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 5]);
    let place = |backend: &Backend, key: u64| {
        prefer(&pools, backend, Prefers::Hashed { key: mix(key), among: 1 }, &[])
    };
    let before: Vec<u64> = (0..1000).map(|key| place(&backend, key)).collect();
    assert_eq!(before, (0..1000).map(|key| place(&backend, key)).collect::<Vec<_>>());
    let gone = backend.endpoints()[4].id;
    let specs: Vec<EndpointSpec> =
        backend.endpoints()[..4].iter().map(|endpoint| endpoint.spec.clone()).collect();
    backend.publish(&specs);
    let moved = (0..1000).filter(|key| place(&backend, *key) != before[*key as usize]).count();
    assert_eq!(moved, before.iter().filter(|id| **id == gone).count(), "only those of the one that went");
    assert!((120..=280).contains(&moved), "{moved}");
}

#[test]
fn a_key_may_have_several_endpoints() {
    let pools = Pools::default();
    let backend = backend(Balance::PowerOfTwo, &[false; 8]);
    let met: std::collections::BTreeSet<u64> =
        (0..200).map(|_| prefer(&pools, &backend, Prefers::Hashed { key: 7, among: 3 }, &[])).collect();
    assert_eq!(met.len(), 3);
    let all = Prefers::Hashed { key: 7, among: u16::MAX };
    let met: std::collections::BTreeSet<u64> = (0..500).map(|_| prefer(&pools, &backend, all, &[])).collect();
    assert_eq!(met.len(), 8);
}
