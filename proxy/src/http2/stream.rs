//! The two directions of one HTTP/2 stream, the same towards clients and towards upstreams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame};

use crate::message::{Body, BodyError};
use crate::request::sanitize::sanitize_trailers;

/// A body on its way into a stream, at the pace of the peer's window.
///
/// Never takes more from the body than the one frame that the window has no room for yet.
pub(crate) struct Pump {
    body: Body,
    stream: SendStream<Bytes>,
    /// Taken from the body, not yet taken by the window.
    waiting: Bytes,
    ended: bool,
}

/// Why a pump stopped before the end of its body.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The body failed. The stream is still open, and its owner says with which code it is reset.
    Body(BodyError),
    /// The peer reset the stream, or the connection is gone.
    Peer,
}

impl Pump {
    /// `stream` must be open for sending.
    pub(crate) fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Pump { body, stream, waiting: Bytes::new(), ended: false }
    }

    /// Moves what the window takes; `moved` grows by the bytes of data that were handed over, also when it is not done.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, moved: &mut usize) -> Poll<Result<(), Broken>> {
        while !self.ended {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Broken::Peer));
            }
            let sent = if self.waiting.is_empty() {
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    None => {
                        self.ended = true;
                        self.stream.send_data(Bytes::new(), true)
                    }
                    Some(Err(error)) => return Poll::Ready(Err(Broken::Body(error))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            self.waiting = data;
                            Ok(())
                        }
                        Err(frame) => {
                            self.ended = true;
                            self.stream.send_trailers(frame.into_trailers().unwrap_or_default())
                        }
                    },
                }
            } else {
                let capacity = match ready!(self.poll_capacity(cx)) {
                    Some(capacity) => capacity,
                    None => return Poll::Ready(Err(Broken::Peer)),
                };
                let part = self.waiting.split_to(capacity.min(self.waiting.len()));
                *moved += part.len();
                self.ended = self.waiting.is_empty() && self.body.is_empty();
                self.stream.send_data(part, self.ended)
            };
            if sent.is_err() {
                return Poll::Ready(Err(Broken::Peer));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True when it is the peer's window that keeps it waiting, not the body.
    pub(crate) fn waits_for_window(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends the stream with an error.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.waiting.len());
        match self.stream.capacity() {
            // Tells of growth only, so it is asked only where there is nothing.
            0 => self.stream.poll_capacity(cx).map(|capacity| capacity?.ok()),
            capacity => Poll::Ready(Some(capacity)),
        }
    }
}

/// The received direction, frame by frame. Window is given back as data is taken, so a slow reader slows the sender.
pub(crate) struct Receiver {
    receive: RecvStream,
    data_ended: bool,
    /// Told again to whoever asks again: a body that broke must never look like one that ended.
    failed: Option<BodyError>,
    /// What is left of the length that the head announced.
    remaining: Option<u64>,
}

impl Receiver {
    /// `length` is the Content-Length, to which `h2` holds the peer.
    pub(crate) fn new(receive: RecvStream, length: Option<u64>) -> Self {
        Receiver { receive, data_ended: false, failed: None, remaining: length }
    }

    /// The next frame. Trailers are cleared of what must not be in them.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if !self.data_ended {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only when the stream is gone already, which the next poll reports.
                    let _ = self.receive.flow_control().release_capacity(data.len());
                    if let Some(remaining) = &mut self.remaining {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.broken(&error),
                None => self.data_ended = true,
            }
        }
        match ready!(self.receive.poll_trailers(cx)) {
            Ok(Some(mut trailers)) => {
                sanitize_trailers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => self.broken(&error),
        }
    }

    /// The body ends with `error`, now and for ever.
    pub(crate) fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.failed = Some(error.clone());
        Poll::Ready(Some(Err(error)))
    }

    /// True when nothing can come any more, and nothing broke.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.receive.is_end_stream()
    }

    /// The bytes to come, where the head announced them.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    fn broken(&mut self, error: &h2::Error) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.fail(BodyError::Sender(error.to_string().into()))
    }
}

/// The length that a head announces. `h2` has refused heads that announce two.
pub(crate) fn announced_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
