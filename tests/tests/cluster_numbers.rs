//! What a large cluster costs: how soon a change is live on every replica, memory, and how soon a process is ready.
//!
//! The API server is a real one on this machine, which it shares with two edges and the role `control`; what is measured has
//! their work in it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::api_server::{ApiServer, list_time};
use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, fetch, pause};
use tests::ports::unused;
use tests::process::{Process, quick_binary};
use tests::tell;

/// Measurements do not run beside each other.
static MACHINE: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "a measurement: tests/run nightly"]
fn a_change_is_live_on_every_replica_within_50_ms_at_1000_routes() {
    changes(1_000);
}

#[test]
#[ignore = "a measurement: tests/run nightly"]
fn a_change_is_live_on_every_replica_within_50_ms_at_5000_routes() {
    let memory = changes(5_000);
    assert!(memory <= MEMORY_BYTES_MAX, "an edge has {} KiB in memory", memory >> 10);
}

#[test]
#[ignore = "a measurement: tests/run nightly"]
fn an_edge_is_ready_soon_after_the_list_of_10000_routes_and_says_no_404_before() {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let bed = Bed::new(10_000, 1_000);
    // The edge lists its kinds at the same time; so does this.
    let lists = || {
        let paths = [HTTP_ROUTES, INGRESSES, SERVICES, SLICES];
        std::thread::scope(|scope| {
            let times = paths.map(|path| scope.spawn(|| list_time(&bed.cluster, path)));
            times.map(|time| time.join().expect("a list")).into_iter().max().unwrap_or_default()
        })
    };
    lists();
    let list = lists();
    let http = unused();
    let (stop, wrong) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (ready, process) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match fetch(http, &host(9_998), "/") {
                    None | Some((200 | 503, _)) => pause(Duration::from_millis(1)),
                    Some(other) => wrong.lock().expect("a list").push(other),
                }
            }
        });
        let begun = Instant::now();
        let process = bed.start("edge", http, "127.0.0.2");
        process.wait_until_ready();
        let ready = begun.elapsed();
        eventually("the last route answers", || {
            fetch(http, &host(9_998), "/").is_some_and(|(status, _)| status == 200)
        });
        stop.store(true, Ordering::Relaxed);
        (ready, process)
    });
    tell(format_args!(
        "10,000 routes: ready after {ready:?}; the API server lists them in {list:?}; {} KiB in memory",
        process.own_bytes() >> 10
    ));
    assert_eq!(wrong.into_inner().expect("a list"), []);
    assert!(ready <= list + READY_MAX, "{ready:?} with lists of {list:?}");
}

