//! Workloads of a real API server that sleep and wake. No controllers run: what they would do, the tests do.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, workspace};
use tests::process::{Process, binary};

#[test]
fn a_deployment_sleeps_is_woken_by_a_held_request_and_comes_back_as_it_was() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 3));
    cluster.apply(&service("web"));
    cluster.apply(&ingress("wake-idle", "1s"));
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
}

#[test]
fn the_database_is_woken_first() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&workload("StatefulSet", "db", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress("wake", "deployment/web after statefulset/db"));
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
    cluster.apply(&ingress("wake-wait", "hold"));
    let edge = serve(&cluster, "");
    edge.err().wait_for(&["CannotWake", "deployment/web and statefulset/web"]);
}

#[test]
fn a_missing_right_is_told_and_costs_no_wait() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress("wake-timeout", "5m"));
    runs(&cluster, "deployment", "web", 0, None);
    cluster.kubectl(&["delete", "rolebinding", "vestibule-wake", "vestibule-wake-look"]);
    let edge = serve(&cluster, "");
    let answer = Client::connect(edge.http()).get("shop.test", "/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("reason: wake_failed"), "{}", answer.text());
    edge.err().wait_for(&["CannotWake", "forbidden"]);
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

/// An API server with the rights that waking takes in the namespace `default`.
fn cluster() -> ControlPlane {
    let cluster = ControlPlane::start();
    cluster.allow();
    let rights = workspace().join("tests/cluster/rbac-wake.yaml");
    cluster.kubectl(&["apply", "-f", rights.to_str().expect("a path in UTF-8")]);
    let bind = ["create", "rolebinding", "vestibule-wake", "--user=vestibule"];
    cluster.kubectl(&[&bind[..], &["--clusterrole=vestibule-wake"]].concat());
    let look = ["create", "rolebinding", "vestibule-wake-look", "--user=vestibule"];
    cluster.kubectl(&[&look[..], &["--clusterrole=vestibule-wake-look"]].concat());
    cluster.kubectl(&[&bind[..], &["--role=vestibule-wake", "--namespace=vestibule"]].concat());
    cluster
}

fn serve(cluster: &ControlPlane, settings: &str) -> Process {
    let file = cluster.directory.join("vestibule.yaml");
    std::fs::write(&file, settings).expect("the settings are written");
    let mut command = Command::new(binary());
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--settings").arg(file).arg("--kubeconfig").arg(cluster.kubeconfig("vestibule"));
    let process = Process::start(&mut command);
    process.wait_until_ready();
    process
}

fn workload(kind: &str, name: &str, replicas: u32) -> String {
    let service = if kind == "StatefulSet" { "serviceName: none, " } else { "" };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{service}replicas: {replicas}, \
         selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, \
         spec: {{containers: [{{name: app, image: none}}]}}}}}}\n"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )
}

/// The Ingress `web`, which wakes its own workload, with one more key or another value of that one.
fn ingress(key: &str, value: &str) -> String {
    let own = if key == "wake" { "" } else { "vestibule.dev/wake: 'true', " };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, annotations: {{{own}'vestibule.dev/{key}': '{value}'}}}}\n\
         spec: {{rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n"
    )
}

/// What the controllers do when a workload has so many replicas: status and endpoints.
fn runs(cluster: &ControlPlane, kind: &str, name: &str, replicas: u32, endpoint: Option<SocketAddr>) {
    let (endpoints, port) = match endpoint {
        Some(address) => {
            (format!("[{{addresses: ['{}'], conditions: {{ready: true}}}}]", address.ip()), address.port())
        }
        None => ("[]".to_owned(), 1),
    };
    cluster.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         endpoints: {endpoints}\nports: [{{port: {port}, protocol: TCP}}]\n"
    ));
    ready(cluster, kind, name, replicas);
}

fn ready(cluster: &ControlPlane, kind: &str, name: &str, replicas: u32) {
    let status = format!("{{\"status\":{{\"replicas\":{replicas},\"readyReplicas\":{replicas}}}}}");
    cluster.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &status]);
}

/// The address of this machine that its network would see; EndpointSlices take no loopback address.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route to somewhere; nothing is sent to find it");
    socket.local_addr().expect("an address").ip()
}
