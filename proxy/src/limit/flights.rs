//! Requests under way, by key. There are never more keys than requests, and those are bounded.

use std::sync::Arc;

use dashmap::{DashMap, Entry};

use super::Limiter;

#[derive(Debug, Default)]
pub(super) struct Flights(DashMap<u64, u32>);

/// One request under way; its place is given back on drop.
#[derive(Debug)]
pub struct Flight {
    limiter: Arc<Limiter>,
    key: u64,
}

impl Flight {
    pub(super) fn begin(limiter: &Arc<Limiter>, key: u64, max: u32) -> Option<Flight> {
        let mut under_way = limiter.flights.0.entry(key).or_insert(0);
        if *under_way >= max {
            let is_new = *under_way == 0;
            drop(under_way);
            if is_new {
                limiter.flights.0.remove_if(&key, |_, under_way| *under_way == 0);
            }
            return None;
        }
        *under_way += 1;
        drop(under_way);
        Some(Flight { limiter: Arc::clone(limiter), key })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Entry::Occupied(mut under_way) = self.limiter.flights.0.entry(self.key) {
            *under_way.get_mut() -= 1;
            if *under_way.get() == 0 {
                under_way.remove();
            }
        }
    }
}

#[cfg(test)]
impl Flights {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
