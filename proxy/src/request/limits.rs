//! What a request may cost: how often it may come, how many at once, and how long its body may be.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;

use super::record::Record;
use crate::limit::{Answer, By, Decision, Limiting, Mode, Value, network_of};
use crate::message::{Body, Request};
use crate::reject::{Exceeded, Reject};
use crate::route::Route;
use crate::settings::Settings;
use crate::snapshot::Served;
use crate::worker::Worker;

/// Who sends the request, as far as limits are concerned.
pub(super) struct Sender<'a> {
    /// `None` for an address that stands for many clients: their requests must not share one limit.
    address: Option<IpAddr>,
    headers: &'a HeaderMap,
}

impl<'a> Sender<'a> {
    /// The client of a request at `address`.
    pub(super) fn new(address: IpAddr, headers: &'a HeaderMap, served: &Served, settings: &Settings) -> Self {
        let shared = || settings.limits.shared_networks.iter().any(|network| network.contains(&address));
        let address = (!served.speaks_for_others(address) && !shared()).then(|| network_of(address));
        Sender { address, headers }
    }

    /// What a limit counts this request by. `None`: it does not count it.
    fn value(&self, by: &By) -> Option<Value<'a>> {
        match by {
            By::Address => self.address.map(Value::Address),
            By::Route => Some(Value::All),
            By::Header(name) => match self.headers.get(name) {
                Some(value) => Some(Value::Text(value.as_bytes())),
                None => self.address.map(Value::Address),
            },
        }
    }
}

/// Counts the request against every limit of its route; the first that refuses ends it.
pub(super) fn count(
    worker: &Rc<Worker>,
    limiting: &Limiting,
    sender: &Sender<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    if sender.address.is_some_and(|address| limiting.exempts(address)) {
        return Ok(());
    }
    let limiter = &worker.shared.limiter;
    let now = record.started.saturating_duration_since(worker.shared.started);
    for limit in &limiting.at_once {
        let Some(value) = sender.value(&limit.by) else { continue };
        match (limiter.enter(limit, value), limit.mode) {
            (Some(flight), _) => record.hold(flight),
            (None, Mode::DryRun) => worker.metrics.limited_dry_run(),
            (None, Mode::Enforced) => {
                return Err(Reject::TooManyAtOnce(exceeded(&limit.answer, RETRY_AT_ONCE)));
            }
        }
    }
    for limit in &limiting.rates {
        let Some(value) = sender.value(&limit.by) else { continue };
        match (limiter.count(limit, value, now), limit.mode) {
            (Decision::Passes, _) => {}
            (Decision::Refused { .. }, Mode::DryRun) => worker.metrics.limited_dry_run(),
            (Decision::Refused { wait }, Mode::Enforced) => {
                return Err(Reject::RateLimited(exceeded(&limit.answer, wait)));
            }
        }
    }
    Ok(())
}

/// Holds the body to what the route allows: at once where its length was announced, else as it flows.
pub(super) fn body(route: &Route, settings: &Settings, request: &mut Request) -> Result<(), Reject> {
    let Some(max) = route.limits.body_bytes_max(settings.limits.body_bytes.0) else { return Ok(()) };
    match request.body.exact_length() {
        Some(length) if length > max => return Err(Reject::BodyTooLarge),
        Some(_) => {}
        None => request.body = Body::limited(std::mem::take(&mut request.body), max),
    }
    Ok(())
}

fn exceeded(answer: &Answer, wait: Duration) -> Exceeded {
    // Whoever took over another controller's configuration expects its answers, which name no time.
    let retry_after = answer.status.is_none().then_some(wait);
    Exceeded { rule: answer.rule.clone(), status: answer.status, retry_after }
}

/// Nobody knows when a request that is under way ends.
const RETRY_AT_ONCE: Duration = Duration::from_secs(1);
