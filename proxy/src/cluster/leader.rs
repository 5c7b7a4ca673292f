//! Who of several replicas writes: the one that holds a Lease (`coordination.k8s.io/v1`).
//!
//! Whether another holder is still alive is judged by whether its Lease changes, on this process's own clock, as the
//! controllers of Kubernetes do it; the times in the Lease are for people, and clocks that jump or differ cost nothing.
//! A holder that cannot renew stops being leader before anyone else can become it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::write::{self, WriteError};

/// Which Lease is sought, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Differs from that of every other replica.
    pub(super) identity: String,
}

/// Seeks a Lease and keeps it.
pub(super) struct Candidate {
    client: Client,
    seat: Seat,
    leads: watch::Sender<bool>,
    /// When the Lease runs out for everyone else, unless it is renewed.
    ends: watch::Sender<Option<Instant>>,
    /// When the Lease was last renewed by us.
    renewed: Option<Instant>,
    /// The version of another's Lease, and since when it has not changed.
    seen: Option<(String, Instant)>,
}

/// Whether this process holds the Lease, for those who write more than what can be written anew.
#[derive(Clone)]
pub(super) struct Tenure {
    client: Client,
    seat: Seat,
    leads: watch::Receiver<bool>,
    ends: watch::Receiver<Option<Instant>>,
}

impl Tenure {
    /// Returns once the Lease is held; never, when the election has ended with the process.
    pub(super) async fn begun(&self) {
        let mut ends = self.ends.clone();
        while !self.is_held() {
            if ends.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// True only while nobody else can hold it: a process that was stopped for a while has lost it before it has noticed.
    pub(super) fn is_held(&self) -> bool {
        *self.leads.borrow() && self.ends.borrow().is_some_and(|end| Instant::now() < end)
    }

    /// The same by the word of the API server: clocks may have stood still with the whole machine.
    pub(super) async fn is_confirmed(&self) -> Result<bool, WriteError> {
        let path = write::path(API_VERSION, "leases", &self.seat.namespace, &self.seat.name, "");
        let lease = write::read(&self.client, &path).await?;
        Ok(self.is_held() && lease["spec"]["holderIdentity"].as_str() == Some(&*self.seat.identity))
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Candidate {
    /// The receiver says whether this process leads.
    pub(super) fn new(client: Client, seat: Seat) -> (Self, watch::Receiver<bool>) {
        let (leads, leading) = watch::channel(false);
        let ends = watch::Sender::new(None);
        (Candidate { client, seat, leads, ends, renewed: None, seen: None }, leading)
    }

    pub(super) fn tenure(&self) -> Tenure {
        let (leads, ends) = (self.leads.subscribe(), self.ends.subscribe());
        Tenure { client: self.client.clone(), seat: self.seat.clone(), leads, ends }
    }

    /// Seeks and keeps the Lease until `stop` comes or its sender is gone, then gives it back.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let round = self.round();
            tokio::select! {
                () = round => {}
                _ = &mut stop => break,
            }
            // Replicas that started together do not ask together.
            let wait = ROUND_INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64());
            tokio::select! {
                () = sleep(wait) => {}
                _ = &mut stop => break,
            }
        }
        if self.renewed.is_some() {
            self.enter(false);
            if let Err(error) = self.release().await {
                tracing::debug!(%error, "the Lease is not given back; it runs out by itself");
            }
        }
    }

    async fn round(&mut self) {
        // The time before the request: the server cannot have counted from earlier.
        let begun = Instant::now();
        match self.seek().await {
            Ok(true) => {
                self.renewed = Some(begun);
                self.ends.send_replace(Some(begun + LEASE_DURATION));
                self.enter(true);
            }
            Ok(false) => {
                self.renewed = None;
                self.enter(false);
            }
            Err(error) => {
                tracing::debug!(%error, "the Lease {}/{}", self.seat.namespace, self.seat.name);
                if self.renewed.is_none_or(|renewed| renewed.elapsed() + ROUND_TIME_MAX > LEASE_DURATION) {
                    self.renewed = None;
                    self.enter(false);
                }
            }
        }
    }

    /// True when the Lease is ours now.
    async fn seek(&mut self) -> Result<bool, WriteError> {
        let path = self.path(&self.seat.name);
        let lease = match write::read(&self.client, &path).await {
            Ok(lease) => lease,
            Err(WriteError::Missing) => {
                let created = write::create(&self.client, &self.path(""), &self.lease(&Value::Null)).await;
                return won(created);
            }
            Err(error) => return Err(error),
        };
        if !self.may_take(&lease) {
            return Ok(false);
        }
        won(write::replace(&self.client, &path, &self.lease(&lease)).await)
    }

    /// Ours already, nobody's, or of someone who has not renewed it for its whole duration.
    fn may_take(&mut self, lease: &Value) -> bool {
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if holder.is_empty() || holder == self.seat.identity {
            self.seen = None;
            return true;
        }
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let seconds = lease["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(LEASE_DURATION.as_secs());
        match &self.seen {
            Some((seen, since)) if seen == version => since.elapsed() > Duration::from_secs(seconds),
            _ => {
                self.seen = Some((version.to_owned(), Instant::now()));
                false
            }
        }
    }

    /// The Lease as ours, in the place of `old`.
    fn lease(&self, old: &Value) -> Value {
        let now = micro_time();
        let spec = &old["spec"];
        let is_renewal = spec["holderIdentity"].as_str() == Some(&*self.seat.identity);
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0);
        let mut lease = json!({
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": {"name": self.seat.name, "namespace": self.seat.namespace},
            "spec": {
                "holderIdentity": self.seat.identity,
                "leaseDurationSeconds": LEASE_DURATION.as_secs(),
                "acquireTime": if is_renewal { spec["acquireTime"].clone() } else { json!(now) },
                "renewTime": now,
                "leaseTransitions": if is_renewal { transitions } else { transitions + 1 },
            },
        });
        if let Some(metadata) = old.get("metadata") {
            lease["metadata"] = metadata.clone();
        }
        lease
    }

    async fn release(&self) -> Result<(), WriteError> {
        let path = self.path(&self.seat.name);
        let mut lease = write::read(&self.client, &path).await?;
        if lease["spec"]["holderIdentity"].as_str() != Some(&*self.seat.identity) {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = json!("");
        write::replace(&self.client, &path, &lease).await.map(drop)
    }

    fn enter(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        if changed {
            let seat = &self.seat;
            let word = if leads { "leads" } else { "no longer leads" };
            tracing::info!("this replica {word} (Lease {}/{})", seat.namespace, seat.name);
        }
    }

    fn path(&self, name: &str) -> String {
        write::path(API_VERSION, "leases", &self.seat.namespace, name, "")
    }
}

/// To have come second is no failure.
fn won(written: Result<Value, WriteError>) -> Result<bool, WriteError> {
    match written {
        Ok(_) => Ok(true),
        Err(WriteError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `metav1.MicroTime` of now.
#[expect(clippy::disallowed_methods, reason = "what is written is for people; nothing is judged by it")]
fn micro_time() -> String {
    format!("{:.6}", Timestamp::now())
}

const API_VERSION: &str = "coordination.k8s.io/v1";
/// How long a Lease holds that nobody renews.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Between two looks at the Lease, give or take a fifth.
const ROUND_INTERVAL: Duration = Duration::from_secs(2);
/// The longest from one look to the end of the next: two exchanges and the pause between.
const ROUND_TIME_MAX: Duration = Duration::from_millis(2 * 4000 + 2400);

#[cfg(test)]
mod tests;
