use std::collections::HashMap;

use super::super::rule::{WrittenLimits, parse_rates};
use super::super::{Decision, KEYS_DEFAULT, Limiting, RateLimit};
use super::*;

fn limit(text: &str) -> RateLimit {
    let written = WrittenLimits { rates: parse_rates(text).expect("a rule"), ..WrittenLimits::default() };
    Limiting::new(&written, "Ingress shop/web").expect("a limit").on_arrival.rates[0].clone()
}

/// The store's side, as the script does it.
#[derive(Default)]
struct Store(HashMap<SharedKey, Duration>);

impl Store {
    fn add(&mut self, outgoing: &Outgoing, now: Duration) -> Duration {
        let due = self.0.entry(outgoing.key).or_default();
        *due = (*due).max(now) + outgoing.add;
        *due - now
    }
}

fn exchange(limiter: &Limiter, store: &mut Store, now: Duration) {
    for outgoing in limiter.outgoing(now) {
        let ahead = store.add(&outgoing, now);
        limiter.incoming(&outgoing, ahead, now);
    }
}

fn replicas(count: usize) -> Vec<Limiter> {
    let replicas: Vec<Limiter> = (0..count).map(|_| Limiter::new(KEYS_DEFAULT)).collect();
    replicas.iter().for_each(Limiter::begin_exchange);
    replicas
}

fn passes(limiter: &Limiter, limit: &RateLimit, now: Duration) -> bool {
    limiter.count(limit, Value::Account("ada"), now) == Decision::Passes
}

const TICK: Duration = Duration::from_millis(100);

#[test]
fn replicas_together_keep_to_the_rate_within_the_bound() {
    let limit = limit("10/s burst 20 cluster");
    for count in [1, 2, 5] {
        let (replicas, mut store) = (replicas(count), Store::default());
        let mut passed = 0;
        // A minute of far too many requests, at all replicas alike.
        for tick in 0..600 {
            let now = TICK * tick;
            for _ in 0..30 {
                passed += replicas.iter().filter(|replica| passes(replica, &limit, now)).count();
            }
            replicas.iter().for_each(|replica| exchange(replica, &mut store, now));
        }
        let rule = 600 + 20;
        let most = rule + (count - 1) * 20;
        assert!((600..=most).contains(&passed), "{count} replicas let {passed} through");
    }
}

#[test]
fn what_was_too_much_is_paid_back() {
    let limit = limit("10/s burst 20 cluster");
    let (replicas, mut store) = (replicas(3), Store::default());
    let flood =
        |now| replicas.iter().map(|one| (0..50).filter(|_| passes(one, &limit, now)).count()).sum::<usize>();
    assert_eq!(flood(Duration::ZERO), 60, "nobody knows of the others yet");
    for _ in 0..2 {
        replicas.iter().for_each(|replica| exchange(replica, &mut store, Duration::ZERO));
    }
    // Sixty requests are six seconds; the burst is two of them.
    assert_eq!(flood(Duration::from_millis(3_900)), 0);
    assert!(flood(Duration::from_millis(4_200)) > 0);
}

#[test]
fn without_a_store_each_counts_by_itself_and_nobody_pays_for_it_later() {
    let limit = limit("10/s burst 20 cluster");
    let (replicas, mut store) = (replicas(2), Store::default());
    let mut passed = 0;
    for tick in 0..100 {
        let now = TICK * tick;
        passed +=
            replicas.iter().map(|one| (0..5).filter(|_| passes(one, &limit, now)).count()).sum::<usize>();
        for replica in &replicas {
            // The exchange fails.
            replica.outgoing(now).iter().for_each(|outgoing| replica.give_back(outgoing));
        }
    }
    assert!((200..=240).contains(&passed), "{passed}");
    let now = TICK * 100;
    let told: Vec<Outgoing> = replicas.iter().flat_map(|replica| replica.outgoing(now)).collect();
    assert!(told.iter().all(|outgoing| outgoing.add <= Duration::from_secs(2)), "{told:?}");
    for outgoing in &told {
        store.add(outgoing, now);
    }
    assert!(store.0.values().all(|due| *due - now <= Duration::from_secs(4)));
}

#[test]
fn other_rules_and_refused_requests_are_not_told() {
    let replica = &replicas(1)[0];
    let local = limit("1/m");
    assert_eq!(replica.count(&local, Value::All, Duration::ZERO), Decision::Passes);
    assert!(replica.outgoing(Duration::ZERO).is_empty());
    let shared = limit("1/m cluster");
    assert!(passes(replica, &shared, Duration::ZERO));
    assert!(!passes(replica, &shared, Duration::ZERO));
    let told = replica.outgoing(Duration::ZERO);
    assert_eq!(told.iter().map(|outgoing| outgoing.add).collect::<Vec<_>>(), [Duration::from_secs(60)]);
    replica.end_exchange();
    replica.count(&shared, Value::Account("bob"), Duration::ZERO);
    assert!(replica.outgoing(Duration::ZERO).is_empty());
}

#[test]
fn every_replica_knows_a_key_by_the_same_name() {
    let limit = limit("10/s cluster");
    let keys: Vec<SharedKey> = replicas(2)
        .iter()
        .map(|replica| {
            assert!(passes(replica, &limit, Duration::ZERO));
            replica.outgoing(Duration::ZERO)[0].key
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
    let values = [Value::All, Value::Account("a"), Value::Text(b"a"), Value::Address([127, 0, 0, 1].into())];
    let different: std::collections::HashSet<SharedKey> =
        values.into_iter().map(|value| SharedKey::of(1, value)).collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn there_is_room_for_so_many_keys_and_no_more() {
    let replica = &replicas(1)[0];
    let limit = limit("10/s cluster");
    for key in 0..PENDING_LEN_MAX as u32 + 10 {
        replica.count(&limit, Value::Text(&key.to_be_bytes()), Duration::ZERO);
    }
    assert_eq!(replica.untold(), 10);
    assert_eq!(replica.outgoing(Duration::ZERO).len(), PENDING_LEN_MAX);
}
