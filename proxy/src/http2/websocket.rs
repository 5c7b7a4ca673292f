//! WebSockets on one stream of HTTP/2 (RFC 8441): the client's extended CONNECT becomes a request to upgrade, as upstreams
//! know it, and the stream the client's half of the tunnel.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{Extensions, HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::glitches::Glitches;
use super::streams::Ended;
use crate::message::{BodyError, Response};
use crate::reject::Reject;
use crate::request::record::{End, Record};
use crate::upstream::upgrade::{Upgraded, accept_for};
use crate::worker::clock::Expired;

/// What an upstream has to answer to the key that it was sent in the client's place.
pub(super) struct Handshake {
    accept: Option<HeaderValue>,
}

impl Handshake {
    /// True for a request that asks for a WebSocket. Whoever asks for something else is refused by its method.
    pub(super) fn is_asked_for(method: &Method, extensions: &Extensions) -> bool {
        *method == Method::CONNECT
            && extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
    }

    /// Gives the request the key that clients of HTTP/2 do not send (RFC 8441 §5.1).
    pub(super) fn begin(headers: &mut HeaderMap) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        fastrand::Rng::new().fill(&mut nonce);
        // Base64 is visible ASCII.
        let key = HeaderValue::from_str(&STANDARD.encode(nonce)).ok();
        let accept = key.as_ref().and_then(|key| accept_for(key).ok());
        if let Some(key) = key {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        Handshake { accept }
    }

    /// The upstream's half of the tunnel, where it has agreed in due form. What it answers otherwise is passed on, unless that
    /// would tell the client that there is a tunnel.
    pub(super) fn end(&self, response: &mut Response) -> Result<Option<Box<Upgraded>>, Reject> {
        let accept = response.headers.remove(SEC_WEBSOCKET_ACCEPT);
        match response.upgraded.take() {
            Some(upgraded) if accept.is_some() && accept == self.accept => Ok(Some(upgraded)),
            Some(_) => Err(Reject::UpgradeFailed),
            None if response.status.is_success() => Err(Reject::UpgradeFailed),
            None => Ok(None),
        }
    }
}

/// Copies bytes both ways until both sides have ended.
pub(super) async fn tunnel(
    glitches: &Rc<Glitches>,
    receive: RecvStream,
    send: SendStream<Bytes>,
    upgraded: Box<Upgraded>,
    record: &mut Record,
) -> Ended {
    let Upgraded { mut stream, in_flight } = *upgraded;
    let mut client = ClientStream { receive, send, ahead: Bytes::new(), glitches: Rc::clone(glitches) };
    let both = tokio::io::copy_bidirectional(&mut client, &mut stream);
    let copied = match &record.lasts {
        None => Ok(both.await),
        Some(span) => span.within(both).await,
    };
    drop(in_flight);
    match copied {
        Ok(Ok((up, down))) => {
            record.tunnelled(up, down);
            record.ended(End::Complete);
            Ended::Completely
        }
        Ok(Err(error)) => {
            client.send.send_reset(Reason::CANCEL);
            record.ended(End::Broken(BodyError::Sender(error.to_string().into())));
            Ended::Broken
        }
        Err(Expired) => {
            client.send.send_reset(Reason::CANCEL);
            record.ended(End::Broken(BodyError::TooOld));
            Ended::Broken
        }
    }
}

/// Both directions of a stream, as a connection would be.
struct ClientStream {
    receive: RecvStream,
    send: SendStream<Bytes>,
    /// Received and not yet read. The window is given back as it is read.
    ahead: Bytes,
    glitches: Rc<Glitches>,
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ahead.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.ahead = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let part = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..part]);
        this.ahead.advance(part);
        // Fails only when the stream is gone already, which the next poll reports.
        let _ = this.receive.flow_control().release_capacity(part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.send.reserve_capacity(buf.len().min(WRITE_BYTES_MAX));
        let capacity = match this.send.capacity() {
            // Tells of growth only, so it is asked only where there is nothing.
            0 => match ready!(this.send.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            capacity => capacity,
        };
        let part = capacity.min(buf.len());
        this.send.send_data(Bytes::copy_from_slice(&buf[..part]), false).map_err(io::Error::other)?;
        this.glitches.answer_moved(part);
        Poll::Ready(Ok(part))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

/// RFC 6455 §4.1.
const NONCE_BYTES: usize = 16;
/// What one write asks of the window.
const WRITE_BYTES_MAX: usize = 16 << 10;
