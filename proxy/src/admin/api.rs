//! The admin listener's HTTP: small, read-only, JSON except where others set the form.
//!
//! `/livez` `/readyz` for the kubelet, `/metrics` for Prometheus, `/status`, `/problems`, `/workloads`, `/certificates`, `/refusals`, `/why/ID` and
//! `/explain?url=…&method=…&header=…&client=…` for `vestibule` itself and for people. It has no authentication and is bound
//! to loopback unless the operator says otherwise; nothing it answers holds a secret.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::State;
use super::explain::{Question, explain};
use super::metrics::CONTENT_TYPE;
use super::status::{ProblemStatus, Status, WorkloadStatus};
use crate::listen::{AcceptBackoff, accept};

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut backoff = AcceptBackoff::default();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, _) = accept(&listener, &mut backoff, || {}).await;
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the shell of this module, where time comes in"
                )]
                let now = Timestamp::now();
                let answer = answer(&state, request.method(), request.uri(), now);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEADERS_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that goes away is nobody's concern.
            let _ = tokio::time::timeout(CONNECTION_AGE_MAX, connection).await;
            drop(place);
        });
    }
}

/// One answer. Never touches the network or the disk, save for `/proc`.
pub(crate) fn answer(
    state: &State,
    method: &Method,
    uri: &http::Uri,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n".into());
    }
    let path = uri.path();
    match path {
        "/livez" if state.metrics.vitals().is_stalled() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "a worker stands still\n".into())
        }
        "/livez" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" if state.is_closed() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "stopping: only sessions are left\n".into())
        }
        "/readyz" if state.live().is_some() => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is live yet\n".into()),
        "/metrics" => match state.metrics.encode(now) {
            Ok(metrics) => respond(StatusCode::OK, CONTENT_TYPE, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n".into()),
        },
        "/status" => json(StatusCode::OK, &Status::of(state, now)),
        "/problems" => {
            let mut problems = state.problems();
            problems.sort();
            json(StatusCode::OK, &problems.iter().map(ProblemStatus::from).collect::<Vec<_>>())
        }
        "/workloads" => json(StatusCode::OK, &WorkloadStatus::all(state)),
        "/certificates" => match &*state.metrics.certificates.load() {
            Some(report) => json(StatusCode::OK, &report.certificates),
            None => text(
                StatusCode::NOT_FOUND,
                "this process orders no certificates: it has no issuers, or another replica holds the Lease\n".into(),
            ),
        },
        "/refusals" => json(StatusCode::OK, &state.latest_refusals(REFUSALS_SHOWN_MAX)),
        "/explain" => answer_explain(state, uri.query().unwrap_or_default()),
        _ => match path.strip_prefix("/why/") {
            Some(request_id) => match state.why(request_id) {
                Some(record) => json(StatusCode::OK, &record),
                None => text(
                    StatusCode::NOT_FOUND,
                    "no refusal with this id is remembered; only the last ones are, and only requests that the edge \
                     answered itself\n"
                        .into(),
                ),
            },
            None => text(
                StatusCode::NOT_FOUND,
                "known: /livez /readyz /metrics /status /problems /workloads /certificates /refusals /why/ID /explain?url=\n".into(),
            ),
        },
    }
}

fn answer_explain(state: &State, query: &str) -> Response<Full<Bytes>> {
    let Some(live) = state.live() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is live yet\n".into());
    };
    let (mut url, mut method, mut client) = (None, "GET".to_owned(), None);
    let mut headers = Vec::new();
    for (name, value) in pairs(query) {
        match &*name {
            "url" => url = Some(value),
            "method" => method = value,
            "header" => headers.push(value),
            "client" => client = Some(value),
            _ => {}
        }
    }
    let Some(url) = url else { return text(StatusCode::BAD_REQUEST, "`url` is missing\n".into()) };
    match Question::parse(&url, &method, &headers, client.as_deref()) {
        Ok(question) => json(StatusCode::OK, &explain(live.grounds(), &question)),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// The parameters of a query, decoded as browsers encode forms.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').take(PARAMETERS_MAX).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
                    bytes.push(digit(*high) << 4 | digit(*low));
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(value) {
        Ok(body) => respond(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub const REFUSALS_SHOWN_MAX: usize = 100;
const CONNECTIONS_MAX: usize = 64;
const HEADERS_BYTES_MAX: usize = 64 << 10;
const PARAMETERS_MAX: usize = 128;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A stuck connection gives its place back.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
