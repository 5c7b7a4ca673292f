//! What requests find, as a consequence of what the workloads are doing.

use super::event::{Action, Gate, GateRefusal, GroupId, Now};
use super::member::{Ask, Phase};
use super::{Group, Machine};

impl Machine {
    pub(super) fn set_gates(&mut self, now: Now) {
        let changed: Vec<(GroupId, Gate)> = self
            .groups
            .iter()
            .map(|(id, group)| (*id, self.gate(now, group)))
            .filter(|(id, gate)| !is_same(&self.groups[id].gate, gate))
            .collect();
        for (id, gate) in changed {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            match gate {
                // Nobody waits any more: those before it pass, or are told why not.
                Gate::Open | Gate::Refused(_) => group.wanted = false,
                Gate::Asleep | Gate::Waking => {}
            }
            group.gate = gate.clone();
            self.actions.push(Action::Gate { group: id, gate });
        }
        for group in self.groups.values_mut() {
            group.wanted &= !matches!(group.gate, Gate::Open | Gate::Refused(_));
        }
    }

    fn gate(&self, now: Now, group: &Group) -> Gate {
        let members = || group.workloads.iter().map(|workload| (workload, self.member(workload)));
        if members().all(|(_, member)| member.is_usable()) {
            return Gate::Open;
        }
        let failed = members().find_map(|(workload, member)| match &member.phase {
            Phase::Starting { ask: Ask::Failed { reason, again_at }, .. } => Some(GateRefusal::Failed {
                workload: workload.clone(),
                reason: reason.clone(),
                again_in: again_at.saturating_sub(now.elapsed),
            }),
            _ => None,
        });
        if let Some(failed) = failed {
            return Gate::Refused(failed);
        }
        let starting = members().any(|(_, member)| matches!(member.phase, Phase::Starting { .. }));
        let sleeps = members().any(|(_, member)| member.phase == Phase::Down);
        match group.in_sleep {
            Some(until) if sleeps && !starting && !self.is_group_pinned(now, group) => {
                Gate::Refused(GateRefusal::Scheduled { until })
            }
            _ if starting || group.wanted => Gate::Waking,
            _ => Gate::Asleep,
        }
    }
}

/// The time until the next try runs by itself; it is told once.
fn is_same(old: &Gate, new: &Gate) -> bool {
    match (old, new) {
        (
            Gate::Refused(GateRefusal::Failed { workload, reason, .. }),
            Gate::Refused(GateRefusal::Failed { workload: other, reason: words, .. }),
        ) => workload == other && reason == words,
        _ => old == new,
    }
}