/// Changes routes and endpoints one at a time. Returns what the larger of two edges has in memory of its own in the end.
fn changes(routes: usize) -> usize {
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let bed = Bed::new(routes, routes);
    let control = bed.start("control", unused(), "127.0.0.9");
    control.wait_until_ready();
    let edges = [(unused(), "127.0.0.2"), (unused(), "127.0.0.3")].map(|(http, gateway)| {
        let edge = bed.start("edge", http, gateway);
        edge.wait_until_ready();
        edge
    });
    // Each status that is written is a change of its own; those of the beginning are not what is measured.
    bed.wait_for_statuses(routes);
    let addresses = edges.each_ref().map(|edge| [edge.http(), edge.address("Gateway default/edge")]);
    let mut viewers = addresses.map(|ways| ways.map(Client::connect));

    let mut api = ApiServer::connect(&bed.cluster);
    let busy = || edges.iter().map(Process::processor_time).sum::<Duration>();
    let before = busy();
    let mut route_times = Vec::new();
    let mut endpoint_times = Vec::new();
    for sample in 0..SAMPLES {
        // Far from each other, Ingresses and HTTPRoutes in turns.
        let index = sample * (routes / SAMPLES) + sample % 2;
        let way = index % 2;
        let (path, change) = match way {
            0 => (
                INGRESSES,
                json!({"metadata": {"annotations": {"vestibule.dev/proxy-read-timeout": "7s",
                "vestibule.dev/permanent-redirect": format!("https://{}/", told(sample))}}}),
            ),
            _ => (HTTP_ROUTES, json!({"spec": {"rules": [rule(index, &told(sample))]}})),
        };
        api.merge(&format!("{path}/r{index}"), &change);
        route_times.push(live(&mut viewers, way, index, &|answer| {
            answer
                .fields
                .one("location")
                .or(answer.fields.one("x-told"))
                .is_some_and(|text| text.contains(&told(sample)))
        }));
        // The endpoint of another route.
        let index = (index + routes / 2 + 1) % routes / 2 * 2 + 1;
        let backend = &bed.backends[1];
        api.merge(
            &format!("{SLICES}/r{index}"),
            &json!({"ports": [{"port": backend.port(), "protocol": "TCP"}]}),
        );
        endpoint_times.push(live(&mut viewers, 1, index, &|answer| answer.text() == "new"));
    }
    let each = (busy() - before) / (2 * edges.len() * SAMPLES) as u32;
    tell(format_args!(
        "{routes} routes: an edge works for {each:?} for each change, questions of this test included"
    ));
    let worst = [("route", route_times), ("endpoint", endpoint_times)].map(|(what, mut times)| {
        times.sort();
        let p99 = times[times.len() * 99 / 100];
        tell(format_args!(
            "{routes} routes: a changed {what} is live on both edges after {:?} (median), {p99:?} (p99 of {}), {:?} (worst)",
            times[times.len() / 2],
            times.len(),
            &times[times.len() - 4..]
        ));
        p99
    });
    let memory = edges.iter().map(Process::own_bytes).max().unwrap_or_default();
    let resident = edges.iter().map(Process::resident_bytes).max().unwrap_or_default();
    tell(format_args!(
        "{routes} routes: after {} changes an edge has {} KiB in memory, {} KiB with the pages of its binary",
        2 * SAMPLES,
        memory >> 10,
        resident >> 10
    ));
    assert!(worst.iter().all(|p99| *p99 <= LIVE_MAX), "p99 {worst:?}");
    memory
}

/// How long it takes until all replicas answer for this route as wanted.
fn live(
    viewers: &mut [[Client; 2]; 2],
    way: usize,
    index: usize,
    wanted: &dyn Fn(&tests::message::Answer) -> bool,
) -> Duration {
    let accepted = Instant::now();
    let mut waiting: Vec<&mut Client> = viewers.iter_mut().map(|ways| &mut ways[way]).collect();
    while !waiting.is_empty() {
        waiting.retain_mut(|client| !wanted(&client.get(&host(index), "/")));
        assert!(
            accepted.elapsed() < GIVE_UP,
            "{} of the replicas do not know of route {index}",
            waiting.len()
        );
        if !waiting.is_empty() {
            pause(Duration::from_micros(300));
        }
    }
    accepted.elapsed()
}

/// An API server with routes, each with a host of its own: every second one an Ingress, the others HTTPRoutes of one Gateway.
struct Bed {
    cluster: ControlPlane,
    backends: [SocketAddr; 2],
    gateway_port: u16,
}

