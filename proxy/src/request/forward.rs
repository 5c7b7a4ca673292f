//! The request goes to an endpoint of a backend, and again to another where that is safe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method};
use smallvec::SmallVec;

use super::affinity;
use super::external::TemplateSubject;
use super::forwarded::Forwarded;
use super::mirror::{self, Original};
use super::record::Record;
use super::rewrite::rewrite;
use super::target::Target;
use super::{edit, sanitize_response};
use crate::message::{Body, Interim, Request, Response, UpgradeRequest};
use crate::reject::Reject;
use crate::route::affinity::Affinity;
use crate::route::{Canary, Handling, Route, WeightedBackend};
use crate::upstream::balance::{Choice, NoChoice, Prefers, View, choose};
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::exchange::{self, Connection, Failure, Outgoing, Patience};
use crate::upstream::retry::{ATTEMPTS_DEFAULT, Keep, Replay, is_idempotent};
use crate::upstream::{Backend, BackendProtocol, http2};
use crate::worker::Worker;

/// Sends `request` to one of `backends` and returns its answer, with the headers of a single hop removed. The upstream is
/// `told` of the client what is not among the headers.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    route: &Arc<Route>,
    backends: &[WeightedBackend],
    target: &Target,
    request: &mut Request,
    told: Option<&Forwarded<'_>>,
    record: &mut Record,
) -> Result<Response, Reject> {
    let prefers = match route.affinity.as_deref() {
        None => Prefers::Any,
        Some(affinity) => {
            affinity::preference(affinity, &request.method, &request.headers, target, record.address)
        }
    };
    let share = match prefers {
        Prefers::Endpoint(_) => affinity::share(route, prefers, backends),
        Prefers::Any | Prefers::Hashed { .. } => None,
    };
    let share = share.or_else(|| share_for(&request.headers, route.canary.as_deref(), backends));
    let share = share.ok_or(Reject::BackendInvalid)?;
    let backend = share.backend.as_ref().map_err(|status| Reject::RouteStatus(*status))?;
    record.backend(backend);
    edit::apply(&route.request_headers, &mut request.headers);
    if let Some(edits) = &share.request_headers {
        edit::apply(edits, &mut request.headers);
    }
    if let Some(host) = &route.rewrite.host {
        request.headers.insert(HOST, host.clone());
    }
    let path = match &route.rewrite.path {
        Some(rule) => rewrite(rule, &route.origin.path, &target.path_and_query)?,
        None => target.path_and_query.clone(),
    };
    let websocket = request.upgrade == Some(UpgradeRequest::WebSocket);
    let mut body = std::mem::take(&mut request.body);
    if !route.mirrors.is_empty() && !websocket {
        let host = request.headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
        let original = Original {
            method: &request.method,
            target: path.as_bytes(),
            scheme: target.scheme.as_str(),
            headers: &request.headers,
            subject: TemplateSubject {
                method: &request.method,
                target,
                headers: &request.headers,
                host,
                address: record.address,
            },
        };
        // Boxed, as is everything here that few requests need: the room for it would be part of every request.
        body = Box::pin(mirror::copy(worker, route, original, body)).await?;
    }
    let tries = Tries {
        worker,
        handling: route,
        backend,
        outgoing: Outgoing {
            method: &request.method,
            target: path.as_bytes(),
            scheme: target.scheme.as_str(),
            headers: &request.headers,
            forwarded: told,
            websocket,
        },
        interim: &request.interim,
        prefers,
    };
    let answered = match route.timeouts.request.filter(|limit| !limit.is_zero()) {
        None => tries.run(body, Some(record)).await,
        Some(limit) => Box::pin(tokio::time::timeout(limit, tries.run(body, Some(record))))
            .await
            .unwrap_or(Err(Reject::RequestDeadline)),
    };
    let mut response = answered?;
    sanitize_response(&mut response.headers);
    if let (Some(Affinity::Session(session)), Some(endpoint)) = (route.affinity.as_deref(), &record.endpoint)
    {
        let answered_by = (&**backend, &**endpoint);
        affinity::remember(session, prefers, answered_by, (route, target.scheme), &mut response.headers);
    }
    if let Some(edits) = &share.response_headers {
        edit::apply(edits, &mut response.headers);
    }
    if websocket && response.upgraded.is_none() {
        // The client may have sent the other protocol's bytes already; they must not be read as a request.
        record.close_connection();
    }
    Ok(response)
}

