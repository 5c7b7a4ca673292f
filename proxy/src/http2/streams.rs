//! The streams of one client's connection: how many there are, and how the client behaves with them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::worker::Worker;
use crate::worker::clock::Watch;

use super::glitches::Glitches;

/// The streams of one connection: how many there are, and how they ended as far as that tells a client from an attack.
pub(super) struct Streams {
    pub(super) glitches: Rc<Glitches>,
    worker: Rc<Worker>,
    watch: Rc<Watch>,
    open: Cell<usize>,
    /// Of the heads of all open streams.
    head_bytes: Cell<usize>,
    completed: Cell<u64>,
    cancelled: Cell<u64>,
    stalled: Cell<u32>,
    /// The task of the connection.
    waker: RefCell<Option<Waker>>,
}

/// Why a client is thrown out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// It takes nearly all of its requests back.
    Cancelled,
    /// It asks for answers and does not take them.
    Stalled,
    /// Its frames ask for work and do none.
    Glitches,
    /// Resets, small DATA frames or a head without end, which `h2` counts.
    Flood,
}

impl Abuse {
    /// For metrics and log.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Abuse::Cancelled => "cancelled",
            Abuse::Stalled => "stalled",
            Abuse::Glitches => "glitches",
            Abuse::Flood => "flood",
        }
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Completely,
    /// The client reset it before its answer was complete.
    Cancelled,
    /// The client did not take the answer.
    Stalled,
    /// The answer broke off, which is no fault of the client.
    Broken,
}

impl Streams {
    pub(super) fn new(worker: Rc<Worker>, watch: Rc<Watch>, glitches: Rc<Glitches>) -> Self {
        Streams {
            glitches,
            worker,
            watch,
            open: Cell::new(0),
            head_bytes: Cell::new(0),
            completed: Cell::new(0),
            cancelled: Cell::new(0),
            stalled: Cell::new(0),
            waker: RefCell::default(),
        }
    }

    /// The connection may stay without a stream for so long from now.
    pub(super) fn rest(&self) {
        self.watch.arm(&self.worker.clock, self.worker.settings().timeouts.keep_alive);
    }

    /// True while no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.open.get() == 0
    }

    fn count(&self, ended: Ended) {
        match ended {
            Ended::Completely => {
                self.completed.set(self.completed.get() + 1);
                self.glitches.answer_ended();
            }
            Ended::Cancelled => self.cancelled.set(self.cancelled.get() + 1),
            Ended::Stalled => self.stalled.set(self.stalled.get() + 1),
            Ended::Broken => {}
        }
    }

    fn abuse(&self) -> Option<Abuse> {
        if self.cancelled.get() > self.completed.get() + CANCELLED_MAX {
            Some(Abuse::Cancelled)
        } else if self.stalled.get() >= STALLED_MAX {
            Some(Abuse::Stalled)
        } else if self.glitches.are_too_many() {
            Some(Abuse::Glitches)
        } else {
            None
        }
    }

    /// Why the connection is to be closed, if it is; otherwise its task is woken when it becomes so.
    pub(super) fn poll_abuse(&self, cx: &Context<'_>) -> Option<Abuse> {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        self.glitches.pass_time(self.worker.clock.now_ms());
        self.abuse()
    }
}

/// One stream, counted while it is open.
pub(super) struct Stream {
    streams: Rc<Streams>,
    head_bytes: usize,
}

impl Stream {
    /// `None` when the heads of all streams together would be more than [`HEADS_BYTES_MAX`].
    pub(super) fn begin(streams: &Rc<Streams>, head_bytes: usize) -> Option<Self> {
        let together = streams.head_bytes.get() + head_bytes;
        if together > HEADS_BYTES_MAX {
            return None;
        }
        streams.head_bytes.set(together);
        streams.open.set(streams.open.get() + 1);
        streams.rest();
        Some(Stream { streams: Rc::clone(streams), head_bytes })
    }

    pub(super) fn end(self, ended: Ended) {
        self.streams.count(ended);
        if self.streams.abuse().is_some()
            && let Some(waker) = self.streams.waker.take()
        {
            waker.wake();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() - 1);
        streams.head_bytes.set(streams.head_bytes.get() - self.head_bytes);
        streams.rest();
    }
}

/// What the heads of all streams of one connection may take together. A client that has its streams wait could hold many
/// times as much: names and values that it sent once cost it a byte each time (HPACK).
pub(super) const HEADS_BYTES_MAX: usize = 1 << 20;
/// Requests that the client takes back before their answer is complete, more than those it lets be answered, before the
/// same: such a client costs upstreams work and itself nothing.
pub(super) const CANCELLED_MAX: u64 = 100;
/// Streams whose client takes nothing for the write limit, before the connection is closed (Apache CVE-2026-49975).
pub(super) const STALLED_MAX: u32 = 3;
