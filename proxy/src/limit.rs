//! How many requests somebody may send, and how many at once.
//!
//! A rate is kept by the generic cell rate algorithm (GCRA; ITU-T I.371, Annex A): one number for each key, the time at which
//! all that was let through would have come had it come evenly. It is exact: no window begins or ends. The numbers stand in
//! a table of fixed size ([`cells`]), so that neither a known nor a new key costs an allocation, and a flood of keys costs
//! the keys that would be forgotten first. All workers share it; a limit holds for the process, not for one worker.
//!
//! Nothing here reads a clock, and nothing here waits.

mod cells;
mod exchange;
mod flights;
mod networks;
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
use exchange::Outbox;
pub use exchange::{Outgoing, PENDING_LEN_MAX, SharedKey};
pub use flights::Flight;
use flights::Flights;
pub use networks::{ClusterNetworks, NETWORKS_LEN_MAX};
use rule::{Rate, WrittenLimits};

/// What one object limits; all its routes share it, and with it the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiting {
    /// Judged before anybody is asked who they are.
    pub on_arrival: Bounds,
    /// Judged when it is known who asks.
    pub of_identity: Bounds,
    /// Clients in these networks are not counted.
    pub exempt: Vec<IpNet>,
}

/// Limits that are judged at the same point of a request's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub rates: Vec<RateLimit>,
    pub at_once: Vec<AtOnceLimit>,
}

/// One rate, and what it counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub rate: Rate,
    pub by: By,
    pub mode: Mode,
    pub across: Across,
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
    /// The account that asks, by its provider's unchanging name for it; where nobody is known, the address.
    User,
    /// Each group of the account that asks; an account without groups is counted by itself.
    Group,
    /// Each value of this claim; an account without it is counted by itself.
    Claim(Arc<str>),
    /// All requests of the object together.
    Route,
}

/// Whether a limit refuses, or only counts what it would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforced,
    DryRun,
}

/// Whose requests count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Those that this process gets.
    Replica,
    /// Those of all replicas, through the store that they share.
    Cluster,
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
    outbox: Outbox,
    /// Clients choose what is hashed, so the hash is a keyed one.
    hasher: RandomState,
}

/// What a request is counted by, as far as one limit is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// As of [`network_of`].
    Address(IpAddr),
    Text(&'a [u8]),
    /// An account by its name, which no group or claim of the same text shares.
    Account(&'a str),
    All,
}

impl Limiting {
    /// What `written` means for an object called `owner`. `None` when nothing is limited.
    pub fn new(written: &WrittenLimits, owner: &str) -> Option<Arc<Limiting>> {
        if written.rates.is_empty() && written.at_once.is_empty() {
            return None;
        }
        let answer = |rule: &dyn Display, status| Answer { rule: rule.to_string().into(), status };
        let (mut on_arrival, mut of_identity) = (Bounds::default(), Bounds::default());
        for (index, rule) in written.rates.iter().enumerate() {
            let limit = RateLimit {
                rate: rule.rate,
                by: rule.by.clone(),
                mode: rule.mode,
                across: rule.across,
                scope: scope(owner, "rate", index, &rule.by),
                answer: answer(rule, written.rate_status),
            };
            if rule.by.needs_identity() { &mut of_identity } else { &mut on_arrival }.rates.push(limit);
        }
        for (index, rule) in written.at_once.iter().enumerate() {
            let limit = AtOnceLimit {
                max: rule.max,
                by: rule.by.clone(),
                mode: rule.mode,
                scope: scope(owner, "at once", index, &rule.by),
                answer: answer(rule, written.at_once_status),
            };
            if rule.by.needs_identity() { &mut of_identity } else { &mut on_arrival }.at_once.push(limit);
        }
        Some(Arc::new(Limiting { on_arrival, of_identity, exempt: written.exempt.clone() }))
    }

    /// All limits, in the order in which they are judged.
    pub fn bounds(&self) -> [&Bounds; 2] {
        [&self.on_arrival, &self.of_identity]
    }

    /// True for clients that are not counted.
    pub fn exempts(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.contains(&address))
    }
}

impl Bounds {
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.at_once.is_empty()
    }

    /// What each of them says and whether it is in force, in the order in which they are judged.
    pub fn answers(&self) -> impl Iterator<Item = (&Answer, Mode)> {
        let at_once = self.at_once.iter().map(|limit| (&limit.answer, limit.mode));
        at_once.chain(self.rates.iter().map(|limit| (&limit.answer, limit.mode)))
    }
}

impl By {
    /// True for what is not known before somebody is asked who they are.
    pub fn needs_identity(&self) -> bool {
        match self {
            By::User | By::Group | By::Claim(_) => true,
            By::Address | By::Header(_) | By::Route => false,
        }
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
            outbox: Outbox::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one request against a limit, `now` being the time since the process began. Refused ones are not counted.
    pub fn count(&self, limit: &RateLimit, value: Value<'_>, now: Duration) -> Decision {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let cell = self.hash(limit.scope, value);
        let decision = self.cells().count(cell, &limit.rate, now);
        if limit.across == Across::Cluster && decision == Decision::Passes {
            self.outbox.note((limit.scope, limit.rate), value, cell);
        }
        decision
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
            Value::Account(name) => (2_u8, name).hash(&mut hasher),
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
