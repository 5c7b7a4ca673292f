//! Which workloads a route needs, and in which order they start.
//!
//! `deployment/app after statefulset/db, cluster.postgresql.cnpg.io/pg; deployment/worker`: stages stand between the word
//! `after`, the members of a stage between commas, and clauses that have nothing to do with each other between semicolons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::workload::{Reference, ReferenceError, shorten};

/// Workloads of one namespace, each with what it starts after. Never empty, never a circle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plan {
    // Shared by whoever keeps it: the gate, its policy, and the machine.
    members: Arc<BTreeMap<Reference, BTreeSet<Reference>>>,
}

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("it names no workload")]
    Empty,
    #[error("`{0}` is no list of workloads: put commas between them, and `after` before what they need")]
    List(Box<str>),
    #[error("{0} would have to start after itself")]
    Circle(Reference),
    #[error("it names {0} workloads, at most {WORKLOADS_MAX} are taken")]
    TooMany(usize),
}

impl Plan {
    /// Reads a plan as it is written in an annotation.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut members: BTreeMap<Reference, BTreeSet<Reference>> = BTreeMap::new();
        for clause in text.split(';').map(str::trim).filter(|clause| !clause.is_empty()) {
            let mut later: Vec<Reference> = Vec::new();
            for stage in stages(clause) {
                let stage = stage?;
                for reference in &stage {
                    members.entry(reference.clone()).or_default();
                }
                for reference in &later {
                    members.entry(reference.clone()).or_default().extend(stage.iter().cloned());
                }
                later = stage;
            }
        }
        Plan::of(members)
    }

    /// One workload that needs no other.
    pub fn single(reference: Reference) -> Self {
        Plan { members: Arc::new(BTreeMap::from([(reference, BTreeSet::new())])) }
    }

    /// Workloads that start together.
    pub fn together(references: impl IntoIterator<Item = Reference>) -> Result<Self, PlanError> {
        Plan::of(references.into_iter().map(|reference| (reference, BTreeSet::new())).collect())
    }

    fn of(members: BTreeMap<Reference, BTreeSet<Reference>>) -> Result<Self, PlanError> {
        match members.len() {
            0 => return Err(PlanError::Empty),
            1..=WORKLOADS_MAX => {}
            count => return Err(PlanError::TooMany(count)),
        }
        let plan = Plan { members: Arc::new(members) };
        match plan.circle() {
            Some(guilty) => Err(PlanError::Circle(guilty)),
            None => Ok(plan),
        }
    }

    /// Each workload with those that it starts after.
    pub fn members(&self) -> impl Iterator<Item = (&Reference, &BTreeSet<Reference>)> {
        self.members.iter()
    }

    /// One of those that can never start because each waits for another.
    fn circle(&self) -> Option<Reference> {
        let mut left: BTreeSet<&Reference> = self.members.keys().collect();
        loop {
            let waits = |reference: &&&Reference| {
                self.members[**reference].iter().any(|needed| left.contains(needed))
            };
            let stuck: BTreeSet<&Reference> = left.iter().filter(waits).copied().collect();
            if stuck.len() == left.len() {
                return left.first().map(|guilty| Reference::clone(guilty));
            }
            left = stuck;
        }
    }
}

impl fmt::Display for Plan {
    /// The workloads alone, in the order of their names: `deployment/app, statefulset/db`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reference) in self.members.keys().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{reference}")?;
        }
        Ok(())
    }
}

/// The lists between the words `after`.
fn stages(clause: &str) -> impl Iterator<Item = Result<Vec<Reference>, PlanError>> {
    let words: Vec<&str> = clause.split_whitespace().collect();
    let stages: Vec<Vec<&str>> = words.split(|word| *word == "after").map(<[&str]>::to_vec).collect();
    stages.into_iter().map(|stage| {
        let text = stage.join(" ");
        text.split(',')
            .map(str::trim)
            .map(|item| {
                if item.is_empty() || item.contains(' ') {
                    return Err(PlanError::List(shorten(&text)));
                }
                Ok(Reference::parse(item)?)
            })
            .collect()
    })
}

/// Workloads of one plan.
pub const WORKLOADS_MAX: usize = 16;

#[cfg(test)]
mod tests;
