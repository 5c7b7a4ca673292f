//! One request, top to bottom.
//!
//! [`respond`] is the path that every request takes, read downwards; each step is a module of its own. The order is policy:
//! what is cheap and refuses comes first, and what is matched, judged and forwarded is one normalised target.

pub mod access;
mod affinity;
pub(crate) mod age;
mod awaken;
mod client_certificates;
pub mod cors;
pub mod edit;
mod errors;
pub mod external;
pub(crate) mod forward;
pub mod forwarded;
pub mod identity;
mod limits;
mod mirror;
pub(crate) mod record;
pub mod redirect;
pub mod rewrite;
pub mod sanitize;
pub mod target;

use std::rc::Rc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::connection::Client;
use crate::message::{Request, Response, detach};
use crate::reject::Reject;
use crate::reject::page::{Format, PageContext};
use crate::reject::words::Language;
use crate::route::host::Host;
use crate::route::matches::Lookup;
use crate::route::table::Found;
use crate::route::{Action, Route};
use crate::worker::Worker;

use awaken::awaken;
use forward::forward;
use forwarded::{ClientView, Forwarded, ForwardedRules, PeerTrust, set_request_id};
use identity::{Afterwards, Entry, Subject, identify};
use record::Record;
use sanitize::{sanitize, sanitize_response};
use target::{Scheme, Target};

/// Answers one request: what an upstream says, or a refusal of our own. How it came about goes into `record`, which the
/// caller has begun with this request.
///
/// Both stay with the caller: a future that owned them would be copied with all that they hold, and so would each future
/// within it.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: &mut Request,
    record: &mut Record,
) -> Response {
    let mut afterwards = Afterwards::default();
    let mut answered = respond(worker, client, request, record, &mut afterwards).await;
    if record.route.as_ref().is_some_and(|route| route.errors.is_some()) {
        answered = Box::pin(errors::replace(worker, request, record, answered)).await;
    }
    let mut response = answered.unwrap_or_else(|reject| {
        let format = Format::of(&request.headers);
        refuse(worker, &reject, format, afterwards.language, record)
    });
    afterwards.apply(&mut response.headers);
    record.answered(&response);
    response
}

/// Answers what could not be read as a request at all.
pub(crate) fn answer_unreadable(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    reject: Reject,
) -> (Response, Record) {
    let mut record = Record::unreadable(worker, client);
    let response = refuse(worker, &reject, Format::Plain, Language::default(), &mut record);
    record.answered(&response);
    (response, record)
}

/// Refuses in place of an answer that the client cannot be given.
pub(crate) fn refuse_after_all(worker: &Worker, reject: &Reject, record: &mut Record) -> Response {
    let response = refuse(worker, reject, Format::Plain, Language::default(), record);
    record.answered(&response);
    response
}

