//! One HTTP/1 connection of a client: requests in, answers out, strictly in order.
//!
//! Between two requests the connection is parked: it holds its socket and a few words, no buffer and no request state.
//! Everything a request needs lives in one boxed future from its first byte to the last byte of the answer.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::body::{BodyLimits, Decoded, Decoder, Encoder};
use super::head::{self, BodyLength, Disposition, HeadError, RequestHead, ResponseFraming, Scan};
use crate::connection::Client;
use crate::message::{Body, BodyError, Interim, Protocol, Request, Response};
use crate::reject::Reject;
use crate::request;
use crate::request::record::Record;
use crate::transport::{Outbox, Transport};
use crate::upstream::upgrade::Upgraded;
use crate::worker::Worker;
use crate::worker::clock::{Pace, Watch};

/// Room for one read from a client.
const READ_BYTES: usize = 8 << 10;
/// Bytes read ahead of the request that is being answered (pipelining).
const AHEAD_BYTES_MAX: usize = 32 << 10;
/// What is read and thrown away of a body nobody wanted, so that the connection can be kept.
const DRAIN_BYTES_MAX: usize = 64 << 10;
/// How long that may take, and how long a closing connection waits for the client to have read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The start of HTTP/2 without negotiation (RFC 9113 §3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection became.
pub(crate) enum End {
    /// It is over; the transport was shut down as well as it let itself be.
    Closed,
    /// The client speaks HTTP/2 from its first byte on; these bytes were read already.
    Http2(Bytes, Transport),
}

/// Serves requests until the connection ends.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &Rc<Client>, transport: Transport) -> End {
    let link = Rc::new(Link::new(Rc::clone(worker), transport));
    let mut served = 0;
    let mut served_when_parked = None;
    loop {
        // First a look: a request that came with the end of a TLS handshake was read already, and no socket tells of it.
        // Boxed, so that a parked connection does not carry the room for a request.
        match Box::pin(serve_busy(worker, client, &link, &mut served)).await {
            Next::Park => {
                // A socket may wake without a byte for us (half a TLS record); that gives no more time.
                if served_when_parked != Some(served) {
                    served_when_parked = Some(served);
                    link.watch.arm(&worker.clock, worker.settings().timeouts.keep_alive);
                }
                if !link.park(served == 0).await {
                    break;
                }
            }
            Next::Close => break,
            Next::Tunnel(upgraded, record) => {
                if let Ok(link) = Rc::try_unwrap(link) {
                    Box::pin(tunnel(link, *upgraded, *record)).await;
                }
                return End::Closed;
            }
            Next::Http2 => {
                return match Rc::try_unwrap(link) {
                    Ok(link) => {
                        End::Http2(link.input.into_inner().buffer.freeze(), link.transport.into_inner())
                    }
                    Err(_) => End::Closed,
                };
            }
        }
    }
    link.close().await;
    End::Closed
}

/// What follows after a busy time.
enum Next {
    Park,
    Close,
    Tunnel(Box<Upgraded>, Box<Record>),
    Http2,
}

/// Serves requests as long as the next one is there already.
async fn serve_busy(worker: &Rc<Worker>, client: &Rc<Client>, link: &Rc<Link>, served: &mut u64) -> Next {
    loop {
        let head = match link.read_head(client, *served == 0).await {
            Ok(Start::Request(head)) => head,
            Ok(Start::Http2) => return Next::Http2,
            Ok(Start::Nothing) => return Next::Close,
            Ok(Start::NotYet) => return Next::Park,
            Err(reject) => {
                // Where the next request would start is unknown, so this answer is the last.
                let (response, record) = request::answer_unreadable(worker, client, reject);
                link.respond(&Method::GET, Protocol::Http11, response, Disposition::Close, record).await;
                return Next::Close;
            }
        };
        *served += 1;
        let (method, protocol) = (head.method.clone(), head.protocol);
        let wants_more = head.keep_alive && *served < worker.settings().limits.requests_per_connection;
        let request = link.begin(*head);
        let Some((mut response, record)) = link.exchange(client, request).await else { return Next::Close };
        if let Some(upgraded) = response.upgraded.take() {
            let framing =
                ResponseFraming::plan(protocol, &method, response.status, None, Disposition::Upgrade);
            head::write_response_head(
                &mut link.outbox().bytes,
                response.status,
                &response.headers,
                &framing,
                &worker.date(),
            );
            return match link.flush().await {
                Ok(()) => Next::Tunnel(Box::new(upgraded), Box::new(record)),
                Err(_) => Next::Close,
            };
        }
        let keep =
            wants_more && !worker.is_draining() && !client.is_old(worker) && !record.closes_connection();
        let wish = if keep { Disposition::KeepAlive } else { Disposition::Close };
        if link.respond(&method, protocol, response, wish, record).await != Disposition::KeepAlive
            || !link.drain().await
        {
            return Next::Close;
        }
        if link.can_park() {
            return Next::Park;
        }
    }
}

