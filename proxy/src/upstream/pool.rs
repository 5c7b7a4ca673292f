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
use super::http2::Sender;
use super::{Endpoint, retry::Budget};

/// Idle HTTP/1 connections kept for one endpoint by one worker.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 128;
/// An idle connection is closed after this time.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is not used again after this time, so that load follows DNS and new endpoints.
pub(crate) const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3600);

/// A response time counts for half after this time without a newer one.
const LATENCY_HALF_LIFE: Duration = Duration::from_secs(1);

/// Every endpoint that this worker has spoken to.
#[derive(Default)]
pub(crate) struct Pools {
    // Keys are numbers that this process gave out, so a fast hash without secret is enough.
    endpoints: RefCell<HashMap<u64, Rc<Pool>, RandomState>>,
}

/// One worker's view of one endpoint.
pub(crate) struct Pool {
    endpoint: Weak<Endpoint>,
    idle: RefCell<Vec<Box<Connection>>>,
    pub(super) http2: RefCell<Vec<Rc<Sender>>>,
    in_flight: Cell<u32>,
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
            http2: RefCell::default(),
            in_flight: Cell::new(0),
            latency_us: Cell::new(0.0),
            observed_ms: Cell::new(0),
            budget: Budget::default(),
        });
        self.endpoints.borrow_mut().insert(endpoint.id, Rc::clone(&pool));
        pool
    }

    /// Closes what was idle for too long and forgets endpoints that are gone. Called about once a second.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.endpoints.borrow_mut().retain(|_, pool| {
            pool.idle.borrow_mut().retain_mut(|connection| connection.is_fresh(now_ms));
            pool.http2.borrow_mut().retain(|sender| sender.is_usable(now_ms));
            pool.endpoint.strong_count() > 0
        });
    }

    /// Idle connections over all endpoints.
    pub(crate) fn idle_len(&self) -> usize {
        self.endpoints.borrow().values().map(|pool| pool.idle.borrow().len()).sum()
    }
}

impl Pool {
    /// The idle connection used last, if one is still open. Those that the upstream closed meanwhile are dropped.
    pub(crate) fn take(&self, now_ms: u64) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if connection.is_fresh(now_ms) && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly, or closes it when there are enough.
    pub(crate) fn put(&self, mut connection: Box<Connection>, now_ms: u64) {
        connection.rest(now_ms);
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_CONNECTIONS_MAX && self.endpoint.strong_count() > 0 {
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
        self.observed_ms.set(now_ms);
        let sample = latency.as_micros() as f32;
        let old = self.latency_us.get();
        self.latency_us.set(if old == 0.0 { sample } else { old + (sample - old) / 8.0 });
    }

    /// What a further request would cost here: expected latency times the queue it would join. An endpoint that has never
    /// answered costs nothing, so that it is tried soon.
    ///
    /// What was seen long ago counts for less: an endpoint whose first answer was slow is asked by nobody, so nobody would
    /// ever learn that it has become fast.
    pub(crate) fn cost(&self, now_ms: u64) -> f32 {
        let age_ms = now_ms.saturating_sub(self.observed_ms.get());
        let fading = (-(age_ms as f32) / LATENCY_HALF_LIFE.as_millis() as f32).exp2();
        self.latency_us.get() * fading * (self.in_flight.get() + 1) as f32
    }
}

/// One request under way at an endpoint.
pub(crate) struct InFlight(Rc<Pool>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
