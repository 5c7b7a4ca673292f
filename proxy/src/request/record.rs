//! What is remembered of one request until its last byte: for the access log, the metrics, and `vestibule why`.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::auth::Identity;
use http::header::{REFERER, USER_AGENT};
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use super::age::Span;
use super::forward::Miss;
use super::forwarded::{ClientView, RequestId};
use super::target::{PathAndQuery, Scheme, Target};
use crate::access::Entry;
use crate::connection::Client;
use crate::limit::Flight;
use crate::message::{BodyError, Protocol, Request, Response, detach};
use crate::reject::Reject;
use crate::reject::refusals::Refused;
use crate::route::Route;
use crate::route::host::Host;
use crate::upstream::{Backend, Endpoint, EndpointAddress};
use crate::worker::Worker;
use crate::workload::gate::Hold;

/// One request from its head to the last byte of its answer. Dropped without having ended, it says that the client went
/// away.
pub(crate) struct Record {
    worker: Rc<Worker>,
    client: Rc<Client>,
    pub(crate) started: Instant,
    pub(crate) request_id: RequestId,
    pub(crate) address: std::net::IpAddr,
    pub(crate) method: Method,
    pub(crate) protocol: Protocol,
    pub(crate) host: Option<Host>,
    pub(crate) path: Option<PathAndQuery>,
    scheme: Scheme,
    /// The headers that the access log tells of, kept only while it is on.
    logged: Option<Logged>,
    pub(crate) route: Option<Arc<Route>>,
    /// Who asks, where that had to be known.
    pub(crate) identity: Option<Box<Identity>>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) upstream: Option<(StatusCode, Duration)>,
    pub(crate) tries: u32,
    pub(crate) status: Option<StatusCode>,
    pub(crate) reject: Option<Reject>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) end: End,
    closes_connection: bool,
    /// A tunnel lasts no longer than this. None: it may last for ever.
    pub(crate) lasts: Option<Rc<Span>>,
    /// Places among the requests under way, given back with the last byte.
    flights: Vec<Flight>,
    /// Keeps what stands behind the route awake.
    hold: Option<Hold>,
}

/// How the exchange with the client ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The client left before the answer was written whole, or nobody said otherwise.
    ClientGone,
    Complete,
    /// The answer broke off.
    Broken(BodyError),
}

impl Record {
    pub(crate) fn begin(worker: &Rc<Worker>, client: &Rc<Client>, request: &Request) -> Self {
        let mut record = Record::unreadable(worker, client);
        record.method = request.method.clone();
        record.protocol = request.protocol;
        record.bytes_in = request.body.exact_length().unwrap_or(0);
        if !worker.access.borrow().is_off() {
            record.logged = Some(Logged {
                user_agent: request.headers.get(USER_AGENT).cloned(),
                referer: request.headers.get(REFERER).cloned(),
                backend: None,
            });
        }
        record
    }

    /// For a request whose head could not be read.
    pub(crate) fn unreadable(worker: &Rc<Worker>, client: &Rc<Client>) -> Self {
        worker.request_begun();
        Record {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            started: Instant::now(),
            request_id: RequestId::random(),
            address: client.peer.address,
            method: Method::GET,
            protocol: Protocol::Http11,
            host: None,
            path: None,
            scheme: client.peer.scheme,
            logged: None,
            route: None,
            identity: None,
            endpoint: None,
            upstream: None,
            tries: 0,
            status: None,
            reject: None,
            bytes_in: 0,
            bytes_out: 0,
            end: End::ClientGone,
            closes_connection: false,
            lasts: None,
            flights: Vec::new(),
            hold: None,
        }
    }

    pub(crate) fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The client as a trusted proxy names it.
    pub(super) fn client(&mut self, view: &ClientView) {
        self.address = view.address;
        self.scheme = view.scheme;
        if let Some(request_id) = &view.request_id {
            self.request_id = request_id.clone();
        }
    }

    pub(super) fn target(&mut self, target: &Target) {
        self.host.clone_from(&target.host);
        self.path = Some(target.path_and_query.clone());
    }

    /// Copies what it has of the buffer that the head of the request was read into, so that it no longer keeps that buffer.
    /// `target` has let go of it already.
    pub(super) fn detach(&mut self, target: &Target) {
        if let Some(path) = &mut self.path {
            path.clone_from(&target.path_and_query);
        }
        self.request_id.detach();
        let logged = self.logged.as_mut().map(|logged| [&mut logged.user_agent, &mut logged.referer]);
        for value in logged.into_iter().flatten().flatten() {
            detach(value);
        }
    }

    pub(super) fn route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    /// Keeps a place among the requests under way until the last byte of the answer.
    pub(super) fn hold(&mut self, flight: Flight) {
        self.flights.push(flight);
    }

