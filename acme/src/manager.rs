//! Keeps every wanted certificate in order, on the one process that holds the store's lock.
//!
//! It decides with [`crate::renewal`] and [`crate::ledger`], and lets a few attempts run at a time. What it knows of a
//! certificate it has from the store; it reads one again when what is seen of it from outside has changed.

mod entry;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Clock;
use crate::chain::Facts;
use crate::failure::Failure;
use crate::issuer::Issuer;
use crate::ledger::admit;
use crate::order::{Attempt, clean_up};
use crate::plan::{CertificateId, Wanted};
use crate::renewal::{Held, Next, Why, next};
use crate::state::{Event, LastError, State};
use crate::store::{Store, StoreError};
use entry::Entry;
pub use report::{Counters, Report, Status};

/// What the edge wants of the manager. A new one takes the place of the last.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    pub wanted: Vec<Wanted>,
    pub issuers: Vec<Arc<Issuer>>,
    /// A mark of each certificate as it is seen from outside; when it changes, the store is read again.
    pub seen: BTreeMap<CertificateId, u64>,
}

/// Runs until the sender of the wishes is gone, which ends what is under way; it is gone on with by whoever comes next.
///
/// `report` always has the last word on every certificate; `None` where another process holds the lock.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Clock,
    mut wishes: watch::Receiver<Arc<Wishes>>,
    report: watch::Sender<Option<Arc<Report>>>,
) {
    let mut counters = Counters::default();
    loop {
        report.send_replace(None);
        tokio::select! {
            () = store.acquire() => {}
            () = closed(&mut wishes) => return,
        }
        let mut session = Session {
            store: store.clone(),
            clock: clock.clone(),
            wishes: Arc::default(),
            entries: BTreeMap::new(),
            tasks: JoinSet::new(),
            counters,
            accounts: Arc::default(),
        };
        let ended = session.run(&mut wishes, &report).await;
        counters = session.counters;
        if ended == Ended::Closed {
            return;
        }
    }
}

/// One term as the holder of the lock.
struct Session {
    store: Arc<dyn Store>,
    clock: Clock,
    wishes: Arc<Wishes>,
    entries: BTreeMap<CertificateId, Entry>,
    /// Dropping it ends them.
    tasks: JoinSet<Done>,
    counters: Counters,
    accounts: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    LockLost,
    Closed,
}

/// What a task comes back with.
struct Done {
    id: CertificateId,
    state: State,
    what: Outcome,
}

enum Outcome {
    Ordered { issuer: Arc<str>, result: Result<Option<Facts>, Failure> },
    Asked { moved_earlier: bool },
    CleanedUp { failed: bool },
}

