//! WebSockets: a tunnel after a 101, and not a moment before.

use std::sync::mpsc;

use tests::certificates::Authority;
use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{ingress, service, site, tls_secret};
use tests::upstream::Upstream;
use tests::wait::{DEADLINE, eventually};
use tokio_tungstenite::tungstenite;

const HOST: &str = "shop.example";
const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches, then sends back what it gets.
fn echo() -> Upstream {
    Upstream::start(|connection| {
        let Some(request) = connection.head() else { return };
        assert!(request.fields.one("upgrade").is_some_and(|value| value == "websocket"), "{request:?}");
        assert!(request.fields.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
        assert_eq!(request.fields.one("sec-websocket-protocol"), Some("chat"));
        connection.send(SWITCH);
        while let Ok(bytes) = connection.reader.some() {
            if bytes.is_empty() {
                break;
            }
            connection.send(&bytes);
        }
        connection.send("bye");
    })
}

#[test]
fn bytes_pass_both_ways_after_the_switch() {
    let upstream = echo();
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(UPGRADE);
    let answer = client.answer();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.fields.one("upgrade"), Some("websocket"));
    assert_eq!(answer.fields.one("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for turn in 0..100 {
        let bytes = vec![turn; 1 + usize::from(turn) * 100];
        client.send(&bytes);
        assert_eq!(client.reader.exactly(bytes.len()).expect("an echo"), bytes);
    }
    // What looks like a request is none any more.
    let poison = b"GET /poison HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    client.send(poison);
    assert_eq!(client.reader.exactly(poison.len()).expect("an echo"), poison);
    client.finish();
    assert_eq!(client.rest(), b"bye", "each side ends by itself");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn bytes_that_come_with_the_switch_are_not_lost() {
    let upstream = Upstream::start(|connection| {
        if connection.head().is_some() {
            connection.send(format!("{SWITCH}welcome"));
            connection.wait_for_close();
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(UPGRADE);
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.reader.exactly(7).expect("a greeting"), b"welcome");
}

#[test]
fn bytes_sent_early_are_held_until_the_switch() {
    let (early, none) = mpsc::channel();
    let upstream = Upstream::start(move |connection| {
        let Some(_) = connection.head() else { return };
        let socket = connection.socket().expect("a socket");
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a timeout");
        let _ = early.send(connection.reader.some().is_err());
        let socket = connection.socket().expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        connection.send(SWITCH);
        if let Ok(bytes) = connection.reader.exactly(5) {
            connection.send(bytes);
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(format!("{UPGRADE}early"));
    assert!(
        none.recv_timeout(DEADLINE).expect("a request"),
        "nothing may reach the upstream before it has switched"
    );
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.reader.exactly(5).expect("an echo"), b"early");
}

#[test]
fn an_upgrade_that_is_refused_ends_the_connection_without_a_second_request() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::answering(move |_| answer.to_owned());
        let edge = Edge::from_yaml(&site("", upstream.address));
        let mut client = Client::connect(edge.http());
        client.send(format!("{UPGRADE}GET /poison HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.text(), "no");
        assert!(answer.says_close() && client.is_closed(), "{answer:?}");
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn a_switch_to_something_else_is_a_bad_gateway() {
    for switch in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |connection| {
            if connection.head().is_some() {
                connection.send(switch);
                connection.wait_for_close();
            }
        });
        let edge = Edge::from_yaml(&site("", upstream.address));
        let mut client = Client::connect(edge.http());
        client.send(UPGRADE);
        assert_eq!(client.answer().status, 502, "{switch}");
    }
}

#[test]
fn only_a_proper_wish_is_passed_on() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    for fields in
        ["Upgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: foo\r\n", "Connection: upgrade\r\n"]
    {
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
        assert_eq!(client.answer().status, 200, "{fields}");
        assert_eq!(client.get(HOST, "/").status, 200, "{fields}");
    }
    assert!(upstream.requests().iter().all(|request| !request.fields.has("upgrade")));
}

#[test]
fn the_end_of_either_side_ends_the_tunnel() {
    let upstream = Upstream::start(|connection| {
        if connection.head().is_some() {
            connection.send(SWITCH);
            if connection.number > 0 {
                connection.wait_for_close();
            }
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(UPGRADE);
    assert_eq!(client.answer().status, 101);
    assert!(client.is_closed(), "the upstream ended it");
    let mut client = Client::connect(edge.http());
    client.send(UPGRADE);
    assert_eq!(client.answer().status, 101);
    drop(client);
    eventually("the upstream's side is closed", || upstream.open() == 0);
}

#[test]
fn a_websocket_works_in_plain_and_in_tls() {
    let upstream = Upstream::start(|connection| {
        let socket = connection.socket().expect("a socket").try_clone().expect("a descriptor");
        let Ok(mut socket) = tungstenite::accept(socket) else { return };
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                let _ = socket.send(message);
            }
        }
    });
    let authority = Authority::default();
    let pair = authority.issue(&[HOST]);
    let yaml = format!(
        "{}  tls: [{{hosts: [{HOST}], secretName: web-tls}}]\n{}{}",
        ingress("ssl-redirect: \"false\"").replace("- http:", &format!("- host: {HOST}\n    http:")),
        service("web", &[upstream.address]),
        tls_secret("web-tls", &pair.certificate, &pair.key)
    );
    let edge = Edge::from_yaml(&yaml);
    let config = authority.client().build();
    let tls = Client::connect_tls(edge.https(), &config, HOST, b"").expect("a handshake");
    for client in [Client::connect(edge.http()), tls] {
        let stream = Whole(client);
        let (mut socket, response) =
            tungstenite::client(format!("ws://{HOST}/socket"), stream).expect("a WebSocket");
        assert_eq!(response.status(), 101);
        for text in ["hello", &"long ".repeat(50_000)] {
            socket.send(tungstenite::Message::text(text)).expect("sent");
            assert_eq!(socket.read().expect("an echo").into_text().expect("text").as_str(), text);
        }
        socket.close(None).expect("a close frame");
        assert!(socket.read().expect("the close is answered").is_close());
    }
}

/// A client as a plain stream.
struct Whole(Client);

impl std::io::Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.reader.stream.read(buffer)
    }
}

impl std::io::Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.reader.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.reader.stream.flush()
    }
}
