//! How many requests somebody may send, and how many at once.
//!
//! A rate is kept by the generic cell rate algorithm (GCRA; ITU-T I.371, Annex A): one number for each key, the time at which
//! all that was let through would have come had it come evenly. It is exact: no window begins or ends. The numbers stand in
//! a table of fixed size ([`cells`]), so that neither a known nor a new key costs an allocation, and a flood of keys costs
//! the keys that would be forgotten first. All workers share it; a limit holds for the process, not for one worker.
//!
//! Nothing here reads a clock, and nothing here waits.

mod cells;
mod flights;
pub mod rule;

use std::fmt::Display;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use cells::Cells;
pub use cells::Decision;
pub use flights::Flight;
use flights::Flights;
use rule::{Rate, WrittenLimits};

/// What one object limits; all its routes share it, and with it the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiting {
    pub rates: Vec<RateLimit>,
    pub at_once: Vec<AtOnceLimit>,
    /// Clients in these networks are not counted.
    pub exempt: Vec<IpNet>,
}

/// One rate, and what it counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub rate: Rate,
    pub by: By,
    pub mode: Mode,
    /// Tells the counts of one rule from those of another. The same for as long as object, key and place in the list are, so
    /// that a change of configuration forgets nothing.
    scope: u64,
    pub answer: Answer,
}

/// A bound on requests that are under way at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtOnceLimit {
    pub max: u32,
    pub by: By,
    pub mode: Mode,
    scope: u64,
    pub answer: Answer,
}

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The client's address; a /64 of IPv6 is one client. Addresses that stand for many clients are not counted.
    Address,
    /// The value of this header; requests without it are counted by address.
    Header(http::HeaderName),
    /// All requests of the object together.
    Route,
}

/// Whether a limit refuses, or only counts what it would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforced,
    DryRun,
}

/// What is said to those who are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The rule as it was written, for the operator.
    pub rule: Arc<str>,
    /// In place of 429, where another controller's configuration is taken over.
    pub status: Option<StatusCode>,
}

/// The counts of the whole process.
#[derive(Debug)]
pub struct Limiter {
    /// Made with the first request that is counted: who limits nothing pays nothing.
    cells: OnceLock<Cells>,
    keys: usize,
    flights: Flights,
    /// Clients choose what is hashed, so the hash is a keyed one.
    hasher: RandomState,
}

/// What a request is counted by, as far as one limit is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// As of [`network_of`].
    Address(IpAddr),
    Text(&'a [u8]),
    All,
}

impl Limiting {
    /// What `written` means for an object called `owner`. `None` when nothing is limited.
    pub fn new(written: &WrittenLimits, owner: &str) -> Option<Arc<Limiting>> {
        if written.rates.is_empty() && written.at_once.is_empty() {
            return None;
        }
        let answer = |rule: &dyn Display, status| Answer { rule: rule.to_string().into(), status };
        let rates = written.rates.iter().enumerate().map(|(index, rule)| RateLimit {
            rate: rule.rate,
            by: rule.by.clone(),
            mode: rule.mode,
            scope: scope(owner, "rate", index, &rule.by),
            answer: answer(rule, written.rate_status),
        });
        let at_once = written.at_once.iter().enumerate().map(|(index, rule)| AtOnceLimit {
            max: rule.max,
            by: rule.by.clone(),
            mode: rule.mode,
            scope: scope(owner, "at once", index, &rule.by),
            answer: answer(rule, written.at_once_status),
        });
        Some(Arc::new(Limiting {
            rates: rates.collect(),
            at_once: at_once.collect(),
            exempt: written.exempt.clone(),
        }))
    }

    /// True for clients that are not counted.
    pub fn exempts(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(&address))
    }
}

impl Limiter {
    /// Room for about `keys` keys that are in use at the same time: 48 bytes for each, taken with the first request that
    /// is counted.
    pub fn new(keys: usize) -> Limiter {
        Limiter {
            cells: OnceLock::new(),
            keys: keys.clamp(KEYS_MIN, KEYS_MAX),
            flights: Flights::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one request against a limit, `now` being the time since the process began. Refused ones are not counted.
    pub fn count(&self, limit: &RateLimit, value: Value<'_>, now: Duration) -> Decision {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.cells().count(self.hash(limit.scope, value), &limit.rate, now)
    }

    /// A place among the requests under way, given back when it is dropped. `None` when all are taken.
    pub fn enter(self: &Arc<Self>, limit: &AtOnceLimit, value: Value<'_>) -> Option<Flight> {
        Flight::begin(self, self.hash(limit.scope, value), limit.max)
    }

    /// Keys that were forgotten before their time, because there was no room.
    pub fn forgotten(&self) -> u64 {
        self.cells.get().map_or(0, Cells::forgotten)
    }

    fn cells(&self) -> &Cells {
        self.cells.get_or_init(|| Cells::new(self.keys))
    }

    fn hash(&self, scope: u64, value: Value<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        scope.hash(&mut hasher);
        match value {
            Value::Address(IpAddr::V4(address)) => (4_u8, address.to_bits()).hash(&mut hasher),
            Value::Address(IpAddr::V6(address)) => (6_u8, address.to_bits()).hash(&mut hasher),
            Value::Text(text) => (1_u8, text).hash(&mut hasher),
            Value::All => 0_u8.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// The network that one client is taken to be: an IPv4 address, or a /64 of IPv6, which is what a household gets.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// A name for the counts of one rule that is the same in every compilation.
fn scope(owner: &str, sort: &str, index: usize, by: &By) -> u64 {
    foldhash::quality::FixedState::default().hash_one((owner, sort, index, by))
}

/// Keys that the table has room for, where the operator does not say.
pub const KEYS_DEFAULT: usize = 250_000;
const KEYS_MIN: usize = 1_000;
/// Three gigabytes.
const KEYS_MAX: usize = 64_000_000;

#[cfg(test)]
mod tests;
