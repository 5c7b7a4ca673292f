//! Retries: which failure may be repeated, and how many repeats a failing endpoint is worth.

use std::cell::Cell;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
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

/// A request body that can be sent again as long as it has stayed small and whole.
///
/// Clones share the source: the failed try drops its clone, `rewind` makes the next. Nothing is kept any longer than a
/// repeat is possible: not for the last try, nor once only the clone that is being sent is left.
#[derive(Clone)]
pub(crate) struct Replay(Rc<RefCell<Inner>>);

struct Inner {
    source: Body,
    /// What has been read from the source, while it fits.
    kept: Kept,
    /// Index of the next kept frame to give out; at the end the source is read.
    next: usize,
    /// Times that the body may still be given out.
    rewinds: u32,
    /// What is given out is kept for a repeat.
    keep: Keep,
    /// Something was given out that is no longer kept, or the source broke.
    lost: bool,
}

/// What a repeat of a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The frames that were given out.
    Frames,
    /// Nothing: it is repeated only when none was asked for.
    Nothing,
}

impl Replay {
    /// A body that is given out once, and up to `repeats` times again.
    pub(crate) fn new(source: Body, repeats: u32, keep: Keep) -> Self {
        let (kept, rewinds) = (Kept::default(), repeats.saturating_add(1));
        Replay(Rc::new(RefCell::new(Inner { source, kept, next: 0, rewinds, keep, lost: false })))
    }

    /// The body from its beginning, or `None` when it cannot be sent again.
    pub(crate) fn rewind(&self) -> Option<Body> {
        let mut inner = self.0.borrow_mut();
        if inner.lost {
            return None;
        }
        inner.rewinds = inner.rewinds.checked_sub(1)?;
        inner.next = 0;
        inner.kept.seal();
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
        let is_last = Rc::strong_count(&self.0) == 1;
        let mut inner = self.0.borrow_mut();
        let inner = &mut *inner;
        if is_last || inner.rewinds == 0 || inner.keep == Keep::Nothing {
            inner.lost = true;
        }
        if let Some(frame) = inner.kept.frames.get_mut(inner.next) {
            inner.next += 1;
            let frame = if inner.lost { std::mem::take(frame) } else { frame.clone() };
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let polled = Pin::new(&mut inner.source).poll_frame(cx);
        match &polled {
            Poll::Pending | Poll::Ready(None) => {}
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) if !inner.lost && inner.kept.add(data) => inner.next = inner.kept.frames.len(),
                // Trailers and everything past the bound cannot be given out again.
                Some(_) | None => inner.lost = true,
            },
            // What was kept is not the whole body, and must not be taken for it.
            Poll::Ready(Some(Err(_))) => inner.lost = true,
        }
        if inner.lost {
            inner.kept = Kept::default();
            inner.next = 0;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.0.borrow();
        inner.next == inner.kept.frames.len() && inner.source.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let inner = self.0.borrow();
        let pending: u64 = inner.kept.frames[inner.next..].iter().map(|frame| frame.len() as u64).sum();
        match inner.source.exact_length() {
            Some(rest) => http_body::SizeHint::with_exact(pending + rest),
            None => http_body::SizeHint::default(),
        }
    }
}

/// The beginning of a body. Small pieces are copied together, because each would hold on to the buffer it was read into.
#[derive(Default)]
struct Kept {
    frames: Vec<Bytes>,
    /// Small pieces behind the last frame.
    tail: BytesMut,
    bytes: usize,
}

impl Kept {
    /// False: it does not fit.
    fn add(&mut self, data: &Bytes) -> bool {
        if self.bytes + data.len() > REPLAY_BYTES_MAX {
            return false;
        }
        self.bytes += data.len();
        if data.len() < COPY_BYTES_MAX {
            self.tail.extend_from_slice(data);
        } else {
            self.seal();
            self.frames.push(data.clone());
        }
        true
    }

    /// Makes a frame of the small pieces.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push(self.tail.split().freeze());
        }
    }
}

