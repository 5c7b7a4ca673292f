//! TLS at the edge and behind it, and what stands in front: the PROXY protocol and trusted proxies.

use std::io;
use std::sync::Arc;

use tests::certificates::{Authority, ClientOptions, server, server_for};
use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{authorities, ingress, service, settings, site, tls_secret};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";

/// An Ingress for some hosts, each with a certificate from `authority`.
fn secured(authority: &Authority, hosts: &[&str], annotations: &str, upstream: &Upstream) -> String {
    let rules: String = hosts
        .iter()
        .map(|host| {
            format!(
                "  - host: \"{host}\"\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}\n"
            )
        })
        .collect();
    let mut yaml = ingress(annotations);
    let spec = yaml.find("spec:").expect("a spec");
    yaml.truncate(spec);
    yaml.push_str("spec:\n  tls:\n");
    for (n, host) in hosts.iter().enumerate() {
        yaml.push_str(&format!("  - {{hosts: [\"{host}\"], secretName: tls-{n}}}\n"));
    }
    yaml.push_str(&format!("  rules:\n{rules}{}", service("web", &[upstream.address])));
    for (n, host) in hosts.iter().enumerate() {
        let pair = authority.issue(&[host]);
        yaml.push_str(&tls_secret(&format!("tls-{n}"), &pair.certificate, &pair.key));
    }
    yaml
}

fn connect(edge: &Edge, options: &ClientOptions, name: &str) -> io::Result<Client> {
    Client::connect_tls(edge.https(), &options.build(), name, b"")
}

#[test]
fn each_name_is_shown_its_certificate_and_an_unknown_one_none() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let hosts = ["a.example", "*.b.example", "c.b.example"];
    let edge = Edge::from_yaml(&secured(&authority, &hosts, "", &upstream));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let options = authority.client().version(version);
        for name in ["a.example", "x.b.example", "c.b.example"] {
            let mut client = connect(&edge, &options, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(client.tls_version(), Some(version.version));
            assert_eq!(client.get(name, "/").text(), "hello", "{name}");
        }
        for name in ["b.example", "x.y.b.example", "unknown.example"] {
            let error = connect(&edge, &options, name).err().unwrap_or_else(|| panic!("{name} was served"));
            assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
        }
    }
    assert!(connect(&edge, &authority.client().without_sni(), "a.example").is_err());
    assert_eq!(upstream.requests()[0].fields.one("x-forwarded-proto"), Some("https"));
}

#[test]
fn the_protocol_is_agreed_on() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let edge = Edge::from_yaml(&secured(&authority, &[HOST], "", &upstream));
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let client = connect(&edge, &authority.client().alpn(offered), HOST).expect("a handshake");
        assert_eq!(client.alpn(), chosen, "{offered:?}");
    }
    assert!(connect(&edge, &authority.client().alpn(&["spdy/3"]), HOST).is_err());
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_keeps_the_old_ones() {
    let upstream = Upstream::saying("hello");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut edge = Edge::from_yaml(&secured(&old, &[HOST], "", &upstream));
    let mut kept = connect(&edge, &old.client(), HOST).expect("a handshake");
    assert_eq!(kept.get(HOST, "/").status, 200);
    edge.republish(&secured(&new, &[HOST], "", &upstream));
    eventually("the new certificate is shown", || connect(&edge, &new.client(), HOST).is_ok());
    assert!(connect(&edge, &old.client(), HOST).is_err());
    assert_eq!(kept.get(HOST, "/").status, 200);
}

#[test]
fn plain_http_is_sent_to_https_and_told_to_stay() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let yaml = secured(&authority, &[HOST], "hsts: \"true\"", &upstream);
    let edge = Edge::from_yaml(&yaml);
    let answer = get(edge.http(), HOST, "/a?b=c");
    assert_eq!(answer.status, 308);
    let location = answer.fields.one("location").expect("a location").to_owned();
    assert!(location.starts_with("https://shop.example") && location.ends_with("/a?b=c"), "{location}");
    assert!(!answer.fields.has("strict-transport-security"), "it means nothing in plain");
    let mut client = connect(&edge, &authority.client(), HOST).expect("a handshake");
    let answer = client.get(HOST, "/");
    assert_eq!(answer.fields.one("strict-transport-security"), Some("max-age=31536000"));
}

