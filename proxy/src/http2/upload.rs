//! The body of a request, as the client sends it on its stream.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};

use crate::message::{BodyError, Interim};
use crate::worker::Worker;
use crate::worker::clock::{Pace, Watch};

use super::stream::Receiver;

/// The body of one stream, held to the limits on a client's patience with it.
pub(super) struct ClientBody {
    receiver: Receiver,
    /// Where the client's leave to send is left, if it waits for one.
    expectation: Option<Interim>,
    watch: Rc<Watch>,
    pace: Pace,
    /// When the last frame was handed on. Until the next one is asked for, it is not the client that takes its time.
    handed_ms: Option<u64>,
    worker: Rc<Worker>,
}

impl ClientBody {
    /// With `expectation` the client waits for 100 (Continue), which is said there once somebody reads.
    pub(super) fn new(worker: &Rc<Worker>, receiver: Receiver, expectation: Option<Interim>) -> Self {
        let now_ms = worker.clock.now_ms();
        ClientBody {
            receiver,
            expectation,
            watch: worker.clock.watch(),
            pace: Pace::starting_at(now_ms),
            handed_ms: Some(now_ms),
            worker: Rc::clone(worker),
        }
    }

    /// True when the client took too long, all in all.
    fn is_too_slow(&self) -> bool {
        let timeouts = &self.worker.settings().timeouts;
        let slowest = timeouts.body_bytes_per_second.as_limit();
        self.pace.is_below(slowest, timeouts.body_grace, self.worker.clock.now_ms())
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
        let clock = &this.worker.clock;
        if let Some(handed_ms) = this.handed_ms.take() {
            this.pace.excuse(clock.now_ms().saturating_sub(handed_ms));
            this.watch.arm(clock, this.worker.settings().timeouts.body_idle);
        }
        let polled = this.receiver.poll_frame(cx);
        // The first reader decides that the body is wanted; a client that already sends needs no leave.
        if let Some(interim) = this.expectation.take()
            && polled.is_pending()
        {
            interim.push(StatusCode::CONTINUE, HeaderMap::new());
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.pace.add(frame.data_ref().map_or(0, Bytes::len));
                if this.is_too_slow() {
                    return this.receiver.fail(BodyError::Stalled);
                }
                this.handed_ms = Some(this.worker.clock.now_ms());
            }
            Poll::Ready(_) => {}
            Poll::Pending if this.watch.poll_expired(&this.worker.clock, cx) => {
                return this.receiver.fail(BodyError::Stalled);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.receiver.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.receiver.remaining().map(SizeHint::with_exact).unwrap_or_default()
    }
}
