//! What somebody who is known has begun ends when the route says so: WebSockets, event streams, downloads. The issuers here are
//! where nobody listens.

use std::io::Read as _;
use std::time::{Duration, Instant};

use auth::session::{Cookies, KeyRing, Lifetimes, SameSite, Session, Transport};
use http::HeaderMap;
use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{self, settings};
use tests::upstream::Upstream;
use tests::wait::{eventually, pause};

const HOST: &str = "app.example";
/// bcrypt of `secret` with the cost 4.
const USERS: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: shop}\nstringData:\n  auth: |\n    \
                     ada:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
const BASIC: &str =
    "providers: {house: {basic: {users: {secretRef: {namespace: shop, name: users, key: auth}}}}}";
const OIDC: &str = "providers: {house: {oidc: {issuer: \"http://127.0.0.1:1\", clientId: edge}}}";
/// `ada:secret`.
const ADA: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends back what comes after the switch; sends events without end to whoever wants none.
fn busy() -> Upstream {
    Upstream::start(|connection| {
        let Some(request) = connection.head() else { return };
        if request.fields.has("upgrade") {
            connection.send(SWITCH);
            while let Ok(bytes) = connection.reader.some() {
                if bytes.is_empty() || !connection.send(&bytes) {
                    return;
                }
            }
        } else if connection.send(EVENTS) {
            while connection.send("9\r\ndata: x\n\n\r\n") {
                pause();
            }
        }
    })
}

fn edge(annotations: &str, upstream: &Upstream) -> Edge {
    let site = manifests::site(&format!("auth: house\n{annotations}"), upstream.address);
    let edge = Edge::from_yaml(&[settings(BASIC), USERS.to_owned(), site].concat());
    assert_eq!(edge.problems(), []);
    edge
}

fn begin(edge: &Edge, lines: &str) -> (Client, u16, Instant) {
    let mut client = Client::connect(edge.http());
    let begun = Instant::now();
    client.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
    let (answer, _) = client.head();
    (client, answer.status, begun)
}

/// Talks through a tunnel until that ends.
fn talk(client: &mut Client) {
    eventually("the tunnel ends", || {
        !client.send("ping") || client.reader.exactly(4).map_or(true, |bytes| bytes != b"ping")
    });
}

/// Reads a stream until that ends; whether it looked like a whole one.
fn listen(client: &Client) -> bool {
    let mut tail = Vec::new();
    let mut buffer = [0; 4096];
    let mut socket = client.socket();
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    tail.ends_with(b"0\r\n\r\n")
}

#[test]
fn a_websocket_ends_when_its_time_is_over_however_busy_it_is() {
    let upstream = busy();
    let edge = edge("auth-stream-age: 1s", &upstream);
    let (mut client, status, begun) = begin(&edge, &format!("{ADA}{UPGRADE}"));
    assert_eq!(status, 101);
    talk(&mut client);
    assert!(begun.elapsed() >= Duration::from_secs(1), "never early: {:?}", begun.elapsed());
    edge.logged("the tunnel", |line| line["status"] == 101 && line["reason"] == "answer_too_old");
    assert_eq!(edge.metric("vestibule_answers_unfinished_total{reason=\"answer_too_old\"}"), 1.0);
    eventually("the application's side is closed", || upstream.open() == 0);
}

#[test]
fn a_stream_ends_when_its_time_is_over_and_does_not_look_whole() {
    let upstream = busy();
    let edge = edge("auth-stream-age: 1s", &upstream);
    let (client, status, begun) = begin(&edge, ADA);
    assert_eq!(status, 200);
    assert!(!listen(&client), "a client must see that there was more");
    assert!(begun.elapsed() >= Duration::from_secs(1), "never early: {:?}", begun.elapsed());
    edge.logged("the stream", |line| line["reason"] == "answer_too_old");
    eventually("the application's side is closed", || upstream.open() == 0);
}

