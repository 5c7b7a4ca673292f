//! The port between replicas: one listener in each, which believes calls that carry the replicas' MAC and nobody else's.
//!
//! | call | what |
//! |---|---|
//! | `/v1/applied-version` | who are you, and which configuration do you serve? The leader asks every second |
//! | `/v1/activity` | how much are these gates used? |
//! | `/v1/quiesce` | what the machines that put workloads to sleep say to each other |
//! | `/v1/wake` | wake this workload, for me who may not |
//! | `/v1/revoke` | somebody has logged out |
//!
//! A replica finds the others by the EndpointSlices of a headless Service, or in a list of addresses. Nothing on the path of a
//! request waits for a call, save that waking may. The keys are those of [`key`], the MAC that of [`seal`].

pub(crate) mod answering;
pub(crate) mod call;
pub(crate) mod counters;
pub(crate) mod key;
mod listener;
mod logouts;
pub(crate) mod members;
mod message;
pub(crate) mod poll;
pub(crate) mod programmed;
mod seal;
pub(crate) mod workloads;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use wake::machine::PeerId;

use self::counters::Counters;
use self::key::CallKeys;
use self::listener::{Bounds, Reply};
use self::members::Member;
use self::message::{AppliedAnswer, AppliedQuestion};
use self::poll::Surroundings;
use self::seal::{Incarnation, Refusal, Seals};
use self::workloads::{Call, Waker};
use crate::login::Logins;
use crate::options::Role;

pub(crate) use message::Applied;

/// This replica among the others. Clones are the same.
#[derive(Clone)]
pub(crate) struct Replicas(Arc<Inner>);

struct Inner {
    incarnation: Incarnation,
    role: Role,
    /// Of our own listener.
    port: u16,
    seals: Seals,
    counters: Arc<Counters>,
    /// `None`: not known yet.
    members: watch::Sender<Option<Arc<[Member]>>>,
    /// `None`: nothing is live yet.
    applied: watch::Sender<Option<Applied>>,
    surroundings: watch::Sender<Surroundings>,
    /// Replicas that may scale, as they said of themselves.
    wakers: watch::Sender<Vec<Waker>>,
    /// Whoever leads asks this process before it puts anything to sleep.
    joined: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
    calls: mpsc::Sender<Call>,
    /// Until the driver of workloads takes it.
    called: Mutex<Option<mpsc::Receiver<Call>>>,
    logins: OnceLock<Weak<Logins>>,
    /// Turns for telling of logouts.
    telling: Arc<Semaphore>,
    /// When it was last told that calls are not believed.
    told: Mutex<Option<Instant>>,
}

/// What the machine that puts workloads to sleep goes by, as far as others have to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whom it asks before it puts anything to sleep; `None`: it puts nothing to sleep.
    pub(crate) asks: Option<BTreeSet<PeerId>>,
    /// It has decided something that can still take effect.
    pub(crate) writes: bool,
}

impl Replicas {
    /// Takes calls on `listener` from now on, for as long as the runtime lives.
    pub(crate) fn start(listener: TcpListener, role: Role) -> Self {
        let port = listener.local_addr().map_or(0, |address| address.port());
        let replicas = Replicas::new(role, port);
        tokio::spawn(listener::serve(listener, replicas.clone(), Bounds::default()));
        replicas
    }

    fn new(role: Role, port: u16) -> Self {
        let (calls, called) = mpsc::channel(CALLS_LEN_MAX);
        Replicas(Arc::new(Inner {
            incarnation: format!("{:016x}", fastrand::u64(..)).into(),
            role,
            port,
            seals: Seals::new(),
            counters: Arc::default(),
            members: watch::Sender::new(None),
            applied: watch::Sender::new(None),
            surroundings: watch::Sender::default(),
            wakers: watch::Sender::default(),
            joined: watch::Sender::default(),
            standing: watch::Sender::default(),
            calls,
            called: Mutex::new(Some(called)),
            logins: OnceLock::new(),
            telling: Arc::new(Semaphore::new(logouts::TOLD_AT_ONCE)),
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

    /// Whether whoever leads asks this process before it puts anything to sleep.
    pub(crate) fn joined(&self) -> watch::Receiver<bool> {
        self.0.joined.subscribe()
    }

    /// What others want of the driver of workloads. There is one driver, so this is taken once.
    pub(crate) fn calls(&self) -> Option<mpsc::Receiver<Call>> {
        self.0.called.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says what the machine goes by.
    pub(crate) fn set_standing(&self, standing: Standing) {
        self.0.standing.send_if_modified(|known| {
            let differs = *known != standing;
            if differs {
                *known = standing;
            }
            differs
        });
    }

    /// Waits until this replica is one of those that others know of.
    pub(crate) async fn listed(&self) {
        let is_own = |member: &Member| {
            // An address that can be bound is one of this machine.
            member.address.port() == self.0.port
                && std::net::UdpSocket::bind((member.address.ip(), 0)).is_ok()
        };
        let mut members = self.0.members.subscribe();
        let holds_own =
            |members: &Option<Arc<[Member]>>| members.iter().flat_map(|all| all.iter()).any(is_own);
        if members.wait_for(holds_own).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.0.role
    }

    #[cfg(test)]
    pub(crate) fn set_surroundings(&self, surroundings: Surroundings) {
        self.0.surroundings.send_replace(surroundings);
    }

    /// The name of this process.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.0.incarnation
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

    /// Whether this is the name of this process.
    pub(crate) fn is_incarnation(&self, name: &str) -> bool {
        *self.0.incarnation == *name
    }

    /// What a call of another replica comes to.
    async fn answer(&self, path: &str, caller: Incarnation, body: &[u8]) -> Reply {
        match path {
            APPLIED_VERSION => match serde_json::from_slice(body) {
                Ok(question) => {
                    self.hear(&caller, &question);
                    Reply::json(&self.applied_version(&question))
                }
                Err(_) => Reply::status(StatusCode::BAD_REQUEST),
            },
            ACTIVITY => self.answer_activity(body).await,
            QUIESCE => self.answer_quiesce(caller, body).await,
            WAKE => self.answer_wake(body).await,
            REVOKE => self.answer_revoke(body),
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
            writes: self.0.standing.borrow().writes,
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
const ACTIVITY: &str = "/v1/activity";
const QUIESCE: &str = "/v1/quiesce";
const WAKE: &str = "/v1/wake";
const REVOKE: &str = "/v1/revoke";
/// Calls that may wait for the driver of workloads.
const CALLS_LEN_MAX: usize = 256;
/// Between two lines in the log about calls that are not believed.
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
