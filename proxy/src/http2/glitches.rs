//! Frames that ask for work and do none: the bound against floods of what costs a client nothing.
//!
//! `h2` bounds resets, small DATA frames and the length of a head. PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty frames and
//! kinds that nobody knows it takes for as long as they come. So the heads of frames (RFC 9113 §4.1) are read as they pass
//! on their way to it, and each frame but DATA with something in it is a glitch. Work that is done forgives some, and so
//! does time; what is left may not pass [`GLITCHES_MAX`].

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Glitches that a connection may have on its account before it is closed.
pub(crate) const GLITCHES_MAX: u32 = 1_000;
/// Beyond so many the client is asked to go: one that is only talkative goes on with a new connection.
const GLITCHES_TOLERATED: u32 = GLITCHES_MAX / 4 * 3;
/// Forgiven by time: more than any client needs to keep connections alive.
const FORGIVEN_PER_SECOND: u64 = 20;
/// Forgiven for an answer that the client let come to its end.
const FORGIVEN_PER_ANSWER: u32 = 8;
/// Forgiven for a piece of an answer: a client may give both windows back and measure the way with a PING.
const FORGIVEN_PER_PIECE: u32 = 4;
/// And for so many bytes of it: some clients give the windows back every 4 kB.
const BYTES_PER_FORGIVEN: usize = 1 << 10;

/// The account of one connection.
#[derive(Debug, Default)]
pub(crate) struct Glitches {
    count: Cell<u32>,
    forgiven_ms: Cell<u64>,
}

impl Glitches {
    /// `now_ms` is the worker's clock, as for [`Glitches::pass_time`].
    pub(crate) fn since(now_ms: u64) -> Self {
        Glitches { count: Cell::new(0), forgiven_ms: Cell::new(now_ms) }
    }

    /// So many that the client should go.
    pub(crate) fn are_many(&self) -> bool {
        self.count.get() > GLITCHES_TOLERATED
    }

    /// So many that nothing more is read from it.
    pub(crate) fn are_too_many(&self) -> bool {
        self.count.get() > GLITCHES_MAX
    }

    /// Forgives what the time since the last call is worth. An account that is overdrawn stays so.
    pub(crate) fn pass_time(&self, now_ms: u64) {
        let forgiven = now_ms.saturating_sub(self.forgiven_ms.get()) * FORGIVEN_PER_SECOND / 1_000;
        if forgiven > 0 {
            self.forgiven_ms.set(now_ms);
            self.forgive(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
    }

    /// An answer was taken to its end.
    pub(crate) fn answer_ended(&self) {
        self.forgive(FORGIVEN_PER_ANSWER);
    }

    /// A piece of an answer is on its way.
    pub(crate) fn answer_moved(&self, bytes: usize) {
        let for_bytes = u32::try_from(bytes / BYTES_PER_FORGIVEN).unwrap_or(u32::MAX);
        self.forgive(FORGIVEN_PER_PIECE.saturating_add(for_bytes));
    }

    fn forgive(&self, count: u32) {
        if !self.are_too_many() {
            self.count.set(self.count.get().saturating_sub(count));
        }
    }

    fn add(&self, count: u32) {
        self.count.set(self.count.get().saturating_add(count));
    }
}

/// A client's bytes on their way to `h2`, whose glitches are counted. Past the bound it reads nothing more.
pub(crate) struct Counted<T> {
    transport: T,
    frames: FrameHeads,
    glitches: Rc<Glitches>,
}

impl<T> Counted<T> {
    /// `transport` must be at the start of the connection preface.
    pub(crate) fn new(transport: T, glitches: Rc<Glitches>) -> Self {
        Counted { transport, frames: FrameHeads::default(), glitches }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.glitches.are_too_many() {
            // The task of the connection sees why as soon as it has nothing else to do.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.transport).poll_read(cx, buf);
        let glitches = this.frames.pass(&buf.filled()[before..]);
        if glitches > 0 {
            this.glitches.add(glitches);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
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
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// Finds the heads of frames in a stream that comes in pieces. What they are worth is for `h2` to judge; this only counts.
#[derive(Debug)]
struct FrameHeads {
    /// Bytes to pass over before the next head: at first the preface.
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
}

impl Default for FrameHeads {
    fn default() -> Self {
        FrameHeads { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], head_len: 0 }
    }
}

impl FrameHeads {
    /// Passes over `bytes`, the next of the stream, and says how many glitches begin in them.
    fn pass(&mut self, mut bytes: &[u8]) -> u32 {
        let mut glitches = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let part = (HEAD_BYTES - self.head_len).min(bytes.len());
            self.head[self.head_len..][..part].copy_from_slice(&bytes[..part]);
            self.head_len += part;
            bytes = &bytes[part..];
            if self.head_len == HEAD_BYTES {
                self.head_len = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                let is_empty = self.skip == 0 && flags & END_STREAM == 0;
                glitches += u32::from(kind != DATA || is_empty);
            }
        }
        glitches
    }
}

/// RFC 9113 §3.4.
const PREFACE_BYTES: usize = 24;
/// RFC 9113 §4.1.
const HEAD_BYTES: usize = 9;
/// RFC 9113 §6.1.
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
