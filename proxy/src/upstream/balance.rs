//! Which endpoint takes a request.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::pool::{Pool, Pools};
use super::{Backend, Balance, Endpoint};

/// An endpoint with this worker's pool for it.
pub(crate) struct Choice {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) pool: Rc<Pool>,
}

/// Why no endpoint could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// The Service has no ready endpoint.
    NoEndpoints,
    /// Every endpoint has as many requests under way as it may have.
    Saturated,
}

/// What a choice is made in view of.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) pools: &'a Pools,
    /// An endpoint with so many requests of this worker under way is passed over.
    pub(crate) in_flight_max: u32,
    pub(crate) now_ms: u64,
    pub(crate) prefers: Prefers,
}

/// Which endpoint a request is for, where something decided that before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefers {
    #[default]
    Any,
    /// The one with this token.
    Endpoint(u64),
    /// Any of so many that have this key: rendezvous hashing, so that few keys move when endpoints come and go.
    Hashed { key: u64, among: u16 },
}

/// Chooses an endpoint of `backend`, none of `tried` if another is left.
///
/// Near endpoints come before far ones, healthy ones before ejected ones; a half-open endpoint gets its single probe.
/// When more than half are ejected health is no longer believed and all of them count: if everything looks broken, the
/// fault is as likely on our side. Among equals the cheaper of two random ones is taken.
pub(crate) fn choose(view: View<'_>, backend: &Backend, tried: &[u64]) -> Result<Choice, NoChoice> {
    let endpoints = backend.endpoints();
    let endpoints: &[Arc<Endpoint>] = &endpoints;
    let View { now_ms, .. } = view;
    match endpoints {
        [] => return Err(NoChoice::NoEndpoints),
        [only] => return view.admit(only).ok_or(NoChoice::Saturated),
        _ => {}
    }
    if let Some(choice) = view.preferred(endpoints, tried) {
        return Ok(choice);
    }
    let is_plain = |endpoint: &Arc<Endpoint>| !endpoint.spec.local && endpoint.health.is_open(now_ms);
    if tried.is_empty() && endpoints.iter().all(is_plain) {
        return view.pick(backend, endpoints.len(), |n| &endpoints[n]).ok_or(NoChoice::Saturated);
    }
    let untried = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.id);
    let probe = endpoints.iter().filter(untried).find(|endpoint| endpoint.health.claim_probe(now_ms));
    if let Some(choice) = probe.and_then(|endpoint| view.admit(endpoint)) {
        return Ok(choice);
    }
    let ejected = endpoints.iter().filter(|endpoint| endpoint.health.is_ejected(now_ms)).count();
    let believe_health = ejected * 2 <= endpoints.len();
    let fit: Candidates<'_> = endpoints
        .iter()
        .filter(untried)
        .filter(|endpoint| !believe_health || endpoint.health.is_open(now_ms))
        .collect();
    let near: Candidates<'_> = fit.iter().copied().filter(|endpoint| endpoint.spec.local).collect();
    // Ever wider circles: near and fit, fit, anything.
    view.pick(backend, near.len(), |n| near[n])
        .or_else(|| view.pick(backend, fit.len(), |n| fit[n]))
        .or_else(|| view.pick(backend, endpoints.len(), |n| &endpoints[n]))
        .ok_or(NoChoice::Saturated)
}

type Candidates<'a> = SmallVec<[&'a Arc<Endpoint>; 16]>;

impl View<'_> {
    /// The endpoint that the request is for, as long as it can be used; `None` leaves it to balancing.
    fn preferred(&self, endpoints: &[Arc<Endpoint>], tried: &[u64]) -> Option<Choice> {
        let usable =
            |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.id) && endpoint.health.is_open(self.now_ms);
        match self.prefers {
            Prefers::Any => None,
            Prefers::Endpoint(token) => {
                let found = endpoints.iter().filter(usable).find(|endpoint| endpoint.token == token)?;
                self.admit(found)
            }
            Prefers::Hashed { key, among } => {
                // Near ones come before far ones, as ever.
                let rank = |endpoint: &&Arc<Endpoint>| (endpoint.spec.local, mix(key ^ endpoint.token));
                let mut ranked: SmallVec<[_; 16]> =
                    endpoints.iter().filter(usable).map(|endpoint| (rank(&endpoint), endpoint)).collect();
                ranked.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
                let among = usize::from(among).clamp(1, ranked.len().max(1));
                let first = if among > 1 { fastrand::usize(..among) } else { 0 };
                // One of its own that is busy leaves the request to the others of the key, then to those that follow.
                let order = (first..among).chain(0..first).chain(among..ranked.len());
                order.into_iter().find_map(|n| self.admit(ranked.get(n)?.1))
            }
        }
    }

    /// The better of two random candidates, or the next in turn.
    fn pick<'e>(
        &self,
        backend: &Backend,
        count: usize,
        at: impl Fn(usize) -> &'e Arc<Endpoint>,
    ) -> Option<Choice> {
        let admit = |n: usize| self.admit(at(n % count));
        let (first, second) = match (count, backend.key.balance) {
            (0, _) => return None,
            (_, Balance::RoundRobin) => {
                let turn = backend.turn.fetch_add(1, Ordering::Relaxed) % count;
                return (turn..turn + count).find_map(admit);
            }
            (1, Balance::PowerOfTwo) => return admit(0),
            (_, Balance::PowerOfTwo) => {
                let first = fastrand::usize(..count);
                (first, first + 1 + fastrand::usize(..count - 1))
            }
        };
        match (admit(first), admit(second)) {
            (Some(a), Some(b)) => {
                Some(if b.pool.cost(self.now_ms) < a.pool.cost(self.now_ms) { b } else { a })
            }
            (a, b) => a.or(b).or_else(|| (0..count).find_map(admit)),
        }
    }

    fn admit(&self, endpoint: &Arc<Endpoint>) -> Option<Choice> {
        let pool = self.pools.of(endpoint);
        (pool.in_flight() < self.in_flight_max).then(|| Choice { endpoint: Arc::clone(endpoint), pool })
    }
}

/// Spreads the bits of a number over all of it (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