    /// What stands behind the route is in use until this is dropped.
    pub(super) fn keep_awake(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// The route's object and rule, for logs.
    pub(super) fn route_name(&self) -> Box<str> {
        self.route.as_ref().map_or("".into(), |route| route.origin.to_string().into())
    }

    pub(super) fn backend(&mut self, backend: &Arc<Backend>) {
        if let Some(logged) = &mut self.logged {
            logged.backend = Some(Arc::clone(backend));
        }
    }

    pub(super) fn endpoint(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(Arc::clone(endpoint));
        self.tries += 1;
    }

    pub(super) fn upstream_answered(&mut self, status: StatusCode, latency: Duration) {
        self.upstream = Some((status, latency));
    }

    /// A try failed; what a retry hides from the client is not hidden from the operator.
    pub(super) fn missed(&self, miss: &Miss) {
        tracing::debug!(
            request_id = self.request_id.as_str(),
            endpoint = ?self.endpoint.as_ref().map(|endpoint| &endpoint.spec.address),
            "a try failed: {miss}"
        );
    }

    /// The connection must not be used for another request.
    pub(super) fn close_connection(&mut self) {
        self.closes_connection = true;
    }

    pub(crate) fn closes_connection(&self) -> bool {
        self.closes_connection
    }

    pub(super) fn refused(&mut self, reject: &Reject) {
        self.closes_connection |= reject.closes_connection();
        self.worker.refusals.record(
            wall_clock(),
            reject,
            Refused {
                request_id: self.request_id.as_str(),
                client: self.address,
                method: self.method.as_str(),
                host: self.host.as_ref().map_or("", Host::as_str),
                path: self.path.as_ref().map_or(b"", PathAndQuery::path),
                route: self.route.as_ref().map(|route| &route.origin.object as &dyn Display),
            },
        );
        self.reject = Some(reject.clone());
    }

    pub(super) fn answered(&mut self, response: &Response) {
        self.status = Some(response.status);
    }

    /// Bytes of the answer's body were handed to the client's connection.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Bytes of the request's body that came, whatever was announced.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.bytes_in = bytes;
    }

    /// The exchange was a tunnel, and this is what went through it.
    pub(crate) fn tunnelled(&mut self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
    }

    /// The exchange with the client is over.
    pub(crate) fn ended(&mut self, end: End) {
        self.end = end;
    }

    fn log(&self, duration: Duration) {
        let Some(logged) = &self.logged else { return };
        let endpoint = self.endpoint.as_ref().and_then(|endpoint| match endpoint.spec.address {
            EndpointAddress::Socket(address) => Some(address),
            EndpointAddress::Name(..) => None,
        });
        self.worker.access.borrow_mut().log(&Entry {
            time: wall_clock(),
            request_id: self.request_id.as_str(),
            client: self.address,
            user: self.identity.as_ref().map(|identity| identity.user.as_str()),
            method: self.method.as_str(),
            scheme: self.scheme.as_str(),
            host: self.host.as_ref().map_or(b"", Host::as_bytes),
            path: self.path.as_ref().map_or(b"", PathAndQuery::path),
            query: self.path.as_ref().and_then(PathAndQuery::query),
            protocol: self.protocol,
            status: self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
            reason: self.reason(),
            route: self.route.as_ref().map(|route| &route.origin.object as &dyn Display),
            backend: logged.backend.as_ref().map(|backend| &backend.key as &dyn Display),
            endpoint,
            upstream_status: self.upstream.map(|(status, _)| status.as_u16()),
            upstream: self.upstream.map(|(_, latency)| latency),
            retries: self.tries.saturating_sub(1),
            duration,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            user_agent: logged.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: logged.referer.as_ref().map(HeaderValue::as_bytes),
            tls_version: self.client.tls.as_ref().map(|tls| tls.version.as_str()),
        });
    }

    /// Why the answer is not what an upstream said, or not all of it.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match (&self.reject, &self.end) {
            (Some(reject), _) => Some(reject.reason()),
            (None, End::Complete) => None,
            (None, End::ClientGone | End::Broken(BodyError::Receiver)) => Some("client_gone"),
            (None, End::Broken(BodyError::Stalled)) => Some("answer_stalled"),
            (None, End::Broken(BodyError::TooOld)) => Some("answer_too_old"),
            (None, End::Broken(BodyError::Sender(_) | BodyError::TooLarge { .. })) => {
                Some("answer_broken_off")
            }
        }
    }
}

/// A record begins and ends where requests do, at the shell.
#[expect(clippy::disallowed_methods, reason = "lines of the log and refusals carry the time of day")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

struct Logged {
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    backend: Option<Arc<Backend>>,
}

impl Drop for Record {
    /// Every request is counted and logged here, however it ended.
    fn drop(&mut self) {
        self.worker.request_ended();
        let duration = self.started.elapsed();
        self.worker.metrics.finished(self, duration);
        self.log(duration);
    }
}

/// Logged as the status where the client left before there was one, as nginx does.
const CLIENT_GONE: u16 = 499;
