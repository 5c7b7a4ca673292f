//! The port between replicas: one listener in each, which believes calls that carry the replicas' MAC and nobody else's.
//!
//! | call | what |
//! |---|---|
//! | `/v1/applied-version` | who are you, and which configuration do you serve? The leader asks every second |
//!
//! A replica finds the others by the EndpointSlices of a headless Service, or in a list of addresses. Nothing on the path of a
//! request waits for a call. The keys are those of [`key`], the MAC that of [`seal`].

pub(crate) mod call;
pub(crate) mod counters;
pub(crate) mod key;
mod listener;
pub(crate) mod members;
mod message;
pub(crate) mod poll;
pub(crate) mod programmed;
mod seal;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::counters::Counters;
use self::key::CallKeys;
use self::listener::{Bounds, Reply};
use self::members::Member;
use self::message::{AppliedAnswer, AppliedQuestion};
use self::poll::Surroundings;
use self::seal::{Incarnation, Refusal, Seals};
use crate::options::Role;

pub(crate) use message::Applied;

/// This replica among the others. Clones are the same.
#[derive(Clone)]
pub(crate) struct Replicas(Arc<Inner>);

struct Inner {
    incarnation: Incarnation,
    role: Role,
    seals: Seals,
    counters: Arc<Counters>,
    /// `None`: not known yet.
    members: watch::Sender<Option<Arc<[Member]>>>,
    /// `None`: nothing is live yet.
    applied: watch::Sender<Option<Applied>>,
    surroundings: watch::Sender<Surroundings>,
    /// When it was last told that calls are not believed.
    told: Mutex<Option<Instant>>,
}

impl Replicas {
    /// Takes calls on `listener` from now on, for as long as the runtime lives.
    pub(crate) fn start(listener: TcpListener, role: Role) -> Self {
        let replicas = Replicas::new(role);
        tokio::spawn(listener::serve(listener, replicas.clone(), Bounds::default()));
        replicas
    }

    fn new(role: Role) -> Self {
        Replicas(Arc::new(Inner {
            incarnation: format!("{:016x}", fastrand::u64(..)).into(),
            role,
            seals: Seals::new(),
            counters: Arc::default(),
            members: watch::Sender::new(None),
            applied: watch::Sender::new(None),
            surroundings: watch::Sender::default(),
            told: Mutex::default(),
        }))
    }

    /// Asks the others what they serve, while `leads` holds.
    pub(crate) fn ask_others(&self, leads: watch::Receiver<bool>) {
        tokio::spawn(poll::run(self.clone(), leads));
    }

    /// Puts keys in force for the next call.
    pub(crate) fn set_keys(&self, keys: CallKeys) {
        self.0.seals.keys.store(Some(Arc::new(keys)));
    }

    /// Says which replicas there are, this one included.
    pub(crate) fn set_members(&self, members: Vec<Member>) {
        self.0.counters.set_known(members.len());
        self.0.members.send_if_modified(|known| {
            let differs = known.as_deref() != Some(&members[..]);
            if differs {
                *known = Some(members.into());
            }
            differs
        });
    }

    /// Says what is live here.
    pub(crate) fn set_applied(&self, applied: Applied) {
        self.0.applied.send_replace(Some(applied));
    }

    /// What the others said when they were asked last. Only the replica that leads asks.
    pub(crate) fn surroundings(&self) -> watch::Receiver<Surroundings> {
        self.0.surroundings.subscribe()
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    fn seals(&self) -> &Seals {
        &self.0.seals
    }

    fn incarnation(&self) -> &Incarnation {
        &self.0.incarnation
    }

    /// What a call of another replica comes to.
    async fn answer(&self, path: &str, body: &[u8]) -> Reply {
        match path {
            APPLIED_VERSION => match serde_json::from_slice(body) {
                Ok(question) => Reply::json(&self.applied_version(&question)),
                Err(_) => Reply::status(StatusCode::BAD_REQUEST),
            },
            // One of a newer version.
            _ => Reply::status(StatusCode::NOT_FOUND),
        }
    }

    fn applied_version(&self, question: &AppliedQuestion) -> AppliedAnswer {
        let applied = self.0.applied.borrow().clone();
        let known = applied.as_ref();
        AppliedAnswer {
            incarnation: Some(Arc::clone(&self.0.incarnation)),
            serves: self.0.role.serves(),
            ready: known.is_some(),
            version: known.map_or(0, |applied| applied.version),
            applied: known
                .filter(|applied| applied.digest != question.digest)
                .map(|applied| applied.generations.as_ref().clone()),
        }
    }

    /// Tells people of calls that are not believed, now and then.
    fn tell_of_refusal(&self, peer: IpAddr, refusal: Refusal) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
            *told = Some(Instant::now());
            tracing::warn!(%peer, reason = refusal.as_str(), "a call to the port between replicas is not believed");
        }
    }
}

/// Where replicas listen, for people.
pub(crate) fn listening(address: SocketAddr) {
    tracing::info!(%address, "listening for other replicas");
}

#[expect(clippy::disallowed_methods, reason = "the shell of this module, where time comes in")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

const APPLIED_VERSION: &str = "/v1/applied-version";
/// Between two lines in the log about calls that are not believed.
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
