//! Pages of errors that another backend writes (ingress-nginx, `custom-http-errors`).
//!
//! It is asked for `/` and told what went wrong; what it answers is the answer, its status included. Where it cannot be asked
//! the error stays as it was.

use std::rc::Rc;

use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use bytes::Bytes;

use super::forward::Tries;
use super::record::Record;
use super::{cors, edit, sanitize_response};
use crate::message::{Body, Interim, Request, Response};
use crate::reject::Reject;
use crate::reject::page::Format;
use crate::route::errors::Source;
use crate::route::{Action, Route};
use crate::upstream::balance::Prefers;
use crate::upstream::exchange::Outgoing;
use crate::worker::Worker;

/// Puts the page of the route's error backend in the place of an error, if it is one of those that the route names.
pub(super) async fn replace(
    worker: &Rc<Worker>,
    request: &Request,
    record: &mut Record,
    answered: Result<Response, Reject>,
) -> Result<Response, Reject> {
    let Some(route) = record.route.clone() else { return answered };
    let Some(pages) = route.errors.as_deref() else { return answered };
    let status = match &answered {
        Ok(response) if record.upstream.is_some() && pages.source == Source::Everybody => response.status,
        // Redirects and logins of our own are no errors.
        Ok(_) => return answered,
        Err(reject) => reject.status(),
    };
    if !pages.codes.contains(&status) || Format::of(&request.headers) == Format::Grpc {
        return answered;
    }
    let mut headers = request.headers.clone();
    for name in OF_THE_REQUEST {
        headers.remove(name);
    }
    if let Some(host) = record.host.as_ref().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        headers.insert(HOST, host);
    }
    describe(&mut headers, &route, status, record);
    if let Some(path) = &record.path
        && let Ok(uri) = HeaderValue::from_maybe_shared(path.as_bytes().clone())
    {
        headers.insert(X_ORIGINAL_URI, uri);
    }
    let method = if request.method == Method::HEAD { Method::HEAD } else { Method::GET };
    let target = Bytes::from_static(b"/");
    let outgoing = Outgoing {
        method: &method,
        target: &target,
        scheme: "http",
        headers: &headers,
        forwarded: None,
        websocket: false,
    };
    let interim = Interim::default();
    let (backend, prefers) = (&pages.backend, Prefers::Any);
    let tries = Tries { worker, handling: &route, backend, outgoing, interim: &interim, prefers };
    let Some(mut response) = tries.once(Body::Empty).await else { return answered };
    if let Err(reject) = &answered {
        // Whoever looks for the request finds why it was refused, whatever the page says.
        record.refused(reject);
    }
    sanitize_response(&mut response.headers);
    if let Some(rules) = route.cors.as_deref() {
        cors::apply(rules, &cors::decide(rules, &request.headers), &mut response.headers);
    }
    edit::apply(&route.response_headers, &mut response.headers);
    Ok(response)
}

/// Tells a backend that stands in what it stands in for.
pub(super) fn describe(headers: &mut HeaderMap, route: &Route, status: StatusCode, record: &Record) {
    let format = headers.get(ACCEPT).cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    headers.insert(X_FORMAT, format);
    headers.insert(X_CODE, HeaderValue::from(status.as_u16()));
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(X_NAMESPACE, &route.origin.object.namespace);
    set(X_INGRESS_NAME, &route.origin.object.name);
    set(X_REQUEST_ID, record.request_id().as_str());
    if let Action::Forward(shares) = &route.action
        && let Some(Ok(backend)) = shares.first().map(|share| &share.backend)
    {
        set(X_SERVICE_NAME, &backend.key.service);
        set(X_SERVICE_PORT, &backend.key.port.to_string());
    }
}

/// What belongs to the request that failed, and not to the question for a page.
const OF_THE_REQUEST: [HeaderName; 10] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    TRANSFER_ENCODING,
];
const X_CODE: HeaderName = HeaderName::from_static("x-code");
const X_FORMAT: HeaderName = HeaderName::from_static("x-format");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_NAMESPACE: HeaderName = HeaderName::from_static("x-namespace");
const X_INGRESS_NAME: HeaderName = HeaderName::from_static("x-ingress-name");
const X_SERVICE_NAME: HeaderName = HeaderName::from_static("x-service-name");
const X_SERVICE_PORT: HeaderName = HeaderName::from_static("x-service-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
