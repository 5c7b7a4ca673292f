//! The driver's side of the port between replicas: whom the machine has to ask, and who asks it.
//!
//! Every replica that clients might come to is asked before anything sleeps, those that do not answer included: one that is
//! lost may still be using what nobody here does. A process that has just begun is asked by nobody yet. Until whoever leads
//! has introduced itself, or it could be known for so long that nothing decided without it can still happen, its gates are
//! closed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use wake::machine::{Count, Event, GroupId, Message, PeerId, QUIESCE_TTL, Token, WRITE_WITHIN};

use crate::replicas::poll::{Known, Surroundings};
use crate::replicas::workloads::Call;
use crate::replicas::{Replicas, Standing};

/// The other replicas, where there is a port to them.
pub(super) struct Peers {
    port: Option<Port>,
}

struct Port {
    replicas: Replicas,
    calls: mpsc::Receiver<Call>,
    surroundings: watch::Receiver<Surroundings>,
    joined: watch::Receiver<bool>,
    has_joined: bool,
    began: Instant,
    /// Since when others could have known of this process.
    listed: Option<Instant>,
    ttl: Duration,
    latest: Duration,
    /// As the machine was told last.
    told: Option<BTreeSet<PeerId>>,
    /// Counts that wait for what the others count.
    asked: Vec<Asked>,
}

/// A gate that was counted here.
struct Asked {
    group: GroupId,
    token: Token,
    count: Count,
    gate: Box<str>,
}

/// What came over the port.
pub(super) enum News {
    Called(Call),
    /// Others came, went, or said something of themselves.
    Surroundings,
    /// Whoever leads knows of this process.
    Joined,
}

impl Peers {
    pub(super) fn new(replicas: Option<Replicas>) -> Self {
        Peers::with(replicas, QUIESCE_TTL, JOIN_MAX)
    }

    /// With other times after which a process joins by itself: since it was listed, and in any case.
    fn with(replicas: Option<Replicas>, ttl: Duration, latest: Duration) -> Self {
        let port = replicas.and_then(|replicas| {
            Some(Port {
                calls: replicas.calls()?,
                surroundings: replicas.surroundings(),
                joined: replicas.joined(),
                // Nobody comes to one that serves nobody.
                has_joined: !replicas.role().serves(),
                replicas,
                began: Instant::now(),
                listed: None,
                ttl,
                latest,
                told: None,
                asked: Vec::new(),
            })
        });
        Peers { port }
    }

    /// Waits for news. Safe to drop before it is ready.
    pub(super) async fn news(&mut self) -> News {
        let Some(port) = &mut self.port else { return std::future::pending().await };
        let latest = port.began + port.latest;
        let waits = !port.has_joined;
        loop {
            let end = port.listed.map_or(latest, |listed| latest.min(listed + port.ttl));
            tokio::select! {
                call = port.calls.recv() => match call {
                    Some(call) => return News::Called(call),
                    None => return std::future::pending().await,
                },
                changed = port.surroundings.changed() => match changed {
                    Ok(()) => return News::Surroundings,
                    Err(_) => return std::future::pending().await,
                },
                () = introduced(&mut port.joined), if waits => break,
                () = port.replicas.listed(), if waits && port.listed.is_none() => port.listed = Some(Instant::now()),
                () = tokio::time::sleep_until(end.into()), if waits => {
                    if port.listed.is_none() {
                        tracing::warn!(
                            "no other replica knows of this one: does the Service under replicas.service select its Pod?"
                        );
                    }
                    break;
                }
            }
        }
        port.has_joined = true;
        News::Joined
    }

    /// Whether gates may open: see the module.
    pub(super) fn has_joined(&self) -> bool {
        self.port.as_ref().is_none_or(|port| port.has_joined)
    }

    /// Whether this process, which leads, may take it that it has joined: everybody has answered, and nobody writes.
    pub(super) fn join_as_leader(&mut self) -> bool {
        let Some(port) = &mut self.port else { return false };
        if port.has_joined || port.began.elapsed() < WRITE_WITHIN {
            return false;
        }
        let surroundings = port.surroundings.borrow();
        let is_quiet = |known: &Known| {
            known.silent.is_none() && known.answer.as_ref().is_some_and(|answer| !answer.writes)
        };
        let all_quiet = surroundings.own.is_some() && surroundings.replicas.iter().all(is_quiet);
        drop(surroundings);
        port.has_joined = all_quiet;
        all_quiet
    }

