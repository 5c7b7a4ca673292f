//! Writing one answer: the head, then whatever its body gives, as fast as the client takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body as _, Frame};

use super::link::Link;
use crate::http1::body::Encoder;
use crate::http1::head::{self, BodyLength, Disposition, ResponseFraming};
use crate::message::{Body, BodyError, Protocol, Response};
use crate::request::record::{End, Record};

impl Link {
    /// Writes one answer whole. Returns what the connection may be used for afterwards.
    pub(super) async fn respond(
        &self,
        method: &Method,
        protocol: Protocol,
        response: &mut Response,
        wish: Disposition,
        record: &mut Record,
    ) -> Disposition {
        let status = response.status;
        let mut body = std::mem::take(&mut response.body);
        // A client that still waits for `100 Continue` may send its body or not; only closing leaves no doubt.
        let unasked = std::mem::take(&mut self.input.borrow_mut().expects_continue);
        let wish = if unasked { Disposition::Close } else { wish };
        let framing = ResponseFraming::plan(protocol, method, status, body.exact_length(), wish);
        let headers = std::mem::take(&mut response.headers);
        head::write_response_head(&mut self.outbox().bytes, status, &headers, &framing, &self.worker.date());
        drop(headers);
        if framing.length == BodyLength::None {
            body = Body::Empty;
        }
        self.watch.arm(&self.worker.clock, self.worker.settings().timeouts.write_idle);
        let mut sending =
            Sending { encoder: Encoder::new(framing.length), ended: body.is_empty(), broken: None, body };
        let outcome = std::future::poll_fn(|cx| sending.poll(self, record, cx)).await;
        record.received(self.input.borrow().pace.bytes());
        match outcome {
            Ok(()) => {
                record.ended(End::Complete);
                framing.disposition
            }
            Err(broken) => {
                record.ended(End::Broken(broken));
                Disposition::Close
            }
        }
    }

    pub(super) async fn flush(&self) -> io::Result<()> {
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
