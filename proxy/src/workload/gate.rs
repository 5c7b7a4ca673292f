//! What a request passes on its way to workloads that may sleep.
//!
//! A request **enters before it looks** whether the gate is open, and the gate is **closed before what entered is counted**.
//! Both are sequentially consistent, so that one of the two always sees the other: nothing is put to sleep that a request has
//! just begun to use.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use wake::machine::{self, Count, GroupId, State};
use wake::policy::{Defaults, Policy, Target, Words};

use super::cause::Cause;
use super::trouble::Trouble;
use crate::route::WeightedBackend;
use crate::upstream::Backend;

/// The gate of a route that wakes. Shared by all routes that ask for the same.
pub(crate) struct Gate {
    pub(crate) id: GroupId,
    /// The same on every replica for gates that lead to the same.
    pub(crate) key: Box<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) policy: Policy,
    /// The Services that the routes send to, by name, sorted: whose workloads are meant where none are named.
    pub(crate) services: Vec<Arc<str>>,
    backends: Mutex<Vec<Weak<Backend>>>,
    passage: AtomicU8,
    slots: [Slot; SLOTS],
    view: watch::Sender<View>,
    /// Backends that took a connection since the gate was last closed.
    proven: Mutex<Vec<Weak<Backend>>>,
    asked: AtomicBool,
    cause: Mutex<Option<Cause>>,
    waiting: AtomicUsize,
    bell: Arc<Bell>,
    began: Instant,
}

/// What those who wait, and the waiting page, are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) gate: Option<machine::Gate>,
    /// What each workload is doing, in the order of their names.
    pub(crate) members: Vec<(Box<str>, State)>,
    /// When waking began.
    pub(crate) since: Option<Instant>,
    /// Why it takes so long, as far as that is known.
    pub(crate) trouble: Option<Arc<Trouble>>,
    /// Nothing can be woken, for this reason.
    pub(crate) unmanaged: Option<Arc<str>>,
    /// How long it took the last time.
    pub(crate) usual: Option<Duration>,
}

/// By which those who wait call the driver, and what bounds them all together.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) rung: Notify,
    gates: Mutex<Vec<Weak<Gate>>>,
    waiting: AtomicUsize,
}

/// Keeps the workloads behind a gate awake for as long as it lives.
pub(crate) struct Hold {
    gate: Arc<Gate>,
    slot: usize,
    /// Not counted as a visit: the idle time goes on.
    quiet: bool,
}

/// A place among those who wait.
pub(crate) struct Place<'g>(&'g Gate);

/// One worker's part of the counters, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    holds: AtomicU64,
    /// When the last visit ended, in milliseconds since the gate was made.
    last_ms: AtomicU64,
}

/// All gates that any route has.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    by_namespace: HashMap<Arc<str>, Vec<Weak<Gate>>>,
    pub(crate) defaults: Defaults,
    bell: Arc<Bell>,
    made: u64,
}

impl Gates {
    /// The gate for routes of this namespace that send to these backends; `None` when nothing is to be woken.
    pub(crate) fn obtain(
        &mut self,
        namespace: &Arc<str>,
        words: &Words,
        backends: &[&Arc<Backend>],
    ) -> Option<Arc<Gate>> {
        let policy = words.policy(&self.defaults)?;
        let mut services: Vec<Arc<str>> =
            backends.iter().map(|backend| backend.key.service.clone()).collect();
        services.sort_unstable();
        services.dedup();
        if policy.target != Target::Own {
            // Named workloads are the same, whatever Service leads to them.
            services.clear();
        }
        let known = self.by_namespace.entry(namespace.clone()).or_default();
        known.retain(|gate| gate.strong_count() > 0);
        let same = |gate: &Arc<Gate>| gate.policy == policy && gate.services == services;
        let gate = match known.iter().filter_map(Weak::upgrade).find(same) {
            Some(gate) => gate,
            None => {
                self.made += 1;
                let id = GroupId(self.made);
                let gate = Arc::new(Gate::new(id, namespace.clone(), policy, services, self.bell.clone()));
                known.push(Arc::downgrade(&gate));
                gate
            }
        };
        gate.attach(backends);
        Some(gate)
    }

    /// Those that a route still has, or a request under way.
    pub(crate) fn live(&self) -> Vec<Arc<Gate>> {
        self.by_namespace.values().flatten().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

impl Gate {
    pub(crate) fn new(
        id: GroupId,
        namespace: Arc<str>,
        policy: Policy,
        services: Vec<Arc<str>>,
        bell: Arc<Bell>,
    ) -> Self {
        let mut gate = Gate {
            id,
            key: "".into(),
            namespace,
            policy,
            services,
            backends: Mutex::default(),
            passage: AtomicU8::new(OPEN),
            slots: Default::default(),
            view: watch::Sender::new(View::default()),
            proven: Mutex::default(),
            asked: AtomicBool::new(false),
            cause: Mutex::default(),
            waiting: AtomicUsize::new(0),
            bell,
            began: Instant::now(),
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, gate.to_string().as_bytes());
        gate.key = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        gate
    }

    /// Enters. Whoever gets the hold has to ask [`Gate::is_open`] after that, not before.
    pub(crate) fn enter(self: &Arc<Self>, quiet: bool) -> Hold {
        let slot = own_slot();
        self.slots[slot].holds.fetch_add(1, Ordering::SeqCst);
        Hold { gate: Arc::clone(self), slot, quiet }
    }

    /// Whether requests may pass without waiting.
    pub(crate) fn is_open(&self) -> bool {
        self.passage.load(Ordering::SeqCst) == OPEN
    }

    /// A place among those who wait; `None` when there are as many as there may be.
    pub(crate) fn queue(&self) -> Option<Place<'_>> {
        let all = self.bell.waiting.fetch_add(1, Ordering::Relaxed);
        let own = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        // Dropping the place gives both back.
        (own < WAITING_PER_GATE_MAX && all < WAITING_MAX).then_some(place)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Says that somebody wants to pass. The driver hears of it once, however many do.
    pub(crate) fn want(self: &Arc<Self>, cause: impl FnOnce() -> Cause) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            *lock(&self.cause) = Some(cause());
            lock(&self.bell.gates).push(Arc::downgrade(self));
            self.bell.rung.notify_one();
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Whether every backend that gets requests has an endpoint that took a connection since the gate was closed.
    pub(crate) fn is_proven(&self, shares: &[WeightedBackend]) -> bool {
        let proven = lock(&self.proven);
        let mut backends = live(shares).peekable();
        backends.peek().is_some()
            && backends.all(|backend| {
                !backend.endpoints().is_empty()
                    && proven.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(backend)))
            })
    }

