//! Workloads of a real API server that sleep and wake. No controllers run: what they would do, the tests do.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

use crate::cluster::{ControlPlane, run, script, workspace};
use crate::process::{Process, binary};
use crate::replicas::own_address;

/// The sample application `woken`, where an EndpointSlice may point to.
#[derive(Debug)]
pub struct App {
    child: Child,
    pub address: SocketAddr,
}

impl App {
    /// Starts it. It answers soon.
    pub fn start() -> App {
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

/// An API server with two users: `vestibule`, who may wake in the namespace `default`, and `edge`, who may only look.
pub fn cluster() -> ControlPlane {
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
    bind("vestibule-wake", &["--clusterrole=vestibule-wake", "--user=vestibule"]);
    bind("vestibule-wake-look", &["--clusterrole=vestibule-wake-look", "--user=vestibule", "--user=edge"]);
    bind("vestibule-wake", &["--role=vestibule-wake", "--namespace=vestibule", "--user=vestibule"]);
    // Everything else that there is to read.
    cluster.kubectl(&["create", "clusterrolebinding", "edge", "--clusterrole=vestibule", "--user=edge"]);
    cluster
}

/// The edge of a cluster, as the user `vestibule` with these settings, once it is ready.
pub fn serve(cluster: &ControlPlane, settings: &str) -> Process {
    let file = cluster.directory.join("vestibule.yaml");
    std::fs::write(&file, settings).expect("the settings are written");
    let mut command = Command::new(binary());
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--settings").arg(file).arg("--kubeconfig").arg(cluster.kubeconfig("vestibule"));
    let process = Process::start(&mut command);
    process.wait_until_ready();
    process
}

/// A Deployment or StatefulSet whose Pods have the label `app` with its name.
pub fn workload(kind: &str, name: &str, replicas: u32) -> String {
    let service = if kind == "StatefulSet" { "serviceName: none, " } else { "" };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{service}replicas: {replicas}, \
         selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, \
         spec: {{containers: [{{name: app, image: none}}]}}}}}}\n"
    )
}

/// The Service of those Pods.
pub fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )
}

/// The Ingress `web` for every host, which wakes the workload of the Service `web` unless one of the keys says what else.
pub fn ingress(keys: &[(&str, &str)]) -> String {
    let own = [("wake", "true")].into_iter().filter(|_| keys.iter().all(|(key, _)| *key != "wake"));
    let annotations: Vec<String> = own
        .chain(keys.iter().copied())
        .map(|(key, value)| format!("'vestibule.dev/{key}': '{value}'"))
        .collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, annotations: {{{}}}}}\n\
         spec: {{rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n",
        annotations.join(", ")
    )
}

/// What the controllers do when a workload has so many replicas: status and endpoints.
pub fn runs(cluster: &ControlPlane, kind: &str, name: &str, replicas: u32, endpoint: Option<SocketAddr>) {
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

/// The status alone.
pub fn ready(cluster: &ControlPlane, kind: &str, name: &str, replicas: u32) {
    patch_status(cluster, kind, name, &format!("{{\"replicas\":{replicas},\"readyReplicas\":{replicas}}}"));
}

/// Lays this over the status of an object.
pub fn patch_status(cluster: &ControlPlane, kind: &str, name: &str, status: &str) {
    let patch = format!("{{\"status\":{status}}}");
    cluster.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &patch]);
}

/// The messages of the Events with this reason on an object, in one text.
pub fn events(cluster: &ControlPlane, object: &str, reason: &str) -> String {
    let (_, name) = object.split_once('/').expect("kind/name");
    let fields = format!("--field-selector=involvedObject.name={name},reason={reason}");
    let options = ["--namespace=default", &fields];
    cluster.read_with("events", "{range .items[*]}{.type}: {.message}{\"\\n\"}{end}", &options)
}

/// What one of the commands `wake`, `sleep` and `keep-awake` comes to in the namespace `default`, as this user.
pub fn command(cluster: &ControlPlane, user: &str, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(words).args(["--namespace", "default", "--kubeconfig"]).arg(cluster.kubeconfig(user));
    command.output().expect("the binary runs")
}

/// Applies a manifest on the server, as a controller of this name that takes what it names.
pub fn apply_as(cluster: &ControlPlane, manager: &str, manifest: &str) {
    let manager = format!("--field-manager={manager}");
    let mut command = cluster.command(&["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl runs");
    child.stdin.take().expect("a pipe").write_all(manifest.as_bytes()).expect("kubectl reads");
    assert!(child.wait().expect("kubectl ends").success(), "kubectl refuses:\n{manifest}");
}

/// Adds a user with a kubeconfig file.
pub fn add_user(cluster: &ControlPlane, name: &str) {
    run(script("control-plane").arg("kubeconfig").arg(&cluster.directory).args([name, "tests"]));
}
