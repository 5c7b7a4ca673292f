use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::key::CallKeys;
use super::*;
use crate::options::Role;

async fn start(bounds: Bounds) -> (Replicas, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let replicas = Replicas::new(Role::All, address.port());
    replicas.set_keys(CallKeys::new(wall_clock()).expect("random bytes"));
    tokio::spawn(serve(listener, replicas.clone(), bounds));
    (replicas, address)
}

/// A sealed call, as it stands on the wire.
fn sealed(replicas: &Replicas, path: &str, body: &[u8]) -> Vec<u8> {
    let (seal, _) = replicas.seals().call(path, replicas.incarnation(), body, wall_clock()).expect("keys");
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nHost: replica\r\nvestibule-replica: {seal}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The status of whatever is answered.
async fn status(address: std::net::SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // It may have answered before all was sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[tokio::test]
async fn only_sealed_posts_are_answered() {
    let (replicas, address) = start(Bounds::default()).await;
    let good = sealed(&replicas, "/v1/applied-version", b"{}");
    assert_eq!(status(address, &good).await, Some(200));
    assert_eq!(status(address, &good).await, Some(401), "a call that is heard twice counts once");
    assert_eq!(status(address, &sealed(&replicas, "/v1/applied-version", b"[")).await, Some(400));
    assert_eq!(status(address, &sealed(&replicas, "/v9/unknown", b"{}")).await, Some(404));
    assert_eq!(status(address, b"GET / HTTP/1.1\r\nHost: replica\r\n\r\n").await, Some(405));
    let bare = b"POST /v1/applied-version HTTP/1.1\r\nHost: replica\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(status(address, bare).await, Some(401));
    let twice = String::from_utf8(sealed(&replicas, "/v1/applied-version", b"{}")).expect("text");
    let twice = twice.replace("Host: replica", "Host: replica\r\nvestibule-replica: 1");
    assert_eq!(status(address, twice.as_bytes()).await, Some(401));
    let refused = replicas.counters().counts().refused;
    assert!(refused.contains(&("form", 2)) && refused.contains(&("replay", 1)), "{refused:?}");
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let (replicas, address) = start(Bounds::default()).await;
    let most = vec![b' '; BODY_BYTES_MAX];
    assert_eq!(
        status(address, &sealed(&replicas, "/v9/unknown", &most)).await,
        Some(404),
        "it was read whole"
    );
    let more = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(status(address, &sealed(&replicas, "/v9/unknown", &more)).await, Some(413));
    let mut head = b"POST / HTTP/1.1\r\nHost: replica\r\nX: ".to_vec();
    head.resize(HEAD_BYTES_MAX + 1, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    assert_eq!(status(address, &head).await, Some(431));
}

#[tokio::test]
async fn connections_are_bounded_in_number_and_in_time() {
    let timeouts = Duration::from_millis(300);
    let (replicas, address) =
        start(Bounds { connections: 2, head_timeout: timeouts, connection_age: timeouts }).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect(address).await.expect("it listens"));
    }
    // It waits in the queue of the socket until one of the silent ones has used up its time.
    assert_eq!(status(address, &sealed(&replicas, "/v1/applied-version", b"{}")).await, Some(200));
    for mut silent in idle {
        let mut answer = Vec::new();
        let _ = silent.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "its time was over");
    }
    // A body that never ends does not hold its place either.
    let endless = b"POST / HTTP/1.1\r\nHost: replica\r\nContent-Length: 10\r\n\r\n{";
    assert_eq!(status(address, endless).await, None);
}
