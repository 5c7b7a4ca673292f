//! The replica that leads asks all others again and again: who they are and what they serve.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::call::{CallError, call};
use super::members::Member;
use super::message::{Applied, AppliedAnswer, AppliedQuestion};
use super::seal::Incarnation;
use super::{APPLIED_VERSION, Replicas};

/// What is known of all replicas, the one that asks included. Empty on one that does not lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// Each was asked at least once since this replica leads.
    pub(crate) complete: bool,
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
    pub(crate) generations: Arc<BTreeMap<Box<str>, i64>>,
}

pub(super) async fn run(replicas: Replicas, mut leads: watch::Receiver<bool>) {
    let mut members = replicas.0.members.subscribe();
    let mut applied = replicas.0.applied.subscribe();
    let mut known: HashMap<SocketAddr, Known> = HashMap::new();
    let mut quick_until = Instant::now();
    loop {
        let leading = *leads.borrow_and_update();
        let now_members = members.borrow_and_update().clone();
        let own = applied.borrow_and_update().clone();
        let mut same = true;
        if leading && let Some(now_members) = &now_members {
            known.retain(|address, _| now_members.iter().any(|member| member.address == *address));
            round(&replicas, now_members, own.as_ref(), &mut known).await;
            same = known.values().all(|known| has_all(known, own.as_ref()));
        } else if !leading {
            known.clear();
            replicas.0.surroundings.send_if_modified(|old| std::mem::take(old) != Surroundings::default());
        }
        let pause = if same || Instant::now() > quick_until { INTERVAL } else { QUICK_INTERVAL };
        tokio::select! {
            () = sleep(pause), if leading => {}
            changed = leads.changed() => if changed.is_err() { return },
            _ = members.changed() => {}
            _ = applied.changed(), if leading => quick_until = Instant::now() + QUICK_FOR,
        }
    }
}

/// Asks every member once, and shows what they said as it comes.
async fn round(
    replicas: &Replicas,
    members: &Arc<[Member]>,
    own: Option<&Applied>,
    known: &mut HashMap<SocketAddr, Known>,
) {
    let mut tasks = JoinSet::new();
    for member in members.iter().copied() {
        if tasks.len() >= CALLS_AT_ONCE {
            take(replicas, members, own, known, tasks.join_next().await);
        }
        let (replicas, question) = (replicas.clone(), question(own));
        tasks.spawn(async move {
            let answered = call(&replicas, member.address, APPLIED_VERSION, &question, CALL_TIMEOUT).await;
            (member, answered)
        });
    }
    while !tasks.is_empty() {
        take(replicas, members, own, known, tasks.join_next().await);
    }
    show(replicas, members, known);
    let silent = known.values().filter(|known| known.silent.is_some()).count();
    replicas.counters().set_silent(silent);
}

fn question(own: Option<&Applied>) -> AppliedQuestion {
    AppliedQuestion { digest: own.map(|own| own.digest.clone()).unwrap_or_default() }
}

type Asked = (Member, Result<AppliedAnswer, CallError>);

fn take(
    replicas: &Replicas,
    members: &Arc<[Member]>,
    own: Option<&Applied>,
    known: &mut HashMap<SocketAddr, Known>,
    asked: Option<Result<Asked, tokio::task::JoinError>>,
) {
    let Some(Ok((member, answered))) = asked else { return };
    let entry = known.entry(member.address).or_insert(Known { member, answer: None, silent: None });
    let before = entry.clone();
    entry.member = member;
    match answered {
        Ok(AppliedAnswer { incarnation: Some(incarnation), serves, ready, version: _, applied }) => {
            entry.silent = None;
            let generations = match (applied, own) {
                (Some(applied), _) => Arc::new(applied),
                (None, Some(own)) if ready => Arc::clone(&own.generations),
                (None, _) => Arc::default(),
            };
            entry.answer = Some(Answer { incarnation, serves, ready, generations });
        }
        Ok(AppliedAnswer { incarnation: None, .. }) => {
            entry.silent = Some(CallError::Stranger { address: member.address });
        }
        Err(error) => entry.silent = Some(error),
    }
    if *entry != before {
        show(replicas, members, known);
    }
}

fn show(replicas: &Replicas, members: &Arc<[Member]>, known: &HashMap<SocketAddr, Known>) {
    let list: Vec<Known> = members.iter().filter_map(|member| known.get(&member.address).cloned()).collect();
    let new = Surroundings { complete: list.len() == members.len(), replicas: list };
    replicas.0.surroundings.send_if_modified(|old| {
        let differs = *old != new;
        if differs {
            *old = new;
        }
        differs
    });
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
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const CALLS_AT_ONCE: usize = 32;
