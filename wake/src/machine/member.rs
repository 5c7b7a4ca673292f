//! What is known of one workload, and how that changes with what is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Action, GroupId, Note, Now, PeerId, Round, Token};
use super::{CONTESTED_PAUSE, CONTESTED_TIMES, CONTESTED_WITHIN, Machine, OBSERVE_AGAIN};
use crate::scaler::{Observation, ScaleError};
use crate::workload::Workload;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) phase: Phase,
    /// The newest.
    pub(super) observed: Option<Observation>,
    pub(super) observed_again: Option<Duration>,
    pub(super) groups: Vec<GroupId>,
    /// By all plans together; never itself, by no way round.
    pub(super) needs: BTreeSet<Workload>,
    pub(super) needed_by: BTreeSet<Workload>,
    pub(super) sleep_not_before: Duration,
    /// By command.
    pub(super) kept_awake_until: Duration,
    /// When this replica put it to sleep, as long as nobody has used it since.
    pub(super) slept_at: Option<Duration>,
    pub(super) contests: u32,
    pub(super) wake_failures: u32,
}

/// What it is doing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not observed yet.
    Unknown,
    Awake,
    /// About to be put to sleep.
    Quiet,
    Asleep,
    Waking {
        since: Duration,
    },
    Failed(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not observed yet; requests pass.
    Unknown,
    Up,
    /// This replica is putting it to sleep.
    Closing {
        round: Round,
        stage: Stage,
    },
    /// Another one is, and has our promise.
    Promised {
        leader: PeerId,
        round: Round,
        until: Duration,
        stage: Promise,
    },
    /// It may have been put to sleep, or not: nobody passes before that was looked up.
    Settling {
        until: Duration,
        asked: bool,
    },
    Down,
    Starting {
        since: Duration,
        ask: Ask,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its gates are closed; who has entered is counted.
    Counting {
        left: BTreeMap<GroupId, Token>,
    },
    Asking {
        since: Duration,
        left: BTreeSet<PeerId>,
    },
    /// Cannot be called back.
    Writing {
        until: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    Counting {
        left: BTreeMap<GroupId, Token>,
    },
    Given,
    /// And taken back as far as that is possible: the leader was told that it is wanted.
    Regretted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Others woke it.
    Needless,
    Sent,
    Accepted,
    Failed {
        reason: Arc<str>,
        again_at: Duration,
    },
}

impl Member {
    pub(super) const NONE: Member = Member {
        phase: Phase::Unknown,
        observed: None,
        observed_again: None,
        groups: Vec::new(),
        needs: BTreeSet::new(),
        needed_by: BTreeSet::new(),
        sleep_not_before: Duration::ZERO,
        kept_awake_until: Duration::ZERO,
        slept_at: None,
        contests: 0,
        wake_failures: 0,
    };

    /// When something about it is due.
    pub(super) fn alarm(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Closing { stage: Stage::Asking { since, .. }, .. } => Some(*since + super::QUIESCE_ANSWER),
            Phase::Promised { until, .. } | Phase::Settling { until, asked: false } => Some(*until),
            Phase::Starting { ask: Ask::Failed { again_at, .. }, .. } => Some(*again_at),
            Phase::Unknown
            | Phase::Up
            | Phase::Down
            | Phase::Settling { asked: true, .. }
            | Phase::Closing { stage: Stage::Counting { .. } | Stage::Writing { .. }, .. }
            | Phase::Starting { ask: Ask::Needless | Ask::Sent | Ask::Accepted, .. } => None,
        }
    }

    pub(super) fn state(&self) -> State {
        match &self.phase {
            Phase::Unknown => State::Unknown,
            Phase::Up => State::Awake,
            Phase::Closing { .. } | Phase::Promised { .. } | Phase::Settling { .. } => State::Quiet,
            Phase::Down => State::Asleep,
            Phase::Starting { ask: Ask::Failed { reason, .. }, .. } => State::Failed(reason.clone()),
            Phase::Starting { since, ask: Ask::Needless | Ask::Sent | Ask::Accepted } => {
                State::Waking { since: *since }
            }
        }
    }

    /// Whether requests may use it.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Unknown)
    }

    /// Whether nothing of it is left, so that what it needs may go.
    pub(super) fn is_gone(&self) -> bool {
        self.phase == Phase::Down && self.observed.is_none_or(|seen| seen.ready == 0)
    }
}

impl Default for Member {
    fn default() -> Self {
        Member::NONE
    }
}

