//! One HTTP/1.1 exchange with an upstream: the request goes out while the answer comes in, on one task, without channels.
//!
//! The answer's body carries the exchange on: polling it moves what is left of the upload, so an upstream may answer before
//! the client has finished sending. After a clean end the connection goes back to the pool by itself.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::pool::{CONNECTION_AGE_MAX, InFlight};
use super::upgrade::Upgraded;
use crate::http1::body::{BodyLimits, Decoded, Decoder, Encoder};
use crate::http1::head::{self, BodyLength, Disposition, HeadError, HeadLimits, Scan};
use crate::message::{Body, BodyError, Interim, Response, UpgradeRequest};
use crate::request::forward::is_open_ended;
use crate::request::forwarded::Forwarded;
use crate::request::sanitize::sanitize_response;
use crate::transport::{Outbox, Transport};
use crate::worker::Worker;
use crate::worker::clock::Watch;

/// Room made for one read. Small answers fit whole; large ones take several reads of it.
const READ_BYTES: usize = 16 << 10;
/// Informational answers one upstream may send before its final one.
pub(super) const INTERIM_MAX: usize = 16;

/// An HTTP/1.1 connection to an upstream.
pub(crate) struct Connection {
    transport: Transport,
    buffer: BytesMut,
    watch: Rc<Watch>,
    opened_ms: u64,
    idle_since_ms: u64,
    used: bool,
}

/// The head of a request on its way out.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    /// Path and query (origin form).
    pub(crate) target: &'a [u8],
    pub(crate) scheme: &'static str,
    pub(crate) headers: &'a HeaderMap,
    /// What is said of the client beside them.
    pub(crate) forwarded: Option<&'a Forwarded<'a>>,
    /// The client asked for a WebSocket.
    pub(crate) websocket: bool,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the last byte of the request to the head of the answer.
    pub(crate) head: Duration,
    /// Between two writes of the request; zero: any time.
    pub(crate) send: Duration,
    /// Between two reads of the answer's body; zero: any time.
    pub(crate) read: Duration,
    /// The largest head of an answer.
    pub(crate) head_bytes_max: usize,
}

/// Why an exchange gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection ended before the first byte of an answer.
    #[error("the upstream closed the connection before it answered")]
    Closed {
        /// It had served a request before, so it may have closed while it was idle.
        reused: bool,
    },
    /// The upstream says that it did nothing with this request (HTTP/2 REFUSED_STREAM, or GOAWAY below it).
    #[error("the upstream did not take the request")]
    Unprocessed,
    #[error("the upstream reset the request: {0}")]
    Reset(Box<str>),
    #[error("the upstream did not answer in time")]
    TimedOut,
    #[error("the upstream's answer breaks HTTP: {0}")]
    Protocol(&'static str),
    /// The request cannot be put into the upstream's protocol. Nothing was sent, and no other endpoint could take it.
    #[error("the request cannot be sent: {0}")]
    Unsendable(&'static str),
    /// The client's side failed.
    #[error("the request's body failed: {0}")]
    Upload(BodyError),
}

impl Connection {
    pub(crate) fn new(transport: Transport, worker: &Worker) -> Box<Self> {
        let now_ms = worker.clock.now_ms();
        Box::new(Connection {
            transport,
            buffer: BytesMut::new(),
            watch: worker.clock.watch(),
            opened_ms: now_ms,
            idle_since_ms: now_ms,
            used: false,
        })
    }

    /// Young enough, and not idle for too long.
    pub(super) fn is_fresh(&self, now_ms: u64, idle_max: Duration) -> bool {
        now_ms.saturating_sub(self.idle_since_ms) < idle_max.as_millis() as u64
            && now_ms.saturating_sub(self.opened_ms) < CONNECTION_AGE_MAX.as_millis() as u64
    }

    /// Still open and silent.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.transport.is_quiet()
    }

    /// Gives back what only a busy connection needs.
    pub(super) fn rest(&mut self, worker: &Worker) {
        worker.buffers.upstream.give(&mut self.buffer);
        self.watch.disarm();
        self.idle_since_ms = worker.clock.now_ms();
        self.used = true;
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.buffer.reserve(READ_BYTES);
        }
        self.transport.poll_read_into(cx, &mut self.buffer)
    }
}

