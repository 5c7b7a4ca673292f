//! From awake to asleep: nothing is put to sleep before every replica has promised that nobody uses it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Action, Count, GroupId, Message, Note, Now, PeerId, Round, Token};
use super::member::{Ask, Phase, Promise, Stage};
use super::{LOOK_AGAIN, Machine, QUIESCE_ANSWER, QUIESCE_TTL, SLEEP_FAILED_PAUSE, WRITE_WITHIN};
use crate::scaler::{Observation, ScaleError};
use crate::workload::Workload;

impl Machine {
    /// What time alone brings about.
    pub(super) fn expire(&mut self, now: Now) {
        let workloads: Vec<Workload> = self.members.keys().cloned().collect();
        for workload in workloads {
            let Some(member) = self.members.get_mut(&workload) else { continue };
            match &mut member.phase {
                Phase::Closing { stage: Stage::Asking { since, .. }, .. } => {
                    if now.elapsed >= *since + QUIESCE_ANSWER {
                        self.abort(now, &workload);
                    }
                }
                Phase::Promised { until, .. } => {
                    if now.elapsed >= *until {
                        // The leader may have done it without our hearing of it.
                        member.phase = Phase::Settling { until: now.elapsed, asked: true };
                        self.actions.push(Action::Observe(workload));
                    }
                }
                Phase::Settling { until, asked } => {
                    if !*asked && now.elapsed >= *until {
                        *asked = true;
                        self.actions.push(Action::Observe(workload));
                    }
                }
                Phase::Starting { ask: Ask::Failed { again_at, .. }, .. } => {
                    if now.elapsed >= *again_at {
                        member.phase = Phase::Down;
                    }
                }
                Phase::Unknown | Phase::Up | Phase::Down | Phase::Closing { .. } | Phase::Starting { .. } => {
                }
            }
        }
    }