impl Session {
    async fn run(
        &mut self,
        wishes: &mut watch::Receiver<Arc<Wishes>>,
        report: &watch::Sender<Option<Arc<Report>>>,
    ) -> Ended {
        let first = wishes.borrow_and_update().clone();
        self.take_up(first).await;
        self.load_forgotten().await;
        let mut report_at = Instant::now();
        loop {
            self.load_again().await;
            let mut wake = self.start_what_is_due();
            if report_at <= Instant::now() {
                let new = Some(Arc::new(report::of(&self.entries, &self.counters, (self.clock)())));
                report.send_if_modified(|old| std::mem::replace(old, new.clone()) != new);
                report_at = Instant::now() + REPORT_INTERVAL;
            } else {
                wake = wake.min(report_at);
            }
            tokio::select! {
                changed = wishes.changed() => {
                    if changed.is_err() {
                        return Ended::Closed;
                    }
                    let new = wishes.borrow_and_update().clone();
                    self.take_up(new).await;
                }
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.take_back(done).await,
                    // A fault of ours: the others go on, and this one begins again from the store.
                    Err(error) => {
                        tracing::error!(%error, "a certificate's task ended badly");
                        let entry = self.entries.values_mut().find(|entry| entry.task == Some(error.id()));
                        if let Some(entry) = entry {
                            entry.ended_badly((self.clock)());
                        }
                    }
                },
                () = sleep_until(wake) => {}
            }
            if !self.store.is_held() {
                tracing::warn!(
                    "another process orders certificates now; what was under way here is left to it"
                );
                return Ended::LockLost;
            }
        }
    }

    /// Certificates that nobody wants any more may have records in DNS still.
    async fn load_forgotten(&mut self) {
        match self.store.states().await {
            Ok(ids) => {
                for id in ids {
                    if !self.entries.contains_key(&id) {
                        self.load(&id, None).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the states of orders cannot be listed"),
        }
    }

    /// Reads what could not be read before.
    async fn load_again(&mut self) {
        let now = (self.clock)();
        let is_due = |entry: &&Entry| entry.load_again.is_some_and(|moment| moment <= now) && !entry.is_busy;
        let due: Vec<CertificateId> =
            self.entries.values().filter(is_due).map(|entry| entry.id.clone()).collect();
        for id in due {
            let mark = self.wishes.seen.get(&id).copied();
            self.load(&id, Some(mark)).await;
        }
    }

    async fn take_up(&mut self, wishes: Arc<Wishes>) {
        let before = std::mem::replace(&mut self.wishes, wishes.clone());
        let wanted: BTreeSet<&CertificateId> = wishes.wanted.iter().map(|wanted| &wanted.id).collect();
        for entry in self.entries.values_mut().filter(|entry| !wanted.contains(&entry.id)) {
            entry.wanted = None;
        }
        for wanted in &wishes.wanted {
            let mark = wishes.seen.get(&wanted.id).copied();
            let is_known = self
                .entries
                .get(&wanted.id)
                .is_some_and(|entry| entry.mark == Some(mark) && !entry.must_load);
            if !is_known && !self.entries.get(&wanted.id).is_some_and(|entry| entry.is_busy) {
                self.load(&wanted.id, Some(mark)).await;
            }
            let issuer = wishes.issuers.iter().find(|issuer| *issuer.scope.issuer == *wanted.issuer);
            let old = before.issuers.iter().find(|issuer| *issuer.scope.issuer == *wanted.issuer);
            let is_same_issuer =
                issuer.map(|issuer| issuer.fingerprint) == old.map(|issuer| issuer.fingerprint);
            if let Some(entry) = self.entries.get_mut(&wanted.id) {
                let is_first = before.wanted.is_empty() && entry.wanted.is_none();
                if !is_first && (!is_same_issuer || entry.wanted.as_ref().is_some_and(|old| old != wanted)) {
                    entry.forgive();
                }
                entry.wanted = Some(wanted.clone());
            }
        }
    }

    /// Reads one certificate. What cannot be read is tried again, and nothing is ordered meanwhile.
    async fn load(&mut self, id: &CertificateId, mark: Option<Option<u64>>) {
        let now = (self.clock)();
        let loaded = self.store.load(id).await;
        let entry = self.entries.entry(id.clone()).or_insert_with(|| Entry::new(id.clone()));
        entry.loaded(loaded, mark, now);
    }

    /// Starts what is due and may start; returns when to look again.
    fn start_what_is_due(&mut self) -> Instant {
        let now = (self.clock)();
        let mut wake = now + LOOK_INTERVAL;
        let mut busy = self.entries.values().filter(|entry| entry.is_ordering).count();
        let ids: Vec<CertificateId> = self.entries.keys().cloned().collect();
        for id in ids {
            let Some(entry) = self.entries.get(&id) else { continue };
            if entry.is_busy {
                continue;
            }
            match self.due(entry, now) {
                Due::Nothing(moment) => wake = wake.min(moment),
                Due::Order { issuer, why } if busy < ORDERS_AT_ONCE_MAX => {
                    busy += usize::from(self.order(&id, issuer, why, now));
                }
                // One that is running makes room when it ends.
                Due::Order { .. } => {}
                Due::Ask { issuer, facts } if self.tasks.len() < TASKS_AT_ONCE_MAX => {
                    self.ask(&id, issuer, facts, now);
                }
                Due::CleanUp if self.tasks.len() < TASKS_AT_ONCE_MAX => self.clean_up(&id, now),
                Due::Ask { .. } | Due::CleanUp => {}
            }
        }
        let wait = wake.duration_since(now).max(jiff::SignedDuration::from_millis(20)).unsigned_abs();
        Instant::now() + wait
    }

    fn due(&self, entry: &Entry, now: Timestamp) -> Due {
        if entry.must_load {
            return Due::Nothing(entry.load_again.unwrap_or(now + LOOK_INTERVAL));
        }
        // The records of an order that goes on are needed.
        let is_needed = entry.state.order.is_some() && entry.wanted.is_some();
        let clean_up = (!entry.state.records.is_empty() && !is_needed).then_some(entry.clean_up_at);
        if clean_up.is_some_and(|moment| moment <= now) {
            return Due::CleanUp;
        }
        let later = clean_up.unwrap_or(now + LOOK_INTERVAL);
        let Some(wanted) = &entry.wanted else { return Due::Nothing(later) };
        let Some(issuer) = self.wishes.issuers.iter().find(|issuer| *issuer.scope.issuer == *wanted.issuer)
        else {
            return Due::Nothing(later);
        };
        match (next(now, &wanted.names, &entry.held, &entry.state), &entry.held) {
            (Next::Order(why), _) => Due::Order { issuer: issuer.clone(), why },
            (Next::AskCa, Held::Chain(facts)) => Due::Ask { issuer: issuer.clone(), facts: facts.clone() },
            (Next::Wait(moment), _) => Due::Nothing(moment.min(later)),
            (Next::AskCa, Held::Nothing | Held::Unusable) => Due::Nothing(later),
        }
    }

    /// Starts an attempt, unless it would be beyond a limit; true when it runs.
    fn order(&mut self, id: &CertificateId, issuer: Arc<Issuer>, why: Why, now: Timestamp) -> bool {
        let Some(wanted) = self.entries.get(id).and_then(|entry| entry.wanted.clone()) else { return false };
        let events: Vec<Event> =
            self.entries.values().flat_map(|entry| entry.state.history.iter().cloned()).collect();
        let Some(entry) = self.entries.get_mut(id) else { return false };
        let is_rehearsal = entry.state.rehearse && issuer.staging.is_some();
        let replaces = match (&entry.held, why) {
            // A predecessor is one that this CA issued.
            (Held::Chain(facts), Why::Due | Why::Names)
                if entry.state.issuer.as_deref() == Some(issuer.name()) =>
            {
                facts.renewal_id.clone()
            }
            _ => None,
        };
        let directory = match (&issuer.staging, is_rehearsal) {
            (Some(staging), true) => staging,
            _ => &issuer.directory,
        };
        let goes_on = entry
            .state
            .order
            .as_ref()
            .is_some_and(|order| crate::renewal::is_usable_order(now, order, &wanted.names, directory));
        if !goes_on
            && let Err(failure) = admit(now, directory, &wanted.names, replaces.is_some(), events.iter())
        {
            entry.failed(&failure, now);
            self.counters.failed(issuer.name(), failure.reason());
            tracing::warn!(certificate = %id, issuer = issuer.name(), "{failure}");
            self.keep_state(id);
            return false;
        }
        entry.state.last_attempt = Some(now);
        (entry.is_busy, entry.is_ordering) = (true, true);
        let (store, clock, state, id) =
            (self.store.clone(), self.clock.clone(), entry.state.clone(), id.clone());
        tracing::info!(certificate = %id, issuer = issuer.name(), ?why, "a certificate is ordered");
        let accounts = self.accounts.clone();
        let task = self.tasks.spawn(async move {
            let mut state = state;
            let attempt = Attempt {
                issuer: &issuer,
                store: &*store,
                clock: &clock,
                accounts: &accounts,
                id: &id,
                names: &wanted.names,
                replaces: replaces.as_deref(),
                is_rehearsal,
                state: &mut state,
            };
            let result = attempt.run().await.map(|chain| chain.map(|chain| chain.facts));
            Done { id, state, what: Outcome::Ordered { issuer: issuer.scope.issuer.clone(), result } }
        });
        entry.task = Some(task.id());
        true
    }

    fn ask(&mut self, id: &CertificateId, issuer: Arc<Issuer>, facts: Facts, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(renewal_id) = facts.renewal_id.clone() else { return };
        entry.is_busy = true;
        let (mut state, id) = (entry.state.clone(), id.clone());
        let task = self.tasks.spawn(async move {
            let renewal = crate::ask::ask(&issuer, &facts, &renewal_id, &state, now).await;
            let moved_earlier = crate::ask::moved_earlier(state.renewal.as_ref(), &renewal);
            state.renewal = Some(renewal);
            Done { id, state, what: Outcome::Asked { moved_earlier } }
        });
        entry.task = Some(task.id());
    }

    fn clean_up(&mut self, id: &CertificateId, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.is_busy = true;
        let (mut state, id, issuers) = (entry.state.clone(), id.clone(), self.wishes.issuers.clone());
        let task = self.tasks.spawn(async move {
            let records = std::mem::take(&mut state.records);
            let all = records.clone();
            let cleaning = clean_up(&issuers, records, now);
            let (left, failed) = match tokio::time::timeout(CLEAN_UP_TIMEOUT, cleaning).await {
                Ok((left, why)) => (left, why.is_some()),
                Err(_) => (all, true),
            };
            state.records = left;
            Done { id, state, what: Outcome::CleanedUp { failed } }
        });
        entry.task = Some(task.id());
    }

    async fn take_back(&mut self, done: Done) {
        let now = (self.clock)();
        let Some(entry) = self.entries.get_mut(&done.id) else { return };
        entry.state = done.state;
        (entry.is_busy, entry.is_ordering) = (false, false);
        match done.what {
            Outcome::Ordered { issuer, result: Ok(facts) } => {
                entry.succeeded(facts, now);
                self.counters.succeeded(&issuer);
                tracing::info!(certificate = %done.id, issuer = &*issuer, "the certificate is stored");
            }
            // The other process has the state in hand.
            Outcome::Ordered { result: Err(Failure::Store(StoreError::Lost)), .. } => return,
            Outcome::Ordered { issuer, result: Err(failure) } => {
                entry.failed(&failure, now);
                self.counters.failed(&issuer, failure.reason());
                let again = entry.state.next_try.map(|moment| moment.to_string()).unwrap_or_default();
                tracing::warn!(certificate = %done.id, issuer = &*issuer, again, "{failure}");
            }
            Outcome::Asked { moved_earlier } => {
                if moved_earlier {
                    self.counters.windows_moved += 1;
                    tracing::warn!(certificate = %done.id, "the CA wants it renewed earlier than it said before");
                }
            }
            Outcome::CleanedUp { failed } => entry.cleaned_up(failed, now),
        }
        let is_over = entry.wanted.is_none() && entry.state.records.is_empty();
        let saved = match is_over && matches!(entry.held, Held::Nothing) {
            true => self.store.remove_state(&done.id).await,
            false => self.store.save_state(&done.id, &entry.state).await,
        };
        if let Err(error) = saved {
            tracing::warn!(certificate = %done.id, %error, "the state is not kept; a restart would begin anew");
        }
        let mark = self.wishes.seen.get(&done.id).copied();
        let entry = self.entries.get(&done.id);
        if entry.is_some_and(|entry| entry.wanted.is_some() && entry.mark != Some(mark)) {
            self.load(&done.id, Some(mark)).await;
        }
    }

    /// Writes a state that changed without a task.
    fn keep_state(&mut self, id: &CertificateId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.is_busy = true;
        let (store, state, id) = (self.store.clone(), entry.state.clone(), id.clone());
        let task = self.tasks.spawn(async move {
            if let Err(error) = store.save_state(&id, &state).await {
                tracing::warn!(certificate = %id, %error, "the state is not kept; a restart would begin anew");
            }
            Done { id, state, what: Outcome::Asked { moved_earlier: false } }
        });
        entry.task = Some(task.id());
    }
}

enum Due {
    Order { issuer: Arc<Issuer>, why: Why },
    Ask { issuer: Arc<Issuer>, facts: Facts },
    CleanUp,
    Nothing(Timestamp),
}

impl Entry {
    fn failed(&mut self, failure: &Failure, now: Timestamp) {
        let state = &mut self.state;
        state.failures = state.failures.saturating_add(1);
        let share_left = match &self.held {
            Held::Chain(facts) => Some(facts.share_left(now)),
            Held::Nothing | Held::Unusable => None,
        };
        state.next_try = Some(failure.retry_at(now, state.failures, share_left, fastrand::f64()));
        let (reason, message) = (failure.reason().to_owned(), failure.to_string());
        state.last_error = Some(LastError { reason, message, at: now });
        // What stands in DNS for an order that goes on is needed again.
        self.clean_up_at = now;
    }

    fn succeeded(&mut self, facts: Option<Facts>, now: Timestamp) {
        let state = &mut self.state;
        (state.failures, state.next_try, state.last_error, state.rehearse) = (0, None, None, false);
        // After a rehearsal there is none; the real order is next.
        if let Some(facts) = facts {
            state.renewal = None;
            self.held = Held::Chain(facts);
        }
        self.clean_up_at = now;
    }

    fn cleaned_up(&mut self, failed: bool, now: Timestamp) {
        self.clean_ups_failed = if failed { self.clean_ups_failed.saturating_add(1) } else { 0 };
        let wait = (CLEAN_UP_AGAIN_MIN * (1 << self.clean_ups_failed.min(8))).min(CLEAN_UP_AGAIN_MAX);
        self.clean_up_at = now + wait;
    }
}

/// Waits until nobody wishes any more.
async fn closed(wishes: &mut watch::Receiver<Arc<Wishes>>) {
    while wishes.changed().await.is_ok() {}
}

/// Orders under way at a time.
pub const ORDERS_AT_ONCE_MAX: usize = 4;
/// Orders, questions and clean-ups under way at a time: a leader that begins has a question for every certificate.
pub const TASKS_AT_ONCE_MAX: usize = 16;
/// The clock may be set, and the lock lost, while nothing happens.
const LOOK_INTERVAL: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
/// A report is of all certificates, and many may change in a row.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(240);
const CLEAN_UP_AGAIN_MIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
const CLEAN_UP_AGAIN_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