#[test]
fn a_trusted_proxy_that_says_https_is_not_redirected() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let yaml = secured(&authority, &[HOST], "hsts: \"true\"", &upstream);
    let edge = Edge::from_yaml(&format!("{yaml}{}", settings("trust: {forwarded: [127.0.0.1]}")));
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\n\r\n");
    let mut trusted = Client::connect(edge.http());
    trusted.send(&request);
    let answer = trusted.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let mut stranger = Client::connect_from("127.0.0.2".parse().expect("an address"), edge.http());
    stranger.send(&request);
    assert_eq!(stranger.answer().status, 308);
    assert_eq!(upstream.requests()[0].fields.one("x-forwarded-proto"), Some("https"));
}

/// A Gateway with one HTTPS listener that asks for client certificates.
fn guarded(server: &Authority, clients: &Authority, mode: &str, upstream: &Upstream) -> String {
    let pair = server.issue(&[HOST]);
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
         spec:\n  gatewayClassName: vestibule\n  listeners:\n  \
         - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: web-tls}}]}}}}\n  \
         tls: {{frontend: {{default: {{validation: {{mode: {mode}, \
         caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: clients}}]}}}}}}}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n{}{}{}",
        service("web", &[upstream.address]),
        tls_secret("web-tls", &pair.certificate, &pair.key),
        authorities("clients", &clients.pem())
    )
}

/// The status of one GET, or `None` when the edge ended the connection instead.
fn status(edge: &Edge, config: &Arc<rustls::ClientConfig>) -> Option<u16> {
    let mut client = Client::connect_tls(edge.address("shop/edge:443"), config, HOST, b"").ok()?;
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.reader.answer("GET").ok().flatten().map(|answer| answer.status)
}

#[test]
fn a_client_without_a_good_certificate_does_not_get_in() {
    let upstream = Upstream::saying("hello");
    let (authority, clients, strangers) =
        (Authority::default(), Authority::new("clients"), Authority::new("x"));
    let edge = Edge::from_yaml(&guarded(&authority, &clients, "AllowValidOnly", &upstream));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let options = authority.client().version(version);
        let good = options.clone().identity(clients.issue(&["client.example"])).build();
        // Twice, so that a resumed session would show.
        assert_eq!([status(&edge, &good), status(&edge, &good)], [Some(200), Some(200)]);
        assert_eq!(status(&edge, &options.build()), None, "no certificate");
        let bad = options.clone().identity(strangers.issue(&["client.example"])).build();
        assert_eq!(status(&edge, &bad), None, "a certificate of somebody else");
    }
    assert_eq!(upstream.count(), 4);
}

#[test]
fn an_insecure_fallback_lets_everybody_in() {
    let upstream = Upstream::saying("hello");
    let (authority, clients) = (Authority::default(), Authority::new("clients"));
    let edge = Edge::from_yaml(&guarded(&authority, &clients, "AllowInsecureFallback", &upstream));
    assert_eq!(status(&edge, &authority.client().build()), Some(200));
    let stranger = authority.client().identity(Authority::new("x").issue(&["client.example"])).build();
    assert_eq!(status(&edge, &stranger), Some(200));
}

#[test]
fn a_session_is_resumed_on_listeners_without_client_certificates() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let edge = Edge::from_yaml(&secured(&authority, &[HOST], "", &upstream));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.client().version(version).build();
        for turn in 0..2 {
            let mut client = Client::connect_tls(edge.https(), &config, HOST, b"").expect("a handshake");
            assert_eq!(client.get(HOST, "/").status, 200);
            assert_eq!(client.is_resumed(), turn == 1, "{version:?}");
        }
    }
}

const PROXY_V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n";
const PROXY_V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x04\xd2\x01\xbb";
const PROXY_V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

#[test]
fn the_proxy_protocol_names_the_client() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let yaml = secured(&authority, &[HOST], "ssl-redirect: \"false\"", &upstream);
    let edge = Edge::from_yaml(&format!("{yaml}{}", settings("trust: {proxyProtocol: [127.0.0.1]}")));
    for (header, address) in [(PROXY_V1, "192.0.2.7"), (PROXY_V2, "192.0.2.7"), (PROXY_V2_LOCAL, "127.0.0.1")]
    {
        let mut plain = Client::connect(edge.http());
        plain.send(header);
        assert_eq!(plain.get(HOST, "/").status, 200);
        let mut tls = Client::connect_tls(edge.https(), &authority.client().build(), HOST, header)
            .expect("a handshake");
        assert_eq!(tls.get(HOST, "/").status, 200);
        for request in upstream.requests().iter().rev().take(2) {
            assert_eq!(request.fields.one("x-forwarded-for"), Some(address));
        }
    }
}

