//! A byte stream to a peer or an upstream: TCP, perhaps under TLS, perhaps with bytes that were read ahead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http1::body::{EncodeError, Encoder};

/// One connection's bytes, without protocol. Both sides of the edge use the same type, so that a tunnel can join any two.
pub(crate) enum Transport {
    Tcp(TcpStream),
    TlsServer(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    TlsClient(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Transport {
    /// Reads what is there, at most the spare capacity of `buffer`. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Tcp(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer),
            Transport::TlsServer(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer),
            Transport::TlsClient(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buffer),
        }
    }

    /// True when a stream that should be silent is silent still: nothing to read, not closed.
    ///
    /// Costs no system call on plain TCP unless the last read filled its buffer to the brim.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let Transport::Tcp(stream) = self
            && stream.poll_read_ready(&mut cx).is_pending()
        {
            return true;
        }
        let mut probe = [0; 1];
        Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut probe)).is_pending()
    }

    /// The address of the other end.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Transport::Tcp(stream) => stream,
            Transport::TlsServer(stream) => stream.get_ref().0,
            Transport::TlsClient(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::TlsServer(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::TlsClient(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::TlsServer(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::TlsClient(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::TlsServer(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::TlsClient(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Transport::Tcp(_) => Poll::Ready(Ok(())),
            Transport::TlsServer(stream) => Pin::new(stream).poll_flush(cx),
            Transport::TlsClient(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::TlsServer(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::TlsClient(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A transport in front of which bytes stand that somebody already read: a protocol preface, the start of a tunnel.
pub(crate) struct Rewound {
    ahead: Bytes,
    transport: Transport,
}

impl Rewound {
    pub(crate) fn new(ahead: Bytes, transport: Transport) -> Self {
        Rewound { ahead, transport }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// Bytes on their way out of a transport: a buffer that gathers what is small, and one slice that is too large to copy.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Appended to by whoever writes heads and frames, as long as [`Outbox::is_open`].
    pub(crate) bytes: Vec<u8>,
    written: usize,
    large: Bytes,
    /// What stands behind `large`.
    tail: &'static [u8],
    /// Bytes were taken by a TLS session, which may hold them still.
    unflushed: bool,
}

impl Outbox {
    /// Nothing is left to write, and nothing is held back below.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_written() && !self.unflushed
    }

    fn is_written(&self) -> bool {
        self.bytes.is_empty() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Appends a frame of a body, or its end, as `encoder` frames it. True when the body has ended.
    pub(crate) fn encode(
        &mut self,
        encoder: &mut Encoder,
        frame: Option<Frame<Bytes>>,
    ) -> Result<bool, EncodeError> {
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if data.is_empty() => Ok(false),
            Some(Ok(data)) => {
                encoder.prefix(data.len(), &mut self.bytes)?;
                self.push(data, encoder.suffix());
                Ok(false)
            }
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                encoder.finish(Some(&trailers), &mut self.bytes).map(|()| true)
            }
            None => encoder.finish(None, &mut self.bytes).map(|()| true),
        }
    }

    /// More may be appended: not much is waiting, and no large slice, which has to be the last.
    pub(crate) fn is_open(&self) -> bool {
        self.large.is_empty() && self.tail.is_empty() && self.bytes.len() < GATHER_BYTES
    }

    /// Appends data and what stands behind it, by copy when the data is small. Only while the outbox is open.
    fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        debug_assert!(self.is_open());
        if data.len() <= COPY_BYTES_MAX {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(tail);
        } else {
            self.large = data;
            self.tail = tail;
        }
    }

    /// Writes until everything is gone and flushed. `Pending` is also returned after progress; `moved` then counts it.
    pub(crate) fn poll_write(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
        moved: &mut usize,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let gathered = &self.bytes[self.written..];
            let written = if self.large.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *transport).poll_write(cx, gathered)
            } else {
                let parts = [gathered, &self.large, self.tail].map(io::IoSlice::new);
                Pin::new(&mut *transport).poll_write_vectored(cx, &parts)
            };
            let written = std::task::ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved += written;
            self.advance(written);
        }
        std::task::ready!(Pin::new(transport).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.unflushed = true;
        let of_bytes = written.min(self.bytes.len() - self.written);
        self.written += of_bytes;
        let of_large = (written - of_bytes).min(self.large.len());
        self.large.advance(of_large);
        self.tail = &self.tail[written - of_bytes - of_large..];
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

/// Gathered before it is written.
const GATHER_BYTES: usize = 16 << 10;
/// Data up to this length is copied behind what is gathered; above it, a second slice in the same system call is cheaper.
const COPY_BYTES_MAX: usize = 4 << 10;
