//! Changes of the configuration under load: routes, endpoints, certificates and listeners change while clients send requests
//! over kept connections, and no request fails.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::certificates::Authority;
use tests::client::{self, Client};
use tests::manifests;
use tests::process::{Files, Process, command, quick_binary};
use tests::upstream::nobody;
use tests::wait::{eventually, pause};

#[test]
fn a_hundred_changes_fail_none_of_a_hundred_thousand_requests() {
    reload(100, 100_000);
}

#[test]
#[ignore = "nightly: a million requests take minutes"]
fn a_thousand_changes_fail_none_of_a_million_requests() {
    reload(1_000, 1_000_000);
}

/// What the clients share.
#[derive(Default)]
struct Load {
    done: AtomicUsize,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// Ends the load when it is dropped.
struct StopAtEnd<'a>(&'a Load);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Two applications, the process, and the files that change.
struct Bed {
    files: Files,
    process: Process,
    apps: [(Process, SocketAddr); 2],
    authorities: [Authority; 2],
}

fn reload(changes: usize, requests: usize) {
    let bed = Bed::start();
    let load = Load::default();
    std::thread::scope(|scope| {
        // A failure here or in a client stops the others, so that the processes of the bed end with the test.
        let _stop = StopAtEnd(&load);
        for index in 0..CLIENTS {
            let (bed, load) = (&bed, &load);
            scope.spawn(move || {
                let _stop = StopAtEnd(load);
                send(bed, load, index % 2 == 1);
            });
        }
        let mut last = (0, Instant::now());
        for change in 0..=changes {
            // The changes are spread over the requests; the last of these come after the last change.
            while load.done.load(Ordering::Relaxed) < requests / changes * change {
                assert!(!load.stop.load(Ordering::Relaxed), "a request failed");
                let done = load.done.load(Ordering::Relaxed);
                if done != last.0 {
                    last = (done, Instant::now());
                }
                assert!(last.1.elapsed() < STALL_LIMIT, "nothing moves after {done} requests");
                pause();
            }
            if change < changes {
                bed.change(change);
            }
        }
    });
    let done = load.done.load(Ordering::Relaxed);
    assert!(done >= requests, "{done} requests");
    let connections = load.connections.load(Ordering::Relaxed);
    // A connection is closed after 10,000 requests, and for no other reason.
    assert!(connections <= CLIENTS + done / 10_000, "{connections} connections for {done} requests");
    let versions = bed.process.metric("vestibule_config_version").expect("a metric");
    assert!(versions >= (changes / 2) as f64, "{versions} configurations went live");
    let failed = bed.process.metric("vestibule_upstream_connects_failed_total");
    assert_eq!(failed, Some(0.0), "connections to endpoints");
}

