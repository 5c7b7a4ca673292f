//! Why something does not wake, in a real API server: what Pods, conditions and Events say. No controllers run: what they would
//! write, the tests write.

use tests::client::Client;
use tests::cluster::{ControlPlane, eventually};
use tests::message::Answer;
use tests::process::Process;
use tests::waking::{cluster, events, ingress, patch_status, runs, serve, service, workload};

#[test]
fn the_reason_of_a_slow_wake_is_told_to_visitors_and_to_operators() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-timeout", "2s"), ("wake-wait", "hold")]));
    // The controllers would make it.
    cluster.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n");
    cluster.apply(POD);
    runs(&cluster, "deployment", "web", 0, None);
    let edge = serve(&cluster, "");

    container(
        &cluster,
        0,
        "{\"waiting\":{\"reason\":\"ImagePullBackOff\",\"message\":\"no such image shop/web:7\"}}",
    );
    let answer = told(&edge, "Its image cannot be fetched.");
    assert_eq!(answer.status, 503);
    assert!(answer.fields.has("retry-after"));
    assert!(answer.text().contains("reason: wake_timeout"), "{}", answer.text());
    assert!(
        !answer.text().contains("shop/web:7"),
        "the name of an image is not for visitors: {}",
        answer.text()
    );
    // Operators are told all of it: by request id, in the overview, and on the workload.
    let id = answer.fields.one("x-request-id").expect("a request id").to_owned();
    let why = edge.ask(&format!("/why/{id}")).text();
    assert!(
        why.contains("image: Pod web-1: container app: ImagePullBackOff no such image shop/web:7"),
        "{why}"
    );
    let status = edge.ask("/status").text();
    assert!(
        status.contains("\"name\":\"default/deployment/web\"") && status.contains("shop/web:7"),
        "{status}"
    );
    eventually("it is told on the workload", || {
        events(&cluster, "deployment/web", "SlowToWake")
            .contains("Warning: Its image cannot be fetched. Pod web-1: container app: ImagePullBackOff")
    });

    let ended = "{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}";
    container(&cluster, 4, ended);
    told(&edge, "It starts and ends again at once.");

    let unscheduled = "{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\",\
                       \"message\":\"0/1 nodes are available: 1 Insufficient memory.\"}";
    patch_status(
        &cluster,
        "pod",
        "web-1",
        &format!("{{\"containerStatuses\":null,\"conditions\":[{unscheduled}]}}"),
    );
    told(&edge, "The cluster has no room for it at the moment");

    patch_status(&cluster, "pod", "web-1", "{\"conditions\":null}");
    cluster.apply(UNMOUNTED);
    told(&edge, "Its storage is not there yet.");

    let failure = "{\"type\":\"ReplicaFailure\",\"status\":\"True\",\"reason\":\"FailedCreate\",\
                   \"message\":\"pods web is forbidden: exceeded quota: small\"}";
    patch_status(&cluster, "deployment", "web", &format!("{{\"conditions\":[{failure}]}}"));
    told(&edge, "A quota of the namespace leaves no room for it.");
}

/// Asks until the answer has these words.
fn told(edge: &Process, words: &str) -> Answer {
    let mut last = None;
    eventually(words, || {
        let answer = Client::connect(edge.http()).get("shop.test", "/");
        let is_told = answer.text().contains(words);
        last = Some(answer);
        is_told
    });
    last.expect("an answer")
}

fn container(cluster: &ControlPlane, restarts: u32, state: &str) {
    let status = format!(
        "{{\"containerStatuses\":[{{\"name\":\"app\",\"image\":\"none\",\"imageID\":\"\",\"ready\":false,\
         \"restartCount\":{restarts},\"state\":{state}}}]}}"
    );
    patch_status(cluster, "pod", "web-1", &status);
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, labels: {app: web}}\n\
                   spec: {containers: [{name: app, image: none}]}\n";
/// From a time that has not come yet: it is newer than the wake, whatever the clock says.
const UNMOUNTED: &str = "apiVersion: v1\nkind: Event\nmetadata: {name: web-1.mount}\n\
    involvedObject: {apiVersion: v1, kind: Pod, name: web-1, namespace: default}\ntype: Warning\nreason: FailedMount\n\
    message: 'Unable to attach or mount volumes: timed out'\nlastTimestamp: '2199-01-01T00:00:00Z'\n";
