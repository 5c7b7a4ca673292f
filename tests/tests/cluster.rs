//! The binary beside a real API server: what it reads, how fast, and what it does while the server is away.
//!
//! `tests/run cluster` builds what is needed (etcd, kube-apiserver, the definitions of Gateway API) and runs these.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::client::Client;
use tests::cluster::{ControlPlane, Traffic, eventually, fetch, pause, run, within_deadline, workspace};
use tests::ports;

#[test]
fn routes_follow_the_objects() {
    let cluster = ControlPlane::start();
    cluster.allow();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    cluster.apply(&service("web", old.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    // Gateway API is not installed yet: that is told, and holds nothing up.
    let edge = Edge::start(&cluster, "");
    edge.expect("shop.example.com", "/", (200, "old"));
    assert!(edge.problems().contains("KindMissing"), "{}", edge.problems());

    cluster.install_gateway_api();
    cluster.apply(&gateway(edge.gateway));
    cluster.apply(&http_route("api.example.com", "/v1"));
    eventually("the Gateway's listener answers", || {
        fetch(edge.gateway, "api.example.com", "/v1/x") == Some((200, "old".into()))
    });
    assert_eq!(fetch(edge.gateway, "api.example.com", "/v2").map(|(status, _)| status), Some(404));
    eventually("the kinds are no longer missing", || !edge.problems().contains("KindMissing"));

    // Endpoints alone.
    cluster.apply(&service("web", new.address));
    edge.expect("shop.example.com", "/", (200, "new"));
    // The route itself.
    cluster.apply(&ingress("web", "shop.example.com", "/shop", "web"));
    edge.expect("shop.example.com", "/", (404, ""));
    edge.expect("shop.example.com", "/shop", (200, "new"));
    cluster.kubectl(&["delete", "ingress", "web"]);
    edge.expect("shop.example.com", "/shop", (404, ""));
    cluster.kubectl(&["delete", "httproute", "api"]);
    eventually("the route of the Gateway is gone", || {
        fetch(edge.gateway, "api.example.com", "/v1").is_none_or(|(status, _)| status == 404)
    });
}

#[test]
fn traffic_goes_on_while_the_api_server_is_away() {
    let cluster = ControlPlane::start();
    cluster.allow();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    cluster.apply(&service("web", old.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    let edge = Edge::start(&cluster, "");
    edge.expect("shop.example.com", "/", (200, "old"));
    let traffic = Traffic::start(edge.http, "shop.example.com");

    // Frozen: connections stay open, nothing comes.
    cluster.control("pause");
    traffic.go_on_for(Duration::from_secs(2));
    cluster.control("resume");
    cluster.apply(&service("web", new.address));
    edge.expect("shop.example.com", "/", (200, "new"));

    // Ended: every watch breaks, and connecting is refused.
    cluster.control("stop");
    eventually("the outage is told", || edge.problems().contains("ApiServerUnreachable"));
    traffic.go_on_for(Duration::from_secs(2));
    assert_eq!(edge.ready(), Some(200), "an edge without API server stays ready");
    cluster.control("start");
    cluster.apply(&service("web", old.address));
    edge.expect("shop.example.com", "/", (200, "old"));
    eventually("the outage is over", || !edge.problems().contains("ApiServerUnreachable"));
    eventually("all is as it was before", || {
        let problems = edge.problems();
        problems.contains("KindMissing") && !problems.contains("Forbidden")
    });
    traffic.stop();
}

#[test]
fn a_process_that_starts_while_the_api_server_is_away_goes_on_with_what_was_kept() {
    let cluster = ControlPlane::start();
    cluster.allow();
    let backend = Backend::start("web");
    cluster.apply(&service("web", backend.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: key}\ndata: {key: c2VjcmV0LXZhbHVl}\n");
    let kept = cluster.directory.join("kept");
    let (objects, secrets) = (kept.join("objects"), kept.join("secrets"));
    let settings = format!(
        "cluster: {{lastGood: {{directory: {}, secretsDirectory: {}}}}}\n",
        objects.display(),
        secrets.display()
    );
    let edge = Edge::start(&cluster, &settings);
    edge.expect("shop.example.com", "/", (200, "web"));
    // Told by a watch, after the list.
    cluster.apply(&ingress("late", "late.example.com", "/", "web"));
    edge.expect("late.example.com", "/", (200, "web"));

    // Killed, and started again while there is nobody to ask.
    cluster.control("stop");
    drop(edge);
    let edge = Edge::start(&cluster, &settings);
    edge.expect("shop.example.com", "/", (200, "web"));
    edge.expect("late.example.com", "/", (200, "web"));
    assert_eq!(edge.ready(), Some(200));
    eventually("the outage is told", || edge.problems().contains("ApiServerUnreachable"));
    cluster.control("start");
    cluster.kubectl(&["delete", "ingress", "late"]);
    edge.expect("late.example.com", "/", (404, ""));
    edge.expect("shop.example.com", "/", (200, "web"));

    // The same while the API server takes connections and says nothing.
    cluster.control("pause");
    drop(edge);
    let edge = Edge::start(&cluster, &settings);
    edge.expect("shop.example.com", "/", (200, "web"));
    edge.expect("late.example.com", "/", (404, ""));
    cluster.control("resume");

    let holds_the_key = |directory: &Path| {
        std::fs::read_dir(directory).expect("the directory is made").flatten().any(|file| {
            let mode = file.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file:?}");
            std::fs::read_to_string(file.path()).expect("text").contains("c2VjcmV0LXZhbHVl")
        })
    };
    assert!(!holds_the_key(&objects), "no Secret comes to lie beside the other objects");
    assert!(holds_the_key(&secrets));
}

#[test]
fn what_may_not_be_read_is_told_and_taken_up_when_it_may() {
    let cluster = ControlPlane::start();
    let backend = Backend::start("web");
    cluster.apply(&service("web", backend.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    // Without any right: Services are not optional, so nothing is served and the edge is not ready.
    let edge = Edge::start(&cluster, "cluster: {namespaces: [default, absent]}\n");
    edge.waits();
    cluster.kubectl(&["create", "role", "services", "--verb=list,watch", "--resource=services,ingresses"]);
    cluster.kubectl(&[
        "create",
        "role",
        "slices",
        "--verb=list,watch",
        "--resource=endpointslices.discovery.k8s.io",
    ]);
    for role in ["services", "slices"] {
        let role_argument = format!("--role={role}");
        cluster.kubectl(&["create", "rolebinding", role, &role_argument, "--user=vestibule"]);
    }
    // The namespace that is not there may not be read either.
    edge.waits();
    cluster.allow();
    edge.expect("shop.example.com", "/", (200, "web"));
    eventually("nothing is forbidden", || !edge.problems().contains("Forbidden"));
    // A right that is taken away takes nothing that was read.
    cluster.kubectl(&["delete", "clusterrolebinding", "vestibule-tests"]);
    cluster.control("stop");
    cluster.control("start");
    eventually("that it is forbidden is told", || {
        edge.problems().contains("forbids to list and watch secrets")
    });
    edge.expect("shop.example.com", "/", (200, "web"));
}

#[test]
fn one_of_two_replicas_writes_statuses() {
    let cluster = ControlPlane::start();
    cluster.allow();
    cluster.install_gateway_api();
    let backend = Backend::start("web");
    cluster.apply(&service("web", backend.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    cluster.apply(GATEWAY_CLASS);
    let published = "gateways: [{gateway: '*', addresses: [127.0.0.1], publish: [192.0.2.7]}]\n";
    let mut first = Edge::start(&cluster, published);
    cluster.apply(&gateway(first.gateway));
    cluster.apply(&http_route("api.example.com", "/"));

    let conditions = r#"{range .status.conditions[*]}{.type}={.status}:{.observedGeneration} {end}"#;
    cluster.expect("gatewayclass/vestibule", conditions, "Accepted=True:1 SupportedVersion=True:1 ");
    cluster.expect("gateway/edge", conditions, "Accepted=True:1 Programmed=True:1 ");
    cluster.expect("gateway/edge", "{.status.addresses[0].value}", "192.0.2.7");
    cluster.expect("gateway/edge", "{.status.listeners[0].attachedRoutes}", "1");
    cluster.expect("ingress/web", "{.status.loadBalancer.ingress[*].ip}", "192.0.2.8");
    let parents = "{range .status.parents[*].conditions[*]}{.type}={.status}:{.observedGeneration} {end}";
    cluster.expect("httproute/api", parents, "Accepted=True:1 ResolvedRefs=True:1 ");

    // Of others' entries nothing is touched; ours is put right when others touch it.
    let foreign = r#"{"status": {"conditions": [
        {"type": "example.com/Seen", "status": "True", "reason": "Seen", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Accepted", "status": "False", "reason": "Wrong", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]}}"#;
    cluster.kubectl(&[
        "patch",
        "gateway",
        "edge",
        "--subresource=status",
        "--type=merge",
        "--patch",
        foreign,
    ]);
    let mended = "example.com/Seen=True: Accepted=True:1 Programmed=True:1 ";
    cluster.expect("gateway/edge", conditions, mended);

    // A change that alters nothing else moves the generation.
    cluster.apply(&http_route("api.example.com", "/v1"));
    cluster.expect("httproute/api", parents, "Accepted=True:2 ResolvedRefs=True:2 ");
    cluster.kubectl(&["delete", "service", "web"]);
    cluster.expect("httproute/api", parents, "Accepted=True:2 ResolvedRefs=False:2 ");
    // Whoever looks at the object sees why.
    let told = r#"{.items[?(@.involvedObject.kind=="HTTPRoute")].reason}"#;
    cluster.expect("events", told, "BackendNotFound");

    // What is right is left alone.
    let version = "{.metadata.resourceVersion}";
    let before = cluster.read("gateway/edge", version);
    let second = Edge::start(&cluster, published);
    eventually("the second replica is ready", || second.ready() == Some(200));
    let holder = ["--namespace=vestibule"];
    let first_holder = cluster.read_with("lease/vestibule", "{.spec.holderIdentity}", &holder);
    assert!(!first_holder.is_empty());
    // The first gives the Lease back when it is told to stop; the second takes it and has nothing to write.
    first.terminate();
    eventually("the second replica leads", || {
        let now = cluster.read_with("lease/vestibule", "{.spec.holderIdentity}", &holder);
        !now.is_empty() && now != first_holder
    });
    cluster.apply(&service("web", backend.address));
    cluster.expect("httproute/api", parents, "Accepted=True:2 ResolvedRefs=True:2 ");
    assert_eq!(cluster.read("gateway/edge", version), before);
}

#[test]
fn an_edge_writes_nothing_and_control_serves_nobody() {
    let cluster = ControlPlane::start();
    cluster.allow();
    let backend = Backend::start("web");
    cluster.apply(&service("web", backend.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    let edge = Edge::start_as("edge", &cluster, "");
    edge.expect("shop.example.com", "/", (200, "web"));
    let control = Edge::start_as("control", &cluster, "");
    cluster.expect("ingress/web", "{.status.loadBalancer.ingress[*].ip}", "192.0.2.8");
    assert_eq!(control.ready(), Some(200));
    assert_eq!(fetch(control.http, "shop.example.com", "/"), None, "control has no sockets for clients");

    // With nobody but the edge there, statuses stay as they are.
    drop(control);
    cluster.apply(&ingress("late", "late.example.com", "/", "web"));
    edge.expect("late.example.com", "/", (200, "web"));
    assert_eq!(cluster.read("ingress/late", "{.status.loadBalancer.ingress[*].ip}"), "");
    let holder = cluster.read_with("lease/vestibule", "{.spec.holderIdentity}", &["--namespace=vestibule"]);
    let _control = Edge::start_as("control", &cluster, "");
    cluster.expect("ingress/late", "{.status.loadBalancer.ingress[*].ip}", "192.0.2.8");
    let heir = cluster.read_with("lease/vestibule", "{.spec.holderIdentity}", &["--namespace=vestibule"]);
    assert_ne!(holder, heir, "the edge never held the Lease");
}

/// The binary as a process of its own, with the rights of the user `vestibule`.
struct Edge {
    process: Child,
    http: SocketAddr,
    gateway: SocketAddr,
    admin: SocketAddr,
    settings: PathBuf,
}

impl Edge {
    fn start(cluster: &ControlPlane, settings: &str) -> Edge {
        Edge::start_as("all", cluster, settings)
    }

    fn start_as(role: &str, cluster: &ControlPlane, settings: &str) -> Edge {
        let [http, gateway, admin] = free_ports();
        let file = cluster.directory.join(format!("vestibule-{}.yaml", http.port()));
        let text = format!(
            "classes: [{{name: vestibule, default: true, http: ['{http}'], publish: {{addresses: [192.0.2.8]}}}}]\nadmin: {{address: '{admin}'}}\n{settings}"
        );
        std::fs::write(&file, text).expect("the settings are written");
        let binary = std::env::var_os("VESTIBULE")
            .map_or_else(|| workspace().join("target/debug/vestibule"), PathBuf::from);
        let process = Command::new(binary)
            .args(["serve", "--role", role, "--workers", "1", "--access-log", "off", "--settings"])
            .arg(&file)
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig("vestibule"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs; tests/run builds it");
        Edge { process, http, gateway, admin, settings: file }
    }

    /// Waits for this answer.
    #[track_caller]
    fn expect(&self, host: &str, path: &str, answer: (u16, &str)) {
        let mut last = None;
        let is_there = within_deadline(|| {
            last = fetch(self.http, host, path);
            last.as_ref().is_some_and(|(status, body)| {
                *status == answer.0 && (answer.1.is_empty() || body == answer.1)
            })
        });
        assert!(is_there, "{host}{path}: {answer:?} is expected and {last:?} comes");
    }

    /// Nothing is served, and the edge is not ready, for longer than it would take.
    #[track_caller]
    fn waits(&self) {
        eventually("the admin listener answers", || self.ready().is_some());
        pause(Duration::from_secs(2));
        assert_eq!(self.ready(), Some(503));
        assert_eq!(fetch(self.http, "shop.example.com", "/"), None, "no answer may be a wrong 404");
    }

    /// Asks it to end, and waits until it has.
    fn terminate(&mut self) {
        run(Command::new("kill").arg(self.process.id().to_string()));
        assert!(self.process.wait().expect("the edge ends").success());
    }

    fn ready(&self) -> Option<u16> {
        fetch(self.admin, "admin", "/readyz").map(|(status, _)| status)
    }

    fn problems(&self) -> String {
        fetch(self.admin, "admin", "/problems").map_or_else(String::new, |(_, body)| body)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // A child that has ended cannot be killed, which is no matter.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.settings);
    }
}

/// An upstream that answers every request with its name.
struct Backend {
    address: SocketAddr,
}

impl Backend {
    fn start(name: &'static str) -> Backend {
        // EndpointSlices take no loopback address.
        let listener = TcpListener::bind((own_address(), 0)).expect("a port for the backend");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut byte) {
                        head.extend_from_slice(&byte[..count]);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            let length = name.len();
                            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                            let _ = stream.write_all(answer.as_bytes());
                        }
                    }
                });
            }
        });
        Backend { address }
    }
}

fn service(name: &str, endpoint: SocketAddr) -> String {
    let (address, port) = (endpoint.ip(), endpoint.port());
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         endpoints: [{{addresses: ['{address}'], conditions: {{ready: true}}}}]\n\
         ports: [{{port: {port}, protocol: TCP}}]\n"
    )
}

fn ingress(name: &str, host: &str, path: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  rules:\n  - host: {host}\n    \
         http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n"
    )
}

const GATEWAY_CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
    metadata: {name: vestibule}\nspec: {controllerName: vestibule.dev/gateway-controller}\n";

fn gateway(address: SocketAddr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\n\
         spec: {{gatewayClassName: vestibule, listeners: [{{name: web, protocol: HTTP, port: {}}}]}}\n",
        address.port()
    )
}

fn http_route(host: &str, prefix: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: api}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  hostnames: [{host}]\n  rules:\n  \
         - matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]\n    backendRefs: [{{name: web, port: 80}}]\n"
    )
}

