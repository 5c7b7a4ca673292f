//! What a request may cost: how often it may come, how many at once, and how long its body may be.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ::auth::Identity;
use http::HeaderMap;

use super::record::Record;
use crate::limit::{Answer, AtOnceLimit, Bounds, By, Decision, Limiting, Mode, RateLimit, Value, network_of};
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
    /// `None` where nobody is known, or nobody was asked yet.
    identity: Option<&'a Identity>,
}

impl<'a> Sender<'a> {
    /// The client of a request at `address`.
    pub(super) fn new(
        worker: &Worker,
        address: IpAddr,
        headers: &'a HeaderMap,
        (served, settings): (&Served, &Settings),
    ) -> Self {
        let written = || settings.limits.shared_networks.iter().any(|network| network.contains(&address));
        let shared = || written() || worker.shared.networks.hold(address);
        let address = (!served.speaks_for_others(address) && !shared()).then(|| network_of(address));
        Sender { address, headers, identity: None }
    }

    /// The same, known to be this account.
    pub(super) fn known_as(self, identity: Option<&'a Identity>) -> Self {
        // A server that says yes and not to whom leaves the name empty.
        Sender { identity: identity.filter(|identity| !identity.subject.is_empty()), ..self }
    }

    /// Gives `each` what a limit counts this request by; nothing where it does not count it.
    fn counted_by(
        &self,
        by: &By,
        mut each: impl FnMut(Value<'_>) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        let address = || self.address.map(Value::Address);
        let account = || match self.identity {
            Some(identity) => Some(Value::Account(&identity.subject)),
            None => address(),
        };
        let one = match by {
            By::Address => address(),
            By::Route => Some(Value::All),
            By::Header(name) => match self.headers.get(name) {
                Some(value) => Some(Value::Text(value.as_bytes())),
                None => address(),
            },
            By::User => account(),
            By::Group => match self.identity.map(|identity| &identity.groups) {
                Some(groups) if !groups.is_empty() => {
                    return groups.iter().try_for_each(|group| each(Value::Text(group.as_bytes())));
                }
                Some(_) | None => account(),
            },
            By::Claim(name) => {
                match self.identity.map(|identity| identity.values(name)).unwrap_or_default() {
                    values if values.is_empty() => account(),
                    values => {
                        return values.into_iter().try_for_each(|value| each(Value::Text(value.as_bytes())));
                    }
                }
            }
        };
        one.map_or(Ok(()), each)
    }
}

/// Counts the request against these limits of its route; the first that refuses ends it.
pub(super) fn count(
    worker: &Rc<Worker>,
    (limiting, bounds): (&Limiting, &Bounds),
    sender: &Sender<'_>,
    record: &mut Record,
) -> Result<(), Reject> {
    if sender.address.is_some_and(|address| limiting.exempts(address)) {
        return Ok(());
    }
    for limit in &bounds.at_once {
        sender.counted_by(&limit.by, |value| enter(worker, limit, value, record))?;
    }
    let now = record.started.saturating_duration_since(worker.shared.started);
    for limit in &bounds.rates {
        sender.counted_by(&limit.by, |value| count_one(worker, limit, value, now))?;
    }
    Ok(())
}

fn enter(worker: &Worker, limit: &AtOnceLimit, value: Value<'_>, record: &mut Record) -> Result<(), Reject> {
    match (worker.shared.limiter.enter(limit, value), limit.mode) {
        (Some(flight), _) => record.hold(flight),
        (None, Mode::DryRun) => worker.metrics.limited_dry_run(),
        (None, Mode::Enforced) => {
            return Err(Reject::TooManyAtOnce(exceeded(&limit.answer, RETRY_AT_ONCE)));
        }
    }
    Ok(())
}

fn count_one(worker: &Worker, limit: &RateLimit, value: Value<'_>, now: Duration) -> Result<(), Reject> {
    match (worker.shared.limiter.count(limit, value, now), limit.mode) {
        (Decision::Passes, _) => Ok(()),
        (Decision::Refused { .. }, Mode::DryRun) => {
            worker.metrics.limited_dry_run();
            Ok(())
        }
        (Decision::Refused { wait }, Mode::Enforced) => {
            Err(Reject::RateLimited(exceeded(&limit.answer, wait)))
        }
    }
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
