//! Which endpoint takes a request.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// Requests under way at one endpoint, per worker; past it other endpoints are tried, then the request is refused.
pub(crate) const IN_FLIGHT_MAX: u32 = 1_024;

/// Chooses an endpoint of `backend`, none of `tried` if another is left.
///
/// Near endpoints come before far ones, healthy ones before ejected ones; a half-open endpoint gets its single probe.
/// When more than half are ejected health is no longer believed and all of them count: if everything looks broken, the
/// fault is as likely on our side. Among equals the cheaper of two random ones is taken.
pub(crate) fn choose(
    pools: &Pools,
    backend: &Backend,
    tried: &[u64],
    now_ms: u64,
) -> Result<Choice, NoChoice> {
    let endpoints = backend.endpoints();
    let endpoints: &[Arc<Endpoint>] = &endpoints;
    match endpoints {
        [] => return Err(NoChoice::NoEndpoints),
        [only] => return admit(pools, only).ok_or(NoChoice::Saturated),
        _ => {}
    }
    if let Some(probe) =
        endpoints.iter().find(|endpoint| endpoint.health.claim_probe(now_ms) && !tried.contains(&endpoint.id))
        && let Some(choice) = admit(pools, probe)
    {
        return Ok(choice);
    }
    let ejected = endpoints.iter().filter(|endpoint| endpoint.health.is_ejected(now_ms)).count();
    let believe_health = ejected * 2 <= endpoints.len();
    let fit = |endpoint: &Endpoint| {
        !tried.contains(&endpoint.id) && (!believe_health || endpoint.health.is_open(now_ms))
    };
    // Ever wider circles: near and fit, fit, anything.
    let circles: [&dyn Fn(&Endpoint) -> bool; 3] =
        [&|endpoint| endpoint.spec.local && fit(endpoint), &|endpoint| fit(endpoint), &|_| true];
    for circle in circles {
        if let Some(choice) = pick(pools, backend, endpoints, now_ms, circle) {
            return Ok(choice);
        }
    }
    Err(NoChoice::Saturated)
}

/// The better of two random endpoints among those that `fits`, or the next in turn.
fn pick(
    pools: &Pools,
    backend: &Backend,
    endpoints: &[Arc<Endpoint>],
    now_ms: u64,
    fits: &dyn Fn(&Endpoint) -> bool,
) -> Option<Choice> {
    let count = endpoints.iter().filter(|endpoint| fits(endpoint)).count();
    let nth = |n: usize| {
        let endpoint = endpoints.iter().filter(|endpoint| fits(endpoint)).nth(n % count.max(1));
        endpoint.and_then(|endpoint| admit(pools, endpoint))
    };
    let (first, second) = match (count, backend.key.balance) {
        (0, _) => return None,
        (_, Balance::RoundRobin) => {
            let turn = backend.turn.fetch_add(1, Ordering::Relaxed);
            return (0..count).find_map(|step| nth(turn + step));
        }
        (1, Balance::PowerOfTwo) => return nth(0),
        (_, Balance::PowerOfTwo) => {
            let first = fastrand::usize(..count);
            (first, first + 1 + fastrand::usize(..count - 1))
        }
    };
    match (nth(first), nth(second)) {
        (Some(a), Some(b)) => Some(if b.pool.cost(now_ms) < a.pool.cost(now_ms) { b } else { a }),
        (a, b) => a.or(b).or_else(|| (0..count).find_map(nth)),
    }
}

fn admit(pools: &Pools, endpoint: &Arc<Endpoint>) -> Option<Choice> {
    let pool = pools.of(endpoint);
    (pool.in_flight() < IN_FLIGHT_MAX).then(|| Choice { endpoint: Arc::clone(endpoint), pool })
}

#[cfg(test)]
mod tests;