/// The address of this machine that its network would see; nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route to somewhere; EndpointSlices take no loopback address");
    socket.local_addr().expect("an address").ip()
}

fn free_ports() -> [SocketAddr; 3] {
    [(); 3].map(|()| ports::unused())
}

#[test]
fn nodes_and_pods_share_no_limit() {
    let cluster = ControlPlane::start();
    cluster.allow();
    cluster.apply(
        "apiVersion: v1\nkind: Node\nmetadata: {name: one}\nspec: {podCIDR: 127.0.0.0/30, podCIDRs: [127.0.0.0/30]}\n",
    );
    let app = Backend::start("app");
    cluster.apply(&service("web", app.address));
    cluster.apply(&ingress("web", "shop.example.com", "/", "web"));
    cluster.kubectl(&["annotate", "ingress", "web", "vestibule.dev/rate-limit=1/d"]);
    let edge = Edge::start(&cluster, "");
    eventually("the edge listens", || edge.ready() == Some(200));
    let status = |client: [u8; 4]| {
        let mut client = Client::connect_from(IpAddr::from(client), edge.http);
        client.get("shop.example.com", "/").status
    };
    eventually("the limit is in force", || status([127, 0, 0, 9]) == 429);
    eventually("the node's pods are known", || (0..10).all(|_| status([127, 0, 0, 2]) == 200));
    assert_eq!(status([127, 0, 0, 9]), 429);
}