/// The canary's share where it takes the request, else one of the backends.
fn share_for<'r>(
    headers: &HeaderMap,
    canary: Option<&'r Canary>,
    backends: &'r [WeightedBackend],
) -> Option<&'r WeightedBackend> {
    match canary {
        Some(canary) if canary.takes(headers) => Some(&canary.share),
        Some(_) | None => pick(backends),
    }
}

/// One share by weight. `None`: all weights are zero, or there is no share.
fn pick(backends: &[WeightedBackend]) -> Option<&WeightedBackend> {
    if let [only] = backends {
        return (only.weight > 0).then_some(only);
    }
    let total: u64 = backends.iter().map(|share| u64::from(share.weight)).sum();
    let mut ticket = fastrand::u64(..total.max(1));
    backends.iter().find(|share| {
        let weight = u64::from(share.weight);
        let hit = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        hit
    })
}

/// Everything that stays the same from one try to the next.
pub(super) struct Tries<'a> {
    pub(super) worker: &'a Rc<Worker>,
    /// Times and retries.
    pub(super) handling: &'a Handling,
    pub(super) backend: &'a Backend,
    pub(super) outgoing: Outgoing<'a>,
    pub(super) interim: &'a Interim,
    /// The endpoint that the request is for, if something decided that.
    pub(super) prefers: Prefers,
}

/// How one try ended without an answer.
pub(crate) enum Miss {
    /// No connection, so no byte of the request was sent.
    Connect(ConnectError),
    Exchange(Failure),
}

