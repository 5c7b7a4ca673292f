//! One HTTP/2 connection of a client: every stream a request on a task of its own.
//!
//! The `h2` crate is used directly, because informational answers, reset codes and the bounds against floods are its business
//! and hyper does not show them.

mod glitches;
pub(crate) mod stream;
pub(crate) mod streams;
mod upload;
mod websocket;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, DATE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::connection::Client;
use crate::message::{Body, BodyError, Interim, Protocol, Request, Response, UpgradeRequest};
use crate::reject::Reject;
use crate::request;
use crate::request::record::{End, Record};
use crate::transport::Rewound;
use crate::worker::Worker;
use crate::worker::connections::SessionGuard;

use glitches::{Counted, Glitches};
use stream::{Broken, Pump, Receiver, announced_length};
use streams::{Abuse, Ended, Stream, Streams};
use upload::ClientBody;
use websocket::Handshake;

const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Answer bytes that one stream may have waiting for the client's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Streams that the client reset and that wait to be forgotten, before the connection counts as an attack (CVE-2023-44487).
const REMOTE_RESETS_MAX: usize = 20;
/// Streams that this side had to reset because of errors of the client, before the same (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 100;
/// How long a client that is thrown out may take to read the reason.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves streams until the connection ends.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &Rc<Client>, transport: Rewound) {
    let limits = worker.settings().limits.clone();
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(client.head_limits.bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(REMOTE_RESETS_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX));
    let watch = worker.clock.watch();
    let glitches = Rc::new(Glitches::since(worker.clock.now_ms()));
    let transport = Counted::new(transport, Rc::clone(&glitches));
    let handshake = builder.handshake::<_, Bytes>(transport);
    let timeout = worker.settings().timeouts.headers;
    let Ok(Ok(mut connection)) = watch.within(&worker.clock, timeout, handshake).await else { return };
    let streams = Rc::new(Streams::new(Rc::clone(worker), Rc::clone(&watch), glitches));
    let mut served = 0;
    let mut leaving = false;
    watch.set_idle(true);
    streams.rest();
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if let Some(abuse) = streams.poll_abuse(cx) {
                thrown_out(worker, client, abuse);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                return Poll::Ready(None);
            }
            let wants_to_leave = worker.is_draining()
                || client.is_old(worker)
                || served >= limits.requests_per_connection
                || streams.glitches.are_many();
            if wants_to_leave && !leaving {
                leaving = true;
                connection.graceful_shutdown();
            }
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            if streams.glitches.are_too_many() || (streams.glitches.are_many() && !leaving) {
                // It is said above; nothing else needs to wake this task.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if watch.poll_expired(&worker.clock, cx) {
                if !streams.is_idle() {
                    streams.rest();
                } else if leaving {
                    // The client was told a while ago and does not go, or does not even read what it asked for.
                    return Poll::Ready(None);
                } else {
                    leaving = true;
                    connection.graceful_shutdown();
                    streams.rest();
                }
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Some(Ok((request, mut respond))) => {
                served += 1;
                let Some(stream) = Stream::begin(&streams, head_bytes(&request)) else {
                    // Nothing was done, and the client may try again (RFC 9113 §8.7).
                    respond.send_reset(Reason::REFUSED_STREAM);
                    continue;
                };
                let glitches = Rc::clone(&streams.glitches);
                let (worker, client) = (Rc::clone(worker), Rc::clone(client));
                tokio::task::spawn_local(answer_stream(worker, client, glitches, stream, request, respond));
            }
            Some(Err(error)) => {
                if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    thrown_out(worker, client, Abuse::Flood);
                }
                return;
            }
            None => break,
        }
    }
    // What is left to say is said, within reason; dropping the connection ends the streams that it still has.
    let closed = std::future::poll_fn(|cx| connection.poll_closed(cx));
    let _ = worker.clock.watch().within(&worker.clock, GOAWAY_TIMEOUT, closed).await;
}

fn thrown_out(worker: &Worker, client: &Client, abuse: Abuse) {
    worker.metrics.thrown_out(abuse);
    let (client, reason) = (client.peer.address, abuse.reason());
    tracing::debug!(%client, reason, "an HTTP/2 connection was closed because of how its client behaves");
}

