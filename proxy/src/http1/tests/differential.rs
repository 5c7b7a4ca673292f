//! The codec against hyper: what we accept means the same to it, and what it refuses we refuse.
//!
//! We are stricter, so the other direction does not hold. Where hyper refuses and we accept, the difference is argued in
//! [`argued_request`] and [`argued_response`].

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::http1::body::is_trailer_allowed;

const CASES: u32 = 3000;

#[test]
fn requests_mean_the_same_to_hyper() {
    let (runtime, tally) = (runtime(), Tally::default());
    run(request_bytes(), |bytes| {
        let ours = read_request(&[&bytes]).ok();
        let theirs = runtime.block_on(hyper_reads_request(&bytes));
        tally.count(ours.is_some(), theirs.is_some());
        compare(&bytes, ours, theirs, argued_request)
    });
    tally.check();
}

#[test]
fn responses_mean_the_same_to_hyper() {
    let (runtime, tally) = (runtime(), Tally::default());
    run(response_bytes(), |bytes| {
        for method in [Method::GET, Method::HEAD] {
            let ours = read_response(&method, &[&bytes]).ok();
            let theirs = runtime.block_on(hyper_reads_response(&method, &bytes));
            tally.count(ours.is_some(), theirs.is_some());
            compare(&bytes, ours, theirs, argued_response)?;
        }
        Ok(())
    });
    tally.check();
}

#[test]
fn the_committed_corpus_means_the_same_to_hyper() {
    let runtime = runtime();
    for (name, bytes) in corpus::committed("http1_request_head") {
        let ours = read_request(&[&bytes]).ok();
        let theirs = runtime.block_on(hyper_reads_request(&bytes));
        compare(&bytes, ours, theirs, argued_request).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, bytes) in corpus::committed("http1_response_head") {
        let ours = read_response(&Method::GET, &[&bytes]).ok();
        let theirs = runtime.block_on(hyper_reads_response(&Method::GET, &bytes));
        compare(&bytes, ours, theirs, argued_response).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Hyper parses every target as a URI; we leave that to the step that normalises it.
fn argued_request(seen: &SeenRequest) -> bool {
    Uri::try_from(&seen.start.1[..]).is_err()
}

/// Nothing: hyper's client takes every answer that we take.
fn argued_response(_: &SeenResponse) -> bool {
    false
}

fn compare<Start: std::fmt::Debug + PartialEq>(
    bytes: &[u8],
    ours: Option<Seen<Start>>,
    theirs: Option<Seen<Start>>,
    argued: impl Fn(&Seen<Start>) -> bool,
) -> Result<(), TestCaseError> {
    let shown = bytes.escape_ascii();
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            prop_assert_eq!(&ours.start, &theirs.start, "{}", shown);
            prop_assert_eq!(&ours.headers, &theirs.headers, "{}", shown);
            prop_assert_eq!(
                ours.body.escape_ascii().to_string(),
                theirs.body.escape_ascii().to_string(),
                "{}",
                shown
            );
            prop_assert_eq!(&ours.trailers, &theirs.trailers, "{}", shown);
        }
        (Some(ours), None) => prop_assert!(argued(&ours), "hyper refuses {shown}, we read {ours:?}"),
        (None, _) => {}
    }
    Ok(())
}

/// The first request in `bytes` as hyper's server hands it to a service, body and all.
async fn hyper_reads_request(bytes: &[u8]) -> Option<SeenRequest> {
    let seen = Rc::new(RefCell::new(None));
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let service = service_fn(|request: http::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            if let Some((body, trailers)) = whole(body).await {
                let start = (parts.method, parts.uri.to_string().into_bytes(), protocol(parts.version));
                let request = Seen {
                    start,
                    headers: parts.headers,
                    length: BodyLength::None,
                    body,
                    trailers,
                    rest: Vec::new(),
                };
                seen.borrow_mut().get_or_insert(request);
            }
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    client.write_all(bytes).await.ok()?;
    client.shutdown().await.ok()?;
    // Its result tells of the connection, of which the first request is only a part.
    let _ = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service)
        .await;
    seen.take()
}

/// The first final response in `bytes` as hyper's client gets it, body and all.
async fn hyper_reads_response(method: &Method, bytes: &[u8]) -> Option<SeenResponse> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.ok()?;
    let request = http::Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let upstream = async {
        // Hyper takes bytes that come before it asked for a broken connection, so they come after.
        let mut request = [0; 256];
        if server.read(&mut request).await.is_ok_and(|length| length > 0) {
            server.write_all(bytes).await.ok();
            server.shutdown().await.ok();
        }
    };
    let exchange = async {
        let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
        drop(sender);
        let (body, trailers) = whole(body).await?;
        let start = (parts.status, protocol(parts.version));
        Some(Seen {
            start,
            headers: parts.headers,
            length: BodyLength::None,
            body,
            trailers,
            rest: Vec::new(),
        })
    };
    let (seen, _, ()) = tokio::join!(exchange, connection, upstream);
    seen
}

/// All of a body and those of its trailers that we would let through; `None` if it broke off.
async fn whole(mut body: Incoming) -> Option<(Vec<u8>, HeaderMap)> {
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.ok()?.into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => {
                let fields = frame.into_trailers().ok()?;
                for (name, value) in fields.iter().filter(|(name, _)| is_trailer_allowed(name)) {
                    trailers.append(name, value.clone());
                }
            }
        }
    }
    Some((data, trailers))
}

/// How often the two agreed: a comparison in which one side always refuses would prove nothing.
#[derive(Debug, Default)]
struct Tally {
    both: Cell<u32>,
    neither: Cell<u32>,
    only_hyper: Cell<u32>,
}

impl Tally {
    fn count(&self, ours: bool, theirs: bool) {
        let counter = match (ours, theirs) {
            (true, true) => &self.both,
            (false, true) => &self.only_hyper,
            (_, false) => &self.neither,
        };
        counter.set(counter.get() + 1);
    }

    fn check(&self) {
        let least = CASES / 20;
        assert!(
            self.both.get() > least && self.neither.get() > least && self.only_hyper.get() > least,
            "{self:?}"
        );
    }
}

fn protocol(version: Version) -> Protocol {
    if version == Version::HTTP_10 { Protocol::Http10 } else { Protocol::Http11 }
}

fn run(bytes: impl Strategy<Value = Vec<u8>>, test: impl Fn(Vec<u8>) -> Result<(), TestCaseError>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(&bytes, test) {
        panic!("{error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
