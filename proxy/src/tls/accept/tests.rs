use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};

use super::super::ListenerTlsSpec;
use super::super::certificates::Certificate;
use super::super::tests::{Authority, handshake, listener, secret, spec, use_of};
use super::*;

#[tokio::test]
async fn an_unknown_name_is_refused_by_its_alert() {
    let authority = Authority::new("server authority");
    let tls = listener(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let (server, client) = handshake(&tls, authority.client().into(), "b.example").await;
    let error = server.unwrap_err();
    assert!(
        matches!(&error, HandshakeError::UnknownName { server_name: Some(name) } if &**name == "b.example")
    );
    assert_eq!(error.reason(), "unknown_name");
    let error = client.unwrap_err().downcast::<rustls::Error>().unwrap();
    assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn a_client_without_a_name_gets_the_default_certificate_or_none() {
    let authority = Authority::new("server authority");
    let certificate = authority.issue(&["a.example", "192.0.2.1"]);
    let tls = listener(&[use_of(certificate.clone())], vec![]);
    // Clients send no name for an address.
    let (server, _) = handshake(&tls, authority.client().into(), "192.0.2.1").await;
    assert!(matches!(server, Err(HandshakeError::UnknownName { server_name: None })));

    let tls = with_default(certificate);
    let (server, client) = handshake(&tls, authority.client().into(), "192.0.2.1").await;
    assert_eq!(server.unwrap().1.server_name, None);
    client.unwrap();
}

#[tokio::test]
async fn plain_http_is_answered_in_plain_http() {
    let (mut client, server) = tcp_pair().await;
    let tls = listener(&[], vec![]);
    let request = format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(3 * READ_BYTES));
    client.write_all(request.as_bytes()).await.unwrap();
    let error = accept(server, &tls, soon()).await.unwrap_err();
    assert_eq!(error.reason(), "not_tls");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("https://"));
}

#[tokio::test]
async fn a_plain_client_that_waits_without_closing_is_left() {
    let (mut client, server) = tokio::io::duplex(READ_BYTES);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let error = accept(server, &listener(&[], vec![]), soon()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::NotTls));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_never_stops_talking_plain_http_is_left() {
    let (mut client, server) = tokio::io::duplex(READ_BYTES);
    let talker = tokio::spawn(async move {
        let mut bytes = 0;
        while client.write_all(&[b'x'; READ_BYTES]).await.is_ok() {
            bytes += READ_BYTES;
        }
        bytes
    });
    let error = accept(server, &listener(&[], vec![]), soon()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::NotTls));
    assert!(talker.await.unwrap() <= (DRAIN_READS_MAX + 2) * READ_BYTES);
}

#[tokio::test]
async fn a_silent_client_and_a_slow_one_run_out_of_time() {
    let tls = listener(&[], vec![]);
    let (_client, server) = tokio::io::duplex(64);
    assert!(matches!(accept(server, &tls, at_once()).await, Err(HandshakeError::Timeout)));

    let (mut client, server) = tokio::io::duplex(64);
    let start = client_hello([3, 3], SIGNATURE_ALGORITHMS);
    let slow = async {
        for byte in start {
            // Each byte comes in time, all of them together do not.
            tokio::time::sleep(Duration::from_millis(5)).await;
            client.write_all(&[byte]).await.unwrap();
        }
    };
    tokio::select! {
        result = accept(server, &tls, at_once()) => assert!(matches!(result, Err(HandshakeError::Timeout))),
        () = slow => panic!("the deadline did not hold"),
    }
}