impl Machine {
    pub(super) fn observed(
        &mut self,
        now: Now,
        workload: &Workload,
        result: Result<Observation, ScaleError>,
    ) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let seen = match result {
            Ok(seen) if member.observed.is_none_or(|known| seen.version >= known.version) => {
                member.observed = Some(seen);
                seen
            }
            Ok(_) => match member.observed {
                Some(known) => known,
                None => return,
            },
            Err(ScaleError::Missing) => {
                member.observed = None;
                Observation::default()
            }
            Err(ScaleError::Conflict | ScaleError::Refused(_) | ScaleError::Unreachable(_)) => {
                // What cannot be looked up is as it was last seen: most likely it is there.
                if matches!(member.phase, Phase::Settling { asked: true, .. }) {
                    self.restore(workload);
                }
                return;
            }
        };
        self.conclude(now, workload, seen);
    }

    /// What an observation means for the phase.
    pub(super) fn conclude(&mut self, now: Now, workload: &Workload, seen: Observation) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let is_up = seen.desired > 0;
        match &mut member.phase {
            // The write's own answer decides.
            Phase::Closing { stage: Stage::Writing { .. }, .. } => {}
            Phase::Closing { .. } => {
                if !is_up {
                    self.abort(now, workload);
                    self.fall(workload);
                }
            }
            Phase::Settling { asked: false, .. } | Phase::Promised { .. } | Phase::Up => {
                if !is_up {
                    self.fall(workload);
                }
            }
            Phase::Unknown | Phase::Settling { asked: true, .. } => match (is_up, seen.ready) {
                (false, _) => self.fall(workload),
                (true, 0) => {
                    member.phase = Phase::Starting { since: now.elapsed, ask: Ask::Needless };
                }
                (true, _) => self.rise(now, workload),
            },
            Phase::Down => {
                if is_up {
                    member.phase = Phase::Starting { since: now.elapsed, ask: Ask::Needless };
                    if !seen.by_us {
                        self.contest(now, workload);
                    }
                    if seen.ready > 0 {
                        self.rise(now, workload);
                    }
                }
            }
            Phase::Starting { ask: Ask::Sent, .. } => {
                if is_up && seen.ready > 0 {
                    self.rise(now, workload);
                }
            }
            Phase::Starting { ask, .. } => {
                if !is_up {
                    // Not for one that failed: that nothing came of it is known.
                    if !matches!(ask, Ask::Failed { .. }) {
                        self.fall(workload);
                    }
                } else if seen.ready > 0 {
                    self.rise(now, workload);
                } else if matches!(ask, Ask::Failed { .. }) {
                    *ask = Ask::Needless;
                }
            }
        }
    }

    /// It is awake and can be used.
    pub(super) fn rise(&mut self, now: Now, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let took = match &member.phase {
            Phase::Starting { since, ask: Ask::Sent | Ask::Accepted } => {
                Some(now.elapsed.saturating_sub(*since))
            }
            _ => None,
        };
        let was_starting = matches!(member.phase, Phase::Starting { .. });
        member.phase = Phase::Up;
        member.wake_failures = 0;
        for id in &member.groups {
            if let Some(group) = self.groups.get_mut(id) {
                group.refresh(now);
            }
        }
        if was_starting {
            self.note(workload, Note::Awake { took });
        }
    }

    /// It sleeps.
    pub(super) fn fall(&mut self, workload: &Workload) {
        if let Some(member) = self.members.get_mut(workload) {
            member.phase = Phase::Down;
        }
    }

    /// Somebody else woke what was put to sleep here.
    fn contest(&mut self, now: Now, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        let soon = member.slept_at.is_some_and(|slept| now.elapsed < slept + CONTESTED_WITHIN);
        member.slept_at = None;
        if !soon {
            member.contests = 0;
            return;
        }
        member.contests += 1;
        if member.contests >= CONTESTED_TIMES {
            member.contests = 0;
            member.sleep_not_before = now.elapsed + CONTESTED_PAUSE;
            self.note(workload, Note::Contested);
        }
    }

    /// Asks what it is doing, unless that was asked just now.
    pub(super) fn observe_again(&mut self, now: Now, workload: &Workload) {
        let Some(member) = self.members.get_mut(workload) else { return };
        if member.observed_again.is_none_or(|last| now.elapsed >= last + OBSERVE_AGAIN) {
            member.observed_again = Some(now.elapsed);
            self.actions.push(Action::Observe(workload.clone()));
        }
    }
}
