//! From asleep to awake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Action, GroupId, Message, Note, Now};
use super::member::{Ask, Member, Phase, Promise, Stage};
use super::{Machine, WAKE_AGAIN_MAX, WAKE_AGAIN_MIN, WAKES_MAX};
use crate::scaler::{Observation, ScaleError};
use crate::workload::Workload;

impl Machine {
    pub(super) fn wanted(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.wanted = true;
        group.idle = false;
        group.sleep_commanded = false;
        let workloads: Vec<Workload> = group.workloads.iter().cloned().collect();
        if workloads.iter().all(|workload| self.member(workload).is_usable()) {
            // The gate is open, and there is nothing behind it.
            for workload in &workloads {
                self.observe_again(now, workload);
            }
        }
    }

    /// Wakes what is wanted and can be woken; ends what stands in the way.
    pub(super) fn wake_what_is_wanted(&mut self, now: Now) {
        let mut asked = self.members.values().filter(|member| is_asked(&member.phase)).count();
        let mut wanted: Vec<Workload> = Vec::new();
        let members = &self.members;
        let is_pinned = |workload: &Workload| {
            members.get(workload).is_some_and(|member| member.kept_awake_until > now.elapsed)
        };
        let sleeps =
            |workload: &Workload| members.get(workload).is_some_and(|member| member.phase == Phase::Down);
        for group in self.groups.values_mut() {
            if group.in_sleep.is_some() && !group.workloads.iter().any(is_pinned) {
                // What is still up goes on serving; nothing is woken.
                group.wanted &= !group.workloads.iter().any(sleeps);
            }
            if group.wanted || (self.leads && group.in_keep_awake) {
                wanted.extend(group.workloads.iter().cloned());
            }
        }
        if self.leads {
            let pinned = members.keys().filter(|workload| is_pinned(workload));
            wanted.extend(pinned.flat_map(|workload| with_needs(members, workload)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        for workload in wanted {
            self.want(now, &workload, &mut asked);
        }
    }

    fn want(&mut self, now: Now, workload: &Workload, asked: &mut usize) {
        let needs = &self.member(workload).needs;
        let needs_are_up = needs.iter().all(|needed| self.member(needed).phase == Phase::Up);
        // What could not be looked up yet is most likely there, but not so surely that what needs it may start.
        let unknown = |needed: &&Workload| self.member(needed).phase == Phase::Unknown;
        let unknown: Vec<Workload> = needs.iter().filter(unknown).cloned().collect();
        let Some(member) = self.members.get_mut(workload) else { return };
        match &mut member.phase {
            Phase::Unknown | Phase::Up | Phase::Starting { .. } | Phase::Settling { .. } => {}
            Phase::Closing { stage: Stage::Writing { .. }, .. } => {}
            Phase::Closing { stage: Stage::Counting { .. } | Stage::Asking { .. }, .. } => {
                self.abort(now, workload);
            }
            Phase::Promised { stage: Promise::Counting { .. }, .. } => self.decline(workload),
            Phase::Promised { leader, round, stage, .. } => {
                if *stage == Promise::Given {
                    *stage = Promise::Regretted;
                    let message = Message::Busy { round: *round, workload: workload.clone() };
                    self.actions.push(Action::Tell { to: leader.clone(), message });
                }
            }
            Phase::Down => {
                if needs_are_up && *asked < WAKES_MAX {
                    *asked += 1;
                    member.phase = Phase::Starting { since: now.elapsed, ask: Ask::Sent };
                    member.slept_at = None;
                    self.actions.push(Action::Wake(workload.clone()));
                    self.note(workload, Note::Waking);
                }
                for needed in &unknown {
                    self.observe_again(now, needed);
                }
            }
        }
    }

    pub(super) fn woken(&mut self, now: Now, workload: &Workload, result: Result<Observation, ScaleError>) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Starting { ask, .. } = &mut member.phase else {
            // Somebody was faster; what was found still counts.
            return self.observed(now, workload, result);
        };
        if *ask != Ask::Sent {
            return self.observed(now, workload, result);
        }
        match result {
            Ok(seen) => {
                *ask = Ask::Accepted;
                self.observed(now, workload, Ok(seen));
            }
            Err(error) => {
                member.wake_failures += 1;
                let reason: std::sync::Arc<str> = error.to_string().into();
                let again_at = now.elapsed + pause(member.wake_failures, &error);
                *ask = Ask::Failed { reason: reason.clone(), again_at };
                self.note(workload, Note::WakeFailed(reason));
            }
        }
    }

    /// What the gate leads to takes connections: that is as good as an observation, and sooner.
    pub(super) fn serving(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        // With several it is not known which of them it was.
        let [root] = &group.roots[..] else { return };
        let root = root.clone();
        let started =
            matches!(self.member(&root).phase, Phase::Starting { ask: Ask::Accepted | Ask::Needless, .. });
        if started {
            self.rise(now, &root);
        }
    }
}

/// A workload and all that it needs, in any number of steps.
fn with_needs(members: &BTreeMap<Workload, Member>, workload: &Workload) -> BTreeSet<Workload> {
    let (mut all, mut open) = (BTreeSet::new(), vec![workload.clone()]);
    while let Some(workload) = open.pop() {
        if let Some(member) = members.get(&workload) {
            open.extend(member.needs.iter().filter(|needed| !all.contains(*needed)).cloned());
        }
        all.insert(workload);
    }
    all
}

fn is_asked(phase: &Phase) -> bool {
    matches!(phase, Phase::Starting { ask: Ask::Sent, .. })
}

/// How long after so many failures in a row a wake is tried again.
fn pause(failures: u32, error: &ScaleError) -> Duration {
    match error {
        ScaleError::Conflict => Duration::from_secs(1),
        ScaleError::Missing | ScaleError::Refused(_) | ScaleError::Unreachable(_) => {
            WAKE_AGAIN_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(WAKE_AGAIN_MAX)
        }
    }
}
