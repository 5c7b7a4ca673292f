//! Workloads of a real API server that sleep and wake, with several replicas that clients come to. No controllers run: what they
//! would do, the tests do.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, pause, run, script, workspace};
use tests::process::binary;
use tests::replicas::{Replica, introduce, own_address};

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

/// The sample application, where an EndpointSlice may point to.
struct App {
    child: Child,
    address: SocketAddr,
}

impl App {
    fn start() -> Self {
        let listener = TcpListener::bind((own_address(), 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut command = Command::new(binary());
        command.args(["sample-app", "--name", "woken", "--listen", &address.to_string()]);
        let child = command.stdin(Stdio::null()).spawn().expect("the binary runs");
        App { child, address }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An API server with a Deployment that sleeps after a second, and two users: one who may scale, and one who may only look.
fn cluster() -> ControlPlane {
    let cluster = ControlPlane::start();
    cluster.allow();
    run(script("control-plane")
        .env("NAMESPACE", "vestibule")
        .arg("kubeconfig")
        .arg(&cluster.directory)
        .args(["edge", "tests"]));
    let rights = workspace().join("tests/cluster/rbac-wake.yaml");
    cluster.kubectl(&["apply", "-f", rights.to_str().expect("a path in UTF-8")]);
    let bind =
        |name: &str, options: &[&str]| cluster.kubectl(&[&["create", "rolebinding", name], options].concat());
    bind("wake", &["--clusterrole=vestibule-wake", "--user=vestibule"]);
    bind("look", &["--clusterrole=vestibule-wake-look", "--user=vestibule", "--user=edge"]);
    bind("memory", &["--role=vestibule-wake", "--namespace=vestibule", "--user=vestibule"]);
    // Everything else that there is to read.
    cluster.kubectl(&["create", "clusterrolebinding", "edge", "--clusterrole=vestibule", "--user=edge"]);
    cluster.apply(OBJECTS);
    cluster
}

const OBJECTS: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, selector: {matchLabels: {app: web}}, \
     template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: none}]}}}\n---\n\
     apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n---\n\
     apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, annotations: {vestibule.dev/wake: 'true', vestibule.dev/wake-idle: 1s}}\n\
     spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}\n";

/// What the controllers do when the workload has so many replicas: status and endpoints.
fn runs(cluster: &ControlPlane, count: u32, endpoint: Option<SocketAddr>) {
    let (endpoints, port) = match endpoint {
        Some(address) => {
            (format!("[{{addresses: ['{}'], conditions: {{ready: true}}}}]", address.ip()), address.port())
        }
        None => ("[]".to_owned(), 1),
    };
    cluster.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\n\
         endpoints: {endpoints}\nports: [{{port: {port}, protocol: TCP}}]\n"
    ));
    cluster.kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "--subresource=status",
        "--patch",
        &format!("{{\"status\":{{\"replicas\":{count},\"readyReplicas\":{count}}}}}"),
    ]);
}
