//! Step 9: what stands behind the route is awake before the request goes on.
//!
//! Everything that refuses has been asked before: nobody wakes a workload who may not enter. The body of a request is not
//! read while it waits; what the client may send meanwhile is bounded by its connection. A request that waits keeps its head
//! and nothing of the buffers of its connection.

mod page;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::timeout_at;
use wake::machine::{self, GateRefusal};
use wake::policy::Wait;
use wake::quiet::{Reason, Visitor};

use super::record::Record;
use super::target::Target;
use crate::message::{Request, Response};
use crate::reject::Reject;
use crate::route::WeightedBackend;
use crate::worker::Worker;
use crate::workload::cause::{Agent, Cause};
use crate::workload::gate::{Gate, View};

/// Lets the request pass (`None`), or answers it: with the waiting page, or because it is one that wakes nobody.
///
/// A request that passes keeps the workloads awake until its record is dropped, which is after the last byte of its answer.
pub(super) async fn awaken(
    worker: &Rc<Worker>,
    gate: &Arc<Gate>,
    shares: &[WeightedBackend],
    target: &mut Target,
    request: &mut Request,
    record: &mut Record,
) -> Result<Option<Response>, Reject> {
    if request.headers.contains_key(PROGRESS) {
        return Ok(Some(page::progress(gate, shares, &request.headers)));
    }
    let quiet = gate.policy.quiet.reason(&visitor(target, request));
    let preflight = is_preflight(request);
    let hold = gate.enter(quiet.is_some() || preflight);
    if gate.is_open() && has_endpoints(shares) {
        record.keep_awake(hold);
        return Ok(None);
    }
    match quiet {
        Some(Reason::Probe | Reason::Monitor) => return Ok(Some(asleep())),
        Some(Reason::Crawler | Reason::Scraper | Reason::Speculative | Reason::Path | Reason::Agent) => {
            return Err(Reject::Asleep);
        }
        None if preflight => return Err(Reject::Asleep),
        None => {}
    }
    let patience = match gate.policy.wait {
        Wait::Hold => None,
        Wait::Auto | Wait::Page if !is_navigation(request) => None,
        Wait::Auto => Some(PAGE_AFTER),
        Wait::Page => Some(Duration::ZERO),
    };
    // Thousands may wait, and none of them keeps the buffer that it was read into.
    request.detach();
    target.path_and_query.detach();
    record.detach(target);
    request.interim.rest();
    let cause = || Cause {
        route: record.route_name(),
        request_id: record.request_id().as_str().into(),
        user: record.identity.as_ref().map(|identity| identity.user.as_str().into()),
        agent: if is_navigation(request) { Agent::Browser } else { Agent::Program },
    };
    match wait(gate, shares, patience, cause).await? {
        Waited::Ready => {
            record.keep_awake(hold);
            Ok(None)
        }
        Waited::Page => {
            let host = target.host.as_ref().map(|host| host.as_str());
            let settings = worker.settings();
            let view = gate.view();
            let request_id = record.request_id().as_str();
            Ok(Some(page::page(gate, &view, host, &settings.wake.page, &request.method, request_id)))
        }
    }
}

enum Waited {
    Ready,
    /// The patience of somebody who looks at a browser is over.
    Page,
}

/// Waits until the gate is open and something behind it answers.
async fn wait(
    gate: &Arc<Gate>,
    shares: &[WeightedBackend],
    patience: Option<Duration>,
    cause: impl Fn() -> Cause,
) -> Result<Waited, Reject> {
    let place = gate.queue().ok_or(Reject::TooManyWaiting)?;
    let began = Instant::now();
    let deadline = began + gate.policy.timeout;
    let page_at = patience.map(|patience| began + patience);
    let mut view = gate.watch();
    loop {
        let calls = judge(&view.borrow_and_update())?;
        if !gate.is_closed() && gate.is_proven(shares) {
            return Ok(Waited::Ready);
        }
        if calls {
            gate.want(&cause);
        }
        let until = page_at.unwrap_or(deadline).min(deadline);
        if timeout_at(until.into(), view.changed()).await.is_err() {
            if page_at.is_some_and(|at| at <= Instant::now()) {
                drop(place);
                return Ok(Waited::Page);
            }
            // Better a part of the backends than none.
            if gate.is_open() && has_endpoints(shares) {
                return Ok(Waited::Ready);
            }
            return Err(Reject::WakeTimeout(view.borrow().trouble.clone()));
        }
    }
}

/// Whether somebody who waits has to say that the gate is wanted; or why waiting is in vain.
fn judge(view: &View) -> Result<bool, Reject> {
    if let Some(reason) = &view.unmanaged {
        return Err(Reject::WakeFailed(reason.clone()));
    }
    match &view.gate {
        None | Some(machine::Gate::Open | machine::Gate::Asleep) => Ok(true),
        Some(machine::Gate::Waking) => Ok(false),
        Some(machine::Gate::Refused(GateRefusal::Failed { workload, reason, .. })) => {
            Err(Reject::WakeFailed(format!("{workload}: {reason}").into()))
        }
        Some(machine::Gate::Refused(GateRefusal::Scheduled { until })) => {
            let left = until.duration_since(wall_clock());
            Err(Reject::AsleepBySchedule(Duration::try_from(left).unwrap_or_default()))
        }
    }
}

/// The answer to machines that only look whether something is there: it is, and it sleeps.
fn asleep() -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(STATE, HeaderValue::from_static("asleep"));
    Response::full(StatusCode::OK, headers, "asleep\n")
}

fn visitor<'r>(target: &'r Target, request: &'r Request) -> Visitor<'r> {
    let user_agent = request.headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    Visitor { user_agent, path: target.path(), speculative: is_speculative(&request.headers) }
}

/// Loads that the visitor has not asked for (Fetch standard, `Sec-Purpose`; its forerunners).
fn is_speculative(headers: &HeaderMap) -> bool {
    let says = |name: &str| {
        headers.get(name).is_some_and(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            value.starts_with(b"prefetch") || value.starts_with(b"prerender") || value.starts_with(b"preview")
        })
    };
    says("sec-purpose") || says("purpose") || says("x-moz")
}

/// A preflight in the sense of the Fetch standard; any other OPTIONS is a request like all others.
fn is_preflight(request: &Request) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether somebody looks at the answer in a browser's window: then a page may stand in for it.
fn is_navigation(request: &Request) -> bool {
    if request.method != Method::GET || request.upgrade.is_some() {
        return false;
    }
    match request.headers.get("sec-fetch-mode") {
        Some(mode) => {
            let window = request.headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document");
            mode == "navigate" && window
        }
        // Browsers from before 2021, and those that are asked over plain HTTP, do not say.
        None => request.headers.get_all(ACCEPT).iter().any(|accept| {
            accept.as_bytes().split(|byte| *byte == b',').any(|range| {
                range
                    .trim_ascii_start()
                    .get(..9)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
            })
        }),
    }
}

fn has_endpoints(shares: &[WeightedBackend]) -> bool {
    let live = shares.iter().filter(|share| share.weight > 0);
    live.filter_map(|share| share.backend.as_ref().ok()).any(|backend| !backend.endpoints().is_empty())
}

#[expect(clippy::disallowed_methods, reason = "a window of sleep ends by the clock on the wall")]
fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Asks how far waking is; the waiting page sends it.
const PROGRESS: HeaderName = HeaderName::from_static("vestibule-wake");
const STATE: HeaderName = HeaderName::from_static("x-vestibule-state");
/// A start that is quicker than this is not worth a page.
const PAGE_AFTER: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests;
