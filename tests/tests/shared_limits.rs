//! Rates for all replicas together, through a real Redis: `tests/run limits`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{settings, site};
use tests::redis::Redis;
use tests::upstream::Upstream;
use tests::wait::{eventually, pause};

const HOST: &str = "shop.example";
/// How many requests a client has at once; none of them comes back while a test runs.
const BURST: usize = 300;

fn replica(redis: &Redis, app: &Upstream) -> Edge {
    let limit = format!("rate-limit: {BURST}/d per ip cluster");
    let edge = Edge::from_yaml(&[settings(&redis.settings()), site(&limit, app.address)].concat());
    assert_eq!(edge.problems(), []);
    edge
}

fn status(edge: &Edge, client: IpAddr) -> u16 {
    Client::connect_from(client, edge.http()).get(HOST, "/").status
}

/// How many requests of a client pass until one is refused, with a pause after each.
fn passed(edge: &Edge, client: IpAddr) -> usize {
    let count = (0..=BURST)
        .take_while(|_| {
            pause();
            status(edge, client) == 200
        })
        .count();
    assert!(count <= BURST, "nothing was refused");
    count
}

/// As many requests as a client has at once.
fn use_up(edge: &Edge, client: IpAddr) {
    let mut connection = Client::connect_from(client, edge.http());
    for request in 0..BURST {
        assert_eq!(connection.get(HOST, "/").status, 200, "request {request}");
    }
    assert_eq!(connection.get(HOST, "/").status, 429);
}

fn client(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, number])
}

#[test]
fn what_one_replica_lets_through_the_others_know() {
    let (mut redis, app) = (Redis::start(), Upstream::saying("app"));
    let (one, two) = (replica(&redis, &app), replica(&redis, &app));

    use_up(&one, client(2));
    assert!(passed(&two, client(2)) < BURST, "the other replica learns of it");
    assert_eq!(status(&two, client(3)), 200, "other clients have their own");

    // Without it each counts by itself, and answers as fast as ever.
    redis.stop();
    eventually("the outage is noticed", || one.metric("vestibule_limit_exchange_failures_total") > 0.0);
    let begun = Instant::now();
    use_up(&one, client(4));
    assert!(begun.elapsed() < Duration::from_secs(10), "nothing waits for the store: {:?}", begun.elapsed());
    use_up(&two, client(4));

    // And when it is back, they share again, also what was counted before.
    redis.begin();
    use_up(&one, client(5));
    assert!(passed(&two, client(5)) < BURST);
    assert_eq!((status(&one, client(2)), status(&two, client(2))), (429, 429));
}

#[test]
fn a_replica_that_is_new_learns_what_the_others_have_let_through() {
    let (redis, app) = (Redis::start(), Upstream::saying("app"));
    let one = replica(&redis, &app);
    use_up(&one, client(2));
    // Told before the new one asks.
    eventually("it is told", || {
        let new = replica(&redis, &app);
        passed(&new, client(2)) < BURST / 2
    });
}

#[test]
fn a_store_that_cannot_be_used_changes_nothing_and_its_password_is_not_seen() {
    let (redis, app) = (Redis::start(), Upstream::saying("app"));
    let store = redis.settings_with("another password");
    let limit = format!("rate-limit: {BURST}/d per ip cluster");
    let edge = Edge::from_yaml(&[settings(&store), site(&limit, app.address)].concat());
    use_up(&edge, client(2));
    eventually("it is noticed", || edge.metric("vestibule_limit_exchange_failures_total") > 0.0);
}

#[test]
fn without_a_store_each_replica_counts_and_the_object_says_so() {
    let app = Upstream::saying("app");
    let edge = Edge::from_yaml(&site("rate-limit: 2/d per ip cluster", app.address));
    let reasons: Vec<&str> = edge.problems().iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, ["LimitWithoutStore"]);
    assert_eq!([0; 3].map(|_| status(&edge, client(2))), [200, 200, 429]);
}
