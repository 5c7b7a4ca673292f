//! What one worker knows of each endpoint: idle connections, requests in flight, latency, and the budget for retries.
//!
//! Nothing here is shared between workers. An entry is made by the first request to an endpoint and goes when the endpoint
//! itself has gone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::exchange::Connection;
use super::http2::Senders;
use super::{Endpoint, retry::Budget};
use crate::worker::Worker;

/// An idle HTTP/2 connection is closed after this time.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is not used again after this time, so that load follows DNS and new endpoints.
pub(crate) const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3600);
/// What an endpoint that has not answered yet is taken to need: little, so that it is tried soon, and not nothing, so that
/// one that hangs does not attract everything.
const LATENCY_UNKNOWN: Duration = Duration::from_micros(500);
/// What a failed try counts for in the average.
const LATENCY_FAILED: Duration = Duration::from_secs(1);
/// The average of an endpoint that is not asked halves in this time, so that one slow answer is forgiven.
const LATENCY_HALVES_MS: u64 = 5_000;

/// Every endpoint that this worker has spoken to.
#[derive(Default)]
pub(crate) struct Pools {
    // Keys are numbers that this process gave out, so a fast hash without secret is enough.
    endpoints: RefCell<HashMap<u64, Rc<Pool>, RandomState>>,
}

/// One worker's view of one endpoint.
pub(crate) struct Pool {
    endpoint: Weak<Endpoint>,
    #[expect(
        clippy::vec_box,
        reason = "a connection is large, and its box goes back and forth with each request"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    pub(super) http2: Senders,
    in_flight: Cell<u32>,
    /// The moving average, and when it was last moved.
    latency_us: Cell<f32>,
    observed_ms: Cell<u64>,
    pub(crate) budget: Budget,
}

impl Pools {
    /// The pool of `endpoint`.
    pub(crate) fn of(&self, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        if let Some(pool) = self.endpoints.borrow().get(&endpoint.id) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool {
            endpoint: Arc::downgrade(endpoint),
            idle: RefCell::default(),
            http2: Senders::default(),
            in_flight: Cell::new(0),
            latency_us: Cell::new(LATENCY_UNKNOWN.as_micros() as f32),
            observed_ms: Cell::new(0),
            budget: Budget::default(),
        });
        self.endpoints.borrow_mut().insert(endpoint.id, Rc::clone(&pool));
        pool
    }

    /// Closes what was idle for too long and forgets endpoints that are gone. Called about once a second.
    pub(crate) fn sweep(&self, now_ms: u64, idle_max: Duration) {
        self.endpoints.borrow_mut().retain(|_, pool| {
            let keep = |connection: &mut Box<Connection>| {
                connection.is_fresh(now_ms, idle_max) && connection.is_quiet()
            };
            pool.idle.borrow_mut().retain_mut(keep);
            pool.http2.sweep(now_ms);
            pool.endpoint.strong_count() > 0
        });
    }
}

impl Pool {
    /// The idle connection used last, if one is still open. Those that the upstream closed meanwhile are dropped.
    pub(crate) fn take(&self, worker: &Worker) -> Option<Box<Connection>> {
        let idle_max = worker.settings().upstream.idle_timeout;
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if connection.is_fresh(worker.clock.now_ms(), idle_max) && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly, or closes it when there are enough.
    pub(crate) fn put(&self, mut connection: Box<Connection>, worker: &Worker) {
        connection.rest(worker);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < worker.settings().upstream.idle_connections && self.endpoint.strong_count() > 0 {
            idle.push(connection);
        }
    }

    /// Requests that this worker has under way at the endpoint.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Counts one request until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// Takes a response time into the moving average (weight one eighth: about the last dozen requests).
    pub(crate) fn observe(&self, latency: Duration, now_ms: u64) {
        let old = self.latency_us.get();
        self.latency_us.set(old + (latency.as_micros() as f32 - old) / 8.0);
        self.observed_ms.set(now_ms);
    }

    /// A try failed; the average takes it for a very slow answer.
    pub(crate) fn observe_failure(&self, now_ms: u64) {
        self.observe(LATENCY_FAILED, now_ms);
    }

    /// What a further request would cost here: expected latency times the queue it would join.
    pub(crate) fn cost(&self, now_ms: u64) -> f32 {
        let halvings = now_ms.saturating_sub(self.observed_ms.get()) / LATENCY_HALVES_MS;
        let forgiven = self.latency_us.get() / (1_u64 << halvings.min(40)) as f32;
        // Never nothing: the queue has to count, too.
        forgiven.max(1.0) * (self.in_flight.get() + 1) as f32
    }
}

/// One request under way at an endpoint.
pub(crate) struct InFlight(Rc<Pool>);

impl InFlight {
    /// The pool of the endpoint.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