#[test]
fn moving_in_reads_the_cluster_and_writes_nothing_there() {
    let cluster = ControlPlane::start();
    cluster.allow();
    for (kind, plural) in [("IngressRoute", "ingressroutes"), ("Middleware", "middlewares")] {
        cluster.apply(&traefik_definition(kind, plural));
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    cluster.apply(
        "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {name: office}\nspec: {ipAllowList: {sourceRange: [192.0.2.0/24]}}\n",
    );
    cluster.apply(
        "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata: {name: shop}\nspec:\n  routes:\n  \
         - {kind: Rule, match: 'Host(`shop.example.com`)', middlewares: [{name: office}], services: [{name: web, port: 80}]}\n",
    );
    cluster.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
    );
    let written = cluster.directory.join("written");
    let migrate = |user: &str| {
        let output = Command::new(workspace().join("target/debug/vestibule"))
            .args(["migrate", "--kubeconfig"])
            .arg(cluster.kubeconfig(user))
            .arg("--write")
            .arg(&written)
            .output()
            .expect("the binary");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, report) = migrate("admin");
    assert_eq!(code, Some(1), "the network policy is left to be done: {report}");
    assert!(report.contains("written as Ingress default/shop"), "{report}");
    assert!(report.contains("patch networkpolicy closed"), "{report}");
    let ingress = std::fs::read_to_string(written.join("default-shop.yaml")).expect("the Ingress");
    assert!(ingress.contains("vestibule.dev/allow-from: 192.0.2.0/24"), "{ingress}");
    assert!(!ingress.contains("resourceVersion"), "{ingress}");
    // Whoever may not read the middlewares is told, and not that nothing guards.
    let (code, report) = migrate("vestibule");
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("traefik.io/v1alpha1 middlewares: may not be read"), "{report}");
    assert_eq!(cluster.read("ingresses", "{.items}"), "[]", "nothing was written to the cluster");
}

/// A definition that takes anything.
fn traefik_definition(kind: &str, plural: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.traefik.io}}\nspec:\n  \
         group: traefik.io\n  scope: Namespaced\n  names: {{kind: {kind}, plural: {plural}, singular: {}}}\n  versions:\n  \
         - name: v1alpha1\n    served: true\n    storage: true\n    \
         schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n",
        kind.to_lowercase()
    )
}