#[tokio::test]
async fn a_client_that_stops_after_its_hello_runs_out_of_time() {
    let authority = Authority::new("server authority");
    let tls = listener(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let (mut client, server) = tokio::io::duplex(64 << 10);
    client.write_all(&hello(&authority)).await.unwrap();
    assert!(matches!(accept(server, &tls, at_once()).await, Err(HandshakeError::Timeout)));
}

#[tokio::test]
async fn who_stops_in_a_handshake_holds_no_turn_and_who_has_none_waits() {
    let authority = Authority::new("server authority");
    let tls = listener(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let turns = Semaphore::new(1);
    let (mut silent, server) = tokio::io::duplex(64 << 10);
    silent.write_all(&hello(&authority)).await.unwrap();
    tokio::select! {
        _ = accept_in_turns(server, &tls, soon(), &turns) => panic!("its client has not gone on"),
        answer = silent.read_u8() => { answer.unwrap(); }
    }
    assert_eq!(turns.available_permits(), 1);

    let taken = turns.acquire().await.unwrap();
    let (mut late, server) = tokio::io::duplex(64 << 10);
    late.write_all(&hello(&authority)).await.unwrap();
    let refused = accept_in_turns(server, &tls, at_once(), &turns).await;
    assert!(matches!(refused, Err(HandshakeError::Timeout)), "without a turn there is no step");
    drop(taken);

    let (client, server) = tokio::io::duplex(64 << 10);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(authority.client()));
    let connect = connector.connect("a.example".try_into().unwrap(), client);
    let (server, client) = tokio::join!(accept_in_turns(server, &tls, soon(), &turns), connect);
    server.unwrap();
    client.unwrap();
}

#[tokio::test]
async fn a_handshake_may_come_byte_by_byte() {
    let authority = Authority::new("server authority");
    let tls = listener(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let (client, near) = tokio::io::duplex(64 << 10);
    let (far, server) = tokio::io::duplex(64 << 10);
    let (mut from_client, mut to_client) = tokio::io::split(near);
    let (mut from_server, mut to_server) = tokio::io::split(far);
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    tokio::spawn(async move {
        while let Ok(byte) = from_client.read_u8().await {
            to_server.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let connector = tokio_rustls::TlsConnector::from(Arc::new(authority.client()));
    let connect = connector.connect("a.example".try_into().unwrap(), client);
    let (server, client) = tokio::join!(accept(server, &tls, soon()), connect);
    server.unwrap();
    client.unwrap();
}

#[tokio::test]
async fn old_protocol_versions_are_refused_by_an_alert() {
    let tls = with_default(Authority::new("server authority").issue(&["a.example"]));
    // The second kind leaves out signature_algorithms, as clients before TLS 1.2 do.
    for (version, extensions, alert) in [
        ([3, 1], SIGNATURE_ALGORITHMS, AlertDescription::ProtocolVersion),
        ([3, 2], SIGNATURE_ALGORITHMS, AlertDescription::ProtocolVersion),
        ([3, 1], &[], AlertDescription::HandshakeFailure),
        ([3, 2], &[], AlertDescription::HandshakeFailure),
    ] {
        let (error, answer) = send_to(&tls, &client_hello(version, extensions)).await;
        assert_eq!(error.reason(), "protocol_version", "{version:?} {error:?}");
        assert_eq!(answer[answer.len() - 2..], [2, u8::from(alert)], "{version:?}");
    }
}

#[tokio::test]
async fn garbage_in_a_record_is_refused_by_an_alert() {
    let (error, answer) = send(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).await;
    assert_eq!(error.reason(), "other");
    assert_eq!(answer[0], 21);
    let (error, _) = send(&[22, 3, 1, 0xff, 0xff]).await;
    assert_eq!(error.reason(), "other");
}

#[tokio::test]
async fn a_hello_is_bounded() {
    // A handshake message that announces 16 MB, in full records.
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let (error, _) = send(&record.repeat(8)).await;
    assert_eq!(error.reason(), "other");
}

#[tokio::test]
async fn a_connection_that_ends_is_lost_and_no_more() {
    for start in [&[][..], &[22], &client_hello([3, 3], SIGNATURE_ALGORITHMS)[..20]] {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(start).await.unwrap();
        drop(client);
        let error = accept(server, &listener(&[], vec![]), soon()).await.unwrap_err();
        assert_eq!(error.reason(), "connection_lost");
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_says_so() {
    let tls = listener(&[use_of(Authority::new("server authority").issue(&["a.example"]))], vec![]);
    let stranger = Authority::new("another authority").client();
    let (server, client) = handshake(&tls, stranger.into(), "a.example").await;
    assert!(client.is_err());
    let error = server.unwrap_err();
    assert!(matches!(error, HandshakeError::RefusedByClient(AlertDescription::UnknownCA)), "{error:?}");
    assert_eq!(error.reason(), "refused_by_client");
}

async fn send(bytes: &[u8]) -> (HandshakeError, Vec<u8>) {
    send_to(&listener(&[], vec![]), bytes).await
}

/// Sends bytes, then waits for the server to answer and close.
async fn send_to(tls: &ListenerTls, bytes: &[u8]) -> (HandshakeError, Vec<u8>) {
    let (mut client, server): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
    client.write_all(bytes).await.unwrap();
    let error = accept(server, tls, soon()).await.unwrap_err();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (error, answer)
}

fn with_default(certificate: Arc<Certificate>) -> ListenerTls {
    let spec = ListenerTlsSpec { default_certificate: Some(certificate), ..spec(&[], vec![]) };
    ListenerTls::new(&spec, &secret())
}

/// A ClientHello of this version, with one cipher suite (RFC 5246 §7.4.1.2).
fn client_hello(version: [u8; 2], extensions: &[u8]) -> Vec<u8> {
    let mut body = [&version[..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0]].concat();
    if !extensions.is_empty() {
        body.extend_from_slice(&[0, extensions.len() as u8]);
        body.extend_from_slice(extensions);
    }
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

/// The extension with ecdsa_secp256r1_sha256 alone.
const SIGNATURE_ALGORITHMS: &[u8] = &[0, 13, 0, 4, 0, 2, 4, 3];

/// What a client sends first.
fn hello(authority: &Authority) -> Vec<u8> {
    let config = Arc::new(authority.client());
    let mut client = rustls::ClientConnection::new(config, "a.example".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Time enough to do what can be done without waiting, and no more.
fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}
