//! One HTTP/2 connection of a client: every stream a request on a task of its own.
//!
//! The `h2` crate is used directly, because informational answers, reset codes and the bounds against floods are its business
//! and hyper does not show them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, EXPECT, HOST};
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use crate::connection::Client;
use crate::message::{Body, BodyError, Interim, Protocol, Request, Response};
use crate::request;
use crate::request::record::Record;
use crate::request::sanitize::sanitize_trailers;
use crate::transport::Rewound;
use crate::upstream::http2::poll_received;
use crate::worker::Worker;
use crate::worker::clock::Watch;

const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Answer bytes that one stream may have waiting for the client's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Streams that the client reset and that wait to be forgotten, before the connection counts as an attack (CVE-2023-44487).
const REMOTE_RESETS_MAX: usize = 20;
/// Streams that this side had to reset because of errors of the client, before the same (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 100;

/// Serves streams until the connection ends.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &Rc<Client>, transport: Rewound) {
    let limits = worker.settings().limits.clone();
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(client.head_limits.bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(REMOTE_RESETS_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX));
    let watch = worker.clock.watch();
    let handshake = builder.handshake::<_, Bytes>(transport);
    let timeout = worker.settings().timeouts.headers;
    let Ok(Ok(mut connection)) = watch.within(&worker.clock, timeout, handshake).await else { return };
    let mut served = 0;
    let mut leaving = false;
    loop {
        watch.set_idle(true);
        let keep_alive = worker.settings().timeouts.keep_alive;
        watch.arm(&worker.clock, keep_alive);
        let accepted = std::future::poll_fn(|cx| {
            let wants_to_leave =
                worker.is_draining() || client.is_old(worker) || served >= limits.requests_per_connection;
            if wants_to_leave && !leaving {
                leaving = true;
                connection.graceful_shutdown();
            }
            if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            if watch.poll_expired(&worker.clock, cx) {
                if connection.has_streams() {
                    watch.arm(&worker.clock, keep_alive);
                } else if leaving {
                    // The client was told a while ago and does not go.
                    return Poll::Ready(None);
                } else {
                    leaving = true;
                    connection.graceful_shutdown();
                    watch.arm(&worker.clock, keep_alive);
                }
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Some(Ok((request, respond))) => {
                served += 1;
                let (worker, client) = (Rc::clone(worker), Rc::clone(client));
                tokio::task::spawn_local(
                    async move { answer_stream(&worker, &client, request, respond).await },
                );
            }
            Some(Err(_)) | None => return,
        }
    }
}

async fn answer_stream(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let interim = Interim::default();
    let request = translate(worker, request, interim.clone());
    if !request.body.is_empty() && request.headers.contains_key(EXPECT) {
        // On HTTP/2 a refusal costs no connection, so the body is asked for at once (RFC 9110 §10.1.1).
        let mut go_on = http::Response::new(());
        *go_on.status_mut() = StatusCode::CONTINUE;
        let _ = respond.send_informational(go_on);
    }
    let is_head = request.method == Method::HEAD;
    let answered = {
        let mut answer = pin!(request::answer(worker, client, request));
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
    };
    // `None`: the client no longer wants an answer, and dropping the path of the request has cancelled all of it.
    let Some((response, mut record)) = answered else { return };
    let (head, mut body) = head_of(worker, response, is_head);
    if is_head {
        body = Body::Empty;
    }
    match respond.send_response(head, body.is_empty()) {
        Ok(_) if body.is_empty() => record.finish_complete(),
        Ok(stream) => match send(worker, body, stream, &mut record).await {
            Ok(()) => record.finish_complete(),
            Err(broken) => record.finish_broken(broken),
        },
        Err(_) => record.finish_broken(BodyError::Receiver),
    }
}

/// The request as the path sees it. `:authority` and Host are both kept: that they agree is checked with the target.
fn translate(worker: &Rc<Worker>, request: http::Request<RecvStream>, interim: Interim) -> Request {
    let (parts, receive) = request.into_parts();
    let authority =
        parts.uri.authority().map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    let target = match parts.uri.path_and_query() {
        Some(target) => Bytes::copy_from_slice(target.as_str().as_bytes()),
        None => Bytes::new(),
    };
    let body = if receive.is_end_stream() {
        Body::Empty
    } else {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let watch = worker.clock.watch();
        watch.arm(&worker.clock, worker.settings().timeouts.body_idle);
        let worker = Rc::clone(worker);
        Body::Stream(Box::pin(ClientBody { worker, receive, watch, data_ended: false, remaining: length }))
    };
    Request {
        method: parts.method,
        target,
        authority,
        protocol: Protocol::Http2,
        headers: parts.headers,
        body,
        upgrade: None,
        interim,
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

/// Sends a body, at the pace of the client's window. A client that takes nothing for too long loses the stream.
async fn send(
    worker: &Worker,
    mut body: Body,
    mut stream: SendStream<Bytes>,
    record: &mut Record,
) -> Result<(), BodyError> {
    let watch = worker.clock.watch();
    loop {
        let next = std::future::poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(BodyError::Receiver)),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Ok),
        });
        match next.await? {
            None => break stream.send_data(Bytes::new(), true).map_err(|_| BodyError::Receiver),
            Some(Err(error)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                break Err(error);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_empty();
                    record.sent(data.len());
                    send_data(worker, &watch, &mut stream, data, last).await?;
                    if last {
                        break Ok(());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    break stream.send_trailers(trailers).map_err(|_| BodyError::Receiver);
                }
            },
        }
    }
}

async fn send_data(
    worker: &Worker,
    watch: &Watch,
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
) -> Result<(), BodyError> {
    loop {
        stream.reserve_capacity(data.len());
        let capacity = std::future::poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending if stream.capacity() > 0 || data.is_empty() => {
                Poll::Ready(Some(Ok(stream.capacity())))
            }
            Poll::Pending => stream.poll_capacity(cx),
        });
        let limit = worker.settings().timeouts.write_idle;
        let capacity = match watch.within(&worker.clock, limit, capacity).await {
            Ok(Some(Ok(capacity))) => capacity,
            Ok(Some(Err(_)) | None) => return Err(BodyError::Receiver),
            Err(_) => {
                stream.send_reset(Reason::CANCEL);
                return Err(BodyError::Stalled);
            }
        };
        let part = data.split_to(capacity.min(data.len()));
        let ends = data.is_empty();
        stream.send_data(part, last && ends).map_err(|_| BodyError::Receiver)?;
        if ends {
            return Ok(());
        }
    }
}

/// The body of one stream, as the client sends it.
struct ClientBody {
    worker: Rc<Worker>,
    receive: RecvStream,
    watch: Rc<Watch>,
    data_ended: bool,
    remaining: Option<u64>,
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = poll_received(&mut this.receive, &mut this.data_ended, cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.watch.arm(&this.worker.clock, this.worker.settings().timeouts.body_idle);
                let frame = match frame.into_trailers() {
                    Ok(mut trailers) => {
                        sanitize_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                };
                if let (Some(remaining), Some(data)) = (&mut this.remaining, frame.data_ref()) {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending if this.watch.poll_expired(&this.worker.clock, cx) => {
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.receive.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}
