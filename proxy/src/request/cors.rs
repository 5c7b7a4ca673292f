//! Cross-origin requests: who may read an answer from a page of another origin (Fetch standard, HTTPRoute filter `CORS`).
//!
//! The rules of the route replace whatever the application says on the matter. An allowed origin is always named, never
//! `*`, so that the same rule serves with and without credentials; `Vary: Origin` keeps caches honest.

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::message::{Response, detach};
use crate::route::{Cors, OriginPattern};

/// What was decided about the Origin of one request, kept until its answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The origin to name; `None`: no Origin, or not an allowed one.
    allowed: Option<HeaderValue>,
}

impl Decision {
    /// Copies the origin, so that it no longer keeps the buffer that the request was read into.
    pub(crate) fn detach(&mut self) {
        self.allowed.iter_mut().for_each(detach);
    }
}

/// Judges the request's Origin. More than one Origin is none that is allowed.
pub fn decide(cors: &Cors, request: &HeaderMap) -> Decision {
    let mut origins = request.get_all(ORIGIN).iter();
    let allowed = match (origins.next(), origins.next()) {
        (Some(origin), None) if is_allowed(cors, origin.as_bytes()) => Some(origin.clone()),
        (Some(_), _) | (None, _) => None,
    };
    Decision { allowed }
}

/// The answer to a preflight request: 204, with the permissions if the origin has any. `None`: not a preflight.
///
/// A refused origin gets 204 too, without permissions: the browser then refuses. Applications never see preflights.
pub fn preflight(cors: &Cors, method: &Method, request: &HeaderMap) -> Option<Response> {
    if *method != Method::OPTIONS || !request.contains_key(ORIGIN) {
        return None;
    }
    let wanted_method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(VARY, HeaderValue::from_static(PREFLIGHT_VARY));
    if let Some(origin) = decide(cors, request).allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        insert_credentials(cors, &mut headers);
        insert(&mut headers, ACCESS_CONTROL_ALLOW_METHODS, allowed_methods(cors, wanted_method));
        let wanted_headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
        insert(&mut headers, ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(cors, wanted_headers));
        insert(&mut headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed_headers(cors));
        insert(&mut headers, ACCESS_CONTROL_MAX_AGE, cors.max_age.map(HeaderValue::from));
    }
    Some(Response { headers, ..Response::empty(StatusCode::NO_CONTENT) })
}

/// Puts the route's permissions into the answer, in place of the application's.
pub fn apply(cors: &Cors, decision: &Decision, response: &mut HeaderMap) {
    for name in PERMISSIONS {
        response.remove(name);
    }
    vary_by_origin(response);
    if let Some(origin) = &decision.allowed {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        insert_credentials(cors, response);
        insert(response, ACCESS_CONTROL_EXPOSE_HEADERS, exposed_headers(cors));
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn insert_credentials(cors: &Cors, headers: &mut HeaderMap) {
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

fn is_allowed(cors: &Cors, origin: &[u8]) -> bool {
    let sane = origin == b"null" || split_origin(origin).is_some();
    sane && cors.origins.iter().any(|pattern| match pattern {
        OriginPattern::Any => true,
        OriginPattern::Exact(exact) => exact == origin,
        OriginPattern::Wildcard { scheme, suffix, port } => {
            split_origin(origin).is_some_and(|(own_scheme, host, own_port)| {
                let labels = host.strip_suffix(suffix.as_ref());
                own_scheme == scheme.as_ref()
                    && own_port == *port
                    && labels.is_some_and(|labels| !labels.is_empty())
            })
        }
    })
}

/// Scheme, host and port of `scheme://host[:port]`, both ends anchored: nothing but a host's letters in between.
fn split_origin(origin: &[u8]) -> Option<(&[u8], &[u8], Option<u16>)> {
    let colon = memchr::memchr(b':', origin)?;
    let (scheme, rest) = origin.split_at(colon);
    let rest = rest.strip_prefix(b"://")?;
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.iter().all(is_scheme) {
        return None;
    }
    // An IPv6 host keeps its brackets.
    let host_end = match rest.first() {
        Some(b'[') => memchr::memchr(b']', rest)? + 1,
        _ => memchr::memchr(b':', rest).unwrap_or(rest.len()),
    };
    let (host, port) = rest.split_at(host_end);
    let is_host =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':');
    if host.is_empty() || !host.iter().all(is_host) {
        return None;
    }
    let port = match port {
        [] => None,
        [b':', digits @ ..] => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
        _ => return None,
    };
    Some((scheme, host, port))
}

/// The methods as written; for `*`, the one that is asked for, since `*` means nothing with credentials.
fn allowed_methods(cors: &Cors, wanted: &HeaderValue) -> Option<HeaderValue> {
    if cors.any_method {
        return Method::from_bytes(wanted.as_bytes()).is_ok().then(|| wanted.clone());
    }
    join(cors.methods.iter().map(Method::as_str))
}

/// The names as written; for `*`, those that are asked for, since `*` means nothing with credentials and never covers
/// Authorization.
fn allowed_headers(cors: &Cors, wanted: Option<&HeaderValue>) -> Option<HeaderValue> {
    if !cors.any_header {
        return join(cors.headers.iter().map(HeaderName::as_str));
    }
    let wanted = wanted?;
    let mut names = wanted.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.all(|name| HeaderName::from_bytes(name).is_ok()).then(|| wanted.clone())
}

/// The names as written. With credentials `*` would be taken for a name, so it is left out.
fn exposed_headers(cors: &Cors) -> Option<HeaderValue> {
    if cors.any_expose && !cors.credentials {
        return Some(HeaderValue::from_static("*"));
    }
    join(cors.expose.iter().map(HeaderName::as_str))
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let mut joined = BytesMut::new();
    for word in words {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(word.as_bytes());
    }
    (!joined.is_empty()).then(|| HeaderValue::from_maybe_shared(Bytes::from(joined)).ok())?
}

/// Adds Origin to Vary unless it is there, or `*` is.
fn vary_by_origin(response: &mut HeaderMap) {
    let covered = response.get_all(VARY).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    });
    if !covered {
        response.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// The fields by which an application would speak on the matter itself.
const PERMISSIONS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];
const PREFLIGHT_VARY: &str = "origin, access-control-request-method, access-control-request-headers";
