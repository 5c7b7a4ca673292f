//! What has come in for the machine, in as few steps as may be.

use std::collections::HashSet;

use wake::machine::Event;
use wake::scaler::{Observation, ScaleError};
use wake::workload::Workload;

/// These events, with observations of different workloads that follow one another made one event.
///
/// A step of the machine costs as much as there are workloads, and at the start each of them is observed. The order of all else
/// stays, and that of what was seen of one workload: each of those is a step of its own, for the machine draws its conclusions
/// between two steps.
pub(super) fn together(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut joined = Vec::new();
    let mut seen = Seen::default();
    for event in events {
        match event {
            Event::Observed { workload, result } => {
                if !seen.names.insert(workload.clone()) {
                    seen.end(&mut joined);
                    seen.names.insert(workload.clone());
                }
                seen.all.push((workload, result));
            }
            other => {
                seen.end(&mut joined);
                joined.push(other);
            }
        }
    }
    seen.end(&mut joined);
    joined
}

/// Observations that come in one step.
#[derive(Default)]
struct Seen {
    all: Vec<(Workload, Result<Observation, ScaleError>)>,
    names: HashSet<Workload>,
}

impl Seen {
    fn end(&mut self, joined: &mut Vec<Event>) {
        self.names.clear();
        if !self.all.is_empty() {
            joined.push(Event::ObservedTogether(std::mem::take(&mut self.all)));
        }
    }
}

#[cfg(test)]
mod tests;
