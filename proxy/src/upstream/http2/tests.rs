use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::http2::fixtures::{answer, client, edge, exchange, read, request, run, until, upstream};
use crate::settings::Settings;

fn outgoing_headers(fields: &[(&'static str, &'static str)]) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn head(
    method: Method,
    target: &str,
    fields: &[(&'static str, &'static str)],
    length: Option<u64>,
) -> Result<http::Request<()>, Failure> {
    let headers = outgoing_headers(fields);
    let outgoing = Outgoing {
        method: &method,
        target: target.as_bytes(),
        scheme: "http",
        headers: &headers,
        forwarded: None,
        websocket: false,
    };
    request_head(&outgoing, length)
}

#[test]
fn a_head_says_the_length_that_is_sent_once() {
    let lengths = |method, fields: &[(&'static str, &'static str)], length| {
        let head = head(method, "/", fields, length).expect("a head");
        let values = head.headers().get_all(CONTENT_LENGTH).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let host = ("host", "shop.example");
    assert_eq!(lengths(Method::POST, &[host, ("content-length", "9")], Some(5)), ["5"]);
    let twice = [host, ("content-length", "5"), ("content-length", "5")];
    assert_eq!(lengths(Method::POST, &twice, Some(5)), ["5"]);
    assert!(lengths(Method::POST, &[host, ("content-length", "5")], None).is_empty());
    assert!(lengths(Method::GET, &[host], Some(0)).is_empty());
    assert_eq!(lengths(Method::POST, &[host], Some(0)), ["0"]);
    assert_eq!(lengths(Method::DELETE, &[host, ("content-length", "0")], Some(0)), ["0"]);
}

#[test]
fn a_head_that_http2_has_no_place_for_is_unsendable() {
    let host = ("host", "shop.example");
    let sent = |target| head(Method::GET, target, &[host], Some(0)).expect("a head").uri().to_string();
    assert_eq!(sent("/a?q=\"<>\""), "http://shop.example/a?q=%22%3C%3E%22");
    assert_eq!(sent("/a?q={}|^`~"), "http://shop.example/a?q={}|^`~");
    for (target, fields) in
        [("/", &[][..]), ("/", &[("host", "")]), ("/a b", &[host]), ("/", &[("host", "a b")])]
    {
        let failure = head(Method::GET, target, fields, Some(0)).expect_err("no head");
        assert!(matches!(failure, Failure::Unsendable(_)), "{target} {fields:?}: {failure}");
    }
}

#[test]
fn what_cannot_be_sent_is_the_clients_fault_and_answered_400() {
    run(async {
        let upstream =
            upstream(usize::MAX, |_, mut respond| async move { answer(&mut respond, &[], "hello") }).await;
        let edge = edge(upstream.address, Settings::default()).await;
        for _ in 0..8 {
            let answer = exchange(edge.address, "GET / HTTP/1.0\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        assert_eq!(upstream.requests.load(Ordering::SeqCst), 0);
        let answer = exchange(edge.address, &get("/?q=<\"a\">")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
}

#[test]
fn an_answer_keeps_its_length() {
    run(async {
        let upstream = upstream(usize::MAX, |_, mut respond| async move {
            answer(&mut respond, &[("content-length", "5")], "hello");
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let answer = exchange(edge.address, &get("/")).await;
        assert!(answer.to_ascii_lowercase().contains("\r\ncontent-length: 5\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    });
}

#[test]
fn a_broken_upload_is_not_sent_again() {
    run(async {
        let bodies = Arc::new(Mutex::new(Vec::<Result<Vec<u8>, Option<Reason>>>::new()));
        let log = Arc::clone(&bodies);
        let upstream = upstream(usize::MAX, move |request, mut respond| {
            let log = Arc::clone(&log);
            async move {
                let body = read(request.into_body()).await.map_err(|error| error.reason());
                log.lock().expect("a lock").push(body);
                answer(&mut respond, &[], "stored");
            }
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let seen = || bodies.lock().expect("a lock").clone();

        // PUT may be repeated, but not with what a client happened to send before it broke off.
        let mut client_1 = TcpStream::connect(edge.address).await.expect("a connection");
        let half = "PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\nhalf";
        client_1.write_all(half.as_bytes()).await.expect("written");
        until("the upstream has the request", || upstream.requests.load(Ordering::SeqCst) == 1).await;
        drop(client_1);
        until("the upload ended", || seen().len() == 1).await;

        let (mut send, _connection) = client(edge.address, &h2::client::Builder::new()).await;
        let head = request("PUT", "/").body(()).expect("a request");
        let (_response, mut stream) = send.send_request(head, false).expect("sent");
        stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
        until("the upstream has the request", || upstream.requests.load(Ordering::SeqCst) == 2).await;
        stream.send_reset(Reason::CANCEL);
        until("the upload ended", || seen().len() == 2).await;

        // A request that is answered shows that nothing else is on its way.
        let answer = exchange(edge.address, &get("/")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(seen(), [Err(Some(Reason::CANCEL)), Err(Some(Reason::CANCEL)), Ok(Vec::new())]);
        assert_eq!(upstream.requests.load(Ordering::SeqCst), 3);
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_client_that_goes_after_its_upload_is_noticed() {
    run(async {
        let reset: Arc<Mutex<Option<Reason>>> = Arc::default();
        let log = Arc::clone(&reset);
        let upstream = upstream(usize::MAX, move |request, mut respond| {
            let log = Arc::clone(&log);
            async move {
                read(request.into_body()).await.expect("a whole body");
                let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                *log.lock().expect("a lock") = reason.ok();
            }
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let mut client = TcpStream::connect(edge.address).await.expect("a connection");
        let head = "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("written");
        until("the upstream has the request", || upstream.requests.load(Ordering::SeqCst) == 1).await;
        client.write_all(b"hello").await.expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(client);
        until("the upstream is told", || reset.lock().expect("a lock").is_some()).await;
    });
}

#[test]
fn an_upload_goes_on_beside_its_answer() {
    run(async {
        let upstream = upstream(usize::MAX, |request, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).expect("an answer");
            let length = read(request.into_body()).await.expect("a whole body").len();
            let _ = stream.send_data(Bytes::from(length.to_string()), true);
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let mut client = TcpStream::connect(edge.address).await.expect("a connection");
        let head =
            "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 300000\r\nConnection: close\r\n\r\n";
        client.write_all(head.as_bytes()).await.expect("written");
        let mut answer = vec![0; 12];
        client.read_exact(&mut answer).await.expect("the head before the body");
        assert_eq!(answer, b"HTTP/1.1 200");
        client.write_all(&vec![b'x'; 300_000]).await.expect("written");
        answer.clear();
        client.read_to_end(&mut answer).await.expect("the rest");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("300000"), "{answer}");
    });
}

#[test]
fn a_connection_that_goes_away_takes_its_streams_only() {
    run(async {
        let upstream = upstream(1, |request, mut respond| async move {
            if request.uri().path() == "/long" {
                let mut stream = respond.send_response(Response::new(()), false).expect("an answer");
                let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            } else {
                answer(&mut respond, &[], "hello");
            }
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let (mut send, _connection) = client(edge.address, &h2::client::Builder::new()).await;
        let (long, _) = send.send_request(request("GET", "/long").body(()).unwrap(), true).unwrap();
        let long = long.await.expect("an answer");
        // POST is never repeated once it was sent: each must find a connection that takes it.
        for turn in 2..=12 {
            let (response, _) = send.send_request(request("POST", "/").body(()).unwrap(), true).unwrap();
            assert_eq!(response.await.expect("an answer").status(), StatusCode::OK, "request {turn}");
        }
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 12);
        drop(long);
    });
}

#[test]
fn many_requests_to_a_cold_endpoint_open_one_connection() {
    run(async {
        let upstream =
            upstream(usize::MAX, |_, mut respond| async move { answer(&mut respond, &[], "hello") }).await;
        let edge = edge(upstream.address, Settings::default()).await;
        let (mut send, _connection) = client(edge.address, &h2::client::Builder::new()).await;
        let answers: Vec<_> = (0..60)
            .map(|_| send.send_request(request("GET", "/").body(()).unwrap(), true).unwrap().0)
            .collect();
        for answer in answers {
            assert_eq!(answer.await.expect("an answer").status(), StatusCode::OK);
        }
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn informational_answers_are_bounded() {
    run(async {
        let upstream = upstream(usize::MAX, |request, mut respond| async move {
            let count: usize = request.uri().path()[1..].parse().expect("a number");
            for _ in 0..count {
                let mut hint = Response::new(());
                *hint.status_mut() = StatusCode::EARLY_HINTS;
                let _ = respond.send_informational(hint);
            }
            answer(&mut respond, &[], "hello");
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        for (count, last) in [(INTERIM_MAX, "HTTP/1.1 200 "), (INTERIM_MAX + 1, "HTTP/1.1 502 ")] {
            let answer = exchange(edge.address, &get(&format!("/{count}"))).await;
            assert_eq!(answer.matches("HTTP/1.1 103 ").count(), INTERIM_MAX, "{answer}");
            assert!(answer.contains(last), "{answer}");
        }
    });
}