    /// Counts the groups that might be idle by now.
    pub(super) fn look(&mut self, now: Now) {
        let due: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| group.looking.is_none() && group.look_at.is_some_and(|at| at <= now.elapsed))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let token = self.count(id);
            if let Some(group) = self.groups.get_mut(&id) {
                group.looking = Some(token);
            }
        }
    }

    pub(super) fn counted(&mut self, now: Now, id: GroupId, token: Token, count: Count) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let since_fresh = now.elapsed.saturating_sub(group.fresh_from);
        let idle_for = if count.holds > 0 { Duration::ZERO } else { count.idle.min(since_fresh) };
        let needed = group.idle_needed();
        let idle = count.holds == 0 && needed.is_some_and(|needed| idle_for >= needed);
        if group.looking == Some(token) {
            group.looking = None;
            let sleeps = |workload: &Workload| {
                self.members.get(workload).is_some_and(|member| member.phase == Phase::Down)
            };
            group.look_at = match needed {
                // There is nothing left to put to sleep; when something wakes, the time begins anew.
                Some(_) if idle && group.workloads.iter().all(sleeps) => None,
                Some(_) if idle => {
                    Some(now.elapsed + needed.unwrap_or(LOOK_AGAIN).clamp(LOOK_MIN, LOOK_AGAIN))
                }
                Some(needed) => {
                    let left = needed.saturating_sub(idle_for);
                    Some(now.elapsed + left.clamp(LOOK_MIN, LOOK_AGAIN.max(left)))
                }
                None => group.spec.idle.map(|idle| now.elapsed + idle.clamp(LOOK_MIN, LOOK_AGAIN)),
            };
        }
        group.idle = idle;
        let workloads: Vec<Workload> = group.workloads.iter().cloned().collect();
        for workload in workloads {
            self.counted_for(now, &workload, id, token, idle);
        }
    }

    /// A count that a workload waits for.
    fn counted_for(&mut self, now: Now, workload: &Workload, id: GroupId, token: Token, idle: bool) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let (Phase::Closing { stage: Stage::Counting { left }, .. }
        | Phase::Promised { stage: Promise::Counting { left }, .. }) = &mut member.phase
        else {
            return;
        };
        if left.get(&id) != Some(&token) {
            return;
        }
        left.remove(&id);
        let done = left.is_empty();
        match (&member.phase, idle) {
            (Phase::Closing { .. }, false) => self.abort(now, workload),
            (Phase::Closing { .. }, true) if done => self.ask_peers(now, workload),
            (Phase::Promised { .. }, false) => self.decline(workload),
            (Phase::Promised { .. }, true) if done => self.promise(workload),
            _ => {}
        }
    }

    /// Closes the gates of what nobody has used for long enough.
    pub(super) fn begin_to_sleep(&mut self, now: Now) {
        if !self.leads {
            return;
        }
        let tired: Vec<Workload> =
            self.members.keys().filter(|workload| self.may_sleep(now, workload)).cloned().collect();
        for workload in tired {
            self.rounds = self.rounds.wrapping_add(1);
            let round = Round(self.rounds);
            let left = self.count_all(&workload);
            let Some(member) = self.members.get_mut(&workload) else { continue };
            member.phase = Phase::Closing { round, stage: Stage::Counting { left } };
        }
    }

    fn may_sleep(&self, now: Now, workload: &Workload) -> bool {
        let member = self.member(workload);
        member.phase == Phase::Up
            && member.observed.is_some()
            && now.elapsed >= member.sleep_not_before
            && now.elapsed >= member.kept_awake_until
            && member.needed_by.iter().all(|other| self.member(other).is_gone())
            && !member.groups.is_empty()
            && member
                .groups
                .iter()
                .filter_map(|id| self.groups.get(id))
                .all(|group| group.idle && !group.wanted && group.idle_needed().is_some())
    }

    fn ask_peers(&mut self, now: Now, workload: &Workload) {
        if self.peers.is_empty() {
            return self.write(now, workload);
        }
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Closing { round, stage } = &mut member.phase else { return };
        *stage = Stage::Asking { since: now.elapsed, left: self.peers.clone() };
        for to in &self.peers {
            let message = Message::Quiesce { round: *round, workload: workload.clone(), ttl: QUIESCE_TTL };
            self.actions.push(Action::Tell { to: to.clone(), message });
        }
    }

    fn write(&mut self, now: Now, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Closing { stage, .. } = &mut member.phase else { return };
        *stage = Stage::Writing { until: now.elapsed + WRITE_WITHIN };
        let version = member.observed.map_or(0, |seen| seen.version);
        self.actions.push(Action::Sleep { workload: workload.clone(), version, within: WRITE_WITHIN });
    }

    pub(super) fn slept(&mut self, now: Now, workload: &Workload, result: Result<Observation, ScaleError>) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Closing { round, stage: Stage::Writing { until } } = member.phase else {
            return self.observed(now, workload, result);
        };
        match result {
            Ok(seen) => {
                // Somebody may have seen it gone, or awake again, before the answer came.
                let newest = member.observed.filter(|known| known.version > seen.version).unwrap_or(seen);
                member.observed = Some(newest);
                member.phase = Phase::Down;
                member.slept_at = Some(now.elapsed);
                for id in &member.groups {
                    if let Some(group) = self.groups.get_mut(id) {
                        group.sleep_commanded &= group.workloads.len() > 1;
                    }
                }
                self.note(workload, Note::Asleep);
                self.tell_peers(|workload| Message::Asleep { round, workload, observation: seen }, workload);
                self.conclude(now, workload, newest);
            }
            Err(ScaleError::Missing) => self.fall(workload),
            Err(error @ (ScaleError::Conflict | ScaleError::Refused(_))) => {
                let pause = if error == ScaleError::Conflict { LOOK_AGAIN } else { SLEEP_FAILED_PAUSE };
                member.sleep_not_before = now.elapsed + pause;
                member.phase = Phase::Up;
                self.tell_peers(|workload| Message::Release { round, workload }, workload);
                self.actions.push(Action::Observe(workload.clone()));
                self.note(workload, Note::SleepFailed(error.to_string().into()));
            }
            Err(ScaleError::Unreachable(reason)) => {
                // It may still happen until the time of the write is over; then it is looked up.
                member.sleep_not_before = now.elapsed + LOOK_AGAIN;
                member.phase = Phase::Settling { until, asked: false };
                self.note(workload, Note::SleepFailed(reason));
            }
        }
    }

    pub(super) fn told(&mut self, now: Now, from: PeerId, message: Message) {
        match message {
            Message::Quiesce { round, workload, ttl } => self.quiesce(now, from, round, &workload, ttl),
            Message::Quiesced { round, workload } => self.peer_promised(now, &from, round, &workload),
            Message::Busy { round, workload } => {
                let is_asking = matches!(
                    self.member(&workload).phase,
                    Phase::Closing { round: known, stage: Stage::Asking { .. } } if known == round
                );
                if is_asking {
                    self.abort(now, &workload);
                }
            }
            Message::Release { round, workload } => {
                if self.has_promised(&workload, round) {
                    self.restore(&workload);
                }
            }
            Message::Asleep { round, workload, observation } => {
                if self.has_promised(&workload, round) {
                    self.observed(now, &workload, Ok(observation));
                }
            }
        }
    }

    fn peer_promised(&mut self, now: Now, from: &PeerId, round: Round, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Closing { round: known, stage: Stage::Asking { since, left } } = &mut member.phase else {
            return;
        };
        if *known != round || now.elapsed >= *since + QUIESCE_ANSWER {
            return;
        }
        left.remove(from);
        if left.is_empty() {
            self.write(now, workload);
        }
    }

    /// A leader asks for a promise.
    fn quiesce(&mut self, now: Now, leader: PeerId, round: Round, workload: &Workload, ttl: Duration) {
        let busy = Message::Busy { round, workload: workload.clone() };
        let member = self.member(workload);
        let is_wanted = member.groups.iter().filter_map(|id| self.groups.get(id)).any(|group| group.wanted);
        let until = now.elapsed + ttl;
        let may_promise = match &member.phase {
            Phase::Up => true,
            // Its newest word replaces the one before.
            Phase::Promised { leader: known, .. } => *known == leader,
            Phase::Down => true,
            Phase::Unknown | Phase::Closing { .. } | Phase::Settling { .. } | Phase::Starting { .. } => false,
        };
        if !may_promise || is_wanted {
            self.actions.push(Action::Tell { to: leader, message: busy });
            return;
        }
        let left = self.count_all(workload);
        self.set_phase(workload, Phase::Promised { leader, round, until, stage: Promise::Counting { left } });
    }

    /// Nobody uses it here.
    fn promise(&mut self, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Promised { leader, round, stage, .. } = &mut member.phase else { return };
        *stage = Promise::Given;
        let message = Message::Quiesced { round: *round, workload: workload.clone() };
        self.actions.push(Action::Tell { to: leader.clone(), message });
    }

    /// Somebody uses it here, and no promise was given yet.
    pub(super) fn decline(&mut self, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Promised { leader, round, .. } = &member.phase else { return };
        let message = Message::Busy { round: *round, workload: workload.clone() };
        self.actions.push(Action::Tell { to: leader.clone(), message });
        self.restore(workload);
    }

    /// What it was before a promise, by what was observed last.
    pub(super) fn restore(&mut self, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let is_down = member.observed.is_some_and(|seen| seen.desired == 0);
        member.phase = if is_down { Phase::Down } else { Phase::Up };
    }

    /// Ends an attempt that has not been written yet.
    pub(super) fn abort(&mut self, now: Now, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let Phase::Closing { round, stage } = &member.phase else { return };
        let round = *round;
        let asked = match stage {
            Stage::Counting { .. } => false,
            Stage::Asking { .. } => true,
            Stage::Writing { .. } => return,
        };
        member.phase = Phase::Up;
        let mut pause = LOOK_AGAIN;
        for id in &member.groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.idle = false;
            let idle = group.spec.idle.unwrap_or(LOOK_AGAIN).clamp(LOOK_MIN, LOOK_AGAIN);
            group.look_at = Some(now.elapsed + idle);
            pause = pause.min(idle);
        }
        member.sleep_not_before = member.sleep_not_before.max(now.elapsed + pause);
        self.note(workload, Note::SleepAborted);
        if asked {
            self.tell_peers(|workload| Message::Release { round, workload }, workload);
        }
    }

    pub(super) fn abort_all(&mut self, now: Now) {
        let workloads: Vec<Workload> = self.members.keys().cloned().collect();
        for workload in workloads {
            self.abort(now, &workload);
            if let Phase::Promised { stage: Promise::Counting { .. }, .. } = self.member(&workload).phase {
                self.decline(&workload);
            }
        }
    }

    fn has_promised(&self, workload: &Workload, round: Round) -> bool {
        matches!(self.member(workload).phase, Phase::Promised { round: known, .. } if known == round)
    }

    fn set_phase(&mut self, workload: &Workload, phase: Phase) {
        if let Some(member) = self.members.get_mut(workload) {
            member.phase = phase;
        }
    }

    fn tell_peers(&mut self, message: impl Fn(Workload) -> Message, workload: &Workload) {
        let tell = |to: &PeerId| Action::Tell { to: to.clone(), message: message(workload.clone()) };
        self.actions.extend(self.peers.iter().map(tell));
    }

    /// Has every group counted that a workload is in. The gates are closed before that.
    fn count_all(&mut self, workload: &Workload) -> BTreeMap<GroupId, Token> {
        let groups = self.member(workload).groups.clone();
        groups.into_iter().map(|id| (id, self.count(id))).collect()
    }

    fn count(&mut self, group: GroupId) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.counts.push(Action::Count { group, token });
        token
    }
}

/// Nothing is looked at more often.
const LOOK_MIN: Duration = Duration::from_millis(100);