    /// Whether it is known whom to ask before something is put to sleep: this process has found itself among the others, and
    /// there is one that clients come to.
    pub(super) fn are_known(&self) -> bool {
        let Some(port) = &self.port else { return false };
        let surroundings = port.surroundings.borrow();
        let serves = |known: &Known| known.answer.as_ref().is_some_and(|answer| answer.serves);
        surroundings.own.is_some() && surroundings.replicas.iter().any(serves)
    }

    /// Whom the machine has to ask, where that has changed since it was told.
    pub(super) fn changed(&mut self) -> Option<BTreeSet<PeerId>> {
        let port = self.port.as_mut()?;
        let peers: BTreeSet<PeerId> = port.others().into_iter().map(|(id, _)| id).collect();
        if port.told.as_ref() == Some(&peers) {
            return None;
        }
        port.told = Some(peers.clone());
        Some(peers)
    }

    /// Has the others told how the machine stands.
    pub(super) fn show(&self, leads: bool, writes: bool) {
        if let Some(port) = &self.port {
            let asks = port.told.clone().filter(|_| leads);
            port.replicas.set_standing(Standing { asks, writes });
        }
    }

    pub(super) fn tell(&self, to: PeerId, message: Message, events: &mpsc::Sender<Event>) {
        if let Some(port) = &self.port {
            port.replicas.tell(to, message, events.clone());
        }
    }

    /// Takes a count that is to be joined with what the others count; gives it back where there are none.
    pub(super) fn count(&mut self, group: GroupId, token: Token, count: Count, gate: &str) -> Option<Event> {
        match &mut self.port {
            Some(port) if count.holds == 0 && port.told.as_ref().is_some_and(|others| !others.is_empty()) => {
                port.asked.push(Asked { group, token, count, gate: gate.into() });
                None
            }
            Some(_) | None => Some(Event::Counted { group, token, count }),
        }
    }

    /// Asks the others about all that was counted since the last time.
    pub(super) fn ask(&mut self, events: &mpsc::Sender<Event>) {
        let Some(port) = &mut self.port else { return };
        if port.asked.is_empty() {
            return;
        }
        let asked = std::mem::take(&mut port.asked);
        let others: Vec<SocketAddr> = port.others().into_iter().map(|(_, address)| address).collect();
        let (replicas, events) = (port.replicas.clone(), events.clone());
        tokio::spawn(async move {
            let gates: Vec<Box<str>> = asked.iter().map(|asked| asked.gate.clone()).collect();
            let theirs = replicas.activity(&others, &gates).await;
            for (index, Asked { group, token, count, .. }) in asked.into_iter().enumerate() {
                let their = theirs.as_ref().and_then(|theirs| theirs.get(index));
                // Whoever does not say might be using it.
                let count = their.map_or(Count { holds: 1, idle: Duration::ZERO }, |their| Count {
                    holds: count.holds.saturating_add(their.holds),
                    idle: count.idle.min(their.idle),
                });
                let _ = events.send(Event::Counted { group, token, count }).await;
            }
        });
    }

    /// The way to whoever may scale, for a process that may not.
    pub(super) fn through(&self) -> Option<Replicas> {
        let port = self.port.as_ref()?;
        (!port.replicas.role().writes()).then(|| port.replicas.clone())
    }

    /// Whether clients come to this process.
    pub(super) fn serves(&self) -> bool {
        self.port.as_ref().is_none_or(|port| port.replicas.role().serves())
    }
}

impl Port {
    /// All others that clients might come to, by the names of their processes; by their addresses where they have not said it.
    fn others(&self) -> Vec<(PeerId, SocketAddr)> {
        let surroundings = self.surroundings.borrow();
        let own = surroundings.own;
        let is_other = |known: &&Known| {
            let address = known.member.address;
            let is_own = own == Some(address)
                || known
                    .answer
                    .as_ref()
                    .is_some_and(|answer| self.replicas.is_incarnation(&answer.incarnation));
            !is_own && known.answer.as_ref().is_none_or(|answer| answer.serves)
        };
        let name = |known: &Known| -> Arc<str> {
            let address = || format!("at {}", known.member.address).into();
            known.answer.as_ref().map_or_else(address, |answer| answer.incarnation.clone())
        };
        let others = surroundings.replicas.iter().filter(is_other);
        others.map(|known| (PeerId(name(known)), known.member.address)).collect()
    }
}

async fn introduced(joined: &mut watch::Receiver<bool>) {
    if joined.wait_for(|joined| *joined).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A process that nobody has heard of for so long goes on without.
const JOIN_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
