//! When a Gateway or ListenerSet is *programmed*: when every ready replica says that it serves this generation of it.
//!
//! Until then its status is left as it was, for [`APPLIED_WAIT`] at most; after that the status says who lacks it. What was
//! once confirmed stays so: a replica that goes silent later takes nothing back.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::poll::{Known, Surroundings};
use crate::config::problem::ObjectRef;
use crate::config::status::{Condition, ListenerStatus, Statuses};

/// For so long a status waits for replicas that lack a generation.
pub(crate) const APPLIED_WAIT: Duration = Duration::from_secs(10);
/// The reason of what waits for replicas.
pub(crate) const PENDING: &str = "Pending";
/// Replicas that one status names.
const NAMED_MAX: usize = 3;

/// Which generations every replica had.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    confirmed: HashMap<ObjectRef, i64, RandomState>,
    waiting: HashMap<ObjectRef, (i64, Instant), RandomState>,
}

/// What may be written now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) statuses: Statuses,
    /// Objects whose status has to wait.
    pub(crate) held: HashSet<ObjectRef, RandomState>,
    /// When to judge again, if nothing comes before.
    pub(crate) again_at: Option<Instant>,
}

impl Confirmations {
    /// Judges what was compiled here by what the replicas say.
    pub(crate) fn judge(&mut self, compiled: &Statuses, surroundings: &Surroundings, now: Instant) -> Judged {
        let mut judged = Judged { statuses: compiled.clone(), ..Judged::default() };
        let mut present: HashSet<ObjectRef, RandomState> = HashSet::default();
        for status in &mut judged.statuses.gateways {
            let parts = (&mut status.programmed, &mut status.listeners[..]);
            let held = self.judge_one(&status.gateway, status.generation, parts, surroundings, now);
            present.insert(status.gateway.clone());
            note(&mut judged.held, &mut judged.again_at, &status.gateway, held);
        }
        for status in &mut judged.statuses.sets {
            let parts = (&mut status.programmed, &mut status.listeners[..]);
            let held = self.judge_one(&status.set, status.generation, parts, surroundings, now);
            present.insert(status.set.clone());
            note(&mut judged.held, &mut judged.again_at, &status.set, held);
        }
        self.confirmed.retain(|object, _| present.contains(object));
        self.waiting.retain(|object, _| present.contains(object));
        judged
    }

    /// The moment until which the status of an object has to wait; `None`: it need not.
    fn judge_one(
        &mut self,
        object: &ObjectRef,
        generation: i64,
        (programmed, listeners): (&mut Condition, &mut [ListenerStatus]),
        surroundings: &Surroundings,
        now: Instant,
    ) -> Option<Instant> {
        if !programmed.holds || self.confirmed.get(object) == Some(&generation) {
            self.waiting.remove(object);
            return None;
        }
        let Some(message) = lacking(&object.to_string(), generation, surroundings) else {
            self.confirmed.insert(object.clone(), generation);
            self.waiting.remove(object);
            return None;
        };
        let entry = self.waiting.entry(object.clone()).or_insert((generation, now));
        if entry.0 != generation {
            *entry = (generation, now);
        }
        let end = entry.1 + APPLIED_WAIT;
        if now < end {
            return Some(end);
        }
        let pending = Condition::no(PENDING, message);
        for listener in listeners.iter_mut().filter(|listener| listener.programmed.holds) {
            listener.programmed = pending.clone();
        }
        *programmed = pending;
        None
    }
}

fn note(
    held: &mut HashSet<ObjectRef, RandomState>,
    again_at: &mut Option<Instant>,
    object: &ObjectRef,
    until: Option<Instant>,
) {
    if let Some(until) = until {
        held.insert(object.clone());
        *again_at = Some(again_at.map_or(until, |at| at.min(until)));
    }
}

/// Who does not serve this generation of what has this name, in words; `None`: everybody does.
pub(super) fn lacking(name: &str, generation: i64, surroundings: &Surroundings) -> Option<String> {
    if !surroundings.complete {
        return Some("the other replicas were not asked yet what they serve".to_owned());
    }
    let serving: Vec<&Known> = surroundings.replicas.iter().filter(|known| is_ready(known)).collect();
    if serving.is_empty() {
        return Some(
            "no replica is ready: do replicas.service and its Pods in the settings name this edge?"
                .to_owned(),
        );
    }
    let faults: Vec<String> = serving
        .iter()
        .filter_map(|known| {
            let address = known.member.address;
            let has = known.answer.as_ref().and_then(|answer| answer.generations.get(name));
            match (has, &known.silent) {
                (Some(has), _) if *has >= generation => None,
                (_, Some(error)) => Some(error.to_string()),
                (Some(has), None) => Some(format!("{address} still serves generation {has}")),
                (None, None) => Some(format!("{address} does not serve it")),
            }
        })
        .collect();
    if faults.is_empty() {
        return None;
    }
    let more = faults.len().saturating_sub(NAMED_MAX);
    let named = faults[..faults.len().min(NAMED_MAX)].join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!(
        "{} of {} replicas serve generation {generation}: {named}{more}",
        serving.len() - faults.len(),
        serving.len()
    ))
}

/// Whether clients may come to this replica. One that says nothing counts as Kubernetes has it.
fn is_ready(known: &Known) -> bool {
    known.member.ready && known.answer.as_ref().is_none_or(|answer| answer.serves && answer.ready)
}

#[cfg(test)]
mod tests;
