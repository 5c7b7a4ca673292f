//! Copying both ways between two streams, until both have ended or nothing moves any more.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::worker::clock::{Clock, Watch};

/// What went through, however it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) from_client: u64,
    pub(super) to_client: u64,
}

/// Why copying ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Both sides have said all they had to say.
    Complete,
    /// Neither side sent anything for the whole limit.
    Idle,
    Broken(io::Error),
}

/// Copies until both sides have ended. The end of one side is passed on to the other, which may go on (RFC 9293 §3.6). Ends
/// when neither side sends a byte for `idle`; zero waits for ever.
pub(super) async fn both<A, B>(
    client: &mut A,
    upstream: &mut B,
    clock: &Clock,
    idle: Duration,
) -> (Copied, Ending)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let watch = clock.watch();
    watch.arm(clock, idle);
    let (mut up, mut down) = (Way::new(&watch), Way::new(&watch));
    let ending = std::future::poll_fn(|cx| {
        let first = up.poll(cx, client, upstream, clock, idle);
        let second = down.poll(cx, upstream, client, clock, idle);
        match (first, second) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Ending::Broken(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ending::Complete),
            (Poll::Pending, _) | (_, Poll::Pending) if watch.poll_expired(clock, cx) => {
                Poll::Ready(Ending::Idle)
            }
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    });
    let ending = ending.await;
    (Copied { from_client: up.bytes, to_client: down.bytes }, ending)
}

/// One direction.
struct Way {
    watch: Rc<Watch>,
    /// Holds no memory while nothing is under way.
    buffer: BytesMut,
    bytes: u64,
    source_ended: bool,
    ended: bool,
}

impl Way {
    fn new(watch: &Rc<Watch>) -> Self {
        Way { watch: Rc::clone(watch), buffer: BytesMut::new(), bytes: 0, source_ended: false, ended: false }
    }

    fn poll<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        clock: &Clock,
        idle: Duration,
    ) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        // One side that always has something must not keep the others of this worker waiting.
        for _ in 0..ROUNDS_MAX {
            while !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.advance(written);
                self.bytes += written as u64;
                self.watch.arm(clock, idle);
            }
            if self.source_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            self.buffer.reserve(BUFFER_BYTES);
            match tokio_util::io::poll_read_buf(Pin::new(&mut *from), cx, &mut self.buffer) {
                Poll::Ready(Ok(0)) => self.source_ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.buffer = BytesMut::new();
                    // TLS may hold back what was written until it is asked to let go.
                    let _ = Pin::new(&mut *to).poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Bytes that one direction reads at a time.
const BUFFER_BYTES: usize = 16 << 10;
/// Reads in a row before others get their turn.
const ROUNDS_MAX: usize = 16;

#[cfg(test)]
mod tests;