impl Bed {
    fn new(routes: usize, services: usize) -> Bed {
        let cluster = ControlPlane::start();
        cluster.allow();
        cluster.install_gateway_api();
        let gateway_port = unused().port();
        cluster.apply(&format!(
            "{GATEWAY_CLASS}---\napiVersion: {GATEWAY_API}\nkind: Gateway\nmetadata: {{name: edge}}\n\
             spec: {{gatewayClassName: vestibule, listeners: [{{name: web, protocol: HTTP, port: {gateway_port}}}]}}\n"
        ));
        let backends = ["old", "new"].map(backend);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (cluster, endpoint) = (&cluster, backends[0]);
                scope.spawn(move || {
                    let mut api = ApiServer::connect(cluster);
                    for index in (writer..services).step_by(WRITERS) {
                        let (service, slice) = service(index, endpoint);
                        api.create(SERVICES, &service);
                        api.create(SLICES, &slice);
                    }
                    for index in (writer..routes).step_by(WRITERS) {
                        match index % 2 {
                            0 => api.create(INGRESSES, &ingress(index, index % services)),
                            _ => api.create(HTTP_ROUTES, &http_route(index, index % services)),
                        }
                    }
                });
            }
        });
        tell(format_args!("{routes} routes and {services} Services were created in {:?}", begun.elapsed()));
        Bed { cluster, backends, gateway_port }
    }

    /// Returns once every route and Ingress has its status.
    fn wait_for_statuses(&self, routes: usize) {
        let accepted = r#"{.items[*].status.parents[0].conditions[?(@.type=="Accepted")].status}"#;
        let address = "{.items[*].status.loadBalancer.ingress[0].ip}";
        let begun = Instant::now();
        while [("httproutes", accepted), ("ingresses", address)]
            .iter()
            .any(|(kind, field)| self.cluster.read(kind, field).split(' ').count() < routes / 2)
        {
            assert!(begun.elapsed() < STATUSES_MAX, "the statuses of {routes} routes are not there");
        }
    }

    /// A process with the listeners of Gateways on this address.
    fn start(&self, role: &str, http: SocketAddr, gateway: &str) -> Process {
        let file = self.cluster.directory.join(format!("vestibule-{}.yaml", http.port()));
        let text = format!(
            "classes: [{{name: vestibule, default: true, http: ['{http}'], publish: {{addresses: [192.0.2.8]}}}}]\n\
             gateways: [{{gateway: '*', addresses: ['{gateway}'], ports: {{{port}: {port}}}}}]\n",
            port = self.gateway_port
        );
        std::fs::write(&file, text).expect("the settings are written");
        let mut command = Command::new(quick_binary());
        command.args([
            "serve",
            "--role",
            role,
            "--access-log",
            "off",
            "--admin",
            "127.0.0.1:0",
            "--settings",
        ]);
        command.arg(&file).arg("--kubeconfig").arg(self.cluster.kubeconfig("vestibule"));
        Process::start(&mut command)
    }
}

fn host(index: usize) -> String {
    format!("r{index}.example.com")
}

/// What a changed route says.
fn told(sample: usize) -> String {
    format!("change-{sample}.example.net")
}

fn service(index: usize, endpoint: SocketAddr) -> (Value, Value) {
    let name = format!("r{index}");
    let service = json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    let slice = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [endpoint.ip()], "conditions": {"ready": true}}],
        "ports": [{"port": endpoint.port(), "protocol": "TCP"}],
    });
    (service, slice)
}

fn ingress(index: usize, service: usize) -> Value {
    let backend = json!({"service": {"name": format!("r{service}"), "port": {"number": 80}}});
    json!({"metadata": {"name": format!("r{index}")}, "spec": {"rules": [{
        "host": host(index),
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }]}})
}

fn http_route(index: usize, service: usize) -> Value {
    json!({
        "apiVersion": GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": {"name": format!("r{index}")},
        "spec": {"parentRefs": [{"name": "edge"}], "hostnames": [host(index)], "rules": [rule(service, "nothing")]},
    })
}

fn rule(service: usize, told: &str) -> Value {
    let set = json!([{"name": "x-told", "value": told}]);
    json!({
        "backendRefs": [{"name": format!("r{service}"), "port": 80}],
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": set}}],
    })
}

/// An upstream that answers every request with its name.
fn backend(name: &'static str) -> SocketAddr {
    // EndpointSlices take no loopback address.
    let listener = TcpListener::bind((own_address(), 0)).expect("a port for the backend");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream, name));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let (mut head, mut some) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(&some[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            // In one piece: in several, the kernel would wait for the edge between two of them.
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            stream.write_all(answer.as_bytes())?;
        }
    }
}

/// The address of this machine that its network would see; nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route to somewhere; EndpointSlices take no loopback address");
    socket.local_addr().expect("an address").ip()
}

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const GATEWAY_CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
    metadata: {name: vestibule}\nspec: {controllerName: vestibule.dev/gateway-controller}\n";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const HTTP_ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// Changes of each kind.
const SAMPLES: usize = 120;
/// Connections that create objects.
const WRITERS: usize = 4;
const LIVE_MAX: Duration = Duration::from_millis(50);
const READY_MAX: Duration = Duration::from_secs(2);
const MEMORY_BYTES_MAX: usize = 60 << 20;
/// All statuses are written by then.
const STATUSES_MAX: Duration = Duration::from_secs(300);
/// A change that is not live by then never will be.
const GIVE_UP: Duration = Duration::from_secs(10);