/// The path of a request.
async fn respond(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: &mut Request,
    record: &mut Record,
    afterwards: &mut Afterwards,
) -> Result<Response, Reject> {
    let current = worker.current();
    let served = current.served(client.slot).ok_or(Reject::HostNotFound)?;
    if matches!(request.method, Method::CONNECT | Method::TRACE) {
        return Err(Reject::MethodUnsupported);
    }

    if worker.refuses_requests(&current.settings) {
        return Err(Reject::Overloaded);
    }
    let reading = &current.settings.requests;

    // What the peer says about the client is read, then everything that only the edge may say is removed.
    let mut view = ClientView::of(&client.peer, &request.headers, &served.trusted);
    let sanitized = sanitize(&mut request.headers, client.peer.trust, reading.underscores);
    if sanitized.forwarding && client.peer.trust == PeerTrust::Untrusted && !client.reported.replace(true) {
        worker.metrics.untrusted_forwarding(client.peer.address);
    }
    record.client(&view);
    if sanitized.underscore {
        return Err(Reject::BadHead("a header name with `_`"));
    }

    // From here on there is one target: matched, judged and forwarded.
    let mut target = Target::of(request, view.scheme, reading.encoded_slash)?;
    record.target(&target);
    check_direction(client, served, target.host.as_ref())?;
    let route = {
        let lookup = Lookup {
            host: target.host.as_ref(),
            path: target.path(),
            method: &request.method,
            headers: &request.headers,
            query: target.query(),
        };
        let found = served.listener.find(&lookup);
        if let Some(challenges) = &current.table.challenges
            && let Some(proof) = challenges.answer(&lookup, &found)
        {
            return Ok(challenge(proof));
        }
        match found {
            Found::Route(route) => route,
            Found::NoRoute => return Err(Reject::RouteNotFound),
            Found::NoHost => return Err(Reject::HostNotFound),
        }
    };
    record.route(route);

    if let Some(refusal) = &route.refusal {
        return Err(Reject::Refused(refusal.message.clone()));
    }
    if let (Some(rules), Some(tls)) = (&route.client_certificates, &client.tls)
        && let Some(response) = client_certificates::judge(rules, tls, &mut request.headers)?
    {
        return Ok(response);
    }
    if let Some(response) = redirect_early(route, &target, request) {
        return Ok(response);
    }
    if route.client_certificates.is_some() && client.tls.is_none() {
        return Err(Reject::ClientCertificate(
            "the connection is not secured, so no certificate can be shown",
        ));
    }
    let mut host_value = target.host_value(request.headers.get(HOST));
    let admitted = access::admit(route, view.address)?;
    if let Some(limiting) = &route.limiting {
        let sender = limits::Sender::new(worker, view.address, &request.headers, (served, &current.settings));
        limits::count(worker, (limiting, &limiting.on_arrival), &sender, record)?;
    }
    limits::body(route, &current.settings, request)?;

    if let (Some(auth), access::Admitted::IfKnown) = (route.auth.as_deref(), admitted) {
        let request_id = record.request_id();
        let subject =
            Subject { worker, client, view: &view, target: &target, route, host: &host_value, request_id };
        // Boxed, so that routes without it do not pay for its room.
        match Box::pin(identify(auth, subject, request, afterwards)).await? {
            Entry::Open(identity) => record.identity = identity,
            Entry::Answered(response) => return Ok(*response),
        }
    }
    if let Some(limiting) = route.limiting.as_deref().filter(|limiting| !limiting.of_identity.is_empty()) {
        let sender = limits::Sender::new(worker, view.address, &request.headers, (served, &current.settings));
        // Taken out meanwhile, because the record also keeps the places among the requests under way.
        let identity = record.identity.take();
        let sender = sender.known_as(identity.as_deref());
        let counted = limits::count(worker, (limiting, &limiting.of_identity), &sender, record);
        record.identity = identity;
        counted?;
    }

    let mut cors = route.cors.as_deref().map(|cors| (cors, cors::decide(cors, &request.headers)));
    let mut response = match &route.action {
        Action::Redirect(rule) => redirect::redirect(rule, &route.origin.path, &target, view.port)?,
        Action::Location(fixed) => redirect::to_fixed(&fixed.location, fixed.status),
        Action::Login(provider) => {
            return Box::pin(crate::login::serve(
                worker,
                provider,
                request,
                &target,
                (&host_value, record.request_id()),
            ))
            .await;
        }
        Action::Status(status) => return Err(Reject::RouteStatus(*status)),
        Action::Forward(backends) => {
            let rules = ForwardedRules::default();
            set_request_id(&mut request.headers, &view, &host_value, record.request_id(), rules);
            if route.looks_at_headers() {
                Forwarded::of(&client.peer, &view, &host_value).insert_into(&mut request.headers);
            }
            request.headers.insert(HOST, host_value.clone());
            // A session is between the browser and the edge, on open routes too.
            ::auth::session::strip_cookies(&mut request.headers);
            if let Some(gate) = &route.wake {
                // What may wait keeps nothing of the buffer that it was read into.
                view.detach();
                detach(&mut host_value);
                cors.iter_mut().for_each(|(_, decision)| decision.detach());
                if let Some(response) = awaken(worker, gate, backends, &mut target, request, record).await? {
                    return Ok(response);
                }
            }
            let stand_in = route.errors.as_deref().and_then(|errors| errors.stand_in_for(backends));
            if stand_in.is_some() {
                errors::describe(&mut request.headers, route, StatusCode::SERVICE_UNAVAILABLE, record);
            }
            let told = Forwarded::of(&client.peer, &view, &host_value);
            let told = (!route.looks_at_headers()).then_some(&told);
            forward(worker, route, stand_in.unwrap_or(backends), &target, request, told, record).await?
        }
    };

    if let Some(bound) = afterwards.lasts.take() {
        age::begin(worker, &mut response, record, *bound);
    }
    if let Some((cors, decision)) = &cors {
        cors::apply(cors, decision, &mut response.headers);
    }
    edit::apply(&route.response_headers, &mut response.headers);
    if let (Some(hsts), Scheme::Https) = (&route.hsts, target.scheme) {
        response.headers.insert(http::header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    Ok(response)
}

/// A connection serves only hosts that its handshake was right for (RFC 9110 §7.4, GEP-3567).
fn check_direction(
    client: &Client,
    served: &crate::snapshot::Served,
    host: Option<&Host>,
) -> Result<(), Reject> {
    let (Some(info), Some(tls)) = (&client.tls, &served.listener.tls) else { return Ok(()) };
    let misdirected = served.listener.is_misdirected(info.server_name.as_ref(), host);
    if tls.covers(info, host) && !misdirected { Ok(()) } else { Err(Reject::Misdirected) }
}

/// What a CA reads to see that a name is ours (RFC 8555 §8.3).
fn challenge(proof: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::full(StatusCode::OK, headers, proof)
}

/// Answers that need no backend and no permission: go to https; what a preflight may know.
fn redirect_early(route: &Route, target: &Target, request: &Request) -> Option<Response> {
    if let Some(rule) = &route.https_redirect
        && let Some(response) = redirect::to_https(rule, target)
    {
        return Some(response);
    }
    let cors = route.cors.as_deref()?;
    cors::preflight(cors, &request.method, &request.headers)
}

fn refuse(
    worker: &Worker,
    reject: &Reject,
    format: Format,
    language: Language,
    record: &mut Record,
) -> Response {
    record.refused(reject);
    let settings = worker.settings();
    reject.into_response(&PageContext {
        format,
        method: record.method(),
        request_id: record.request_id().as_str(),
        language,
        contact: settings.contact.as_deref(),
    })
}
