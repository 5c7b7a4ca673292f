//! Retries: which failure may be repeated, and how many repeats a failing endpoint is worth.

use std::cell::Cell;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::Frame;

use crate::message::{Body, BodyError};

/// Tries after the first when the route says nothing.
pub(crate) const ATTEMPTS_DEFAULT: u32 = 2;
/// Request body kept for a repeat; a longer one is sent once.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 << 10;
/// Retries allowed for each hundred requests.
pub(crate) const BUDGET_PERCENT: u32 = 20;
/// Retries allowed each second whatever the number of requests.
pub(crate) const BUDGET_PER_SECOND: u32 = 10;

/// True when repeating the request has the same effect as sending it once (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// How many retries the failures of one endpoint may still cause: a fifth of its requests, and ten a second.
///
/// Without it a backend that is down would get each request several times, just when it can bear least.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In hundredths of a retry.
    tokens: Cell<u32>,
    refilled_ms: Cell<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { tokens: Cell::new(BUDGET_PER_SECOND * 100), refilled_ms: Cell::new(0) }
    }
}

impl Budget {
    /// A first try was sent.
    pub(crate) fn deposit(&self) {
        self.add(BUDGET_PERCENT);
    }

    /// Takes one retry; false when there is none left.
    pub(crate) fn withdraw(&self, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms.get()).min(1_000);
        self.refilled_ms.set(now_ms);
        self.add((elapsed_ms * u64::from(BUDGET_PER_SECOND) / 10) as u32);
        let Some(rest) = self.tokens.get().checked_sub(100) else { return false };
        self.tokens.set(rest);
        true
    }

    fn add(&self, hundredths: u32) {
        self.tokens.set((self.tokens.get() + hundredths).min(TOKENS_MAX));
    }
}

/// A request body that can be sent again as long as it has stayed small.
///
/// Clones share the source: the failed try drops its clone, `rewind` makes the next.
#[derive(Clone)]
pub(crate) struct Replay(Rc<RefCell<Inner>>);

struct Inner {
    source: Body,
    /// What has been read from the source, while it fits.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Index into `kept` of the next frame to give out; at the end the source is read.
    next: usize,
    /// Something was given out that is no longer kept.
    lost: bool,
}

impl Replay {
    pub(crate) fn new(source: Body) -> Self {
        Replay(Rc::new(RefCell::new(Inner { source, kept: Vec::new(), kept_bytes: 0, next: 0, lost: false })))
    }

    /// The body from its beginning, or `None` when it has grown too large to be sent again.
    pub(crate) fn rewind(&self) -> Option<Body> {
        let mut inner = self.0.borrow_mut();
        if inner.lost {
            return None;
        }
        inner.next = 0;
        Some(Body::Stream(Box::pin(self.clone())))
    }
}

impl http_body::Body for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut inner = self.0.borrow_mut();
        if let Some(frame) = inner.kept.get(inner.next).cloned() {
            inner.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let polled = Pin::new(&mut inner.source).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match frame.data_ref() {
                Some(data) if !inner.lost && inner.kept_bytes + data.len() <= REPLAY_BYTES_MAX => {
                    inner.kept_bytes += data.len();
                    inner.kept.push(data.clone());
                    inner.next += 1;
                }
                // Trailers and everything past the bound cannot be given out again.
                _ => {
                    inner.lost = true;
                    inner.kept.clear();
                    inner.next = 0;
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.0.borrow();
        inner.next == inner.kept.len() && inner.source.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let inner = self.0.borrow();
        let pending: u64 = inner.kept[inner.next..].iter().map(|frame| frame.len() as u64).sum();
        match inner.source.exact_length() {
            Some(rest) => http_body::SizeHint::with_exact(pending + rest),
            None => http_body::SizeHint::default(),
        }
    }
}

/// Ten seconds' worth of retries may be saved up.
const TOKENS_MAX: u32 = BUDGET_PER_SECOND * 100 * 10;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn the_budget_is_ten_a_second_and_a_fifth_of_the_requests() {
        let budget = Budget::default();
        let drain = |now_ms| (0..1_000).take_while(|_| budget.withdraw(now_ms)).count();
        assert_eq!(drain(0), 10);
        assert_eq!(drain(500), 5);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(drain(500), 10);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(drain(500), 100);
    }

    fn collect(body: Body) -> Bytes {
        let mut collected = std::pin::pin!(body.collect());
        match collected.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Ok(body)) => body.to_bytes(),
            _ => panic!("the body of these tests is always ready and whole"),
        }
    }

    #[test]
    fn a_small_body_is_sent_again_from_its_beginning() {
        let replay = Replay::new(Body::from(Bytes::from_static(b"hello")));
        for _ in 0..3 {
            assert_eq!(collect(replay.rewind().expect("small enough")), "hello");
        }
    }

    #[test]
    fn a_body_past_the_bound_is_sent_once() {
        for (length, again) in [(REPLAY_BYTES_MAX, true), (REPLAY_BYTES_MAX + 1, false)] {
            let replay = Replay::new(Body::from(Bytes::from(vec![b'x'; length])));
            assert_eq!(collect(replay.rewind().expect("untouched")).len(), length);
            assert_eq!(replay.rewind().is_some(), again, "{length} bytes");
        }
    }

    #[test]
    fn only_idempotent_methods_are_repeated() {
        let repeated =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
        assert!(repeated.iter().all(is_idempotent));
        assert!(![Method::POST, Method::PATCH, Method::CONNECT].iter().any(is_idempotent));
    }
}
