//! The numbers of all keys, in a table that never grows.
//!
//! A set is one cache line: four keys, each a hash of 64 bits, and their numbers. A key may stand in either of two sets, which
//! at a third of the room leaves none without a place. A cell whose number lies in the past says the same as no cell at all, so
//! taking its place loses nothing. Only when all eight cells are in use is one taken from a key, the one whose number would
//! have been past first.
//!
//! Counting on a known key is one look at one or two lines and one compare-and-swap; nobody ever waits for it. New keys
//! take their place under one of [`STRIPES`] locks, which every key always asks for the same of, so that two workers cannot
//! both bring in the same key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::rule::Rate;

/// What a limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Passes,
    /// And would pass after this time, if no other request of the key came before it.
    Refused {
        wait: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Cells {
    sets: Box<[Set]>,
    stripes: Box<[Mutex<()>]>,
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    /// 0: nobody's.
    keys: [AtomicU64; WAYS],
    /// Nanoseconds since the process began at which all that passed would have come, had it come evenly.
    due: [AtomicU64; WAYS],
}

/// Where a key stands.
#[derive(Clone, Copy)]
struct Cell<'c> {
    key: &'c AtomicU64,
    due: &'c AtomicU64,
}

impl Cells {
    /// Three times as many cells as `keys`: then none is without room.
    pub(super) fn new(keys: usize) -> Cells {
        let sets = (keys * 3).div_ceil(WAYS).max(2);
        Cells {
            sets: (0..sets).map(|_| Set::default()).collect(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            forgotten: AtomicU64::new(0),
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    /// Counts one request of `key` at `now`, unless it is refused.
    pub(super) fn count(&self, key: u64, rate: &Rate, now: u64) -> Decision {
        let key = key.max(1);
        loop {
            let cell = self.find(key).unwrap_or_else(|| self.bring_in(key, now));
            // `None`: another key took the cell in between.
            if let Some(decision) = cell.count(key, rate, now) {
                return decision;
            }
        }
    }

    /// The number of a key, if it stands here.
    pub(super) fn due(&self, key: u64) -> Option<u64> {
        self.find(key.max(1)).map(|cell| cell.due.load(Ordering::Relaxed))
    }

    /// Puts the number of a key up to `due`. A key that was forgotten meanwhile stays so.
    pub(super) fn raise(&self, key: u64, due: u64) {
        if let Some(cell) = self.find(key.max(1)) {
            cell.due.fetch_max(due, Ordering::Relaxed);
        }
    }

    fn find(&self, key: u64) -> Option<Cell<'_>> {
        let sets = self.sets_of(key);
        // Both sets are read before either is looked at: where they are not in the processor's cache, they come at the same time.
        let keys =
            sets.map(|set| std::array::from_fn::<u64, WAYS, _>(|way| set.keys[way].load(Ordering::Relaxed)));
        let place = keys.as_flattened().iter().position(|known| *known == key)?;
        sets[place / WAYS].cells().nth(place % WAYS)
    }

    /// Gives `key` the cell that can best be spared.
    #[cold]
    fn bring_in(&self, key: u64, now: u64) -> Cell<'_> {
        let stripe = &self.stripes[key as usize % STRIPES];
        let _turn = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(cell) = self.find(key) {
                return cell;
            }
            // Of free cells one in the emptier set: so both sets of a key are hardly ever full.
            let in_use = |set: &Set| set.due.iter().filter(|due| due.load(Ordering::Relaxed) > now).count();
            let sets = self.sets_of(key).into_iter().map(|set| (in_use(set), set));
            let cells = sets.flat_map(|(in_use, set)| set.cells().map(move |cell| (in_use, cell)));
            let needed_until = |cell: &Cell<'_>| {
                let due = cell.due.load(Ordering::Relaxed);
                if due > now { due } else { 0 }
            };
            let spare = cells.min_by_key(|(in_use, cell)| (needed_until(cell), *in_use));
            let Some((_, cell)) = spare else { continue };
            let old = cell.key.load(Ordering::Relaxed);
            if cell.key.compare_exchange(old, key, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            if old != 0 && cell.due.load(Ordering::Relaxed) > now {
                cell.due.store(0, Ordering::Relaxed);
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            return cell;
        }
    }

    /// The two places of a key.
    fn sets_of(&self, key: u64) -> [&Set; 2] {
        let sets = self.sets.len() as u64;
        // Each half of the hash picks one set; multiplying spreads evenly over any number of them.
        let at = |half: u64| &self.sets[(((half & 0xffff_ffff) * sets) >> 32) as usize];
        [at(key), at(key >> 32)]
    }
}

impl Set {
    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        self.keys.iter().zip(&self.due).map(|(key, due)| Cell { key, due })
    }
}

impl Cell<'_> {
    fn count(self, key: u64, rate: &Rate, now: u64) -> Option<Decision> {
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            if self.key.load(Ordering::Relaxed) != key {
                return None;
            }
            let ahead = due.saturating_sub(now);
            if ahead > rate.tolerance_ns() {
                let wait = Duration::from_nanos(ahead - rate.tolerance_ns());
                return Some(Decision::Refused { wait });
            }
            let next = due.max(now).saturating_add(rate.interval_ns());
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Decision::Passes),
                Err(current) => due = current,
            }
        }
    }
}

const WAYS: usize = 4;
const STRIPES: usize = 256;

#[cfg(test)]
mod tests;