#[test]
fn the_proxy_protocol_is_for_those_who_may_and_must() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&format!(
        "{}{}",
        site("", upstream.address),
        settings("trust: {proxyProtocol: [127.0.0.1]}\ntimeouts: {handshake: 300ms}")
    ));
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    // Without the header, with a broken one, and with half of one.
    for first in [b"".as_slice(), b"PROXY TCP4 192.0.2.7 198.51.100.1 1234\r\n", b"PROXY NONSENSE\r\n"] {
        let mut client = Client::connect(edge.http());
        client.send([first, request.as_bytes()].concat());
        assert!(client.is_closed(), "{first:?}");
    }
    let mut half = Client::connect(edge.http());
    half.send(&PROXY_V1[..20]);
    assert!(half.is_closed());
    let mut stranger = Client::connect_from("127.0.0.2".parse().expect("an address"), edge.http());
    stranger.send([PROXY_V1, request.as_bytes()].concat());
    assert!(stranger.is_closed());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_proxy_header_nobody_asked_for_is_a_bad_request() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    for header in [PROXY_V1, PROXY_V2] {
        let mut client = Client::connect(edge.http());
        client.send([header, b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 400);
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_upstream_is_spoken_to_in_tls_and_verified_where_the_route_says_so() {
    let (authority, other) = (Authority::default(), Authority::new("other"));
    let pair = authority.issue(&["inner.example"]);
    let upstream = Upstream::start_tls(server(&pair, &[]), |connection| {
        while let Some(request) = connection.request() {
            connection.send(ok(&request, "secret"));
        }
    });
    let secret = |authority: &Authority| {
        let pem: String = authority.pem().lines().map(|line| format!("    {line}\n")).collect();
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: ca, namespace: shop}}\nstringData:\n  ca.crt: |\n{pem}"
        )
    };
    let verify = "backend-protocol: HTTPS\nproxy-ssl-verify: \"true\"\nproxy-ssl-secret: ca";
    let named = format!("{verify}\nproxy-ssl-name: inner.example");
    let misnamed = format!("{verify}\nproxy-ssl-name: other.example");
    for (name, annotations, root, status) in [
        ("not verified", "backend-protocol: HTTPS", &authority, 200),
        ("verified", &named, &authority, 200),
        ("another name", &misnamed, &authority, 502),
        ("another authority", &named, &other, 502),
        ("in plain", "", &authority, 502),
    ] {
        let edge = Edge::from_yaml(&format!("{}{}", site(annotations, upstream.address), secret(root)));
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(client.answer().status, status, "{name}: {:?}", edge.problems());
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_upstream_that_asks_for_a_certificate_is_shown_that_of_the_secret() {
    let (authority, stranger) = (Authority::default(), Authority::new("stranger"));
    let inner = authority.issue(&["inner.example"]);
    let upstream = Upstream::start_tls(server_for(&inner, &authority), |connection| {
        while let Some(request) = connection.request() {
            connection.send(ok(&request, "secret"));
        }
    });
    let named = "backend-protocol: HTTPS\nproxy-ssl-name: inner.example";
    let shown = format!("{named}\nproxy-ssl-secret: ours");
    let verified = format!("{shown}\nproxy-ssl-verify: \"true\"");
    let good = authority.issue(&["edge.example"]);
    let bad = stranger.issue(&["edge.example"]);
    for (name, annotations, pair, status) in [
        ("shown", &shown, &good, 200),
        ("shown and verified", &verified, &good, 200),
        ("none", &named.to_owned(), &good, 502),
        ("a stranger's", &shown, &bad, 502),
    ] {
        let mut secret: serde_json::Value =
            serde_json::from_str(&pair.to_secret("shop", "ours", serde_json::json!({}))).expect("JSON");
        secret["stringData"] = serde_json::json!({"ca.crt": authority.pem()});
        let manifests = format!("{}---\n{secret}\n", site(annotations, upstream.address));
        let edge = Edge::from_yaml(&manifests);
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(client.answer().status, status, "{name}: {:?}", edge.problems());
    }
    assert_eq!(upstream.count(), 2);
}