    // ---- For the driver ---------------------------------------------------------------------------------------------

    /// Closes, opens, or opens for those who see for themselves that something answers.
    pub(super) fn set(&self, passage: Passage) {
        if passage == Passage::Closed {
            self.passage.store(CLOSED, Ordering::SeqCst);
            lock(&self.proven).clear();
        } else {
            let value = if passage == Passage::Open { OPEN } else { OPENING };
            self.passage.store(value, Ordering::SeqCst);
        }
    }

    /// Nobody may pass.
    pub(crate) fn is_closed(&self) -> bool {
        self.passage.load(Ordering::SeqCst) == CLOSED
    }

    pub(super) fn is_opening(&self) -> bool {
        self.passage.load(Ordering::SeqCst) == OPENING
    }

    pub(super) fn show(&self, view: View) {
        self.view.send_replace(view);
    }

    /// Has those who wait look again.
    pub(super) fn nudge(&self) {
        self.view.send_modify(|_| {});
    }

    pub(super) fn prove(&self, backend: &Arc<Backend>) {
        let mut proven = lock(&self.proven);
        proven.retain(|known| known.strong_count() > 0);
        if !proven.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(backend))) {
            proven.push(Arc::downgrade(backend));
        }
    }

    pub(super) fn has_proven(&self, backend: &Arc<Backend>) -> bool {
        lock(&self.proven).iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(backend)))
    }

    pub(super) fn backends(&self) -> Vec<Arc<Backend>> {
        lock(&self.backends).iter().filter_map(Weak::upgrade).collect()
    }

    /// How much it is used. Right only for a gate that is closed; a look at any other is a guess.
    pub(super) fn count(&self) -> Count {
        let holds = self.slots.iter().map(|slot| slot.holds.load(Ordering::SeqCst)).sum();
        let last_ms = self.slots.iter().map(|slot| slot.last_ms.load(Ordering::Relaxed)).max().unwrap_or(0);
        let idle = self.began.elapsed().saturating_sub(Duration::from_millis(last_ms));
        Count { holds, idle }
    }

    /// Whose wish it was that the driver hears of.
    pub(super) fn take_cause(&self) -> Option<Cause> {
        self.asked.store(false, Ordering::Release);
        lock(&self.cause).take()
    }

    fn attach(&self, backends: &[&Arc<Backend>]) {
        let mut known = lock(&self.backends);
        known.retain(|backend| backend.strong_count() > 0);
        for backend in backends {
            if !known.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(backend))) {
                known.push(Arc::downgrade(backend));
            }
        }
    }
}

/// How a gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Closed,
    /// Awake by all accounts, and nobody has connected yet.
    Opening,
    Open,
}

impl Bell {
    /// Requests that wait before any gate.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The gates that were asked for since the last time, and still exist.
    pub(super) fn take(&self) -> Vec<Arc<Gate>> {
        std::mem::take(&mut *lock(&self.gates)).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let slot = &self.gate.slots[self.slot];
        if !self.quiet {
            let now = u64::try_from(self.gate.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            slot.last_ms.store(now, Ordering::Relaxed);
        }
        slot.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.bell.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Gate {
    /// What it leads to, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy.target {
            Target::Own => {
                write!(f, "the workload of the Service {}/{}", self.namespace, self.services.join(", "))
            }
            Target::Group(group) => write!(f, "the group {group} of {}", self.namespace),
            Target::Plan(plan) => write!(f, "{plan} of {}", self.namespace),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("id", &self.id)
            .field("namespace", &self.namespace)
            .field("target", &self.policy.target)
            .finish_non_exhaustive()
    }
}

/// The backends that get requests.
fn live(shares: &[WeightedBackend]) -> impl Iterator<Item = &Arc<Backend>> {
    shares.iter().filter(|share| share.weight > 0).filter_map(|share| share.backend.as_ref().ok())
}

/// Each thread counts in a slot of its own, as long as there are not more than [`SLOTS`] of them.
fn own_slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| {
        let slot = own.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS);
        own.set(Some(slot));
        slot
    })
}

/// What is kept stays whole when a thread that held the lock panicked: every change is a single one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const OPENING: u8 = 2;
const SLOTS: usize = 16;
/// Requests that may wait before one gate.
pub(crate) const WAITING_PER_GATE_MAX: usize = 256;
/// Requests that may wait before all gates together.
pub(crate) const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests;
