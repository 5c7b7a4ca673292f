//! The end of what a login began and a request goes on with: tunnels, events, downloads.
//!
//! Who is asking is judged when a request begins. Where a route says so, nothing that it began lasts longer than a bound, nor
//! longer than the session it began with; whoever comes back is judged anew.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::record::Record;
use crate::message::{Body, BodyError, Response};
use crate::worker::Worker;
use crate::worker::clock::Watch;

/// Lets what comes with `response` end after `limit`, however busy it is; a tunnel, when its connection sees it in `record`.
pub(super) fn bound(worker: &Rc<Worker>, response: &mut Response, record: &mut Record, limit: Duration) {
    // To the clock none is no limit at all.
    let limit = limit.max(Duration::from_millis(1));
    record.lasts = Some(limit);
    if matches!(response.body, Body::Stream(_)) {
        let watch = worker.clock.watch();
        watch.arm(&worker.clock, limit);
        let body = std::mem::take(&mut response.body);
        response.body = Body::Stream(Box::pin(Aging { body, watch, worker: Rc::clone(worker) }));
    }
}

/// A body that fails when its time is over: cut short, it must not look like a whole one.
struct Aging {
    body: Body,
    watch: Rc<Watch>,
    worker: Rc<Worker>,
}

impl http_body::Body for Aging {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.watch.poll_expired(&self.worker.clock, cx) {
            self.body = Body::Failed(BodyError::TooOld);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
