//! The open connections of one worker, so that those can be ended whose time to drain is over.
//!
//! A drain has two times: one for requests, and one for *sessions*, which have no end of their own that would come soon (a
//! WebSocket, a relayed connection). A connection with a session in it counts as one, whatever else goes on in it. Both
//! times run at shutdown, and on a listener that is no longer there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::Worker;
use crate::snapshot::{Slot, Snapshot};

/// What a drain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Connections without a session.
    Requests,
    Sessions,
}

/// Names a connection for as long as its worker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(u64);

#[derive(Default)]
pub(crate) struct Connections {
    last_id: Cell<u64>,
    open: RefCell<HashMap<ConnectionId, Open>>,
    /// Of connections that have or had a session.
    sessions: RefCell<HashMap<ConnectionId, Sessions>>,
    /// Listeners that are gone while they had connections, and since when.
    closing: RefCell<HashMap<Slot, u64>>,
    /// The time of requests is over, and so it is for a connection whose last session ends.
    only_sessions: Cell<bool>,
}

/// What every connection takes, so it is small.
struct Open {
    slot: Slot,
    task: AbortHandle,
}

#[derive(Clone, Copy)]
enum Sessions {
    /// So many go on.
    On(u32),
    /// The last has ended, at this time.
    Ended(u64),
}

impl Connections {
    pub(super) fn next_id(&self) -> ConnectionId {
        self.last_id.set(self.last_id.get() + 1);
        ConnectionId(self.last_id.get())
    }

    /// Takes up a connection whose task was made and has not run yet.
    pub(super) fn insert(&self, id: ConnectionId, slot: Slot, task: AbortHandle) {
        self.open.borrow_mut().insert(id, Open { slot, task });
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        self.open.borrow_mut().remove(&id);
        self.sessions.borrow_mut().remove(&id);
    }

    /// Ends the connections of this kind. Returns how many there were.
    pub(super) fn cut(&self, kind: Kind) -> usize {
        if kind == Kind::Requests {
            self.only_sessions.set(true);
        }
        self.cut_where(|id, _| self.kind(id) == kind)
    }

    /// Starts the times of listeners that `new` no longer has, and stops those of listeners that are back.
    pub(super) fn listeners_changed(&self, old: &Snapshot, new: &Snapshot, now_ms: u64) {
        let mut closing = self.closing.borrow_mut();
        closing.retain(|slot, _| new.served(*slot).is_none());
        for slot in old.slots().filter(|slot| new.served(*slot).is_none()) {
            closing.entry(slot).or_insert(now_ms);
        }
    }

    /// Ends what is left when its time is over: on listeners that are gone, and of connections that had a session.
    pub(super) fn sweep(&self, now_ms: u64, requests: Duration, sessions: Duration) {
        if self.only_sessions.get() {
            let ended = |id| match self.sessions.borrow().get(&id) {
                Some(Sessions::Ended(ended)) => now_ms >= ended + LAST_WORDS_MS,
                Some(Sessions::On(_)) | None => false,
            };
            self.cut_where(|id, _| ended(id));
        }
        if self.closing.borrow().is_empty() {
            return;
        }
        let is_over = |since: u64, limit: Duration| now_ms.saturating_sub(since) as u128 >= limit.as_millis();
        let closing = self.closing.take();
        self.cut_where(|id, open| {
            let limit = match self.kind(id) {
                Kind::Requests => requests,
                Kind::Sessions => sessions,
            };
            closing.get(&open.slot).is_some_and(|since| is_over(*since, limit))
        });
        let left = closing.into_iter().filter(|(_, since)| !is_over(*since, requests.max(sessions)));
        self.closing.replace(left.collect());
    }

    fn cut_where(&self, chosen: impl Fn(ConnectionId, &Open) -> bool) -> usize {
        // A task that is aborted is dropped when it would run next, and only then leaves the map.
        let mut cut = 0;
        for (_, open) in self.open.borrow().iter().filter(|(id, open)| chosen(**id, open)) {
            open.task.abort();
            cut += 1;
        }
        cut
    }

    fn kind(&self, id: ConnectionId) -> Kind {
        match self.sessions.borrow().get(&id) {
            Some(Sessions::On(_)) => Kind::Sessions,
            Some(Sessions::Ended(_)) | None => Kind::Requests,
        }
    }

    fn session_began(&self, id: ConnectionId) {
        let mut sessions = self.sessions.borrow_mut();
        let count = match sessions.get(&id) {
            Some(Sessions::On(count)) => *count,
            Some(Sessions::Ended(_)) | None => 0,
        };
        sessions.insert(id, Sessions::On(count + 1));
    }

    fn session_ended(&self, id: ConnectionId, now_ms: u64) {
        if let Some(sessions) = self.sessions.borrow_mut().get_mut(&id) {
            *sessions = match *sessions {
                Sessions::On(count @ 2..) => Sessions::On(count - 1),
                Sessions::On(_) | Sessions::Ended(_) => Sessions::Ended(now_ms),
            };
        }
    }
}

/// Makes its connection one with a session for as long as it lives.
pub(crate) struct SessionGuard {
    worker: Rc<Worker>,
    connection: ConnectionId,
}

impl SessionGuard {
    pub(crate) fn begin(worker: &Rc<Worker>, connection: ConnectionId) -> Self {
        worker.connections.session_began(connection);
        SessionGuard { worker: Rc::clone(worker), connection }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.worker.connections.session_ended(self.connection, self.worker.clock.now_ms());
    }
}

/// For a connection to say what is left to say when its last session has ended.
const LAST_WORDS_MS: u64 = 1_000;
