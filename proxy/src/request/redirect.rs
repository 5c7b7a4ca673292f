//! Answers that send the client elsewhere.
//!
//! Every Location is built from the normalised target, so it can hold no line break, no second `//` at the start and no
//! user information: none of these can be led to another site by what a client writes.

#[cfg(test)]
mod tests;

use acme::http01::CHALLENGE_PATH;
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::rewrite;
use super::target::{Scheme, Target};
use crate::message::Response;
use crate::reject::Reject;
use crate::route::{HttpsRedirect, PathPattern, Redirect};

/// The answer that sends plain HTTP to https, if this request came by plain HTTP.
///
/// `target.scheme` is what the client used, also behind a trusted proxy that ends TLS. ACME challenges stay
/// (RFC 8555 §8.3), and so does `OPTIONS *`, which has no place to go.
pub fn to_https(rule: &HttpsRedirect, target: &Target) -> Option<Response> {
    if target.scheme == Scheme::Https || target.host.is_none() || is_exempt(target) {
        return None;
    }
    let path = target.path_and_query.as_str();
    Some(moved(rule.status, &location(Scheme::Https, target.host_str(), rule.port, path)))
}

/// The answer of a route whose action is a redirect (HTTPRoute `RequestRedirect`).
///
/// Without a port in the rule: the usual port of the rule's scheme; without a scheme either: `client_port`, the port the
/// client connected to. Usual ports are not written.
pub fn redirect(
    rule: &Redirect,
    pattern: &PathPattern,
    target: &Target,
    client_port: u16,
) -> Result<Response, Reject> {
    let scheme = rule.scheme.unwrap_or(target.scheme);
    let port = match (rule.port, rule.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => Some(client_port),
    };
    let host = rule.host.as_deref().unwrap_or(target.host_str());
    let location = match &rule.path {
        Some(path) => {
            let rewritten = rewrite::rewrite(path, pattern, &target.path_and_query)?;
            location(scheme, host, port, rewritten.as_str())
        }
        None => location(scheme, host, port, target.path_and_query.as_str()),
    };
    Ok(moved(rule.status, &location))
}

/// The answer to `/` itself where the application lives elsewhere (`app-root`): 302 to `path` on the same host.
pub fn to_app_root(path: &str, target: &Target) -> Option<Response> {
    let is_root = target.path() == b"/" && target.host.is_some();
    is_root.then(|| moved(StatusCode::FOUND, &location(target.scheme, target.host_str(), target.port, path)))
}

/// The answer for the twin of a host (`from-to-www-redirect`): the same address with `host` in it.
pub fn to_host(host: &str, status: StatusCode, target: &Target) -> Response {
    moved(status, &location(target.scheme, host, target.port, target.path_and_query.as_str()))
}

/// The answer that sends every request to one fixed address (`permanent-redirect`, `temporal-redirect`).
pub fn to_fixed(url: &HeaderValue, status: StatusCode) -> Response {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(LOCATION, url.clone());
    Response::full(status, headers, Bytes::new())
}

fn is_exempt(target: &Target) -> bool {
    target.path().starts_with(CHALLENGE_PATH.as_bytes()) || target.is_asterisk()
}

/// `scheme://host[:port]path`, without the scheme's usual port. Without a host (HTTP/1.0), only the path.
fn location(scheme: Scheme, host: &str, port: Option<u16>, path_and_query: &str) -> String {
    // `OPTIONS *` has no path, and `*` must not grow onto the host.
    let path_and_query = if path_and_query.starts_with('/') { path_and_query } else { "/" };
    if host.is_empty() {
        return path_and_query.to_owned();
    }
    match port.filter(|port| *port != scheme.default_port()) {
        Some(port) => format!("{}://{host}:{port}{path_and_query}", scheme.as_str()),
        None => format!("{}://{host}{path_and_query}", scheme.as_str()),
    }
}

fn moved(status: StatusCode, location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => to_fixed(&location, status),
        // Not reached by what a client sends: the target is visible ASCII. A rule's own text may be worse.
        Err(_) => Response::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