/// What the first bytes of a request turned out to be.
enum Start {
    Request(Box<RequestHead>),
    Http2,
    /// The client closed.
    Nothing,
    /// No byte has come.
    NotYet,
}

/// A client's connection, shared by the future that answers and by the body that is being read. Both run on one task, and
/// neither borrows across an await.
struct Link {
    worker: Rc<Worker>,
    transport: RefCell<Transport>,
    input: RefCell<Input>,
    outbox: RefCell<Outbox>,
    interim: Interim,
    watch: Rc<Watch>,
}

/// The receiving side.
struct Input {
    buffer: BytesMut,
    scan: Scan,
    /// The body of the request being answered; `None` once it was read to its end.
    decoder: Option<Decoder>,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    /// The last read took all that was there, so the socket tells when there is more.
    exhausted: bool,
    /// The client ended its side, or its framing cannot be followed any more.
    ended: bool,
    /// Of the body of the request being answered.
    pace: Pace,
}

impl Link {
    fn new(worker: Rc<Worker>, transport: Transport) -> Self {
        // A client may have sent its first request together with the end of the handshake; then it waits inside the TLS
        // session, and the socket will not tell of it.
        let exhausted = matches!(transport, Transport::Tcp(_));
        let watch = worker.clock.watch();
        Link {
            worker,
            transport: RefCell::new(transport),
            input: RefCell::new(Input {
                buffer: BytesMut::new(),
                scan: Scan::default(),
                decoder: None,
                expects_continue: false,
                exhausted,
                ended: false,
                pace: Pace::default(),
            }),
            outbox: RefCell::default(),
            interim: Interim::default(),
            watch,
        }
    }

