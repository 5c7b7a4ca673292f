//! What is passed on unread: TCPRoute, TLSRoute and UDPRoute.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use tests::certificates::{Authority, server};
use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{authorities, service, settings, tls_secret};
use tests::upstream::{Upstream, ok};
use tests::wait::DEADLINE;

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

fn gateway(listeners: &str) -> String {
    format!(
        "---\napiVersion: {GATEWAY_API}\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
         spec:\n  gatewayClassName: vestibule\n  listeners:\n{listeners}"
    )
}

/// A route of this kind, with further lines of its metadata and of its spec.
fn route(kind: &str, name: &str, metadata: &str, spec: &str, backends: &str) -> String {
    format!(
        "---\napiVersion: {GATEWAY_API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop{metadata}}}\n\
         spec:\n  parentRefs: [{{name: edge}}]\n  {spec}\n  rules: [{{backendRefs: [{backends}]}}]\n"
    )
}

fn connect(edge: &Edge, listener: &str) -> TcpStream {
    let stream = TcpStream::connect(edge.address(listener)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream
}

/// A server that reads one client to its end, and then sends back what it read.
fn echo() -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).expect("all of it");
        stream.write_all(&read).expect("an open connection");
        read
    });
    (address, thread)
}

#[test]
fn bytes_pass_both_ways_and_one_end_is_no_end() {
    let (address, echo) = echo();
    let tcp = "  - {name: db, port: 5432, protocol: TCP}\n";
    let routes = route("TCPRoute", "db", "", "", "{name: db, port: 80}");
    let edge = Edge::from_yaml(&(gateway(tcp) + &routes + &service("db", &[address])));
    let mut client = connect(&edge, "shop/edge:5432");
    let question: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    client.write_all(&question).expect("an open connection");
    client.shutdown(Shutdown::Write).expect("an open connection");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("all of it");
    assert!(answer == question, "{} bytes came back", answer.len());
    assert_eq!(echo.join().expect("a server").len(), question.len());
    let line = edge.logged("the line of the session", |line| line["protocol"] == "TCP");
    assert_eq!(line["route"], "TCPRoute shop/db");
    assert_eq!(line["backend"], "shop/db:80");
    assert_eq!(line["endpoint"], address.to_string());
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&200_000.into(), &200_000.into()));
    assert!(line.get("reason").is_none(), "{line}");
}

#[test]
fn a_backend_that_asks_for_it_is_told_the_client() {
    let (address, echo) = echo();
    let tcp = "  - {name: db, port: 5432, protocol: TCP}\n";
    let asks = ", annotations: {vestibule.dev/send-proxy-protocol: \"true\"}";
    let routes = route("TCPRoute", "db", asks, "", "{name: db, port: 80}");
    let edge = Edge::from_yaml(&(gateway(tcp) + &routes + &service("db", &[address])));
    let mut client = connect(&edge, "shop/edge:5432");
    client.write_all(b"hello").expect("an open connection");
    client.shutdown(Shutdown::Write).expect("an open connection");
    let read = echo.join().expect("a server");
    // Signature, version 2 and PROXY, TCP over IPv4, twelve bytes: both addresses and both ports.
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01";
    assert_eq!(&read[..24], head);
    let own = client.local_addr().expect("an address").port().to_be_bytes();
    assert_eq!(&read[24..26], own);
    assert_eq!(&read[28..], b"hello");
}

#[test]
fn what_nobody_takes_is_reset_and_says_why() {
    let tcp = "  - {name: empty, port: 1, protocol: TCP}\n  - {name: gone, port: 2, protocol: TCP}\n  \
               - {name: nobody, port: 3, protocol: TCP}\n  - {name: guarded, port: 4, protocol: TCP}\n";
    let on = |name: &str, section: &str, metadata: &str, backend: &str| {
        route("TCPRoute", name, metadata, "", backend)
            .replace("{name: edge}", &format!("{{name: edge, sectionName: {section}}}"))
    };
    let yaml = gateway(tcp)
        + &on("empty", "empty", "", "{name: empty, port: 80}")
        + &on("gone", "gone", "", "{name: gone, port: 80}")
        + &on(
            "guarded",
            "guarded",
            ", annotations: {vestibule.dev/allow-from: 10.0.0.0/8}",
            "{name: empty, port: 80}",
        )
        + &service("empty", &[])
        + "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: empty-0, namespace: shop, \
           labels: {kubernetes.io/service-name: empty}}\naddressType: IPv4\nports: [{name: http, port: 1}]\nendpoints: []\n";
    let edge = Edge::from_yaml(&yaml);
    for (port, reason) in [(1, "no_endpoints"), (2, "backend_invalid"), (3, "no_route"), (4, "refused")] {
        let mut client = connect(&edge, &format!("shop/edge:{port}"));
        let mut byte = [0];
        // A reset, or an end where it was faster than the connection.
        assert!(!matches!(client.read(&mut byte), Ok(1)), "port {port}");
        edge.logged(reason, |line| line["reason"] == reason);
    }
}

