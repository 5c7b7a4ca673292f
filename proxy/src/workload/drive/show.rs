//! What requests find at a gate, and what those who wait are shown.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use wake::machine::{self, GroupId, State};
use wake::workload::Kind;

use super::super::gate::{Gate, Passage, View};
use super::super::probe;
use super::Driver;

impl Driver {
    /// What the machine holds to be open may open now.
    pub(super) fn open_what_was_held(&mut self) {
        let gates: Vec<(GroupId, machine::Gate)> =
            self.gates.iter().map(|(id, driven)| (*id, driven.last.clone())).collect();
        for (id, gate) in gates {
            self.set_gate(id, gate);
            if let Some(gate) = self.gates.get(&id).and_then(|driven| driven.gate.upgrade()) {
                gate.nudge();
            }
        }
    }

    pub(super) fn set_gate(&mut self, id: GroupId, new: machine::Gate) {
        let Some(driven) = self.gates.get_mut(&id) else { return };
        let Some(gate) = driven.gate.upgrade() else { return };
        let waited = driven.since.is_some();
        let serves = self.peers.serves();
        match &new {
            machine::Gate::Open if !self.peers.has_joined() => gate.set(Passage::Closed),
            // Nobody comes to a process that serves nobody, so nobody has to see that something answers.
            machine::Gate::Open if !serves => gate.set(Passage::Open),
            machine::Gate::Open if waited || gate.waiting() > 0 => gate.set(Passage::Opening),
            machine::Gate::Open => gate.set(Passage::Open),
            machine::Gate::Asleep | machine::Gate::Waking | machine::Gate::Refused(_) => {
                gate.set(Passage::Closed);
            }
        }
        match &new {
            machine::Gate::Waking => {
                driven.since.get_or_insert_with(Instant::now);
            }
            machine::Gate::Open | machine::Gate::Asleep | machine::Gate::Refused(_) => {
                driven.since = None;
                driven.cause = None;
            }
        }
        let probes = serves && (matches!(new, machine::Gate::Waking) || gate.is_opening());
        let wakes = matches!(new, machine::Gate::Waking);
        driven.last = new;
        if wakes {
            self.look_for_trouble(id);
        }
        self.show(id);
        if probes {
            self.probe(&gate);
        }
    }

    /// Has found out why what others woke takes long; what is woken from here is looked at by whoever does it.
    fn look_for_trouble(&self, id: GroupId) {
        let Some(cluster) = &self.cluster else { return };
        for (workload, state) in self.machine.states(id) {
            if matches!(state, State::Waking { .. }) && workload.reference.kind != Kind::Process {
                cluster.watch_for_trouble(&workload);
            }
        }
    }

    pub(super) fn probe(&mut self, gate: &Arc<Gate>) {
        let Some(driven) = self.gates.get_mut(&gate.id) else { return };
        if driven.probing.as_ref().is_none_or(JoinHandle::is_finished) {
            let task = tokio::spawn(probe::run(Arc::downgrade(gate), self.sender.clone()));
            driven.probing = Some(task);
        }
    }

    /// Has those who wait see how far it is.
    pub(super) fn show_progress(&mut self) {
        let waking: Vec<GroupId> =
            self.gates.iter().filter(|(_, driven)| driven.since.is_some()).map(|(id, _)| *id).collect();
        for id in waking {
            self.show(id);
        }
    }

    fn show(&self, id: GroupId) {
        let Some(driven) = self.gates.get(&id) else { return };
        let Some(gate) = driven.gate.upgrade() else { return };
        let states = self.machine.states(id);
        let usual = states.iter().filter_map(|(workload, _)| self.usual.get(workload)).max().copied();
        let trouble = self.cluster.as_ref().and_then(|cluster| {
            let waking = states.iter().filter(|(_, state)| matches!(state, State::Waking { .. }));
            waking.filter_map(|(workload, _)| cluster.trouble(workload)).next()
        });
        let members: Vec<_> = states
            .into_iter()
            .map(|(workload, state)| (workload.reference.name.as_ref().into(), state))
            .collect();
        let old = gate.view();
        let view = View {
            gate: Some(driven.last.clone()),
            members,
            since: driven.since,
            trouble,
            unmanaged: None,
            usual,
        };
        let same = old.gate == view.gate
            && old.members == view.members
            && old.since == view.since
            && old.trouble == view.trouble;
        if !same {
            gate.show(view);
        }
    }
}
