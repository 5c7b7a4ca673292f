//! Rates that hold for all replicas together: what each has let through is told to a store that all of them share, in the
//! background, and what the others have let through is learnt from its answer.
//!
//! The store keeps one number for each key, the same as a cell does: the time at which all that was let through would have come,
//! had it come evenly. A replica adds what it let through since it last asked, and takes the sum for its own; it goes on asking
//! about a key for as long as something of it is not worked off. **The decision is always taken at once, from what is known
//! here**; between two exchanges a replica does not know what the others let through meanwhile. So of `n` replicas each may let
//! through what its own count allows until the next exchange: together at most `(n - 1) × burst` more than the rule says, and
//! not again before that was paid back, because the store has counted it. While there is no store each replica counts by
//! itself.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use dashmap::{DashMap, Entry};

use super::rule::Rate;
use super::{Limiter, Value};

/// The keys that others have to hear of, or that there is something to hear about.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Without anybody who takes them, nothing is noted.
    is_taken: AtomicBool,
    pending: DashMap<SharedKey, Pending>,
    /// Of `pending`, whose own count would ask all its parts.
    len: AtomicUsize,
    /// Requests that were not noted, because there was no room.
    dropped: AtomicU64,
    /// Exchanges that failed.
    failures: AtomicU64,
}

/// A key as every replica knows it: part of a SHA-256, so that nobody reads names of users in the store, and no two keys are
/// made to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedKey(pub [u8; 16]);

#[derive(Clone, Copy, Debug)]
struct Pending {
    cell: u64,
    rate: Rate,
    /// And not told yet.
    passed: u32,
}

/// One key's part of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    pub key: SharedKey,
    /// By how much the store's number goes on.
    pub add: Duration,
    cell: u64,
    rate: Rate,
    passed: u32,
}

impl Outbox {
    pub(super) fn note(&self, limit: (u64, Rate), value: Value<'_>, cell: u64) {
        if !self.is_taken.load(Ordering::Relaxed) {
            return;
        }
        let (scope, rate) = limit;
        let key = SharedKey::of(scope, value);
        self.add(key, Pending { cell, rate, passed: 1 });
    }

    fn add(&self, key: SharedKey, more: Pending) {
        match self.pending.entry(key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.passed = known.passed.saturating_add(more.passed);
            }
            Entry::Vacant(_) if self.len.load(Ordering::Relaxed) >= PENDING_LEN_MAX => {
                self.dropped.fetch_add(u64::from(more.passed), Ordering::Relaxed);
            }
            Entry::Vacant(place) => {
                self.len.fetch_add(1, Ordering::Relaxed);
                place.insert(more);
            }
        }
    }
}

impl SharedKey {
    fn of(scope: u64, value: Value<'_>) -> SharedKey {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&scope.to_be_bytes());
        match value {
            Value::Address(address) => {
                context.update(b"a");
                context.update(address.to_string().as_bytes());
            }
            Value::Text(text) => {
                context.update(b"t");
                context.update(text);
            }
            Value::Account(name) => {
                context.update(b"u");
                context.update(name.as_bytes());
            }
            Value::All => context.update(b"*"),
        }
        let digest = context.finish();
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        SharedKey(key)
    }
}

impl Limiter {
    /// From now on what is let through is noted, because somebody takes it.
    pub fn begin_exchange(&self) {
        self.outbox.is_taken.store(true, Ordering::Relaxed);
    }

    /// Nobody takes what is noted any more.
    pub fn end_exchange(&self) {
        self.outbox.is_taken.store(false, Ordering::Relaxed);
        self.outbox.pending.retain(|_, _| {
            self.outbox.len.fetch_sub(1, Ordering::Relaxed);
            false
        });
    }

    /// What was let through since the last call, `now` being the time since the process began, and what is to be asked
    /// about. What has been worked off meanwhile is left out: after an outage nobody pays for what nobody counted.
    pub fn outgoing(&self, now: Duration) -> Vec<Outgoing> {
        let now = nanoseconds(now);
        let mut outgoing = Vec::new();
        self.outbox.pending.retain(|key, pending| {
            let ahead = self.cells().due(pending.cell).unwrap_or(0).saturating_sub(now);
            if ahead == 0 {
                self.outbox.len.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            let interval = pending.rate.interval_ns().max(1);
            let worth = u32::try_from(ahead.div_ceil(interval)).unwrap_or(u32::MAX);
            let passed = std::mem::take(&mut pending.passed).min(worth);
            let add = Duration::from_nanos(interval.saturating_mul(u64::from(passed)));
            let Pending { cell, rate, .. } = *pending;
            outgoing.push(Outgoing { key: *key, add, cell, rate, passed });
            true
        });
        outgoing
    }

    /// The store's answer for one key: how far its number is `ahead` of the time at which it was asked, `asked` being the time
    /// since the process began.
    pub fn incoming(&self, sent: &Outgoing, ahead: Duration, asked: Duration) {
        // What was let through since then is not in it yet.
        let since = self.outbox.pending.get(&sent.key).map_or(0, |pending| pending.passed);
        let more = sent.rate.interval_ns().saturating_mul(u64::from(since));
        let due = nanoseconds(asked).saturating_add(nanoseconds(ahead)).saturating_add(more);
        self.cells().raise(sent.cell, due);
    }

    /// The exchange came to nothing: its part is told with the next one.
    pub fn give_back(&self, sent: &Outgoing) {
        self.outbox.add(sent.key, Pending { cell: sent.cell, rate: sent.rate, passed: sent.passed });
    }

    /// Counts an exchange that failed.
    pub(crate) fn exchange_failed(&self) {
        self.outbox.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Exchanges that failed.
    pub(crate) fn exchange_failures(&self) -> u64 {
        self.outbox.failures.load(Ordering::Relaxed)
    }

    /// Requests that no other replica will hear of, because there was no room to note them.
    pub fn untold(&self) -> u64 {
        self.outbox.dropped.load(Ordering::Relaxed)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Keys that are told and asked about at the same time; requests of further ones are counted here alone.
pub const PENDING_LEN_MAX: usize = 20_000;

#[cfg(test)]
mod tests;