#[test]
fn another_endpoint_takes_what_the_first_does_not() {
    let upstream = Upstream::saying("hello");
    let tcp = "  - {name: web, port: 5432, protocol: TCP}\n";
    let routes = route("TCPRoute", "web", "", "", "{name: web, port: 80}");
    let endpoints = [tests::upstream::nobody(), upstream.address];
    let edge = Edge::from_yaml(&(gateway(tcp) + &routes + &service("web", &endpoints)));
    for _ in 0..8 {
        let answer = Client::connect(edge.address("shop/edge:5432")).get("a.example", "/");
        assert_eq!(answer.text(), "hello");
    }
}

#[test]
fn one_port_of_tls_passes_ends_and_serves_by_name() {
    let authority = Authority::default();
    let own = authority.issue(&["web.example", "ended.example"]);
    let theirs = authority.issue(&["passed.example"]);
    let inner = Upstream::start_tls(server(&theirs, &[]), |connection| {
        while let Some(request) = connection.request() {
            connection.send(ok(&request, "passed"));
        }
    });
    let (ended, web) = (Upstream::saying("ended"), Upstream::saying("web"));
    let listeners = "  - {name: web, port: 443, protocol: HTTPS, hostname: web.example, tls: {certificateRefs: [{name: own}]}}\n  \
         - {name: ended, port: 443, protocol: TLS, hostname: ended.example, tls: {mode: Terminate, certificateRefs: [{name: own}]}}\n  \
         - {name: passed, port: 443, protocol: TLS, hostname: passed.example, tls: {mode: Passthrough}}\n";
    let yaml = gateway(listeners)
        + &route("HTTPRoute", "web", "", "hostnames: [web.example]", "{name: web, port: 80}")
        + &route("TLSRoute", "ended", "", "hostnames: [ended.example]", "{name: ended, port: 80}")
        + &route("TLSRoute", "passed", "", "hostnames: [passed.example]", "{name: inner, port: 80}")
        + &service("web", &[web.address])
        + &service("ended", &[ended.address])
        + &service("inner", &[inner.address])
        + &tls_secret("own", &own.certificate, &own.key);
    let edge = Edge::from_yaml(&yaml);
    let address = edge.address("shop/edge:443");
    let config = authority.client().build();
    for (name, text) in [("web.example", "web"), ("ended.example", "ended"), ("passed.example", "passed")] {
        let mut client = Client::connect_tls(address, &config, name, b"").expect(name);
        assert_eq!(client.get(name, "/").text(), text);
    }
    // Only HTTPS agrees on a protocol; what is passed on is between the two ends.
    let config = authority.client().alpn(&["http/1.1"]).build();
    let alpn = |name: &str| {
        let client = Client::connect_tls(address, &config, name, b"").expect(name);
        client.alpn().map(str::to_owned)
    };
    assert_eq!(alpn("web.example").as_deref(), Some("http/1.1"));
    assert_eq!(alpn("ended.example"), None);
    assert!(Client::connect_tls(address, &config, "nobody.example", b"").is_err());
    edge.logged("the name that nobody has", |line| {
        line["reason"] == "no_route" && line["host"] == "nobody.example"
    });
    let line = edge.logged("the line of what was passed on", |line| line["route"] == "TLSRoute shop/passed");
    assert_eq!((&line["host"], &line["protocol"]), (&"passed.example".into(), &"TLS".into()));
}

#[test]
fn an_ingress_passes_tls_on_as_nginx_would() {
    let authority = Authority::default();
    let theirs = authority.issue(&["passed.example", "guarded.example"]);
    let own = authority.issue(&["web.example"]);
    let inner = Upstream::start_tls(server(&theirs, &[]), |connection| {
        while let Some(request) = connection.request() {
            connection.send(ok(&request, "passed"));
        }
    });
    let web = Upstream::saying("web");
    let ingress = |name: &str, keys: &str, service: &str, tls: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop, \
             annotations: {{{keys}}}}}\nspec:\n  ingressClassName: vestibule\n{tls}  rules:\n  - host: {name}.example\n    \
             http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n"
        )
    };
    let passes = "vestibule.dev/ssl-passthrough: 'true'";
    let guarded = format!("{passes}, vestibule.dev/allow-from: 10.0.0.0/8");
    let yaml = ingress("passed", passes, "inner", "")
        + &ingress("guarded", &guarded, "inner", "")
        + &ingress("web", "", "web", "  tls: [{hosts: [web.example], secretName: own}]\n")
        + &service("web", &[web.address])
        + &service("inner", &[inner.address])
        + &tls_secret("own", &own.certificate, &own.key);
    let mut edge = Edge::from_yaml(&yaml);
    let config = authority.client().build();
    for (name, text) in [("passed.example", "passed"), ("web.example", "web")] {
        let mut client = Client::connect_tls(edge.https(), &config, name, b"").expect(name);
        assert_eq!(client.get(name, "/").text(), text);
    }
    let line = edge.logged("the line of what was passed on", |line| line["protocol"] == "TLS");
    assert_eq!((&line["route"], &line["host"]), (&"Ingress shop/passed".into(), &"passed.example".into()));
    assert!(
        Client::connect_tls(edge.https(), &config, "guarded.example", b"").is_err(),
        "rules cannot hold there"
    );
    assert!(edge.problems().iter().any(|problem| problem.reason == "NotSupported"), "{:?}", edge.problems());
    edge.republish(&yaml.replace("'true'", "'false'"));
    tests::wait::eventually("its TLS ends here again", || {
        Client::connect_tls(edge.https(), &config, "passed.example", b"").is_err()
    });
}