impl Tries<'_> {
    /// Tries until there is an answer or no further try is allowed. Without a record nobody asks how it went.
    pub(super) async fn run(&self, body: Body, mut record: Option<&mut Record>) -> Result<Response, Reject> {
        let retries = self.handling.retry.attempts.unwrap_or(ATTEMPTS_DEFAULT);
        let mut body = Repeatable::new(body, retries, self.keep());
        let mut tried: SmallVec<[u64; 4]> = SmallVec::new();
        let until = self.handling.retry.within.map(|within| Instant::now() + within);
        loop {
            // In a block, so that what is left of a failed try does not hold its place while the next one waits.
            {
                let now_ms = self.worker.clock.now_ms();
                let in_flight_max = self.in_flight_max();
                let view = View { pools: &self.worker.pools, in_flight_max, now_ms, prefers: self.prefers };
                let choice = choose(view, self.backend, &tried).map_err(|none| match none {
                    NoChoice::NoEndpoints => Reject::NoEndpoints,
                    NoChoice::Saturated => Reject::Overloaded,
                })?;
                if tried.is_empty() {
                    choice.pool.budget.deposit();
                }
                if let Some(record) = record.as_deref_mut() {
                    record.endpoint(&choice.endpoint);
                }
                let outcome = self.attempt(&choice, body.take(), record.as_deref_mut()).await;
                tried.push(choice.endpoint.id);
                let wants_repeat = match &outcome {
                    // The upstream has looked at the request, so it may have done what was asked already.
                    Ok(response) => {
                        self.handling.retry.codes.contains(&response.status)
                            && is_idempotent(self.outgoing.method)
                    }
                    Err(miss) => {
                        if let Some(record) = record.as_deref_mut() {
                            record.missed(miss);
                        }
                        miss.is_safe_to_repeat(self.outgoing.method)
                    }
                };
                let repeats = wants_repeat
                    && tried.len() <= retries as usize
                    && until.is_none_or(|until| Instant::now() < until)
                    && (!outcome.as_ref().is_err_and(Miss::took_its_time) || self.may_wait_again(&tried))
                    && body.rewind()
                    && choice.pool.budget.withdraw(now_ms);
                if !repeats {
                    return outcome.map_err(Reject::from);
                }
                self.worker.metrics.retried();
            }
            if let Some(pause) = self.handling.retry.backoff {
                tokio::time::sleep(pause.min(BACKOFF_MAX)).await;
            }
        }
    }

    /// True when another try may take as long as one that was timed out: at an endpoint that has not had the request, as with
    /// nginx's `proxy_next_upstream`, or where the route bounds each try and says how often (GEP-1731).
    fn may_wait_again(&self, tried: &[u64]) -> bool {
        let is_asked_for =
            self.handling.retry.attempts.is_some() && self.handling.timeouts.backend_request.is_some();
        is_asked_for || self.backend.endpoints().iter().any(|endpoint| !tried.contains(&endpoint.id))
    }

    /// A single try that nobody waits for. `None`: there is no answer.
    pub(super) async fn once(&self, body: Body) -> Option<Response> {
        let now_ms = self.worker.clock.now_ms();
        let in_flight_max = self.in_flight_max();
        let view = View { pools: &self.worker.pools, in_flight_max, now_ms, prefers: self.prefers };
        let choice = choose(view, self.backend, &[]).ok()?;
        self.exchange(&choice, body).await.ok()
    }

    /// One try at one endpoint. Health is judged here: by connections and answers, never by status codes.
    async fn attempt(
        &self,
        choice: &Choice,
        body: Body,
        record: Option<&mut Record>,
    ) -> Result<Response, Miss> {
        let started = Instant::now();
        let had_body = !body.is_empty();
        let limit = self.handling.timeouts.backend_request.filter(|limit| !limit.is_zero());
        let outcome = match limit {
            None => self.exchange(choice, body).await,
            Some(limit) => Box::pin(tokio::time::timeout(limit, self.exchange(choice, body)))
                .await
                .unwrap_or(Err(Miss::Exchange(Failure::TimedOut))),
        };
        let health = &choice.endpoint.health;
        let now_ms = self.worker.clock.now_ms();
        match &outcome {
            Ok(response) => {
                let latency = started.elapsed();
                choice.pool.observe(latency, now_ms);
                if let Some(record) = record {
                    record.upstream_answered(response.status, latency);
                }
                if health.succeeded() {
                    tracing::info!(endpoint = ?choice.endpoint.spec.address, "an endpoint answers again");
                }
            }
            Err(miss) if miss.is_the_endpoints_fault(had_body) => {
                choice.pool.observe_failure(now_ms);
                if health.failed(now_ms) {
                    tracing::warn!(endpoint = ?choice.endpoint.spec.address, "an endpoint fails and is left alone: {miss}");
                    self.worker.metrics.ejected();
                }
            }
            Err(_) => {}
        }
        outcome
    }

    async fn exchange(&self, choice: &Choice, body: Body) -> Result<Response, Miss> {
        let Tries { worker, outgoing, interim, .. } = self;
        let in_flight = choice.pool.enter();
        let patience = self.patience();
        match self.backend.key.protocol {
            BackendProtocol::Http1 => {
                let connection = match choice.pool.take(worker) {
                    Some(connection) => connection,
                    None => Connection::new(Box::pin(self.connect(choice)).await?, worker),
                };
                exchange::send(worker, connection, outgoing, body, interim, &patience, in_flight)
                    .await
                    .map_err(Miss::Exchange)
            }
            BackendProtocol::Http2 => {
                Box::pin(async {
                    let lease = http2::lease(&worker.clock, &choice.pool, self.connect(choice)).await?;
                    let sent = http2::send(worker, lease, *outgoing, body, interim, patience, in_flight);
                    sent.await.map_err(Miss::Exchange)
                })
                .await
            }
        }
    }

    async fn connect(&self, choice: &Choice) -> Result<crate::transport::Transport, Miss> {
        let limit = self.handling.timeouts.connect.unwrap_or(self.worker.settings().upstream.connect_timeout);
        self.worker.metrics.connecting();
        connect(self.worker, self.backend, &choice.endpoint, limit).await.map_err(|error| {
            self.worker.metrics.connect_failed();
            Miss::Connect(error)
        })
    }

    /// What of a body may be sent again. Where the method forbids to do it twice, only failures before its first byte are
    /// repeated, and those that HTTP/2 says nothing was done in.
    fn keep(&self) -> Keep {
        match self.backend.key.protocol {
            BackendProtocol::Http1 if !is_idempotent(self.outgoing.method) => Keep::Nothing,
            BackendProtocol::Http1 | BackendProtocol::Http2 => Keep::Frames,
        }
    }

    /// This worker's share of the requests that one endpoint may have under way.
    fn in_flight_max(&self) -> u32 {
        let max = self.worker.settings().upstream.requests_per_endpoint;
        u32::try_from(max.div_ceil(self.worker.shared.workers.get())).unwrap_or(u32::MAX)
    }

    fn patience(&self) -> Patience {
        let defaults = &self.worker.settings().upstream;
        let head = self.handling.timeouts.read.unwrap_or(defaults.response_head_timeout);
        Patience {
            head,
            send: self.handling.timeouts.send.unwrap_or(head),
            read: self.handling.timeouts.read.unwrap_or(defaults.read_timeout),
            head_bytes_max: defaults.response_head_bytes.as_usize(),
        }
    }
}

