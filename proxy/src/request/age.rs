//! The end of what a login began and a request goes on with: tunnels, events, downloads.
//!
//! Who is asking is judged when a request begins. Where a route says so, nothing that it began lasts longer than a bound, nor
//! longer than the session it began with; whoever comes back is judged anew.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::auth::session::Marks;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::record::Record;
use crate::login::{Going, OidcProvider};
use crate::message::{Body, BodyError, Response};
use crate::worker::Worker;
use crate::worker::clock::{Expired, TICK, Watch};

/// How long what comes of one request may go on.
pub(super) struct Bound {
    pub(super) limit: Duration,
    /// The session that it begins with, where there is one.
    pub(super) session: Option<Begun>,
}

/// A session, as what has begun with it knows it.
pub(super) struct Begun {
    pub(super) going: Going,
    pub(super) subject: String,
    pub(super) provider: Arc<OidcProvider>,
}

/// The time that something may take that has begun.
pub(crate) struct Span {
    worker: Rc<Worker>,
    end_ms: u64,
    session: Option<Begun>,
}

/// Lets what comes with `response` last no longer than `bound`, however busy it is; a tunnel, when its connection sees it in
/// `record`.
pub(super) fn begin(worker: &Rc<Worker>, response: &mut Response, record: &mut Record, bound: Bound) {
    let Bound { limit, session } = bound;
    let limit = session.as_ref().map_or(limit, |session| limit.min(session.going.left));
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    // The clock may be a tick behind: nothing ends early.
    let end_ms = worker.clock.now_ms().saturating_add(TICK_MS).saturating_add(limit_ms);
    let span = Rc::new(Span { worker: Rc::clone(worker), end_ms, session });
    if matches!(response.body, Body::Stream(_)) {
        let watch = worker.clock.watch();
        watch.arm(&worker.clock, span.next_look());
        let body = std::mem::take(&mut response.body);
        response.body = Body::Stream(Box::pin(Aging { body, watch, span: Rc::clone(&span) }));
    }
    record.lasts = Some(span);
}

impl Span {
    /// Runs `future` until it is done or its time is over.
    pub(crate) async fn within<F: Future>(&self, future: F) -> Result<F::Output, Expired> {
        let watch = self.worker.clock.watch();
        let mut future = pin!(future);
        loop {
            match watch.within(&self.worker.clock, self.next_look(), future.as_mut()).await {
                Err(Expired) if !self.is_over() => {}
                ended => return ended,
            }
        }
    }

    /// For so long nobody need look whether it is over.
    fn next_look(&self) -> Duration {
        let left = self.end_ms.saturating_sub(self.worker.clock.now_ms().saturating_add(TICK_MS));
        // To the clock none is no limit at all.
        let left = Duration::from_millis(left.max(1));
        if self.session.is_some() { left.min(LOOK_EVERY) } else { left }
    }

    /// Its time has passed, or its session was ended by a logout, here or at another replica.
    fn is_over(&self) -> bool {
        let is_ended = |Begun { going, subject, provider }: &Begun| {
            let provider_session = going.provider_session.as_deref();
            let marks = Marks { provider_session, subject, began: going.began };
            self.worker.shared.logins.revoked().ends(provider.core.key(), marks)
        };
        self.worker.clock.now_ms() >= self.end_ms || self.session.as_ref().is_some_and(is_ended)
    }
}

/// A body that fails when its time is over: cut short, it must not look like a whole one.
struct Aging {
    body: Body,
    watch: Rc<Watch>,
    span: Rc<Span>,
}

impl http_body::Body for Aging {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Aging { body, watch, span } = self.get_mut();
        let clock = &span.worker.clock;
        while watch.poll_expired(clock, cx) {
            if span.is_over() {
                *body = Body::Failed(BodyError::TooOld);
                break;
            }
            watch.arm(clock, span.next_look());
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// How often it is looked whether a session has ended that something lasts as long as.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TICK_MS: u64 = TICK.as_millis() as u64;