#[test]
fn without_a_bound_and_for_nobody_in_particular_streams_go_on() {
    let upstream = busy();
    for annotations in ["", "auth-stream-age: \"0\"", "auth-skip: /x\nauth-stream-age: 1s"] {
        let edge = edge(annotations, &upstream);
        let (mut client, status, begun) = begin(&edge, &format!("{ADA}{UPGRADE}"));
        assert_eq!(status, 101);
        while begun.elapsed() < Duration::from_secs(2) {
            assert!(client.send("ping"), "{annotations}");
            assert_eq!(client.reader.exactly(4).expect("an echo"), b"ping", "{annotations}");
        }
    }
}

#[test]
fn what_the_operator_made_mandatory_is_shortened_only() {
    let upstream = busy();
    let auth = "auth: {provider: house, mandatory: true, streamAge: 1s}";
    for annotations in ["", "auth-stream-age: \"0\"", "auth-stream-age: 1h"] {
        let site = manifests::site(annotations, upstream.address);
        let edge = Edge::from_yaml(&[settings(&format!("{BASIC}\n{auth}")), USERS.to_owned(), site].concat());
        let (mut client, status, _) = begin(&edge, &format!("{ADA}{UPGRADE}"));
        assert_eq!(status, 101, "{:?}", edge.problems());
        talk(&mut client);
    }
}

/// An edge whose route asks for a login, and the keys that it seals sessions with.
fn guarded(upstream: &Upstream) -> (Edge, KeyRing) {
    let ring = KeyRing::new(now()).expect("random bytes");
    let site = manifests::site("auth: house\nauth-stream-age: 1h", upstream.address);
    let edge = Edge::from_yaml(&[settings(OIDC), site].concat());
    edge.set_session_keys(&ring.to_text());
    (edge, ring)
}

#[expect(clippy::disallowed_methods, reason = "the sessions begin now")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The line with the cookie of a session of ada's: of so many seconds, and as this one at the provider.
fn cookie(ring: &KeyRing, seconds: u64, provider_session: &str) -> String {
    let cookies = Cookies::new("house\nhttp://127.0.0.1:1\nedge", None, SameSite::Lax);
    let lifetimes = Lifetimes { session: Duration::from_secs(seconds), ..Lifetimes::default() };
    let id = Some(provider_session.to_owned());
    let session = Session::begin(auth::Identity::named("ada"), id, &lifetimes, now());
    let set = cookies.write(ring, &session, &HeaderMap::new(), Transport::Plain, HOST, now());
    let set = set.expect("cookies");
    let pair = set[0].to_str().expect("ASCII").split(';').next().expect("a pair");
    format!("Cookie: {pair}\r\n")
}

#[test]
fn a_websocket_ends_with_the_session_it_began_with() {
    let upstream = busy();
    let (edge, ring) = guarded(&upstream);
    let cookie = cookie(&ring, 3, "one");
    let (mut client, status, _) = begin(&edge, &format!("{cookie}{UPGRADE}"));
    assert_eq!(status, 101, "{:?}", edge.problems());
    talk(&mut client);
    let (_, status, _) = begin(&edge, &format!("{cookie}{UPGRADE}"));
    assert_eq!(status, 401, "and is not begun again");
}

#[test]
fn what_began_with_a_session_ends_when_that_is_logged_out() {
    let upstream = busy();
    let (edge, ring) = guarded(&upstream);
    let (here, elsewhere) = (cookie(&ring, 3600, "one"), cookie(&ring, 3600, "two"));
    let (mut tunnel, status, _) = begin(&edge, &format!("{here}{UPGRADE}"));
    let (stream, other_status, _) = begin(&edge, &here);
    let (mut stays, third_status, _) = begin(&edge, &format!("{elsewhere}{UPGRADE}"));
    assert_eq!([status, other_status, third_status], [101, 200, 101], "{:?}", edge.problems());
    let mut client = Client::connect(edge.http());
    client.send(format!("GET /oauth2/sign_out HTTP/1.1\r\nHost: {HOST}\r\n{here}\r\n"));
    assert_eq!(client.answer().status, 302);
    talk(&mut tunnel);
    assert!(!listen(&stream), "a client must see that there was more");
    edge.logged("the tunnel", |line| line["status"] == 101 && line["reason"] == "answer_too_old");
    // The same person's other session has not ended, and neither has what it began.
    assert!(stays.send("ping"));
    assert_eq!(stays.reader.exactly(4).expect("an echo"), b"ping");
}
