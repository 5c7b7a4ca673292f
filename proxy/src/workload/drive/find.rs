//! Which workloads a gate leads to.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::sleep;
use wake::machine::{self, GroupSpec};
use wake::plan::Plan;
use wake::policy::Target;
use wake::workload::{Kind, Workload};

use super::super::gate::{Gate, Passage, View};
use super::Driver;
use crate::cluster::scale::Kubernetes;

impl Driver {
    /// Finds out what a gate leads to, at once or by asking the API server.
    pub(super) fn look_up(&mut self, gate: &Arc<Gate>, is_known: bool) {
        match self.find(gate) {
            Found::Here(found) => self.take_found(gate, found),
            // What was found once is not asked for again; it is when it turns out to be gone.
            Found::InCluster(cluster) => {
                if !is_known {
                    self.ask(cluster, gate, Duration::ZERO);
                }
            }
        }
    }

    /// Which workloads a gate leads to, as far as that can be said without asking anybody.
    fn find(&self, gate: &Gate) -> Found {
        let listed = self.processes.for_services(&gate.namespace, &gate.services);
        let found = match (&gate.policy.target, &self.cluster) {
            (Target::Plan(plan), cluster) => self.check(gate, plan, cluster.is_some()).map(|()| plan.clone()),
            (Target::Own, _) if !listed.is_empty() => {
                Plan::together(listed).map_err(|error| error.to_string().into())
            }
            (Target::Own | Target::Group(_), Some(cluster)) => return Found::InCluster(cluster.clone()),
            (Target::Own, None) => Err(format!(
                "the Service {}/{} has no workload that could be woken: list one of its name under `workloads` in the settings",
                gate.namespace,
                gate.services.join(", ")
            )
            .into()),
            (Target::Group(_), None) => {
                Err("groups are known in a cluster only: name workloads as process/NAME".into())
            }
        };
        Found::Here(found)
    }

    /// Whether every workload of a plan is one that somebody here can wake.
    fn check(&self, gate: &Gate, plan: &Plan, in_cluster: bool) -> Result<(), Arc<str>> {
        for (reference, _) in plan.members() {
            let workload = reference.clone().within(&gate.namespace);
            if reference.kind == Kind::Process {
                self.processes.look(&workload).map_err(|_| {
                    let name = &reference.name;
                    format!("the settings list no workload `{name}` in the namespace {}", gate.namespace)
                })?;
            } else if !in_cluster {
                let message =
                    format!("{workload} cannot be woken: there is no cluster; only process/NAME can");
                return Err(message.into());
            }
        }
        Ok(())
    }

    /// Has the API server asked, after a pause.
    fn ask(&self, cluster: Kubernetes, gate: &Arc<Gate>, pause: Duration) {
        let (gate, found) = (Arc::downgrade(gate), self.found.clone());
        let turns = Arc::clone(&self.turns);
        tokio::spawn(async move {
            sleep(pause).await;
            let Ok(_turn) = turns.acquire().await else { return };
            let Some(strong) = gate.upgrade() else { return };
            let plan = match &strong.policy.target {
                Target::Own => cluster.own_workloads(&strong.namespace, &strong.services).await,
                Target::Group(group) => cluster.group(&strong.namespace, group).await,
                Target::Plan(plan) => Ok(plan.clone()),
            };
            drop(strong);
            let _ = found.send((gate, plan)).await;
        });
    }

    /// The API server's answer.
    pub(super) fn take_answer(&mut self, gate: &Arc<Gate>, plan: Result<Plan, Arc<str>>) {
        if let (Err(reason), Some(cluster)) = (&plan, &self.cluster) {
            let known = self.gates.get(&gate.id).and_then(|driven| driven.complaint.as_ref());
            if known != Some(reason) {
                tracing::warn!(reason = "CannotWake", "{reason}");
            }
            self.ask(cluster.clone(), gate, ASK_AGAIN);
        }
        self.take_found(gate, plan);
        self.note_complaints();
        self.reconfigure();
        self.work();
    }

    fn take_found(&mut self, gate: &Arc<Gate>, plan: Result<Plan, Arc<str>>) {
        let Some(driven) = self.gates.get_mut(&gate.id) else { return };
        let was_managed = driven.spec.is_some();
        match plan {
            Ok(plan) => {
                driven.complaint = None;
                driven.spec = Some(GroupSpec {
                    namespace: gate.namespace.clone(),
                    plan,
                    idle: gate.policy.idle,
                    keep_awake: gate.policy.keep_awake.clone(),
                    sleep: gate.policy.sleep.clone(),
                });
                if !was_managed {
                    gate.show(View::default());
                }
            }
            Err(reason) => {
                driven.complaint = Some(reason.clone());
                driven.spec = None;
                driven.last = machine::Gate::Open;
                driven.since = None;
                gate.set(Passage::Open);
                gate.show(View { unmanaged: Some(reason), ..View::default() });
            }
        }
    }

    pub(super) fn note_complaints(&self) {
        let mut complaints: Vec<Arc<str>> =
            self.gates.values().filter_map(|driven| driven.complaint.clone()).collect();
        complaints.sort();
        complaints.dedup();
        *self.complaints.lock().unwrap_or_else(PoisonError::into_inner) = complaints;
    }

    /// Another workload may stand behind the Service by now.
    pub(super) fn find_again(&self, workload: &Workload) {
        let Some(cluster) = &self.cluster else { return };
        for driven in self.gates.values() {
            let leads_there = |spec: &GroupSpec| {
                spec.namespace == workload.namespace
                    && spec.plan.members().any(|(reference, _)| *reference == workload.reference)
            };
            if driven.spec.as_ref().is_some_and(leads_there)
                && let Some(gate) = driven.gate.upgrade()
            {
                self.ask(cluster.clone(), &gate, Duration::ZERO);
            }
        }
    }
}

/// A gate and the workloads that it leads to.
pub(super) type Answer = (Weak<Gate>, Result<Plan, Arc<str>>);

/// Where it is known which workloads a gate leads to.
enum Found {
    Here(Result<Plan, Arc<str>>),
    InCluster(Kubernetes),
}

/// What could not be found is looked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(15);
