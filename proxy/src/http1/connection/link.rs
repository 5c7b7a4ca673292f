//! The connection itself: its socket, what was read ahead of it, what waits to be written, and the waiting between two
//! requests.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::{AHEAD_BYTES_MAX, DRAIN_BYTES_MAX, DRAIN_TIMEOUT, HTTP2_PREFACE, READ_BYTES};
use crate::connection::Client;
use crate::http1::body::{Decoded, Decoder};
use crate::http1::head::{self, HeadError, RequestHead, Scan};
use crate::message::{BodyError, Interim, Protocol, Response};
use crate::reject::Reject;
use crate::transport::{Outbox, Transport};
use crate::worker::Worker;
use crate::worker::clock::{Pace, Watch};

/// What the first bytes of a request turned out to be.
pub(super) enum Start {
    Request(Box<RequestHead>),
    Http2,
    /// The client closed.
    Nothing,
    /// No byte has come.
    NotYet,
}

/// A client's connection, shared by the future that answers and by the body that is being read. Both run on one task, and
/// neither borrows across an await.
pub(super) struct Link {
    pub(super) worker: Rc<Worker>,
    pub(super) transport: RefCell<Transport>,
    pub(super) input: RefCell<Input>,
    pub(super) outbox: RefCell<Outbox>,
    pub(super) interim: Interim,
    pub(super) watch: Rc<Watch>,
    /// For the bodies of requests; made with the first.
    pub(super) body_watch: OnceCell<Rc<Watch>>,
}

/// The receiving side.
pub(super) struct Input {
    pub(super) buffer: BytesMut,
    pub(super) scan: Scan,
    /// The body of the request being answered; `None` once it was read to its end.
    pub(super) decoder: Option<Decoder>,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The last read took all that was there, so the socket tells when there is more.
    pub(super) exhausted: bool,
    /// The client ended its side, or its framing cannot be followed any more.
    pub(super) ended: bool,
    /// Of the body of the request being answered.
    pub(super) pace: Pace,
}

impl Link {
    pub(super) fn new(worker: Rc<Worker>, transport: Transport) -> Self {
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
            body_watch: OnceCell::new(),
        }
    }

    pub(super) fn outbox(&self) -> std::cell::RefMut<'_, Outbox> {
        self.outbox.borrow_mut()
    }

    /// Waits for the first byte of the next request without holding a buffer, until the deadline that the caller has set.
    /// False: time to close.
    ///
    /// A worker that drains closes its parked connections, save one that `may_stay`.
    pub(super) async fn park(&self, may_stay: bool) -> bool {
        let worker = &self.worker;
        if !self.can_park() {
            return true;
        }
        {
            worker.buffers.client.give(&mut self.input.borrow_mut().buffer);
            worker.buffers.out.give(&mut self.outbox.take().bytes);
        }
        self.watch.set_idle(true);
        let readable = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = self.transport.borrow().tcp().poll_read_ready(cx) {
                return Poll::Ready(result.is_ok());
            }
            let leaves = worker.is_draining() && !may_stay;
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
    pub(super) fn can_park(&self) -> bool {
        let input = self.input.borrow();
        input.buffer.is_empty() && input.exhausted
    }

    /// Gets what a busy connection needs and a parked one has given back.
    fn unpark(&self) {
        let (mut input, mut outbox) = (self.input.borrow_mut(), self.outbox.borrow_mut());
        if input.buffer.capacity() == 0 {
            input.buffer = self.worker.buffers.client.take();
        }
        if outbox.bytes.capacity() == 0 {
            outbox.bytes = self.worker.buffers.out.take();
        }
    }

    /// Reads the head of the next request.
    pub(super) async fn read_head(&self, client: &Client, first: bool) -> Result<Start, Reject> {
        let worker = &self.worker;
        self.unpark();
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

    /// Runs the path of one request. `None` when the client went away before there was an answer.
    pub(super) async fn exchange(
        &self,
        protocol: Protocol,
        mut answer: Pin<&mut impl Future<Output = Response>>,
    ) -> Option<Response> {
        let interim_allowed = protocol == Protocol::Http11;
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
            if self.interim.take_rest() {
                self.rest(&mut self.input.borrow_mut());
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
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut input = self.input.borrow_mut();
        // A body in progress is read by its consumer, who notices by itself.
        while input.decoder.is_none() && !input.ended && input.buffer.len() < AHEAD_BYTES_MAX {
            let rests = input.rests();
            if rests && input.exhausted && self.transport.borrow().tcp().poll_read_ready(cx).is_pending() {
                break;
            }
            let polled = input.poll_fill(&mut self.transport.borrow_mut(), cx);
            if rests {
                self.rest(&mut input);
            }
            match polled {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => input.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        input.ended && input.decoder.is_none()
    }

    /// Gives the buffer back for the time in which the client is not asked for anything. What was read ahead is kept.
    fn rest(&self, input: &mut Input) {
        let ahead = BytesMut::from(&input.buffer[..]);
        input.buffer.clear();
        self.worker.buffers.client.give(&mut input.buffer);
        input.buffer = ahead;
    }

    /// Ends the connection so that the client gets to read the last answer: our side is shut, then what still comes in is
    /// dropped for a moment, because closing on unread bytes makes the kernel reset and the client lose the answer.
    pub(super) async fn close(&self) {
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
    /// True when there is no room to read into: whoever reads takes some first.
    fn rests(&self) -> bool {
        self.buffer.capacity() == self.buffer.len()
    }

    /// Reads once. The buffer grows as needed; its bounds are those of whoever parses it.
    pub(super) fn poll_fill(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
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
    pub(super) fn poll_body(
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
