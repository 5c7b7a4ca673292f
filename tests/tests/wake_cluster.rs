//! Workloads of a real API server that sleep and wake. No controllers run: what they would do, the tests do.

use tests::client::Client;
use tests::cluster::eventually;
use tests::waking::{App, cluster, events, ingress, ready, runs, serve, service, workload};

#[test]
fn a_deployment_sleeps_is_woken_by_a_held_request_and_comes_back_as_it_was() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 3));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-idle", "1s")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 3, Some(app.address));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    eventually("it serves", || Client::connect(edge.http()).get("shop.test", "/").status == 200);

    cluster.expect("deployment/web", "{.spec.replicas}", "0");
    runs(&cluster, "deployment", "web", 0, None);
    assert_eq!(
        cluster.read_with("configmap/vestibule-wake", "{.data.default_deployment_web}", &["-n", "vestibule"]),
        "3"
    );

    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("deployment/web", "{.spec.replicas}", "3");
    runs(&cluster, "deployment", "web", 3, Some(app.address));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"app\":\"woken\""), "{}", answer.text());
    cluster.expect("deployment/web", "{.spec.replicas}", "0");

    // Who looks at the workload sees who woke it.
    eventually("it is told of both", || {
        let woken = events(&cluster, "deployment/web", "Woken");
        let slept = events(&cluster, "deployment/web", "PutToSleep");
        woken.contains("Normal: Woken with 3 replicas for a request of Ingress default/web rule 0 (/) (program, request id ")
            && slept.matches("Normal: Put to sleep: nobody uses it.").count() == 2
    });
    let own = "namespace=\"default\",workload=\"deployment/web\"";
    eventually("it is counted", || edge.metric("vestibule_workloads{state=\"asleep\"} ") == Some(1.0));
    let count = |series: &str| edge.metric(&series.replace("OWN", own));
    assert_eq!(count("vestibule_wakes_total{OWN,result=\"awake\"} "), Some(1.0));
    assert_eq!(count("vestibule_sleeps_total{OWN,result=\"asleep\"} "), Some(2.0));
    assert!(count("vestibule_workload_asleep_seconds_total{OWN} ").is_some_and(|seconds| seconds > 0.0));
    assert_eq!(count("vestibule_wake_duration_seconds_count "), Some(1.0));
    assert_eq!(count("vestibule_wake_waiting_requests "), Some(0.0));
}

#[test]
fn the_database_is_woken_first() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&workload("StatefulSet", "db", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake", "deployment/web after statefulset/db")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 0, None);
    let edge = serve(&cluster, "");
    eventually("it serves", || !edge.ask("/readyz").text().is_empty());
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("statefulset/db", "{.spec.replicas}", "1");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0", "before its database is ready");
    ready(&cluster, "statefulset", "db", 1);
    cluster.expect("deployment/web", "{.spec.replicas}", "1");
    runs(&cluster, "deployment", "web", 1, Some(app.address));
    assert!(client.answer().text().contains("\"app\":\"woken\""));
}

#[test]
fn what_nobody_can_tell_apart_is_a_problem() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&workload("StatefulSet", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-wait", "hold")]));
    let edge = serve(&cluster, "");
    edge.err().wait_for(&["CannotWake", "deployment/web and statefulset/web"]);
}

#[test]
fn a_missing_right_is_told_and_costs_no_wait() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-timeout", "5m")]));
    runs(&cluster, "deployment", "web", 0, None);
    cluster.kubectl(&["delete", "rolebinding", "vestibule-wake", "vestibule-wake-look"]);
    let edge = serve(&cluster, "");
    let answer = Client::connect(edge.http()).get("shop.test", "/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("reason: wake_failed"), "{}", answer.text());
    edge.err().wait_for(&["CannotWake", "forbidden"]);
}
