//! Sleeping and waking on real nodes: kubelets, controllers and the scheduler do what they do everywhere.
//!
//! `tests/run chart` builds what is needed and runs this as root, in a network namespace of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tests::client::Client;
use tests::cluster::{eventually, pause};
use tests::release::Release;

#[test]
fn a_deployment_sleeps_and_wakes_on_real_nodes_whatever_happens_to_leader_and_api_server() {
    let release = Release::install(&["--set", "wake.namespaces={default}"]);
    // Of two edges; each sees what the other one does only by asking.
    let [one, two] = release.announce();
    let replicas = || release.cluster.read("deployment/library", "{.spec.replicas}");
    release.cluster.apply(SLEEPER);
    release.cluster.kubectl(&["rollout", "status", "deployment/library", "--timeout=90s"]);
    release.cluster.expect("deployment/library", "{.spec.replicas}", "0");
    let gone = || {
        release.cluster.read_with("pods", "{.items[*].metadata.name}", &["--selector=app=library"]).is_empty()
    };
    eventually("its Pods are gone", gone);

    // Held until kubelet, controllers and the table of this edge have it ready; with as many replicas as it had.
    let answer = fetch_slowly(one, "library.example.com");
    assert!(
        answer.contains("200 OK") && answer.contains("\"app\":\"library\""),
        "{answer}\n{}",
        release.logs()
    );
    assert_eq!(replicas(), "2");
    let woken = "--field-selector=involvedObject.name=library,reason=Woken";
    eventually("it is told who woke it", || {
        let told =
            release.cluster.read_with("events", "{.items[*].message}", &["--namespace=default", woken]);
        told.contains(
            "Woken with 2 replicas for a request of Ingress default/library rule 0 (/) (program, request id ",
        )
    });

    // Nobody can be asked while the API server stands still, and a WebSocket is in use: neither puts it to sleep.
    let mut websocket = Client::connect(two);
    websocket.send(
        "GET /ws HTTP/1.1\r\nHost: library.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(websocket.head().0.status, 101);
    release.cluster.control("pause");
    pause(Duration::from_secs(6));
    let answer = fetch_slowly(one, "library.example.com");
    assert!(answer.contains("200 OK"), "{answer}");
    release.cluster.control("resume");
    pause(Duration::from_secs(3));
    assert_eq!(replicas(), "2");

    // The leader is killed; the next one sees the WebSocket, and puts to sleep when that has ended.
    let lease = release.read("lease/edge", "{.spec.holderIdentity}");
    let leader = lease.split('_').next().expect("the name of a Pod").to_owned();
    release.kubectl(&["delete", "pod", &leader, "--grace-period=0", "--force"]);
    release.rolled_out("deployment/edge-control");
    eventually("another one leads", || {
        let now = release.read("lease/edge", "{.spec.holderIdentity}");
        !now.is_empty() && now != lease
    });
    pause(Duration::from_secs(3));
    assert_eq!(replicas(), "2");
    drop(websocket);
    release.cluster.expect("deployment/library", "{.spec.replicas}", "0");
}

/// The whole answer to a request that may be held for long.
fn fetch_slowly(address: SocketAddr, host: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the Service takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("the edge reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in time");
    answer
}

/// The sample application, in our own image, which sleeps soon.
const SLEEPER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: library}
spec:
  replicas: 2
  selector: {matchLabels: {app: library}}
  template:
    metadata: {labels: {app: library}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: library
          image: registry.local/vestibule:1
          args: [sample-app, --name, library, --listen, "0.0.0.0:9000"]
          readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: library}
spec: {selector: {app: library}, ports: [{port: 80, targetPort: 9000}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: library
  annotations: {vestibule.dev/wake: "true", vestibule.dev/wake-idle: 2s}
spec:
  rules:
    - host: library.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: library, port: {number: 80}}}}]}
"#;
