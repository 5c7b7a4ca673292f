use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection with these bytes, and returns what it was sent.
async fn server(answer: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut read = vec![0; 4096];
        let length = stream.read(&mut read).await.expect("a request");
        // A client that has heard enough may be gone.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        String::from_utf8_lossy(&read[..length]).into_owned()
    });
    (address, served)
}

fn get(address: &str) -> Request<Vec<u8>> {
    Request::get(address).body(Vec::new()).expect("a request")
}

fn fetcher() -> Fetcher {
    Fetcher::new(Handle::current())
}

#[tokio::test]
async fn a_document_is_fetched_as_it_is() {
    let answer =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nhi".to_vec();
    let (address, served) = server(answer).await;
    let request = get(&format!("http://{address}/a?b=c"));
    let response = fetcher().fetch(request, &Route::anywhere(None)).await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.body().as_slice()), (302, &b"hi"[..]), "not followed");
    let seen = served.await.expect("served");
    assert!(seen.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {address}\r\n")), "{seen}");
}

#[tokio::test]
async fn another_door_keeps_the_name() {
    let (address, served) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let door = ConnectTo::parse(&format!("http://{address}")).expect("a door");
    let request = get("https://id.example.test/keys");
    fetcher().fetch(request, &Route::anywhere(Some(door))).await.expect("an answer");
    assert!(served.await.expect("served").contains("host: id.example.test\r\n"));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_no_answer() {
    for (length, taken) in [(ANSWER_BYTES_MAX, true), (ANSWER_BYTES_MAX + 1, false)] {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        let (address, _) = server(answer).await;
        let fetched = fetcher().fetch(get(&format!("http://{address}/")), &Route::anywhere(None)).await;
        assert_eq!(fetched.is_ok(), taken, "{length}");
    }
}

#[tokio::test]
async fn what_a_tenant_names_does_not_lead_inside() {
    let route = Route { allowed: Arc::from([]), connect_to: None };
    for address in ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "http://[::1]:1/"] {
        let refused = fetcher().fetch(get(address), &route).await;
        assert!(matches!(refused, Err(FetchError::Resolve(_))), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn errors_name_the_server() {
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a socket").local_addr().expect("an address");
    let refused = fetcher().fetch(get(&format!("http://{unused}/")), &Route::anywhere(None)).await;
    let error = refused.expect_err("nobody listens").to_string();
    assert!(error.contains("127.0.0.1"), "{error}");
    let (address, _) = server(b"SSH-2.0-x\r\n".to_vec()).await;
    let refused = fetcher().fetch(get(&format!("http://{address}/")), &Route::anywhere(None)).await;
    assert!(matches!(refused, Err(FetchError::Http { .. })), "{refused:?}");
    let refused = fetcher().fetch(get("ftp://example.test/"), &Route::anywhere(None)).await;
    assert!(matches!(refused, Err(FetchError::Address(_))), "{refused:?}");
}

#[test]
fn doors_are_read() {
    for (text, door) in [
        ("dex.auth.svc:5556", Some((false, "dex.auth.svc", 5556))),
        ("http://dex.auth.svc:5556", Some((true, "dex.auth.svc", 5556))),
        ("https://[fd00::1]:443", Some((false, "fd00::1", 443))),
        ("dex", None),
        ("dex:0", None),
        ("dex:http", None),
        (":1", None),
        ("ftp://dex:1", None),
        ("a/b:1", None),
    ] {
        let expected = door.map(|(plain, host, port)| ConnectTo { plain, host: host.into(), port });
        assert_eq!(ConnectTo::parse(text), expected, "{text}");
    }
}
