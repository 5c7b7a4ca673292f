//! The statuses of a Gateway and its ListenerSets, once it is known which ports and addresses could be had.

use std::sync::Arc;

use super::{Claim, Door, LoweredGateway, Side};
use crate::config::lower::Place;
use crate::config::status::{Condition, GatewayStatus, ListenerSetStatus, ListenerStatus};

/// What came of a Gateway's listeners when they were put on sockets.
pub(crate) struct Outcome<'a> {
    /// Ports without sockets, with the reason.
    pub(crate) unbound: &'a [(u16, Arc<str>)],
    pub(crate) claim: Claim,
}

impl LoweredGateway {
    /// The status of the Gateway and those of its sets; `attached` says how many routes a section carries.
    pub(crate) fn status(
        &self,
        outcome: &Outcome<'_>,
        attached: impl Fn(&Place) -> u32,
    ) -> (GatewayStatus, Vec<ListenerSetStatus>) {
        let listeners = report_all(&self.sides, &self.doors, outcome, &attached);
        let sets: Vec<ListenerSetStatus> = self
            .sets
            .iter()
            .map(|set| {
                let listeners = report_all(&set.sides, &set.doors, outcome, &attached);
                let programmed = if !set.accepted.holds {
                    set.accepted.clone()
                } else if listeners.iter().any(|listener| listener.programmed.holds) {
                    Condition::yes("Programmed")
                } else {
                    Condition::no("ListenersNotValid", "no listener can be served")
                };
                ListenerSetStatus {
                    set: set.reference.clone(),
                    generation: set.generation,
                    accepted: set.accepted.clone(),
                    programmed,
                    listeners,
                }
            })
            .collect();
        let status = GatewayStatus {
            gateway: self.reference.clone(),
            generation: self.generation,
            accepted: self.accepted.clone(),
            programmed: self.programmed(&listeners, &sets, outcome),
            resolved_refs: self.resolved_refs.clone(),
            insecure_frontend_validation: self
                .insecure_frontend
                .then(|| Condition::yes("ConfigurationChanged")),
            attached_listener_sets: sets.iter().filter(|set| set.accepted.holds).count() as u32,
            addresses: outcome.claim.published.clone(),
            listeners,
        };
        (status, sets)
    }

    fn programmed(
        &self,
        listeners: &[ListenerStatus],
        sets: &[ListenerSetStatus],
        outcome: &Outcome<'_>,
    ) -> Condition {
        if !self.accepted.holds {
            return Condition::no("Invalid", self.accepted.message.clone());
        }
        if let Some(address) = outcome.claim.unusable.first() {
            let message = format!("the address {address} is none that this Gateway can have");
            return Condition::no("AddressNotUsable", message);
        }
        let served = |listener: &ListenerStatus| listener.programmed.holds;
        if listeners.iter().any(served) || sets.iter().any(|set| set.listeners.iter().any(served)) {
            Condition::yes("Programmed")
        } else {
            Condition::no("Invalid", "no listener can be served")
        }
    }
}

fn report_all(
    sides: &[Side],
    doors: &[Door],
    outcome: &Outcome<'_>,
    attached: &impl Fn(&Place) -> u32,
) -> Vec<ListenerStatus> {
    let one = |(side, door): (&Side, &Door)| {
        let lost = outcome.unbound.iter().find(|(port, _)| *port == side.port);
        let (accepted, programmed) = match lost.filter(|_| side.accepted.holds) {
            Some((_, message)) => {
                (Condition::no("PortUnavailable", message.clone()), Condition::no("Invalid", message.clone()))
            }
            None => (side.accepted.clone(), side.programmed.clone()),
        };
        ListenerStatus {
            name: side.name.clone(),
            supported_kinds: door.kinds.iter().map(|kind| kind.as_str()).collect(),
            attached_routes: attached(&door.place),
            accepted,
            programmed,
            resolved_refs: side.resolved_refs.clone(),
            conflicted: side.conflicted.clone(),
        }
    };
    sides.iter().zip(doors).map(one).collect()
}
