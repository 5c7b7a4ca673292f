use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::fixtures::{PATIENCE, answer, client, edge, exchange, read, request, run, until, upstream};
use super::streams::{CANCELLED_MAX, STALLED_MAX};
use super::*;
use crate::settings::Settings;

#[test]
fn a_split_cookie_reaches_the_upstream_as_one_field() {
    let mut headers = HeaderMap::new();
    for crumb in ["a=1", "b=2", "c=3"] {
        headers.append(COOKIE, HeaderValue::from_static(crumb));
    }
    join_cookies(&mut headers);
    let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
    assert_eq!(joined, ["a=1; b=2; c=3"]);

    let mut none = HeaderMap::new();
    join_cookies(&mut none);
    assert!(none.is_empty());
}

#[test]
fn one_expectation_is_known_and_none_is_forwarded() {
    for (value, expected) in
        [(None, Ok(false)), (Some("100-Continue"), Ok(true)), (Some("tea"), Err(Reject::ExpectationFailed))]
    {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(EXPECT, HeaderValue::from_static(value));
        }
        assert_eq!(take_expectation(&mut headers), expected);
        assert!(headers.is_empty());
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it_when_the_upstream_reads() {
    run(async {
        let seen = Arc::new(Mutex::new(Vec::<(HeaderMap, Vec<u8>)>::new()));
        let log = Arc::clone(&seen);
        let upstream = upstream(usize::MAX, move |request, mut respond| {
            let log = Arc::clone(&log);
            async move {
                let (parts, body) = request.into_parts();
                let body = read(body).await.expect("a whole body");
                log.lock().expect("a lock").push((parts.headers, body));
                answer(&mut respond, &[], "stored");
            }
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let (mut send, _connection) = client(edge.address, &h2::client::Builder::new()).await;
        let head = request("PUT", "/file")
            .header(EXPECT, "100-continue")
            .header(CONTENT_LENGTH, "5")
            .header(COOKIE, "a=1")
            .header(COOKIE, "b=2")
            .body(())
            .expect("a request");
        let (mut response, mut upload) = send.send_request(head, false).expect("sent");
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.expect("an interim answer").expect("no error").status(), StatusCode::CONTINUE);
        upload.send_data(Bytes::from_static(b"hello"), true).expect("sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(read(response.into_body()).await.expect("a body"), b"stored");

        let seen = seen.lock().expect("a lock");
        let (headers, body) = &seen[0];
        assert_eq!(body, b"hello");
        assert_eq!(headers.get(EXPECT), None);
        assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["5"]);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    });
}

#[test]
fn the_expectation_of_an_http1_client_ends_at_the_edge() {
    run(async {
        let upstream = upstream(usize::MAX, |request, mut respond| async move {
            let forwarded = request.headers().contains_key(EXPECT);
            let _ = read(request.into_body()).await;
            answer(&mut respond, &[], if forwarded { "forwarded" } else { "removed" });
        })
        .await;
        let edge = edge(upstream.address, Settings::default()).await;
        let answer = exchange(
            edge.address,
            "PUT / HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\nhi",
        )
        .await;
        assert!(answer.contains("removed"), "{answer}");
    });
}

/// Takes `count` requests back, each after the upstream has it, and lets `answered` be answered first.
async fn cancel(answered: u64, count: u64, patience: Duration) -> Option<Reason> {
    let upstream = upstream(usize::MAX, |request, mut respond| async move {
        if request.uri().path() == "/quick" {
            answer(&mut respond, &[], "");
        } else {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        }
    })
    .await;
    let edge = edge(upstream.address, Settings::default()).await;
    let (mut send, connection) = client(edge.address, &h2::client::Builder::new()).await;
    for _ in 0..answered {
        let (response, _) = send.send_request(request("GET", "/quick").body(()).unwrap(), true).unwrap();
        assert_eq!(response.await.expect("an answer").status(), StatusCode::OK);
    }
    for turn in 1..=count {
        let Ok((response, mut stream)) = send.send_request(request("GET", "/slow").body(()).unwrap(), true)
        else {
            break;
        };
        let requests = Arc::clone(&upstream.requests);
        until("the upstream has the request", || {
            requests.load(std::sync::atomic::Ordering::SeqCst) as u64 >= answered + turn
                || connection.is_finished()
        })
        .await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
    }
    // The last reset has to arrive; a connection that is not closed by then stays open.
    let closed = tokio::time::timeout(patience, connection).await.ok()?;
    closed.expect("no panic").err().and_then(|error| error.reason())
}

#[test]
fn a_client_that_only_cancels_is_thrown_out() {
    run(async {
        assert_eq!(cancel(0, CANCELLED_MAX, Duration::from_millis(300)).await, None);
        assert_eq!(cancel(0, CANCELLED_MAX + 1, PATIENCE / 2).await, Some(Reason::ENHANCE_YOUR_CALM));
        assert_eq!(cancel(3, CANCELLED_MAX + 3, Duration::from_millis(300)).await, None);
    });
}

#[test]
fn a_client_that_takes_no_answer_is_thrown_out() {
    run(async {
        let upstream =
            upstream(usize::MAX, |_, mut respond| async move { answer(&mut respond, &[], "hello") }).await;
        let mut settings = Settings::default();
        settings.timeouts.write_idle = Duration::from_millis(200);
        let edge = edge(upstream.address, settings).await;
        let (mut send, connection) =
            client(edge.address, h2::client::Builder::new().initial_window_size(0)).await;
        for _ in 1..=STALLED_MAX {
            assert!(!connection.is_finished());
            let (response, _) = send.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
            // The last of them ends with its connection, the others with a reset.
            let body = response.await.expect("a head").into_body();
            assert!(read(body).await.is_err());
        }
        let error = connection.await.expect("no panic").expect_err("the connection is closed");
        assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    });
}

type Answering<F> =
    fn(Rc<Worker>, Rc<Client>, Rc<Glitches>, Stream, http::Request<RecvStream>, SendResponse<Bytes>) -> F;

fn size<F>(_: Answering<F>) -> usize {
    size_of::<F>()
}

#[test]
fn a_stream_that_is_answered_is_small() {
    let bytes = size(answer_stream);
    assert!(bytes <= ANSWERING_BYTES_MAX, "{bytes} bytes");
}

/// With what a task has beside its future this is a block of 3,584 bytes.
const ANSWERING_BYTES_MAX: usize = 3456;