/// Sends requests over one connection for as long as that is kept.
fn send(bed: &Bed, load: &Load, tls: bool) {
    let mut turn = 0_usize;
    while !load.stop.load(Ordering::Relaxed) {
        load.connections.fetch_add(1, Ordering::Relaxed);
        let mut client = if tls { bed.connect_tls() } else { Client::connect(bed.process.http()) };
        loop {
            turn += 1;
            let body = if turn.is_multiple_of(4) { "0123456789" } else { "" };
            client.send(format!(
                "POST /steady/{turn} HTTP/1.1\r\nHost: steady.example\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = client.answer();
            assert_eq!(answer.status, 200, "request {turn}: {}", answer.text());
            assert!(answer.text().contains(&format!("\"path\":\"/steady/{turn}\"")), "{}", answer.text());
            load.done.fetch_add(1, Ordering::Relaxed);
            if load.stop.load(Ordering::Relaxed) {
                return;
            }
            if answer.says_close() {
                break;
            }
        }
    }
}

impl Bed {
    fn start() -> Self {
        let apps = ["one", "two"].map(|name| {
            let address = nobody();
            let mut command = Command::new(quick_binary());
            command.args(["sample-app", "--name", name, "--listen", &address.to_string()]);
            let app = Process::start(&mut command);
            eventually("the application answers", || std::net::TcpStream::connect(address).is_ok());
            (app, address)
        });
        let authorities = ["even", "odd"].map(Authority::new);
        let files = Files::default();
        files.write("steady.yaml", &steady());
        files.write("service.yaml", &service());
        files.write("endpoints.yaml", &manifests::endpoint_slices("web", &[apps[0].1]));
        files.write("certificate.yaml", &certificate(&authorities[0]));
        let process = Process::start(command(quick_binary(), &files).args(["--access-log", "off"]));
        process.wait_until_ready();
        Bed { files, process, apps, authorities }
    }

    /// Makes one change, and waits until it is live.
    fn change(&self, change: usize) {
        let (kind, round) = (change % 4, change / 4);
        match kind {
            0 => self.change_routes(round),
            1 => self.change_endpoints(round),
            2 => self.change_certificate(round),
            _ => self.change_listeners(round),
        }
    }

    /// Another Ingress of the steady host appears with a new destination.
    fn change_routes(&self, round: usize) {
        let other = format!("ssl-redirect: 'false'\npermanent-redirect: https://elsewhere.example/{round}");
        let other =
            on_steady_host(&manifests::ingress(&other), "other").replacen("path: /", "path: /other", 1);
        self.files.write("other.yaml", &other);
        let wanted = format!("https://elsewhere.example/{round}");
        eventually("the route is live", || {
            let answer = client::get(self.process.http(), "steady.example", "/other");
            answer.fields.one("location").is_some_and(|location| location == wanted)
        });
    }

    /// The endpoints are one application, the other, or both.
    fn change_endpoints(&self, round: usize) {
        let [one, two] = [self.apps[0].1, self.apps[1].1];
        let endpoints: &[SocketAddr] = match round % 3 {
            0 => &[two],
            1 => &[one, two],
            _ => &[one],
        };
        self.files.write("endpoints.yaml", &manifests::endpoint_slices("web", endpoints));
        let name = if round % 3 == 2 { "\"app\":\"one\"" } else { "\"app\":\"two\"" };
        eventually("the endpoint is used", || {
            client::get(self.process.http(), "steady.example", "/probe").text().contains(name)
        });
    }

    /// New handshakes show the certificate of the other authority.
    fn change_certificate(&self, round: usize) {
        let authority = &self.authorities[(round + 1) % 2];
        self.files.write("certificate.yaml", &certificate(authority));
        let config = authority.client().build();
        eventually("the certificate is shown", || {
            Client::connect_tls(self.process.https(), &config, "steady.example", b"").is_ok()
        });
    }

    /// A Gateway comes with a socket of its own, or goes.
    fn change_listeners(&self, round: usize) {
        if round % 2 == 1 {
            self.files.remove("gateway.yaml");
            return;
        }
        let address = nobody();
        let gateway = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: own, namespace: shop}}\n\
             spec:\n  gatewayClassName: vestibule\n  listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: own, namespace: shop}}\n\
             spec:\n  parentRefs: [{{name: own}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n",
            address.port()
        );
        self.files.write("gateway.yaml", &gateway);
        eventually("the Gateway answers", || {
            std::net::TcpStream::connect(address).is_ok()
                && client::get(address, "any.example", "/").status == 200
        });
    }

    /// A connection under whichever certificate is shown just now.
    fn connect_tls(&self) -> Client {
        let mut configs = self.authorities.iter().map(|authority| authority.client().build()).cycle();
        let trying = (0..10).find_map(|_| {
            let config = configs.next()?;
            Client::connect_tls(self.process.https(), &config, "steady.example", b"").ok()
        });
        trying.expect("a certificate of one of the two authorities")
    }
}

/// The route that all requests of the clients take.
fn steady() -> String {
    on_steady_host(&manifests::ingress("ssl-redirect: 'false'"), "steady").replacen(
        "  rules:\n",
        "  tls: [{hosts: [steady.example], secretName: steady}]\n  rules:\n",
        1,
    )
}

fn on_steady_host(ingress: &str, name: &str) -> String {
    ingress.replacen("name: web", &format!("name: {name}"), 1).replacen(
        "- http:",
        "- host: steady.example\n    http:",
        1,
    )
}

fn service() -> String {
    let service = manifests::service("web", &[]);
    assert!(!service.contains("EndpointSlice"), "the endpoints have a file of their own");
    service
}

fn certificate(authority: &Authority) -> String {
    let pair = authority.issue(&["steady.example"]);
    manifests::tls_secret("steady", &pair.certificate, &pair.key)
}

/// Half of them over TLS.
const CLIENTS: usize = 6;
const STALL_LIMIT: Duration = Duration::from_secs(30);
