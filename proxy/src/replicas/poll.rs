//! The replica that leads asks all others again and again: who they are and what they serve. Those that could lead ask now and then,
//! so that everybody knows who can wake workloads.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use wake::machine::PeerId;

use super::call::{CallError, call};
use super::members::Member;
use super::message::{Applied, AppliedAnswer, AppliedQuestion};
use super::seal::Incarnation;
use super::{APPLIED_VERSION, Replicas};

/// What is known of all replicas, the one that asks included. Empty on one that asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// Each was asked at least once.
    pub(crate) complete: bool,
    /// The address at which this replica found itself.
    pub(crate) own: Option<SocketAddr>,
    /// All that there are, whether they answered or not.
    pub(crate) replicas: Vec<Known>,
}

/// What is known of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) member: Member,
    /// The newest answer; `None`: there was none.
    pub(crate) answer: Option<Answer>,
    /// Why the last call was not answered.
    pub(crate) silent: Option<CallError>,
}

/// What a replica said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) incarnation: Incarnation,
    pub(crate) serves: bool,
    pub(crate) ready: bool,
    /// See [`super::Standing`].
    pub(crate) writes: bool,
    pub(crate) generations: Arc<BTreeMap<Box<str>, i64>>,
}

pub(super) async fn run(replicas: Replicas, mut leads: watch::Receiver<bool>) {
    let mut members = replicas.0.members.subscribe();
    let mut applied = replicas.0.applied.subscribe();
    let mut standing = replicas.0.standing.subscribe();
    let mut known: HashMap<SocketAddr, Known> = HashMap::new();
    let mut quick_until = Instant::now();
    loop {
        let leading = *leads.borrow_and_update();
        // The role `control` is there to be asked.
        let asks = leading || !replicas.0.role.serves();
        let now_members = members.borrow_and_update().clone().filter(|_| asks).unwrap_or_default();
        standing.borrow_and_update();
        let own = applied.borrow_and_update().clone();
        known.retain(|address, _| now_members.iter().any(|member| member.address == *address));
        let was_found = replicas.0.surroundings.borrow().own.is_some();
        let round = Round { replicas: &replicas, members: now_members, own: own.as_ref(), leading };
        round.run(&mut known).await;
        let same = known.values().all(|known| has_all(known, own.as_ref()));
        let found = replicas.0.surroundings.borrow().own.is_some() && !was_found;
        let pause = match leading {
            // Whom they ask is news for the others.
            _ if found => Duration::ZERO,
            true if !same && Instant::now() < quick_until => QUICK_INTERVAL,
            true => INTERVAL,
            false => IDLE_INTERVAL,
        };
        tokio::select! {
            () = sleep(pause), if asks => {}
            changed = leads.changed() => if changed.is_err() { return },
            _ = members.changed() => {}
            _ = standing.changed(), if leading => {}
            _ = applied.changed(), if leading => quick_until = Instant::now() + QUICK_FOR,
        }
    }
}

/// One question to every member.
struct Round<'a> {
    replicas: &'a Replicas,
    members: Arc<[Member]>,
    own: Option<&'a Applied>,
    leading: bool,
}

type Asked = (Member, Result<AppliedAnswer, CallError>);

impl Round<'_> {
    /// Asks, and shows what they said as it comes.
    async fn run(&self, known: &mut HashMap<SocketAddr, Known>) {
        self.show(known);
        let mut tasks = JoinSet::new();
        for member in self.members.iter().copied() {
            if tasks.len() >= CALLS_AT_ONCE {
                self.take(known, tasks.join_next().await);
            }
            let question = self.question(known.get(&member.address));
            let replicas = self.replicas.clone();
            tasks.spawn(async move {
                let answered =
                    call(&replicas, member.address, APPLIED_VERSION, &question, CALL_TIMEOUT).await;
                (member, answered)
            });
        }
        while !tasks.is_empty() {
            self.take(known, tasks.join_next().await);
        }
        self.show(known);
        let silent = known.values().filter(|known| known.silent.is_some()).count();
        self.replicas.counters().set_silent(silent);
    }

    fn question(&self, known: Option<&Known>) -> AppliedQuestion {
        let standing = self.replicas.0.standing.borrow();
        let answer = known.and_then(|known| known.answer.as_ref());
        let introduced = answer.map(|answer| answer.incarnation.clone()).filter(|incarnation| {
            let asks = standing.asks.as_ref().filter(|_| self.leading && !standing.writes);
            asks.is_some_and(|asks| asks.contains(&PeerId(incarnation.clone())))
        });
        AppliedQuestion {
            leads: self.leading,
            wakes: self.replicas.0.role.writes(),
            address: self.replicas.0.surroundings.borrow().own,
            introduced,
            digest: self.own.map(|own| own.digest.clone()).unwrap_or_default(),
        }
    }

    fn take(
        &self,
        known: &mut HashMap<SocketAddr, Known>,
        asked: Option<Result<Asked, tokio::task::JoinError>>,
    ) {
        let Some(Ok((member, answered))) = asked else { return };
        let entry = known.entry(member.address).or_insert(Known { member, answer: None, silent: None });
        let before = entry.clone();
        entry.member = member;
        match answered {
            Ok(AppliedAnswer {
                incarnation: Some(incarnation),
                serves,
                ready,
                writes,
                version: _,
                applied,
            }) => {
                entry.silent = None;
                let generations = match (applied, self.own) {
                    (Some(applied), _) => Arc::new(applied),
                    (None, Some(own)) if ready => Arc::clone(&own.generations),
                    (None, _) => Arc::default(),
                };
                entry.answer = Some(Answer { incarnation, serves, ready, writes, generations });
            }
            Ok(AppliedAnswer { incarnation: None, .. }) => {
                entry.silent = Some(CallError::Stranger { address: member.address });
            }
            Err(error) => entry.silent = Some(error),
        }
        if *entry != before {
            self.show(known);
        }
    }

    fn show(&self, known: &HashMap<SocketAddr, Known>) {
        let incarnation = self.replicas.incarnation();
        let entry = |member: &Member| {
            let known = known.get(&member.address).cloned();
            known.unwrap_or(Known { member: *member, answer: None, silent: None })
        };
        let list: Vec<Known> = self.members.iter().map(entry).collect();
        let is_own =
            |known: &&Known| known.answer.as_ref().is_some_and(|answer| answer.incarnation == *incarnation);
        let new = Surroundings {
            complete: !list.is_empty()
                && list.iter().all(|known| known.answer.is_some() || known.silent.is_some()),
            own: list.iter().find(is_own).map(|known| known.member.address),
            replicas: list,
        };
        self.replicas.0.surroundings.send_if_modified(|old| {
            let differs = *old != new;
            if differs {
                *old = new;
            }
            differs
        });
    }
}

/// Whether a replica has what is live here, or need not have it.
fn has_all(known: &Known, own: Option<&Applied>) -> bool {
    let Some(own) = own else { return true };
    match &known.answer {
        Some(answer) if !answer.serves => true,
        Some(answer) => own
            .generations
            .iter()
            .all(|(name, wanted)| answer.generations.get(name).is_some_and(|has| has >= wanted)),
        None => !known.member.ready,
    }
}

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while somebody has not got what is live here,
const QUICK_INTERVAL: Duration = Duration::from_millis(50);
/// for so long after it went live.
const QUICK_FOR: Duration = Duration::from_secs(5);
/// Between two rounds of a replica that could lead and does not.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const CALLS_AT_ONCE: usize = 32;