    fn outbox(&self) -> std::cell::RefMut<'_, Outbox> {
        self.outbox.borrow_mut()
    }

    /// Waits for the first byte of the next request without holding a buffer, until the deadline that the caller has set.
    /// False: time to close.
    ///
    /// While the worker drains, a connection that was `never_used` still gets its one answer: its client may have been sent
    /// here by somebody who does not know yet.
    async fn park(&self, never_used: bool) -> bool {
        let worker = &self.worker;
        if !self.can_park() {
            return true;
        }
        {
            let mut input = self.input.borrow_mut();
            input.buffer = BytesMut::new();
            *self.outbox.borrow_mut() = Outbox::default();
        }
        self.watch.set_idle(true);
        let readable = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = self.transport.borrow().tcp().poll_read_ready(cx) {
                return Poll::Ready(result.is_ok());
            }
            let leaves = worker.is_draining() && !never_used;
            if leaves || self.watch.poll_expired(&worker.clock, cx) {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await;
        self.watch.set_idle(false);
        readable
    }

    /// True when nothing of a next request was read, here or below.
    fn can_park(&self) -> bool {
        let input = self.input.borrow();
        input.buffer.is_empty() && input.exhausted
    }

    /// Reads the head of the next request.
    async fn read_head(&self, client: &Client, first: bool) -> Result<Start, Reject> {
        let worker = &self.worker;
        let mut begun = false;
        let outcome = std::future::poll_fn(|cx| {
            let mut input = self.input.borrow_mut();
            loop {
                if !begun && !is_silence(&input.buffer) {
                    begun = true;
                    self.watch.arm(&worker.clock, worker.settings().timeouts.headers);
                }
                let Input { buffer, scan, .. } = &mut *input;
                if first && client.tls.is_none() && could_be_http2(buffer) {
                    if buffer.len() >= HTTP2_PREFACE.len() {
                        return Poll::Ready(Ok(Start::Http2));
                    }
                } else if let Some(head) = head::parse_request(buffer, scan, &client.head_limits)? {
                    return Poll::Ready(Ok(Start::Request(Box::new(head))));
                }
                match input.poll_fill(&mut self.transport.borrow_mut(), cx) {
                    Poll::Ready(Ok(0)) if is_silence(&input.buffer) => {
                        return Poll::Ready(Ok(Start::Nothing));
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Reject::from(HeadError::RequestLine))),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Ok(Start::Nothing)),
                    Poll::Pending if !begun => {
                        input.buffer.clear();
                        return Poll::Ready(Ok(Start::NotYet));
                    }
                    Poll::Pending if self.watch.poll_expired(&worker.clock, cx) => {
                        return Poll::Ready(Err(Reject::HeadTimeout));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        if begun {
            self.watch.disarm();
        }
        outcome
    }

    /// Turns a head into a request whose body reads from this connection.
    fn begin(self: &Rc<Self>, head: RequestHead) -> Request {
        let RequestHead { method, target, protocol, headers, length, expect_continue, upgrade, .. } = head;
        self.input.borrow_mut().pace = Pace::starting_at(self.worker.clock.now_ms());
        let body = if length == BodyLength::None {
            Body::Empty
        } else {
            let mut input = self.input.borrow_mut();
            input.decoder = Some(Decoder::new(length, BodyLimits::default()));
            input.expects_continue = expect_continue;
            let remaining = match length {
                BodyLength::Exact(length) => Some(length),
                _ => None,
            };
            let watch = self.worker.clock.watch();
            Body::Stream(Box::pin(ClientBody { link: Rc::clone(self), watch, remaining, failed: None }))
        };
        Request {
            method,
            target,
            authority: None,
            protocol,
            headers,
            body,
            upgrade,
            interim: self.interim.clone(),
        }
    }

    /// Runs the path of one request. `None` when the client went away before there was an answer.
    async fn exchange(&self, client: &Rc<Client>, request: Request) -> Option<(Response, Record)> {
        let interim_allowed = request.protocol == Protocol::Http11;
        let mut answer = pin!(request::answer(&self.worker, client, request));
        std::future::poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            for (status, headers) in self.interim.take() {
                if interim_allowed {
                    head::write_informational_head(&mut self.outbox().bytes, status, &headers);
                }
            }
            if let Poll::Ready(answer) = answered {
                return Poll::Ready(Some(answer));
            }
            let mut moved = 0;
            if !self.outbox().is_empty()
                && let Poll::Ready(Err(_)) =
                    self.outbox.borrow_mut().poll_write(&mut self.transport.borrow_mut(), cx, &mut moved)
            {
                return Poll::Ready(None);
            }
            if self.poll_gone(cx) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Notices that the client went away while it waits, reading ahead what it may have pipelined.
    fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut input = self.input.borrow_mut();
        // A body in progress is read by its consumer, who notices by itself.
        while input.decoder.is_none() && !input.ended && input.buffer.len() < AHEAD_BYTES_MAX {
            match input.poll_fill(&mut self.transport.borrow_mut(), cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => input.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        input.ended && input.decoder.is_none()
    }

    /// Writes one answer whole. Returns what the connection may be used for afterwards.
    async fn respond(
        &self,
        method: &Method,
        protocol: Protocol,
        response: Response,
        wish: Disposition,
        mut record: Record,
    ) -> Disposition {
        let Response { status, headers, mut body, .. } = response;
        // A client that still waits for `100 Continue` may send its body or not; only closing leaves no doubt.
        let unasked = std::mem::take(&mut self.input.borrow_mut().expects_continue);
        let wish = if unasked { Disposition::Close } else { wish };
        let framing = ResponseFraming::plan(protocol, method, status, body.exact_length(), wish);
        head::write_response_head(&mut self.outbox().bytes, status, &headers, &framing, &self.worker.date());
        drop(headers);
        if framing.length == BodyLength::None {
            body = Body::Empty;
        }
        self.watch.arm(&self.worker.clock, self.worker.settings().timeouts.write_idle);
        let mut sending =
            Sending { encoder: Encoder::new(framing.length), ended: body.is_empty(), broken: None, body };
        let outcome = std::future::poll_fn(|cx| sending.poll(self, &mut record, cx)).await;
        match outcome {
            Ok(()) => {
                record.received(self.input.borrow().pace.bytes());
                record.finish_complete();
                framing.disposition
            }
            Err(broken) => {
                record.received(self.input.borrow().pace.bytes());
                record.finish_broken(broken);
                Disposition::Close
            }
        }
    }

    async fn flush(&self) -> io::Result<()> {
        let worker = &self.worker;
        self.watch.arm(&worker.clock, worker.settings().timeouts.write_idle);
        let mut moved = 0;
        let outcome = std::future::poll_fn(|cx| {
            match self.outbox.borrow_mut().poll_write(&mut self.transport.borrow_mut(), cx, &mut moved) {
                Poll::Pending if self.watch.poll_expired(&worker.clock, cx) => {
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
                polled => polled,
            }
        })
        .await;
        self.watch.disarm();
        outcome
    }

    /// Reads and drops the rest of a body that nobody wanted, within bounds. False: the connection cannot be kept.
    async fn drain(&self) -> bool {
        let worker = &self.worker;
        if self.input.borrow().ended {
            return false;
        }
        match &self.input.borrow().decoder {
            None => return true,
            Some(decoder) if decoder.remaining().is_some_and(|rest| rest > DRAIN_BYTES_MAX as u64) => {
                return false;
            }
            Some(_) => {}
        }
        self.watch.arm(&worker.clock, DRAIN_TIMEOUT);
        let mut dropped = 0;
        let drained = std::future::poll_fn(|cx| {
            let mut input = self.input.borrow_mut();
            loop {
                match input.poll_body(&mut self.transport.borrow_mut(), cx) {
                    Poll::Ready(Some(Ok(frame))) => dropped += frame.data_ref().map_or(0, Bytes::len),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Pending if self.watch.poll_expired(&worker.clock, cx) => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
                if dropped > DRAIN_BYTES_MAX {
                    return Poll::Ready(false);
                }
            }
        })
        .await;
        self.watch.disarm();
        drained
    }

    /// Ends the connection so that the client gets to read the last answer: our side is shut, then what still comes in is
    /// dropped for a moment, because closing on unread bytes makes the kernel reset and the client lose the answer.
    async fn close(&self) {
        let worker = &self.worker;
        self.watch.arm(&worker.clock, DRAIN_TIMEOUT);
        let mut shut = false;
        let mut dropped = 0;
        std::future::poll_fn(|cx| {
            let mut transport = self.transport.borrow_mut();
            let mut input = self.input.borrow_mut();
            if !shut {
                match Pin::new(&mut *transport).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            while shut && !input.ended && dropped <= DRAIN_BYTES_MAX {
                input.buffer.clear();
                match input.poll_fill(&mut transport, cx) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => input.ended = true,
                    Poll::Ready(Ok(length)) => dropped += length,
                    Poll::Pending if self.watch.poll_expired(&worker.clock, cx) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if shut || self.watch.poll_expired(&worker.clock, cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.watch.disarm();
    }
}

impl Input {
    /// Reads once. The buffer grows as needed; its bounds are those of whoever parses it.
    fn poll_fill(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let polled = transport.poll_read_into(cx, &mut self.buffer);
        self.exhausted = match &polled {
            Poll::Ready(Ok(length)) => *length < spare,
            Poll::Ready(Err(_)) | Poll::Pending => true,
        };
        polled
    }

    /// The next piece of the current request's body.
    fn poll_body(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Poll::Ready(None) };
            let broken = match decoder.decode(&mut self.buffer) {
                Ok(Decoded::Data(data)) => {
                    if decoder.is_done() {
                        self.decoder = None;
                    }
                    self.pace.add(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => {
                    self.decoder = None;
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => match self.poll_fill(transport, cx) {
                    Poll::Ready(Ok(0)) => "the client closed the connection".into(),
                    Poll::Ready(Ok(_)) => continue,
                    Poll::Ready(Err(error)) => error.to_string().into(),
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => error.to_string().into(),
            };
            self.ended = true;
            self.decoder = None;
            return Poll::Ready(Some(Err(BodyError::Sender(broken))));
        }
    }
}

/// Nothing of a request: nothing at all, or the empty line that old clients send behind a body (RFC 9112 §2.2).
fn is_silence(buffer: &[u8]) -> bool {
    b"\r\n".starts_with(buffer)
}

/// True while what was read is the start of an HTTP/2 preface, or all of it.
fn could_be_http2(buffer: &[u8]) -> bool {
    !buffer.is_empty() && HTTP2_PREFACE.starts_with(&buffer[..buffer.len().min(HTTP2_PREFACE.len())])
}

/// An answer on its way to the client.
struct Sending {
    encoder: Encoder,
    body: Body,
    /// Nothing more comes from the body.
    ended: bool,
    /// Why the body ended early. What came of it before is sent all the same: a client that got nothing would take the
    /// request for one that was never looked at, and send it again.
    broken: Option<BodyError>,
}

impl Sending {
    fn poll(
        &mut self,
        link: &Link,
        record: &mut Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        let worker = &link.worker;
        loop {
            let mut waiting_for_body = false;
            while !self.ended && link.outbox().is_open() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => {
                        if let Err(broken) = self.encode(frame, link, record) {
                            self.ended = true;
                            self.broken = Some(broken);
                        }
                    }
                    Poll::Pending => {
                        waiting_for_body = true;
                        break;
                    }
                }
            }
            let mut moved = 0;
            let written =
                link.outbox.borrow_mut().poll_write(&mut link.transport.borrow_mut(), cx, &mut moved);
            if moved > 0 {
                link.watch.arm(&worker.clock, worker.settings().timeouts.write_idle);
            }
            match written {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::Receiver)),
                Poll::Ready(Ok(())) if self.ended => {
                    link.watch.disarm();
                    return Poll::Ready(self.broken.take().map_or(Ok(()), Err));
                }
                Poll::Ready(Ok(())) if waiting_for_body => {
                    // It is not the client who keeps us waiting.
                    link.watch.disarm();
                    return if link.poll_gone(cx) {
                        Poll::Ready(Err(BodyError::Receiver))
                    } else {
                        Poll::Pending
                    };
                }
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    if !link.watch.is_armed() {
                        link.watch.arm(&worker.clock, worker.settings().timeouts.write_idle);
                    }
                    let expired = link.watch.poll_expired(&worker.clock, cx);
                    return if expired { Poll::Ready(Err(BodyError::Stalled)) } else { Poll::Pending };
                }
            }
        }
    }

    fn encode(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
        link: &Link,
        record: &mut Record,
    ) -> Result<(), BodyError> {
        let frame = frame.transpose()?;
        record.sent(frame.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len));
        let overrun = |_| BodyError::Sender("its length is not the announced one".into());
        self.ended = link.outbox().encode(&mut self.encoder, frame).map_err(overrun)?;
        Ok(())
    }
}

/// The body of the request that is being answered, read from the connection as it is asked for.
struct ClientBody {
    link: Rc<Link>,
    watch: Rc<Watch>,
    remaining: Option<u64>,
    failed: Option<BodyError>,
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut input = this.link.input.borrow_mut();
        if input.expects_continue {
            // The first reader decides that the body is wanted (RFC 9110 §10.1.1).
            input.expects_continue = false;
            if input.buffer.is_empty() {
                this.link.outbox.borrow_mut().bytes.extend_from_slice(head::CONTINUE);
                let mut moved = 0;
                // What does not fit into the socket goes out with the next write.
                let _ = this.link.outbox.borrow_mut().poll_write(
                    &mut this.link.transport.borrow_mut(),
                    cx,
                    &mut moved,
                );
            }
        }
        if let Some(error) = &this.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let worker = &this.link.worker;
        let timeouts = &worker.settings().timeouts;
        let polled = input.poll_body(&mut this.link.transport.borrow_mut(), cx);
        let failed = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.watch.arm(&worker.clock, timeouts.body_idle);
                if let Some(remaining) = &mut this.remaining {
                    *remaining -= frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                let too_slow =
                    input.pace.is_below(timeouts.body_bytes_per_second.as_limit(), worker.clock.now_ms());
                too_slow.then_some(BodyError::Stalled)
            }
            Poll::Ready(Some(Err(error))) => Some(error.clone()),
            Poll::Ready(None) => None,
            Poll::Pending => {
                if !this.watch.is_armed() {
                    this.watch.arm(&worker.clock, timeouts.body_idle);
                }
                this.watch.poll_expired(&worker.clock, cx).then_some(BodyError::Stalled)
            }
        };
        match failed {
            Some(error) => {
                // Asked again, it fails again: a body that was cut must never look like a whole one.
                this.failed = Some(error.clone());
                Poll::Ready(Some(Err(error)))
            }
            None => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// Copies bytes both ways until both sides have ended (RFC 9110 §7.8).
async fn tunnel(link: Link, upgraded: Upgraded, mut record: Record) {
    let ahead = link.input.into_inner().buffer.freeze();
    let mut client = crate::transport::Rewound::new(ahead, link.transport.into_inner());
    let Upgraded { mut stream, in_flight } = upgraded;
    match tokio::io::copy_bidirectional(&mut client, &mut stream).await {
        Ok((up, down)) => {
            record.tunnelled(up, down);
            record.finish_complete();
        }
        Err(error) => record.finish_broken(BodyError::Sender(error.to_string().into())),
    }
    drop(in_flight);
}
