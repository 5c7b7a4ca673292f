//! WebSockets over HTTP/2 (RFC 8441): an extended CONNECT becomes a request to upgrade, and its stream a tunnel.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::certificates::Authority;
use tests::edge::Edge;
use tests::manifests::{ingress, service, site, tls_secret};
use tests::streams::{End, Pending, Streams};
use tests::upstream::{Connection, Upstream, ok};
use tests::wait::eventually;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const HOST: &str = "shop.example";

/// Agrees with the accept that belongs to the key, and sends back what comes, with a word at the end.
fn echo(connection: &mut Connection) {
    let Some(request) = connection.head() else { return };
    if request.fields.one("upgrade").is_none() {
        connection.send(ok(&request, "no WebSocket"));
        return;
    }
    let key = request.fields.one("sec-websocket-key").expect("a key");
    connection.send(switch(&derive_accept_key(key.as_bytes())));
    while let Ok(bytes) = connection.reader.some() {
        if bytes.is_empty() {
            break;
        }
        connection.send(&bytes);
    }
    connection.send("bye");
}

fn switch(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// Sends bytes through a tunnel, and reads as many back.
#[track_caller]
fn exchange(client: &Streams, tunnel: &mut Tunnel, bytes: &[u8]) {
    client.send(&mut tunnel.upload, bytes, End::Later).expect("an open stream");
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        let piece = client.data(&mut tunnel.receive).expect("an open stream");
        assert!(!piece.is_empty(), "the tunnel ended after {} bytes", back.len());
        back.extend_from_slice(&piece);
    }
    assert_eq!(back, bytes);
}

struct Tunnel {
    upload: h2::SendStream<bytes::Bytes>,
    receive: h2::RecvStream,
}

#[track_caller]
fn open(client: &mut Streams, path: &str) -> Tunnel {
    let Pending { answer, upload } = client.connect_to("websocket", HOST, path).expect("a stream");
    let (head, receive) = client.head(answer).expect("an answer").into_parts();
    assert_eq!(head.status, 200);
    for hop in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!head.headers.contains_key(hop), "{hop} is not for HTTP/2");
    }
    assert_eq!(head.headers["sec-websocket-protocol"], "chat");
    Tunnel { upload, receive }
}

#[test]
fn bytes_pass_both_ways_over_one_stream_among_others() {
    let upstream = Upstream::start(echo);
    let pair = Authority::default();
    let identity = pair.issue(&[HOST]);
    let tls =
        ingress("").replace("spec:\n", &format!("spec:\n  tls: [{{hosts: [{HOST}], secretName: web}}]\n"));
    let tls = tls.replace("  - http:", &format!("  - host: {HOST}\n    http:"));
    let secret = tls_secret("web", &identity.certificate, &identity.key);
    let edge = Edge::from_yaml(&(tls + &service("web", &[upstream.address]) + &secret));
    let mut client = Streams::connect_tls(edge.https(), pair.client().alpn(&["h2"]).build(), HOST);
    let (mut one, mut other) = (open(&mut client, "/one?a=b"), open(&mut client, "/other"));
    for turn in 0..100 {
        exchange(&client, &mut one, &vec![turn; 1 + usize::from(turn) * 100]);
        exchange(&client, &mut other, b"hello");
    }
    assert_eq!(client.get(HOST, "/plain").expect("an answer").body, b"no WebSocket");

    // Each side ends by itself.
    client.send(&mut one.upload, b"", End::Here).expect("an open stream");
    assert_eq!(client.data(&mut one.receive).expect("a word"), "bye");
    assert_eq!(client.data(&mut one.receive).expect("an end"), "");
    exchange(&client, &mut other, b"still there");

    let requests = upstream.requests();
    assert_eq!((&*requests[0].method, &*requests[0].target), ("GET", "/one?a=b"));
    let key = requests[0].fields.one("sec-websocket-key").expect("a key");
    assert_eq!(STANDARD.decode(key).expect("Base64").len(), 16);
    assert_eq!(requests[0].fields.one("sec-websocket-version"), Some("13"));
    assert_eq!(requests[0].fields.one("host"), Some(HOST));
    let line = edge.logged("the line of the tunnel", |line| line["path"] == "/one");
    assert_eq!(line["bytes_out"], 495_100 + 3);
    assert!(line.get("reason").is_none(), "{line}");
}

#[test]
fn more_than_the_windows_hold_passes() {
    let upstream = Upstream::start(echo);
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Streams::connect(edge.http());
    let mut tunnel = open(&mut client, "/");
    for _ in 0..100 {
        exchange(&client, &mut tunnel, &[7; 30_000]);
    }
    assert!(client.get(HOST, "/plain").is_ok(), "such a client is no flood");
}

#[test]
fn what_is_no_agreement_makes_no_tunnel() {
    for (answer, status) in [
        (switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_owned(), 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n".to_owned(), 302),
    ] {
        let upstream = Upstream::start({
            let answer = answer.clone();
            move |connection| {
                while connection.head().is_some() {
                    connection.send(&answer);
                }
            }
        });
        let edge = Edge::from_yaml(&site("", upstream.address));
        let mut client = Streams::connect(edge.http());
        let pending = client.connect_to("websocket", HOST, "/").expect("a stream");
        assert_eq!(client.finish(pending).expect("an answer").status, status, "{answer}");
        assert!(client.get(HOST, "/next").is_ok(), "the connection goes on");
    }
}

#[test]
fn other_protocols_are_refused() {
    let upstream = Upstream::start(echo);
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Streams::connect(edge.http());
    let pending = client.connect_to("connect-udp", HOST, "/").expect("a stream");
    assert_eq!(client.finish(pending).expect("an answer").status, 501);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn rules_and_limits_hold_as_for_any_request() {
    let upstream = Upstream::start(echo);
    let closed = Edge::from_yaml(&site("allow-from: 192.0.2.0/24", upstream.address));
    let mut client = Streams::connect(closed.http());
    let pending = client.connect_to("websocket", HOST, "/").expect("a stream");
    assert_eq!(client.finish(pending).expect("an answer").status, 403);

    let edge = Edge::from_yaml(&site("concurrency-limit: 1 per ip", upstream.address));
    let mut client = Streams::connect(edge.http());
    let mut tunnel = open(&mut client, "/");
    exchange(&client, &mut tunnel, b"hello");
    assert_eq!(client.get(HOST, "/").expect("an answer").status, 429, "the tunnel is under way");
    client.send(&mut tunnel.upload, b"", End::Here).expect("an open stream");
    eventually("its place is free", || client.get(HOST, "/").expect("an answer").status == 200);
}
