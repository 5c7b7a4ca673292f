//! The body of a request: read from the connection as it is asked for, or thrown away within bounds when nobody asks.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::link::Link;
use super::{DRAIN_BYTES_MAX, DRAIN_TIMEOUT};
use crate::http1::body::{BodyLimits, Decoder};
use crate::http1::head::{self, BodyLength, RequestHead};
use crate::message::{Body, BodyError, Request};
use crate::worker::clock::{Pace, Watch};

impl Link {
    /// Turns a head into a request whose body reads from this connection.
    pub(super) fn begin(self: &Rc<Self>, head: RequestHead) -> Request {
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
            let watch = Rc::clone(self.body_watch.get_or_init(|| self.worker.clock.watch()));
            watch.disarm();
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

    /// Reads and drops the rest of a body that nobody wanted, within bounds. False: the connection cannot be kept.
    pub(super) async fn drain(&self) -> bool {
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
}

/// The body of the request that is being answered, read from the connection as it is asked for.
struct ClientBody {
    link: Rc<Link>,
    watch: Rc<Watch>,
    remaining: Option<u64>,
    failed: Option<BodyError>,
}

impl Drop for ClientBody {
    /// The watch stays with the connection, which must not be woken for a body that is over.
    fn drop(&mut self) {
        self.watch.disarm();
    }
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
                let slowest = timeouts.body_bytes_per_second.as_limit();
                let too_slow = input.pace.is_below(slowest, timeouts.body_grace, worker.clock.now_ms());
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
