//! What is told of workloads: in the log, and to the counters. Events in a cluster are written by whoever scales there.

use std::time::Instant;

use wake::machine::{Note, Now, State};
use wake::workload::Workload;

use super::super::cause::{Cause, Why};
use super::Driver;
use crate::workload::gate::Gate;

impl Driver {
    /// Remembers whose request it is that wakes what is behind a gate, and says so, once.
    pub(super) fn note_cause(&mut self, gate: &Gate, cause: Cause) {
        let Some(driven) = self.gates.get_mut(&gate.id) else { return };
        if driven.since.is_some() || !gate.is_closed() || !self.peers.has_joined() {
            return;
        }
        tracing::info!(
            route = %cause.route, request_id = %cause.request_id, user = ?cause.user, agent = cause.agent.as_str(),
            "a request asks to wake {gate}"
        );
        driven.cause = Some(cause.bounded());
    }

    /// Why a workload is woken now.
    pub(super) fn why(&self, now: Now, workload: &Workload) -> Why {
        let mut gates = self.gates.iter().filter(|(_, driven)| driven.cause.is_some());
        let found = gates.find_map(|(id, driven)| {
            let leads_there = self.machine.leads_to(*id, workload);
            driven.cause.clone().filter(|_| leads_there)
        });
        match found {
            Some(cause) => Why::Request(cause),
            None if self.machine.is_pinned(now, workload) => Why::Command,
            None => Why::Schedule,
        }
    }

    pub(super) fn note(&mut self, workload: &Workload, note: Note) {
        self.counters.note(workload, &note);
        match note {
            Note::Waking => tracing::info!(%workload, "waking"),
            Note::Awake { took: Some(took) } => {
                self.usual.insert(workload.clone(), took);
                tracing::info!(%workload, ?took, "awake");
            }
            Note::Awake { took: None } => tracing::info!(%workload, "awake; others woke it"),
            Note::Asleep => {
                tracing::info!(%workload, "put to sleep: nobody has used it");
                if let (Some(cluster), true) = (&self.cluster, self.in_backup) {
                    cluster.tell_missed_by_backup(vec![workload.clone()]);
                }
            }
            Note::SleepAborted => tracing::debug!(%workload, "not put to sleep: somebody uses it"),
            Note::WakeFailed(reason) => {
                tracing::error!(%workload, %reason, "cannot be woken");
                self.find_again(workload);
            }
            Note::SleepFailed(reason) => tracing::warn!(%workload, %reason, "cannot be put to sleep"),
            Note::Contested => {
                tracing::warn!(
                    %workload,
                    "somebody else scales it up as often as it is put to sleep, and it is left alone for an hour"
                );
                if let Some(cluster) = &self.cluster {
                    cluster.tell_who_contests(workload);
                }
            }
        }
    }

    /// When backups begin, tells of all that they would find asleep.
    pub(super) fn look_at_backups(&mut self) {
        let inside = self.leads && !self.backup.is_empty() && self.backup.until(self.now().wall).is_some();
        let began = inside && !self.in_backup;
        self.in_backup = inside;
        if let (Some(cluster), true) = (&self.cluster, began) {
            let asleep = self.machine.workloads().filter(|(_, state)| *state == State::Asleep);
            cluster.tell_missed_by_backup(asleep.map(|(workload, _)| workload.clone()).collect());
        }
    }

    /// Has the counters see what everything is doing now.
    pub(super) fn count_states(&self) {
        let trouble =
            |workload: &Workload| self.cluster.as_ref().and_then(|cluster| cluster.trouble(workload));
        self.counters.see(Instant::now(), self.machine.workloads(), trouble);
    }
}
