//! Several replicas beside a real API server, and what they say to each other.

use std::net::TcpListener;

use auth::session::{Cookies, KeyRing, Lifetimes, SameSite, Session, Transport};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use rustix::process::Signal;
use tests::client::Client;
use tests::cluster::{ControlPlane, eventually};
use tests::replicas::{Replica, introduce};

#[test]
fn a_gateway_is_programmed_when_every_edge_serves_it_and_else_says_who_does_not() {
    let cluster = cluster();
    let bind = |address: &str| {
        format!("gateways: [{{gateway: '*', addresses: [{address}], publish: [192.0.2.7]}}]\n")
    };
    let control = Replica::start(&cluster, "control", &bind("127.0.0.1"));
    let one = Replica::start(&cluster, "edge", &bind("127.0.0.1"));
    let other = Replica::start(&cluster, "edge", &bind("127.0.0.2"));
    let [first, second] = free_ports();
    cluster.apply(GATEWAY_CLASS);
    cluster.apply(&gateway(&[first]));

    // Nobody is known yet. The keys are made all the same.
    cluster.expect("gateway/edge", PROGRAMMED, "False:1:Pending");
    let keys = cluster.read_with("secret/vestibule-replicas", "{.data.keys}", &["--namespace=vestibule"]);
    assert!(!keys.is_empty(), "the leader has filled the Secret");
    introduce(&cluster, &[&control, &one, &other]);
    cluster.expect("gateway/edge", PROGRAMMED, "True:1:Programmed");
    eventually("all three are asked", || {
        control.process.metric("vestibule_replicas ") == Some(3.0)
            && control.process.metric("vestibule_replicas_silent ") == Some(0.0)
    });

    other.process.signal(Signal::STOP);
    cluster.apply(&gateway(&[first, second]));
    cluster.expect("gateway/edge", PROGRAMMED, "False:2:Pending");
    let message = cluster.read("gateway/edge", r#"{.status.conditions[?(@.type=="Programmed")].message}"#);
    assert!(message.contains(&other.address.to_string()), "{message}");
    assert!(message.starts_with("1 of 2 replicas"), "{message}");
    let listeners = r#"{.status.listeners[*].conditions[?(@.type=="Programmed")].reason}"#;
    assert_eq!(cluster.read("gateway/edge", listeners), "Pending Pending");
    assert_eq!(control.process.metric("vestibule_replicas_silent "), Some(1.0));
    other.process.signal(Signal::CONT);
    cluster.expect("gateway/edge", PROGRAMMED, "True:2:Programmed");
    assert_eq!(cluster.read("gateway/edge", listeners), "Programmed Programmed");
}

#[test]
fn an_address_that_one_edge_cannot_have_is_not_programmed() {
    let cluster = cluster();
    let bind = |address: &str| {
        format!("gateways: [{{gateway: '*', addresses: [{address}], publish: [192.0.2.7]}}]\n")
    };
    // Somebody else has the port on one of the two nodes.
    let taken = TcpListener::bind("127.0.0.2:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let control = Replica::start(&cluster, "control", &bind("127.0.0.1"));
    let one = Replica::start(&cluster, "edge", &bind("127.0.0.1"));
    let other = Replica::start(&cluster, "edge", &bind("127.0.0.2"));
    introduce(&cluster, &[&control, &one, &other]);
    cluster.apply(GATEWAY_CLASS);
    cluster.apply(&gateway(&[port]));
    cluster.expect("gateway/edge", PROGRAMMED, "False:1:Pending");
    let message = cluster.read("gateway/edge", r#"{.status.conditions[?(@.type=="Programmed")].message}"#);
    assert!(message.contains(&format!("{} does not serve it", other.address)), "{message}");
    drop(taken);
    cluster.expect("gateway/edge", PROGRAMMED, "True:1:Programmed");
}

#[test]
fn the_keys_of_sessions_are_made_by_the_leader_and_every_replica_takes_a_session() {
    let cluster = cluster();
    let settings = "auth: {sessionKeys: {secretRef: {namespace: vestibule, name: vestibule-replicas, key: sessions}}}\n\
                    providers: {house: {oidc: {issuer: 'http://127.0.0.1:1', clientId: edge}}}\n";
    cluster.apply(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
         metadata: {name: web, namespace: default, annotations: {vestibule.dev/auth: house}}\n\
         spec: {rules: [{host: app.example, http: {paths: \
         [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}\n",
    );
    let edges = [(); 2].map(|()| Replica::start(&cluster, "edge", settings));
    let userinfo = |edge: &Replica, lines: &str| {
        let mut client = Client::connect(edge.process.http());
        client.send(format!("GET /oauth2/userinfo HTTP/1.1\r\nHost: app.example\r\n{lines}\r\n"));
        client.answer().status
    };
    for edge in &edges {
        assert_eq!(userinfo(edge, ""), 503, "nobody can be known before there are keys");
    }
    let _control = Replica::start(&cluster, "control", settings);
    let mut text = String::new();
    eventually("the leader makes the keys", || {
        let read = cluster.read_with(
            "secret/vestibule-replicas",
            "{.data.keys} {.data.sessions}",
            &["--namespace=vestibule"],
        );
        let decoded =
            read.split_once(' ').map(|(_, sessions)| BASE64_STANDARD.decode(sessions).expect("base64"));
        text = String::from_utf8(decoded.unwrap_or_default()).expect("text");
        !read.starts_with(' ') && !text.is_empty()
    });
    let ring = KeyRing::parse(&text).expect("a key ring");
    #[expect(clippy::disallowed_methods, reason = "the session begins now")]
    let now = jiff::Timestamp::now();
    let cookies = Cookies::new("house\nhttp://127.0.0.1:1\nedge", None, SameSite::Lax);
    let session = Session::begin(auth::Identity::named("ada"), None, &Lifetimes::default(), now);
    let set = cookies.write(&ring, &session, &HeaderMap::new(), Transport::Plain, "app.example", now);
    let set = set.expect("cookies");
    let pair = set[0].to_str().expect("ASCII").split(';').next().expect("a pair");
    for edge in &edges {
        eventually("it takes the session", || userinfo(edge, &format!("Cookie: {pair}\r\n")) == 200);
        assert_eq!(userinfo(edge, ""), 401);
    }
}

fn cluster() -> ControlPlane {
    let cluster = ControlPlane::start();
    cluster.allow();
    cluster.install_gateway_api();
    cluster
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("0.0.0.0:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

const GATEWAY_CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
    metadata: {name: vestibule}\nspec: {controllerName: vestibule.dev/gateway-controller}\n";
const PROGRAMMED: &str =
    r#"{range .status.conditions[?(@.type=="Programmed")]}{.status}:{.observedGeneration}:{.reason}{end}"#;

fn gateway(ports: &[u16]) -> String {
    let listeners: Vec<String> =
        ports.iter().map(|port| format!("{{name: web-{port}, protocol: HTTP, port: {port}}}")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\n\
         spec: {{gatewayClassName: vestibule, listeners: [{}]}}\n",
        listeners.join(", ")
    )
}
