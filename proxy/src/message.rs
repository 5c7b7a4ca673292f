//! The request and the response as every step of the path sees them, whatever protocol carried them.
//!
//! `request` and everything below it know these types only; `http1` and `http2` translate at the two ends.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};

use crate::upstream::upgrade::Upgraded;

/// The protocol that one side of an exchange speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

impl Protocol {
    /// The name used in access logs (`HTTP/1.1`).
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2.0",
        }
    }
}

/// One request as the peer sent it, before normalisation.
///
/// `target` is the request target exactly as received: origin form (`/a?b`), absolute form, authority form or `*`.
/// For HTTP/2 it is `:path`, and `authority` is `:authority`; on HTTP/1 `authority` is `None` and Host is in `headers`.
pub struct Request {
    pub method: Method,
    pub target: Bytes,
    pub authority: Option<Bytes>,
    pub protocol: Protocol,
    pub headers: HeaderMap,
    pub body: Body,
    /// What the client wants the connection to become, if it asked in the way its protocol has.
    pub upgrade: Option<UpgradeRequest>,
    /// Where informational answers of the upstream (103) are left for the client.
    pub interim: Interim,
}

impl Request {
    /// Copies what it has of the buffer that its head was read into, so that it no longer keeps that buffer. It says the
    /// same as before.
    pub(crate) fn detach(&mut self) {
        // By name, so that whoever adds a field has to say here what it keeps.
        let Request { method: _, target, authority, protocol: _, headers, body: _, upgrade: _, interim: _ } =
            self;
        let mut whole = Vec::new();
        whole.extend_from_slice(target);
        whole.extend_from_slice(authority.as_deref().unwrap_or_default());
        headers.values().for_each(|value| whole.extend_from_slice(value.as_bytes()));
        whole.shrink_to_fit();
        let mut whole = Bytes::from(whole);
        *target = whole.split_to(target.len());
        if let Some(authority) = authority {
            *authority = whole.split_to(authority.len());
        }
        for value in headers.values_mut() {
            // The bytes of a value are one.
            if let Ok(mut copy) = HeaderValue::from_maybe_shared(whole.split_to(value.len())) {
                copy.set_sensitive(value.is_sensitive());
                *value = copy;
            }
        }
    }
}

/// Copies a value that may be part of a larger buffer, so that it no longer keeps that.
pub(crate) fn detach(value: &mut HeaderValue) {
    // The bytes of a value are one.
    if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
        copy.set_sensitive(value.is_sensitive());
        *value = copy;
    }
}

/// What the path of a request tells the connection while it works: informational answers for the client, which are taken out
/// after each step of the exchange, and that the request rests.
#[derive(Clone, Debug, Default)]
pub struct Interim(Rc<Told>);

#[derive(Debug, Default)]
struct Told {
    answers: RefCell<Vec<(StatusCode, HeaderMap)>>,
    rests: Cell<bool>,
}

impl Interim {
    pub(crate) fn push(&self, status: StatusCode, headers: HeaderMap) {
        self.0.answers.borrow_mut().push((status, headers));
    }

    /// Everything that has come since the last time, oldest first.
    pub(crate) fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        // An empty `Vec` costs nothing, and nearly all of them are.
        self.0.answers.take()
    }

    /// Says that the request will wait for long, and has let go of the buffer that it was read into ([`Request::detach`]).
    pub(crate) fn rest(&self) {
        self.0.rests.set(true);
    }

    /// Whether that was said since the last time.
    pub(crate) fn take_rest(&self) -> bool {
        self.0.rests.replace(false)
    }
}

/// A wish to leave HTTP on this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRequest {
    /// `Connection: upgrade` with `Upgrade: websocket` (RFC 9110 §7.8, RFC 6455), or extended CONNECT with
    /// `:protocol = websocket` (RFC 8441).
    WebSocket,
}

/// One answer on its way to the peer.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
    /// Present only on an answer that switches protocols: the upstream half of the tunnel. Boxed, because answers are moved
    /// often and few of them are of that kind.
    pub upgraded: Option<Box<Upgraded>>,
}

impl Response {
    /// An answer with a body that is wholly known.
    pub fn full(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        Response { status, headers, body: Body::from(body.into()), upgraded: None }
    }

    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Response { status, headers: HeaderMap::new(), body: Body::Empty, upgraded: None }
    }
}

/// A message body: a stream of data frames, then perhaps trailers. Never collected unless a policy demands it.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Full(Bytes),
    /// Any streaming source: a peer's upload, an upstream's answer. Not `Send`: a body stays on its worker.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError>>>),
    /// Fails as often as it is asked.
    Failed(BodyError),
}

/// Why a body ended before its time. The exchange is lost; the connection that carried the body is not re-used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer that sends the body went away or broke the framing.
    #[error("the sender ended the body early: {0}")]
    Sender(std::sync::Arc<str>),
    /// No byte moved for longer than the limit allows.
    #[error("the body stalled")]
    Stalled,
    /// More bytes than the route allows.
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// It has lasted as long as its login allows.
    #[error("it has lasted as long as a login allows")]
    TooOld,
    /// The reading side gave up.
    #[error("the receiver went away")]
    Receiver,
}

impl Body {
    /// True when no byte and no trailer can come any more.
    pub fn is_empty(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Stream(stream) => stream.is_end_stream(),
            Body::Failed(_) => false,
        }
    }

    /// The same body, that fails with [`BodyError::TooLarge`] as soon as it has more than `limit` bytes.
    pub(crate) fn limited(body: Body, limit: u64) -> Body {
        Body::Stream(Box::pin(Limited { body, limit, left: limit }))
    }

    /// The exact number of bytes to come, when it is known.
    pub fn exact_length(&self) -> Option<u64> {
        if self.is_empty() { Some(0) } else { http_body::Body::size_hint(self).exact() }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Body::Stream(stream) => stream.as_mut().poll_frame(cx),
            Body::Failed(error) => Poll::Ready(Some(Err(error.clone()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(stream) => stream.size_hint(),
            Body::Failed(_) => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Empty => f.write_str("Body::Empty"),
            Body::Full(bytes) => write!(f, "Body::Full({} bytes)", bytes.len()),
            Body::Stream(_) => f.write_str("Body::Stream"),
            Body::Failed(error) => write!(f, "Body::Failed({error})"),
        }
    }
}

struct Limited {
    body: Body,
    limit: u64,
    left: u64,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    // Asked again, it fails again: a body that was cut must never look like a whole one.
                    let error = BodyError::TooLarge { limit: self.limit };
                    self.body = Body::Failed(error.clone());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests;
