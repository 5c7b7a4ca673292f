//! Who looked at which object, so that they are lowered again when it changes.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::config::problem::ObjectRef;

/// By the object that was looked at, found or not.
#[derive(Debug, Default)]
pub(super) struct Dependents(HashMap<ObjectRef, Set, RandomState>);

/// Most objects have one dependent; a Gateway or a Namespace may have thousands.
#[derive(Debug)]
enum Set {
    Few(SmallVec<[ObjectRef; 1]>),
    Many(BTreeSet<ObjectRef>),
}

impl Dependents {
    pub(super) fn of(&self, changed: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        let (few, many) = match self.0.get(changed) {
            Some(Set::Few(few)) => (few.as_slice(), None),
            Some(Set::Many(many)) => (&[][..], Some(many)),
            None => (&[][..], None),
        };
        few.iter().chain(many.into_iter().flatten())
    }

    pub(super) fn add(&mut self, source: &ObjectRef, depends: &[ObjectRef]) {
        for target in depends {
            match self.0.get_mut(target) {
                Some(set) => set.insert(source),
                None => {
                    self.0.insert(target.clone(), Set::Few(SmallVec::from_iter([source.clone()])));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, source: &ObjectRef, depends: &[ObjectRef]) {
        for target in depends {
            if let Some(set) = self.0.get_mut(target)
                && set.remove(source)
            {
                self.0.remove(target);
            }
        }
    }
}

impl Set {
    fn insert(&mut self, source: &ObjectRef) {
        match self {
            Set::Few(few) if few.contains(source) => {}
            Set::Few(few) if few.len() < FEW_MAX => few.push(source.clone()),
            Set::Few(few) => {
                let mut many: BTreeSet<ObjectRef> = few.drain(..).collect();
                many.insert(source.clone());
                *self = Set::Many(many);
            }
            Set::Many(many) => {
                many.insert(source.clone());
            }
        }
    }

    /// True when nothing is left.
    fn remove(&mut self, source: &ObjectRef) -> bool {
        match self {
            Set::Few(few) => {
                few.retain(|other| other != source);
                few.is_empty()
            }
            Set::Many(many) => {
                many.remove(source);
                many.is_empty()
            }
        }
    }
}

/// Up to here a walk is as fast as a tree, and far smaller.
const FEW_MAX: usize = 8;