/// Pieces below this length are copied. With it at most two frames are kept for each so many bytes.
const COPY_BYTES_MAX: usize = 4 << 10;
/// Ten seconds' worth of retries may be saved up.
const TOKENS_MAX: u32 = BUDGET_PER_SECOND * 100 * 10;

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn a_body_that_is_not_kept_can_be_sent_again_until_it_was_asked_for() {
        let replay = Replay::new(Body::from(Bytes::from_static(b"hello")), 2, Keep::Nothing);
        drop(replay.rewind().expect("the first"));
        assert_eq!(collect(replay.rewind().expect("nobody has read it")), "hello");
        assert!(replay.rewind().is_none());
    }

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

    /// Gives out its frames one by one, then ends or breaks.
    struct Pieces(Vec<Result<Bytes, BodyError>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
            Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
        }
    }

    fn pieces(pieces: impl IntoIterator<Item = Result<Bytes, BodyError>>) -> Body {
        Body::Stream(Box::pin(Pieces(pieces.into_iter().collect())))
    }

    #[test]
    fn a_small_body_is_sent_again_from_its_beginning() {
        let replay = Replay::new(Body::from(Bytes::from_static(b"hello")), 2, Keep::Frames);
        for _ in 0..3 {
            assert_eq!(collect(replay.rewind().expect("small enough")), "hello");
        }
        assert!(replay.rewind().is_none(), "there are no more tries than these");
    }

    #[test]
    fn a_body_past_the_bound_is_sent_once() {
        for (length, again) in [(REPLAY_BYTES_MAX, true), (REPLAY_BYTES_MAX + 1, false)] {
            let replay = Replay::new(Body::from(Bytes::from(vec![b'x'; length])), 2, Keep::Frames);
            assert_eq!(collect(replay.rewind().expect("untouched")).len(), length);
            assert_eq!(replay.rewind().is_some(), again, "{length} bytes");
        }
    }

    #[test]
    fn a_body_that_broke_is_not_sent_again_as_if_it_were_whole() {
        let replay = Replay::new(
            pieces([Ok(Bytes::from_static(b"half")), Err(BodyError::Stalled), Err(BodyError::Stalled)]),
            2,
            Keep::Frames,
        );
        let mut body = replay.rewind().expect("untouched");
        let mut next = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(next(), Poll::Ready(Some(Err(BodyError::Stalled)))));
        assert!(matches!(next(), Poll::Ready(Some(Err(BodyError::Stalled)))));
        assert!(replay.rewind().is_none());
    }

    #[test]
    fn tiny_pieces_are_kept_together_and_large_ones_as_they_are() {
        let tiny = || (0..1_000).map(|n| Ok(Bytes::from(vec![n as u8; 3])));
        let large = Ok(Bytes::from(vec![b'l'; COPY_BYTES_MAX]));
        let expected: Vec<u8> =
            tiny().chain([large.clone()]).chain(tiny()).flat_map(|piece| piece.expect("data")).collect();
        let replay = Replay::new(pieces(tiny().chain([large]).chain(tiny())), 2, Keep::Frames);
        for _ in 0..3 {
            assert_eq!(collect(replay.rewind().expect("small enough")), expected);
            assert!(replay.0.borrow().kept.frames.len() <= 3);
        }
    }

    #[test]
    fn nothing_is_kept_that_nobody_can_ask_for_again() {
        let body = || pieces([Ok(Bytes::from(vec![b'x'; COPY_BYTES_MAX])), Ok(Bytes::from_static(b"y"))]);
        let last = Replay::new(body(), 0, Keep::Frames);
        assert_eq!(collect(last.rewind().expect("untouched")).len(), COPY_BYTES_MAX + 1);
        assert_eq!(last.0.borrow().kept.bytes, 0);

        // The answer has begun: who could ask for a repeat is gone, the upload goes on.
        let replay = Replay::new(body(), 2, Keep::Frames);
        let mut sent = replay.clone();
        drop(replay.rewind());
        drop(replay);
        let mut next = || Pin::new(&mut sent).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert_eq!(sent.0.borrow().kept.bytes, 0);
    }

    #[test]
    fn only_idempotent_methods_are_repeated() {
        let repeated =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
        assert!(repeated.iter().all(is_idempotent));
        assert!(![Method::POST, Method::PATCH, Method::CONNECT].iter().any(is_idempotent));
    }
}
