//! Buffers of lines on their way to standard output.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::AccessLog;
use crate::settings::AccessLog as AccessLogSettings;

/// The thread that writes. It ends when every [`Sink`] and every [`AccessLog`] made of one is gone.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
}

/// Where workers get their end of the log from.
#[derive(Clone, Debug)]
pub struct Sink {
    sender: SyncSender<Chunk>,
    dropped: Arc<AtomicU64>,
}

/// The lines that one worker has gathered.
#[derive(Debug)]
pub(super) struct Lines {
    sink: Sink,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    count: u64,
    /// Buffers that were written and come back.
    spare: Receiver<Vec<u8>>,
    give_back: SyncSender<Vec<u8>>,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    count: u64,
    give_back: SyncSender<Vec<u8>>,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<(Writer, Sink)> {
        let (sender, chunks) = sync_channel(CHUNKS_LEN_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = Sink { sender, dropped: dropped.clone() };
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(out, &chunks, &dropped))?;
        Ok((Writer { thread }, sink))
    }

    /// Waits until everything that was handed on is written. All sinks must be gone by then, or go soon.
    pub fn finish(self) {
        // A panic of the writer was printed when it happened.
        let _ = self.thread.join();
    }
}

impl Sink {
    /// One worker's end of the log.
    pub fn access_log(&self, settings: &AccessLogSettings) -> AccessLog {
        AccessLog::new(self, settings)
    }

    /// Lines that were never written, because the writer could not keep up or its output is gone.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

impl Lines {
    pub(super) fn new(sink: Sink) -> Self {
        let (give_back, spare) = sync_channel(SPARE_LEN_MAX);
        Lines { sink, buffer: Vec::new(), count: 0, spare, give_back }
    }

    /// Where the next line goes.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER_BYTES));
        }
        &mut self.buffer
    }

    pub(super) fn end_line(&mut self) {
        self.count += 1;
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let bytes = std::mem::take(&mut self.buffer);
        let chunk = Chunk { bytes, count: self.count, give_back: self.give_back.clone() };
        self.count = 0;
        if let Err(refused) = self.sink.sender.try_send(chunk) {
            let chunk = match refused {
                std::sync::mpsc::TrySendError::Full(chunk) => chunk,
                std::sync::mpsc::TrySendError::Disconnected(chunk) => chunk,
            };
            self.sink.dropped.fetch_add(chunk.count, Ordering::Relaxed);
            self.buffer = emptied(chunk.bytes);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_all(mut out: impl Write, chunks: &Receiver<Chunk>, dropped: &AtomicU64) {
    for Chunk { bytes, count, give_back } in chunks {
        if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
            // Nobody reads standard output any more. Requests are served all the same.
            dropped.fetch_add(count, Ordering::Relaxed);
        }
        // The worker has enough spare ones, or is gone.
        let _ = give_back.try_send(emptied(bytes));
    }
}

/// A buffer for new lines; one that a very long line has blown up is not kept.
fn emptied(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes.shrink_to(2 * BUFFER_BYTES);
    bytes
}

const BUFFER_BYTES: usize = 32 << 10;
/// A buffer of that size is handed on; the rest is room for the line that passes the mark.
const FLUSH_BYTES: usize = 24 << 10;
/// Buffers that may wait for the writer, of all workers together: 2 MiB.
const CHUNKS_LEN_MAX: usize = 64;
const SPARE_LEN_MAX: usize = 4;
