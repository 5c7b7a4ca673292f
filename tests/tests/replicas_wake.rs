//! Workloads of a real API server that sleep and wake, with several replicas that clients come to. No controllers run: what they
//! would do, the tests do.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, pause};
use tests::replicas::{Replica, introduce};
use tests::waking::{self, App};

#[test]
fn what_a_websocket_on_one_edge_uses_no_replica_puts_to_sleep() {
    let cluster = cluster();
    let app = App::start();
    runs(&cluster, 2, Some(app.address));
    let [control, one, other] = edge(&cluster);
    let websocket = websocket(&other);
    let slept = count(&control, "put to sleep");
    // Four times the idle time, in which the leader asks again and again.
    pause(Duration::from_secs(4));
    assert_eq!((replicas(&cluster).as_str(), count(&control, "put to sleep")), ("2", slept));

    drop(websocket);
    cluster.expect("deployment/web", "{.spec.replicas}", "0");
    eventually("the leader did it", || count(&control, "put to sleep") > slept);
    runs(&cluster, 0, None);

    // Both edges have somebody who waits, and neither may scale: each has it woken once, however many wait.
    let before = [&one, &other].map(|edge| count(edge, "waking"));
    let mut waiting: Vec<Client> = [&one, &other, &one, &other, &one, &other]
        .map(|edge| {
            let mut client = Client::connect(edge.process.http());
            client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
            client
        })
        .into();
    cluster.expect("deployment/web", "{.spec.replicas}", "2");
    runs(&cluster, 2, Some(app.address));
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200);
    }
    for (edge, before) in [&one, &other].into_iter().zip(before) {
        assert!(count(edge, "waking") <= before + 1, "{:?}", edge.process.err().all());
    }
    // The edges may not write Events: the replica that scaled for them says for whom, however many asked.
    eventually("it is told for whom, and once for each sleep", || {
        let woken = waking::events(&cluster, "deployment/web", "Woken");
        let slept = waking::events(&cluster, "deployment/web", "PutToSleep");
        let named = "for a request of Ingress default/web rule 0 (/) (program, request id ";
        !woken.is_empty()
            && woken.lines().all(|line| line.contains(named))
            && woken.lines().count() <= slept.lines().count()
    });
}

#[test]
fn with_a_replica_that_does_not_answer_everything_stays_awake() {
    let cluster = cluster();
    let app = App::start();
    runs(&cluster, 2, Some(app.address));
    let [control, one, other] = edge(&cluster);
    let websocket = websocket(&one);
    // Killed, and Kubernetes has not noticed.
    other.process.signal(Signal::KILL);
    eventually("the leader finds nobody there", || {
        control.process.metric("vestibule_replicas_silent ") == Some(1.0)
    });
    drop(websocket);
    pause(Duration::from_secs(4));
    assert_eq!(replicas(&cluster), "2");
    // Its Pod is gone for good.
    cluster.kubectl(&["delete", "endpointslice", "replicas-2", "--namespace=vestibule"]);
    cluster.expect("deployment/web", "{.spec.replicas}", "0");
}

#[test]
fn an_edge_that_comes_later_is_asked_from_its_first_request_on() {
    let cluster = cluster();
    let app = App::start();
    runs(&cluster, 2, Some(app.address));
    let [control, one, other] = edge(&cluster);
    let before = websocket(&one);
    let late = Replica::start_as(&cluster, "edge", "edge", "");
    let mut first = Client::connect(late.process.http());
    first.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    // Nobody would ask it yet, so it does not use what could be put to sleep.
    introduce(&cluster, &[&control, &one, &other, &late]);
    assert_eq!(first.answer().status, 200);
    let websocket = websocket(&late);
    drop(before);
    pause(Duration::from_secs(4));
    assert_eq!(replicas(&cluster), "2");
    drop(websocket);
    cluster.expect("deployment/web", "{.spec.replicas}", "0");
}

#[test]
fn when_the_leader_is_killed_the_next_one_asks_and_goes_on() {
    let cluster = cluster();
    let app = App::start();
    runs(&cluster, 2, Some(app.address));
    // Both do everything. The first leads, for the second is not there yet.
    let first = Replica::start(&cluster, "all", "");
    first.process.err().wait_for(&["this replica leads"]);
    let second = Replica::start(&cluster, "all", "");
    introduce(&cluster, &[&first, &second]);
    let websocket = websocket(&second);
    eventually("both are asked", || {
        first.process.metric("vestibule_replicas ") == Some(2.0)
            && first.process.metric("vestibule_replicas_silent ") == Some(0.0)
    });
    pause(Duration::from_secs(2));
    assert_eq!(replicas(&cluster), "2");
    first.process.signal(Signal::KILL);
    cluster.kubectl(&["delete", "endpointslice", "replicas-0", "--namespace=vestibule"]);
    eventually("the second leads", || {
        second.process.err().all().iter().any(|line| line.contains("this replica leads"))
    });
    pause(Duration::from_secs(2));
    assert_eq!(replicas(&cluster), "2");
    drop(websocket);
    cluster.expect("deployment/web", "{.spec.replicas}", "0");
    assert_eq!(count(&second, "put to sleep"), 1);
}

/// One replica that leads, and two that clients come to and that may not scale.
fn edge(cluster: &ControlPlane) -> [Replica; 3] {
    let control = Replica::start_as(cluster, "vestibule", "control", "");
    let one = Replica::start_as(cluster, "edge", "edge", "");
    let other = Replica::start_as(cluster, "edge", "edge", "");
    introduce(cluster, &[&control, &one, &other]);
    eventually("the leader has found all", || {
        control.process.metric("vestibule_replicas ") == Some(3.0)
            && control.process.metric("vestibule_replicas_silent ") == Some(0.0)
    });
    [control, one, other]
}

/// A WebSocket of the application, by way of this edge.
#[track_caller]
fn websocket(edge: &Replica) -> Client {
    let mut client = Client::connect(edge.process.http());
    client.send(
        "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.head().0.status, 101);
    client
}

/// How often it has said this of the workload.
fn count(replica: &Replica, words: &str) -> usize {
    let lines = replica.process.err().all();
    lines.iter().filter(|line| line.contains(words) && line.contains("default/deployment/web")).count()
}

fn replicas(cluster: &ControlPlane) -> String {
    cluster.read("deployment/web", "{.spec.replicas}")
}

/// An API server with a Deployment of two that sleeps after a second.
fn cluster() -> ControlPlane {
    let cluster = waking::cluster();
    cluster.apply(&waking::workload("Deployment", "web", 2));
    cluster.apply(&waking::service("web"));
    cluster.apply(&waking::ingress(&[("wake-idle", "1s")]));
    cluster
}

fn runs(cluster: &ControlPlane, count: u32, endpoint: Option<SocketAddr>) {
    waking::runs(cluster, "deployment", "web", count, endpoint);
}