/// Sends one request over `connection` and returns once the head of the final answer is there.
///
/// Informational answers go to `interim` as they come. The body of the answer, where it is not whole already, holds
/// `in_flight` and the connection until its end.
pub(crate) async fn send(
    worker: &Rc<Worker>,
    mut connection: Box<Connection>,
    outgoing: &Outgoing<'_>,
    body: Body,
    interim: &Interim,
    patience: &Patience,
    in_flight: InFlight,
) -> Result<Response, Failure> {
    let length = outgoing_length(&body);
    let mut upload = Upload::new(body, length);
    upload.out.bytes = worker.buffers.out.take();
    connection.buffer = worker.buffers.upstream.take();
    let disposition = if outgoing.websocket { Disposition::Upgrade } else { Disposition::KeepAlive };
    let Outgoing { method, target, headers, .. } = *outgoing;
    let more = outgoing.forwarded.map(Forwarded::fields);
    let more = more.as_ref().map_or(&[][..], |fields| fields);
    head::write_request_head(&mut upload.out.bytes, method, target, headers, more, length, disposition)
        .map_err(|_| Failure::Unsendable("the target cannot be written"))?;
    connection.watch.arm(&worker.clock, patience.send);
    let limits = HeadLimits { bytes_max: patience.head_bytes_max, ..HeadLimits::RESPONSE };
    let mut scan = Scan::default();
    let mut interims = 0;
    let head = std::future::poll_fn(|cx| {
        let moved = upload.poll(&mut connection.transport, cx)?;
        if moved {
            let limit = if upload.is_over() { patience.head } else { patience.send };
            connection.watch.arm(&worker.clock, limit);
        }
        loop {
            match head::parse_response(&mut connection.buffer, &mut scan, outgoing.method, &limits) {
                Err(error) => return Poll::Ready(Err(Failure::from(error))),
                Ok(Some(head))
                    if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    interims += 1;
                    if interims > INTERIM_MAX {
                        return Poll::Ready(Err(Failure::Protocol("too many informational answers")));
                    }
                    // The client's own expectation of 100 is met when its body is first read.
                    if head.status != StatusCode::CONTINUE {
                        let mut headers = head.headers;
                        sanitize_response(&mut headers);
                        interim.push(head.status, headers);
                    }
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => match connection.poll_fill(cx) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                        let failure = if connection.buffer.is_empty() && interims == 0 {
                            Failure::Closed { reused: connection.used }
                        } else {
                            Failure::Protocol("the answer's head was cut off")
                        };
                        return Poll::Ready(Err(failure));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                },
            }
        }
        if upload.waits_for_client() {
            // How long a client may pause is judged where its body is read; the upstream has nothing to answer yet.
            connection.watch.arm(&worker.clock, patience.head);
        }
        if connection.watch.poll_expired(&worker.clock, cx) {
            return Poll::Ready(Err(Failure::TimedOut));
        }
        Poll::Pending
    })
    .await?;

    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = outgoing.websocket && head.upgraded == Some(UpgradeRequest::WebSocket);
        if !asked || !upload.finished() {
            return Err(Failure::Protocol("it switched protocols unasked"));
        }
        let ahead = connection.buffer.split().freeze();
        let upgraded = Upgraded::new(ahead, connection.transport, in_flight);
        return Ok(Response {
            status: head.status,
            headers: head.headers,
            body: Body::Empty,
            upgraded: Some(Box::new(upgraded)),
        });
    }
    let body = if let Some(body) = whole_body(&mut connection, head.length, &upload) {
        worker.buffers.out.give(&mut upload.out.bytes);
        if head.keep_alive && connection.buffer.is_empty() {
            in_flight.pool().put(connection, worker);
        }
        body
    } else {
        let read_limit = if is_open_ended(&head.headers) { Duration::ZERO } else { patience.read };
        connection.watch.arm(&worker.clock, read_limit);
        Body::Stream(Box::pin(ResponseBody {
            connection: Some(connection),
            upload,
            decoder: Decoder::new(head.length, BodyLimits::default()),
            remaining: match head.length {
                BodyLength::Exact(length) => Some(length),
                _ => None,
            },
            keep_alive: head.keep_alive,
            read_limit,
            worker: Rc::clone(worker),
            in_flight,
        }))
    };
    Ok(Response { status: head.status, headers: head.headers, body, upgraded: None })
}

fn outgoing_length(body: &Body) -> BodyLength {
    match body.exact_length() {
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::Chunked,
    }
}

