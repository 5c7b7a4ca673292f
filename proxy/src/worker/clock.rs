//! Coarse time for one worker: a clock read once a tick, and deadlines that cost a store to move.
//!
//! Every connection needs several time limits, and nearly none of them is ever reached. A timer of the runtime for each
//! would cost more than parsing the request. Instead a connection owns a [`Watch`]; moving its deadline writes one cell,
//! and one task per worker looks at all of them every [`TICK`]. A limit is therefore kept to within two ticks, never early.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How often deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The clock of one worker, in milliseconds since it started.
pub(crate) struct Clock {
    started: Instant,
    now_ms: Cell<u64>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

impl Clock {
    pub(crate) fn new(started: Instant) -> Self {
        Clock { started, now_ms: Cell::new(0), watches: RefCell::default() }
    }

    /// Milliseconds since the worker started, as of the last tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// A new watch without a deadline. It is forgotten when its last `Rc` is dropped.
    pub(crate) fn watch(&self) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Reads the time and wakes every task whose deadline has passed. Called once a tick.
    pub(crate) fn tick(&self, now: Instant) {
        let now_ms =
            u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        self.sweep(|watch| watch.deadline_ms.get() <= now_ms);
    }

    /// Wakes every watched task that waits between two requests, so that it sees that the worker is draining.
    pub(crate) fn wake_idle(&self) {
        self.sweep(|watch| watch.idle.get());
    }

    fn sweep(&self, due: impl Fn(&Watch) -> bool) {
        let mut watches = self.watches.borrow_mut();
        let mut index = 0;
        while index < watches.len() {
            match watches[index].upgrade() {
                None => {
                    watches.swap_remove(index);
                }
                Some(watch) => {
                    index += 1;
                    if due(&watch)
                        && let Some(waker) = watch.waker.take()
                    {
                        waker.wake();
                    }
                }
            }
        }
    }
}

/// One deadline that moves. A task that waits under it is woken when it has passed.
#[derive(Debug)]
pub(crate) struct Watch {
    deadline_ms: Cell<u64>,
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { deadline_ms: Cell::new(NEVER), idle: Cell::new(false), waker: RefCell::default() }
    }
}

impl Watch {
    /// The deadline is `limit` from now; zero means no deadline.
    pub(crate) fn arm(&self, clock: &Clock, limit: Duration) {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        // One tick is added because the clock may be that old already: a limit is never cut short.
        let soonest = clock.now_ms().saturating_add(TICK.as_millis() as u64);
        let deadline = if limit_ms == 0 { NEVER } else { soonest.saturating_add(limit_ms) };
        self.deadline_ms.set(deadline);
    }

    /// No deadline.
    pub(crate) fn disarm(&self) {
        self.deadline_ms.set(NEVER);
    }

    /// True while there is a deadline.
    pub(crate) fn is_armed(&self) -> bool {
        self.deadline_ms.get() != NEVER
    }

    /// Marks the task as waiting between two requests (see [`Clock::wake_idle`]).
    pub(crate) fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }

    /// True when the deadline has passed; otherwise the task will be woken when it does.
    pub(crate) fn poll_expired(&self, clock: &Clock, cx: &mut Context<'_>) -> bool {
        if self.deadline_ms.get() <= clock.now_ms() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        false
    }

    /// Runs `future` until it is done or the deadline passes. The deadline is armed anew and cleared at the end.
    pub(crate) async fn within<F: Future>(
        &self,
        clock: &Clock,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        self.arm(clock, limit);
        let mut future = pin!(future);
        let outcome = std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::as_mut(&mut future).poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.poll_expired(clock, cx) { Poll::Ready(Err(Expired)) } else { Poll::Pending }
        })
        .await;
        self.disarm();
        outcome
    }
}

/// How fast a body comes in: the bound against a client that sends a byte now and then for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    started_ms: u64,
    bytes: u64,
}

impl Pace {
    pub(crate) fn starting_at(now_ms: u64) -> Self {
        Pace { started_ms: now_ms, bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// For so long the sender was not waited for.
    pub(crate) fn excuse(&mut self, ms: u64) {
        self.started_ms = self.started_ms.saturating_add(ms);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when `grace` is over and fewer bytes came than `bytes_per_second` asks for; `None` bears any pace.
    pub(crate) fn is_below(&self, bytes_per_second: Option<u64>, grace: Duration, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        bytes_per_second.is_some_and(|rate| {
            u128::from(elapsed_ms) > grace.as_millis() && self.bytes < rate.saturating_mul(elapsed_ms / 1_000)
        })
    }
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests;