/// A body that is sent once, or as often as needed.
enum Repeatable {
    Empty,
    Once(Body),
    Often { replay: Replay, body: Body },
}

impl Repeatable {
    fn new(body: Body, retries: u32, keep: Keep) -> Self {
        if body.is_empty() {
            return Repeatable::Empty;
        }
        if retries == 0 {
            return Repeatable::Once(body);
        }
        let replay = Replay::new(body, retries, keep);
        let body = replay.rewind().unwrap_or_default();
        Repeatable::Often { replay, body }
    }

    fn take(&mut self) -> Body {
        match self {
            Repeatable::Empty => Body::Empty,
            Repeatable::Once(body) | Repeatable::Often { body, .. } => std::mem::take(body),
        }
    }

    /// Makes the body ready to be taken again. False: it cannot be.
    fn rewind(&mut self) -> bool {
        match self {
            Repeatable::Empty => true,
            Repeatable::Once(_) => false,
            Repeatable::Often { replay, body } => match replay.rewind() {
                Some(again) => {
                    *body = again;
                    true
                }
                None => false,
            },
        }
    }
}

/// True for answers that are open for as long as they please: events and gRPC streams.
pub(crate) fn is_open_ended(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        [&b"text/event-stream"[..], b"application/grpc"]
            .iter()
            .any(|kind| value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)))
    })
}

impl Miss {
    /// True when sending the request once more cannot make it happen twice.
    fn is_safe_to_repeat(&self, method: &Method) -> bool {
        match self {
            Miss::Connect(ConnectError::Forbidden { .. }) => false,
            Miss::Connect(_) | Miss::Exchange(Failure::Unprocessed) => true,
            Miss::Exchange(Failure::Closed { .. } | Failure::Reset(_) | Failure::TimedOut) => {
                is_idempotent(method)
            }
            Miss::Exchange(Failure::Protocol(_) | Failure::Upload(_) | Failure::Unsendable(_)) => false,
        }
    }

    /// True when a limit on time ended the try, so that the client has waited for as long.
    fn took_its_time(&self) -> bool {
        matches!(self, Miss::Connect(ConnectError::TimedOut(_)) | Miss::Exchange(Failure::TimedOut))
    }

    fn is_the_endpoints_fault(&self, had_body: bool) -> bool {
        match self {
            // With a body it may have been the client who took the time.
            Miss::Exchange(Failure::TimedOut) if had_body => false,
            Miss::Connect(ConnectError::Forbidden { .. } | ConnectError::Unresolved { .. }) => false,
            Miss::Connect(_) => true,
            // An idle connection may be closed at any time; only a fresh one says something about the endpoint.
            Miss::Exchange(Failure::Closed { reused }) => !reused,
            Miss::Exchange(Failure::Reset(_) | Failure::TimedOut | Failure::Protocol(_)) => true,
            Miss::Exchange(Failure::Unprocessed | Failure::Upload(_) | Failure::Unsendable(_)) => false,
        }
    }
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Miss::Connect(error) => error.fmt(f),
            Miss::Exchange(failure) => failure.fmt(f),
        }
    }
}

impl From<Miss> for Reject {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Connect(ConnectError::TimedOut(_)) => Reject::ConnectTimeout,
            Miss::Connect(ConnectError::Tls(_)) => Reject::UpstreamTls,
            Miss::Connect(
                ConnectError::Refused { .. }
                | ConnectError::Unresolved { .. }
                | ConnectError::Forbidden { .. },
            ) => Reject::ConnectFailed,
            Miss::Exchange(Failure::TimedOut) => Reject::UpstreamTimeout,
            Miss::Exchange(Failure::Protocol(words)) => Reject::UpstreamProtocol(words),
            Miss::Exchange(Failure::Unsendable(words)) => Reject::BadHead(words),
            Miss::Exchange(Failure::Closed { .. } | Failure::Unprocessed | Failure::Reset(_)) => {
                Reject::UpstreamReset
            }
            Miss::Exchange(Failure::Upload(error)) => Reject::from(&error),
        }
    }
}

/// A pause between two tries is never longer, whatever the route says.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