#[test]
fn a_policy_puts_what_ends_here_into_tls_again() {
    let authority = Authority::default();
    let (own, theirs) = (authority.issue(&["ended.example"]), authority.issue(&["inner.example"]));
    let inner = Upstream::start_tls(server(&theirs, &[]), |connection| {
        while let Some(request) = connection.request() {
            connection.send(ok(&request, "secured"));
        }
    });
    let listeners = "  - {name: ended, port: 443, protocol: TLS, hostname: ended.example, \
         tls: {mode: Terminate, certificateRefs: [{name: own}]}}\n";
    let policy = |host: &str| {
        format!(
            "---\napiVersion: {GATEWAY_API}\nkind: BackendTLSPolicy\nmetadata: {{name: inner, namespace: shop}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: inner}}], validation: {{hostname: {host}, \
             caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]}}}}\n"
        )
    };
    let yaml = gateway(listeners)
        + &route("TLSRoute", "ended", "", "hostnames: [ended.example]", "{name: inner, port: 80}")
        + &service("inner", &[inner.address])
        + &tls_secret("own", &own.certificate, &own.key)
        + &authorities("ca", &authority.pem());
    let mut edge = Edge::from_yaml(&(yaml.clone() + &policy("inner.example")));
    let config = authority.client().build();
    let ask = |edge: &Edge| {
        let address = edge.address("shop/edge:443");
        let mut client = Client::connect_tls(address, &config, "ended.example", b"").expect("a handshake");
        client.send("GET / HTTP/1.1\r\nHost: ended.example\r\n\r\n");
        client.reader.answer("GET").ok().flatten().map(|answer| answer.text())
    };
    assert_eq!(ask(&edge).as_deref(), Some("secured"));
    edge.republish(&(yaml + &policy("other.example")));
    tests::wait::eventually("the backend that is not who it should be is left alone", || {
        ask(&edge).is_none()
    });
}

#[test]
fn datagrams_pass_and_each_client_keeps_its_way() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    server.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let backend = server.local_addr().expect("an address");
    let yaml = gateway("  - {name: dns, port: 53, protocol: UDP}\n")
        + &route("UDPRoute", "dns", "", "", "{name: dns, port: 53}")
        + &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: dns, namespace: shop}}\n\
             spec: {{clusterIP: None, ports: [{{name: dns, port: 53, protocol: UDP}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: dns-0, namespace: shop, \
             labels: {{kubernetes.io/service-name: dns}}}}\naddressType: IPv4\n\
             ports: [{{name: dns, port: {}, protocol: UDP}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
            backend.port()
        )
        + &settings("relay: {udpClients: 2, udpIdleTimeout: 1s}");
    let edge = Edge::from_yaml(&yaml);
    let address = edge.address("shop/edge:53/udp");
    let client = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(address).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        socket
    };
    let exchange = |client: &UdpSocket, text: &[u8]| {
        client.send(text).expect("a socket");
        let mut buffer = [0; 64];
        let (length, from) = server.recv_from(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], text);
        server.send_to(b"answer", from).expect("a socket");
        let length = client.recv(&mut buffer).expect("an answer");
        assert_eq!(&buffer[..length], b"answer");
        from
    };
    let (first, second) = (client(), client());
    let way = exchange(&first, b"one");
    assert_eq!(exchange(&first, b"two"), way);
    assert_ne!(exchange(&second, b"three"), way);
    // There is no room for a third until one of them has been silent for long enough.
    let third = client();
    third.send(b"four").expect("a socket");
    third.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
    let line = edge.logged("the end of a client", |line| line["protocol"] == "UDP");
    assert_eq!(line["route"], "UDPRoute shop/dns");
    assert_eq!(line["bytes_out"], 12);
    exchange_when_there_is_room(&third, &server);
}

/// Sends until something arrives: the first ones may come before there is room.
fn exchange_when_there_is_room(client: &UdpSocket, server: &UdpSocket) {
    let mut buffer = [0; 64];
    server.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
    tests::wait::eventually("room for another client", || {
        client.send(b"five").expect("a socket");
        server.recv_from(&mut buffer).is_ok_and(|(length, _)| &buffer[..length] == b"five")
    });
}