/// The whole body, when all of it came with the head: then nothing has to be kept, polled or returned later.
fn whole_body(connection: &mut Connection, length: BodyLength, upload: &Upload) -> Option<Body> {
    if !upload.finished() {
        return None;
    }
    match length {
        BodyLength::None => Some(Body::Empty),
        BodyLength::Exact(length) if length <= connection.buffer.len() as u64 => {
            Some(Body::from(connection.buffer.split_to(length as usize).freeze()))
        }
        BodyLength::Exact(_) | BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}

/// The request on its way out: bytes ready to be written, and the body they come from.
struct Upload {
    out: Outbox,
    body: Body,
    encoder: Encoder,
    /// All frames were encoded.
    encoded: bool,
    /// The upstream no longer reads; what is left is not sent.
    broken: bool,
}

impl Upload {
    fn new(body: Body, length: BodyLength) -> Self {
        let encoded = body.is_empty();
        Upload { out: Outbox::default(), body, encoder: Encoder::new(length), encoded, broken: false }
    }

    /// Nothing more is sent, because all of it was, or because the upstream takes no more.
    fn is_over(&self) -> bool {
        self.broken || self.finished()
    }

    /// Every byte was handed to the transport.
    fn finished(&self) -> bool {
        self.encoded && self.out.is_empty() && !self.broken
    }

    /// Moves what can be moved. True when bytes moved; an error is the client's. A transport that no longer takes bytes is
    /// not an error here: the upstream may have answered already, and the reading side will tell.
    fn poll(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let mut moved = 0;
        while !self.broken {
            while !self.encoded && self.out.is_open() {
                let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(frame) => frame.transpose().map_err(Failure::Upload)?,
                };
                let overrun =
                    |_| Failure::Upload(BodyError::Sender("its length is not the announced one".into()));
                self.encoded = self.out.encode(&mut self.encoder, frame).map_err(overrun)?;
            }
            if self.out.is_empty() {
                break;
            }
            match self.out.poll_write(transport, cx, &mut moved) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.broken = true,
            }
        }
        Ok(moved > 0)
    }

    /// True while it is the client who has to send.
    fn waits_for_client(&self) -> bool {
        !self.encoded && !self.broken && self.out.is_empty()
    }
}

/// The rest of an answer, and with it the rest of the exchange.
struct ResponseBody {
    /// Taken when the exchange has ended, well or not.
    connection: Option<Box<Connection>>,
    upload: Upload,
    decoder: Decoder,
    remaining: Option<u64>,
    keep_alive: bool,
    read_limit: Duration,
    worker: Rc<Worker>,
    in_flight: InFlight,
}

impl ResponseBody {
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.connection = None;
        Poll::Ready(Some(Err(error)))
    }

    fn end(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.upload.finished() {
            return;
        }
        self.worker.buffers.out.give(&mut self.upload.out.bytes);
        if self.keep_alive && connection.buffer.is_empty() {
            self.in_flight.pool().put(connection, &self.worker);
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
            match this.upload.poll(&mut connection.transport, cx) {
                Ok(true) => connection.watch.arm(&this.worker.clock, this.read_limit),
                Ok(false) => {}
                // The client broke its upload; the answer cannot be trusted to be about the whole request.
                Err(_) => return this.fail(BodyError::Receiver),
            }
            match this.decoder.decode(&mut connection.buffer) {
                Ok(Decoded::Data(data)) => {
                    if let Some(remaining) = &mut this.remaining {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    if this.remaining == Some(0) {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(trailers)) => {
                    this.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    this.end();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => {}
                Err(error) => return this.fail(BodyError::Sender(error.to_string().into())),
            }
            match connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    if this.decoder.on_eof().is_ok() {
                        this.connection = None;
                        return Poll::Ready(None);
                    }
                    return this.fail(BodyError::Sender("the upstream closed the connection".into()));
                }
                Poll::Ready(Ok(_)) => connection.watch.arm(&this.worker.clock, this.read_limit),
                Poll::Ready(Err(error)) => return this.fail(BodyError::Sender(error.to_string().into())),
                Poll::Pending => {
                    if connection.watch.poll_expired(&this.worker.clock, cx) {
                        return this.fail(BodyError::Stalled);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl From<HeadError> for Failure {
    fn from(error: HeadError) -> Self {
        Failure::Protocol(error.reason())
    }
}