/// Answers one stream to its end.
///
/// It is no `async fn`: one keeps room for all that it was given, and thousands of these may wait.
fn answer_stream(
    worker: Rc<Worker>,
    client: Rc<Client>,
    glitches: Rc<Glitches>,
    stream: Stream,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let interim = Interim::default();
    let is_head = request.method() == Method::HEAD;
    let mut websocket = None;
    let (mut request, mut record) = match translate(&worker, &client, request, interim.clone()) {
        Ok(Translated { request, websocket: asked }) => {
            websocket = asked;
            let record = Record::begin(&worker, &client, &request);
            (Ok(request), record)
        }
        Err(reject) => {
            let (refusal, record) = request::answer_unreadable(&worker, &client, reject);
            (Err(refusal), record)
        }
    };
    async move {
        let answered = match &mut request {
            Ok(request) => answer(&worker, &client, &interim, request, &mut respond, &mut record).await,
            Err(_) => None,
        };
        // The request is let go of before its answer is sent.
        let response = match request {
            Ok(_) => answered,
            Err(refusal) => Some(refusal),
        };
        let ended = match (response, websocket) {
            (Some(response), Some(websocket)) => {
                Box::pin(websocket.answer(&worker, &client, &glitches, response, &mut respond, &mut record))
                    .await
            }
            (Some(response), None) => {
                let respond = &mut respond;
                send_answer(&worker, &glitches, response, is_head, respond, &mut record).await
            }
            (None, _) => Ended::Cancelled,
        };
        drop(record);
        stream.end(ended);
    }
}

/// The answer to a request. `None`: the client no longer wants one, and dropping the path of the request has cancelled all of
/// it.
async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    interim: &Interim,
    request: &mut Request,
    respond: &mut SendResponse<Bytes>,
    record: &mut Record,
) -> Option<Response> {
    let mut answer = pin!(request::answer(worker, client, request, record));
    std::future::poll_fn(|cx| {
        let answered = answer.as_mut().poll(cx);
        for (status, headers) in interim.take() {
            let mut informational = http::Response::new(());
            *informational.status_mut() = status;
            *informational.headers_mut() = headers;
            // A client that does not want it has reset the stream, which shows below.
            let _ = respond.send_informational(informational);
        }
        match answered {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        }
    })
    .await
}

/// Sends an answer, and says how that ended.
async fn send_answer(
    worker: &Worker,
    glitches: &Glitches,
    response: Response,
    is_head: bool,
    respond: &mut SendResponse<Bytes>,
    record: &mut Record,
) -> Ended {
    let (head, mut body) = head_of(worker, response, is_head);
    if is_head {
        body = Body::Empty;
    }
    let outcome = match respond.send_response(head, body.is_empty()) {
        Ok(_) if body.is_empty() => Ok(()),
        Ok(stream) => send(worker, glitches, body, stream, record).await,
        Err(_) => Err(BodyError::Receiver),
    };
    let ended = match &outcome {
        Ok(()) => Ended::Completely,
        Err(BodyError::Receiver) => Ended::Cancelled,
        Err(BodyError::Stalled) => Ended::Stalled,
        Err(BodyError::Sender(_) | BodyError::TooLarge { .. } | BodyError::TooOld) => Ended::Broken,
    };
    record.ended(outcome.map_or_else(End::Broken, |()| End::Complete));
    ended
}

/// A request, and what the path does not see of it.
struct Translated {
    request: Request,
    websocket: Option<Box<Websocket>>,
}

/// A stream that is to become a WebSocket.
struct Websocket {
    handshake: Handshake,
    receive: RecvStream,
}

impl Websocket {
    /// Sends what became of it: a tunnel to its end, or an answer as any other.
    async fn answer(
        self: Box<Self>,
        worker: &Rc<Worker>,
        client: &Client,
        glitches: &Rc<Glitches>,
        mut response: Response,
        respond: &mut SendResponse<Bytes>,
        record: &mut Record,
    ) -> Ended {
        match self.handshake.end(&mut response) {
            Ok(Some(upgraded)) => {
                let Ok(send) = respond.send_response(granted(worker, response), false) else {
                    return Ended::Cancelled;
                };
                let _guard = SessionGuard::begin(worker, client.id);
                let tunnel = websocket::tunnel(glitches, self.receive, send, upgraded, record);
                return Box::pin(tunnel).await;
            }
            Ok(None) => {}
            Err(reject) => response = request::refuse_after_all(worker, &reject, record),
        }
        send_answer(worker, glitches, response, false, respond, record).await
    }
}

/// The request as the path sees it. `:authority` and Host are both kept: that they agree is checked with the target.
fn translate(
    worker: &Rc<Worker>,
    client: &Client,
    request: http::Request<RecvStream>,
    interim: Interim,
) -> Result<Translated, Reject> {
    let (mut parts, receive) = request.into_parts();
    let authority =
        parts.uri.authority().map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    let target = match parts.uri.path_and_query() {
        Some(target) => Bytes::copy_from_slice(target.as_str().as_bytes()),
        None => Bytes::new(),
    };
    let expects_continue = take_expectation(&mut parts.headers)?;
    join_cookies(&mut parts.headers);
    if parts.headers.len() > client.head_limits.fields_max {
        return Err(Reject::HeadTooLarge);
    }
    let mut websocket = None;
    let body = if Handshake::is_asked_for(&parts.method, &parts.extensions) {
        parts.method = Method::GET;
        // Boxed: nearly no request is one.
        websocket = Some(Box::new(Websocket { handshake: Handshake::begin(&mut parts.headers), receive }));
        Body::Empty
    } else if receive.is_end_stream() {
        Body::Empty
    } else {
        let receiver = Receiver::new(receive, announced_length(&parts.headers));
        let expectation = expects_continue.then(|| interim.clone());
        Body::Stream(Box::pin(ClientBody::new(worker, receiver, expectation)))
    };
    let request = Request {
        method: parts.method,
        target,
        authority,
        protocol: Protocol::Http2,
        headers: parts.headers,
        body,
        upgrade: websocket.as_ref().map(|_| UpgradeRequest::WebSocket),
        interim,
    };
    Ok(Translated { request, websocket })
}

/// What a head takes, as HTTP/2 counts it for SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
fn head_bytes(request: &http::Request<RecvStream>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    target + fields.sum::<usize>()
}

/// Removes `Expect`, which is about this hop only; true when it is the one expectation there is (RFC 9110 §10.1.1).
fn take_expectation(headers: &mut HeaderMap) -> Result<bool, Reject> {
    let Some(expectation) = headers.remove(EXPECT) else { return Ok(false) };
    if expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        Ok(true)
    } else {
        Err(Reject::ExpectationFailed)
    }
}

/// Makes one field of the crumbs that a client may split its Cookie into (RFC 9113 §8.2.3). Applications read the first
/// field only, and HTTP/1.1 knows no second one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Bytes of valid values, joined by valid bytes, are valid.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

fn head_of(worker: &Worker, response: Response, is_head: bool) -> (http::Response<()>, Body) {
    let Response { status, mut headers, body, .. } = response;
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::from_bytes(&*worker.date())
    {
        headers.insert(DATE, date);
    }
    let may_have_length = !status.is_informational() && status != StatusCode::NO_CONTENT;
    let keeps_length = is_head || status == StatusCode::NOT_MODIFIED;
    if !keeps_length {
        match body.exact_length().filter(|_| may_have_length) {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.remove(CONTENT_LENGTH),
        };
    }
    headers.remove(HOST);
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = headers;
    (head, body)
}

/// The head that tells a client of its tunnel (RFC 8441 §5).
fn granted(worker: &Worker, mut response: Response) -> http::Response<()> {
    response.status = StatusCode::OK;
    let (mut head, _) = head_of(worker, response, false);
    // It is no answer with an empty body.
    head.headers_mut().remove(CONTENT_LENGTH);
    head
}

/// Sends a body, at the pace of the client's window. A client that takes nothing for too long loses the stream.
async fn send(
    worker: &Worker,
    glitches: &Glitches,
    body: Body,
    stream: SendStream<Bytes>,
    record: &mut Record,
) -> Result<(), BodyError> {
    let mut pump = Pump::new(body, stream);
    let watch = worker.clock.watch();
    let mut blocked = false;
    std::future::poll_fn(|cx| {
        let mut moved = 0;
        let polled = pump.poll(cx, &mut moved);
        record.sent(moved);
        if moved > 0 {
            glitches.answer_moved(moved);
        }
        match polled {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Peer)) => return Poll::Ready(Err(BodyError::Receiver)),
            Poll::Ready(Err(Broken::Body(error))) => {
                pump.reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(Err(error));
            }
            Poll::Pending => {}
        }
        // Only a client that does not take what is there keeps us waiting; the upstream's silence has its own limit.
        if !pump.waits_for_window() {
            blocked = false;
            watch.disarm();
        } else if !blocked || moved > 0 {
            blocked = true;
            watch.arm(&worker.clock, worker.settings().timeouts.write_idle);
        }
        if watch.poll_expired(&worker.clock, cx) {
            pump.reset(Reason::CANCEL);
            return Poll::Ready(Err(BodyError::Stalled));
        }
        Poll::Pending
    })
    .await
}
