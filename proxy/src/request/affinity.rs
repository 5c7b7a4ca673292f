//! Sessions that keep a client on one endpoint, as they stand in requests and answers.
//!
//! A session is the token of an endpoint, which every replica knows alike, with the time at which it began where its age is
//! bounded. It proves nothing and opens nothing: whoever makes one up chooses among endpoints that would answer him anyway.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};

use super::external::TemplateSubject;
use super::target::{Scheme, Target};
use crate::route::affinity::{Affinity, AfterFailure, Carrier, Cookie, Reach, Secure, Session};
use crate::route::{PathPattern, Route, WeightedBackend};
use crate::upstream::balance::Prefers;
use crate::upstream::{Backend, Endpoint};

/// Which endpoint this request is for.
pub(super) fn preference(
    affinity: &Affinity,
    method: &Method,
    headers: &HeaderMap,
    target: &Target,
    address: std::net::IpAddr,
) -> Prefers {
    match affinity {
        Affinity::Session(session) => match carried(session, headers, unix_now()) {
            Some(token) => Prefers::Endpoint(token),
            None => Prefers::Any,
        },
        Affinity::Hash(hash) => {
            let host = headers.get(http::header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
            let key = hash.key.fill(TemplateSubject { method, target, headers, host, address });
            Prefers::Hashed { key: Endpoint::hash_of(&key), among: hash.among }
        }
    }
}

/// The share that the session's endpoint belongs to, where the session decides that.
pub(super) fn share<'r>(
    route: &'r Route,
    prefers: Prefers,
    backends: &'r [WeightedBackend],
) -> Option<&'r WeightedBackend> {
    let Prefers::Endpoint(token) = prefers else { return None };
    let Some(Affinity::Session(Session { reach: Reach::AllBackends, .. })) = route.affinity.as_deref() else {
        return None;
    };
    let has = |share: &&WeightedBackend| share.backend.as_ref().is_ok_and(|backend| backend.has(token));
    let canary = route.canary.as_deref().map(|canary| &canary.share);
    canary.into_iter().chain(backends.iter().filter(|share| share.weight > 0)).find(has)
}

/// Gives the client a session with the endpoint that answered, unless it has one that stands.
pub(super) fn remember(
    session: &Session,
    prefers: Prefers,
    (backend, endpoint): (&Backend, &Endpoint),
    (route, scheme): (&Route, Scheme),
    headers: &mut HeaderMap,
) {
    if let Prefers::Endpoint(token) = prefers {
        let stands =
            token == endpoint.token || (session.after_failure == AfterFailure::Stays && backend.has(token));
        if stands {
            return;
        }
    }
    let now = unix_now();
    let value = match session.absolute_timeout {
        None => format!("{:016x}", endpoint.token),
        Some(_) => format!("{:016x}.{now:x}", endpoint.token),
    };
    match &session.carrier {
        Carrier::Header(name) => {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name.clone(), value);
            }
        }
        Carrier::Cookie(cookie) => {
            let path = match (&cookie.path, &route.origin.path) {
                (Some(path), _) => path,
                (None, PathPattern::Exact(path) | PathPattern::Prefix(path)) if !path.is_empty() => &**path,
                (None, PathPattern::Exact(_) | PathPattern::Prefix(_) | PathPattern::Regex(_)) => "/",
            };
            if let Ok(value) = HeaderValue::from_str(&set_cookie(cookie, &value, path, scheme, now)) {
                headers.append(SET_COOKIE, value);
            }
        }
    }
}

/// The token that a request carries, unless its session is too old.
fn carried(session: &Session, headers: &HeaderMap, now: u64) -> Option<u64> {
    let value = match &session.carrier {
        Carrier::Header(name) => headers.get(name)?.as_bytes(),
        Carrier::Cookie(cookie) => {
            let pairs =
                headers.get_all(COOKIE).into_iter().flat_map(|field| field.as_bytes().split(|b| *b == b';'));
            pairs
                .map(<[u8]>::trim_ascii)
                .find_map(|pair| pair.strip_prefix(cookie.name.as_bytes())?.strip_prefix(b"="))?
        }
    };
    let text = std::str::from_utf8(value).ok()?;
    let (token, begun) = text.split_once('.').unwrap_or((text, ""));
    if let Some(timeout) = session.absolute_timeout {
        let begun = u64::from_str_radix(begun, 16).ok()?;
        // One from the future was made up.
        let age = now.checked_sub(begun)?;
        if age >= timeout.as_secs() {
            return None;
        }
    }
    (token.len() == TOKEN_CHARS).then(|| u64::from_str_radix(token, 16).ok())?
}

fn set_cookie(cookie: &Cookie, value: &str, path: &str, scheme: Scheme, now: u64) -> String {
    let mut text = format!("{}={value}; Path={path}", cookie.name);
    let mut add = |part: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = text.write_fmt(part);
    };
    if let Some(domain) = &cookie.domain {
        add(format_args!("; Domain={domain}"));
    }
    if let Some(expires) = cookie.expires {
        let date =
            UNIX_EPOCH + Duration::from_secs(now.saturating_add(expires.as_secs()).min(EXPIRES_SECONDS_MAX));
        add(format_args!("; Expires={}", httpdate::HttpDate::from(date)));
    }
    if let Some(max_age) = cookie.max_age {
        add(format_args!("; Max-Age={}", max_age.as_secs()));
    }
    if let Some(same_site) = cookie.same_site {
        add(format_args!("; SameSite={}", same_site.as_str()));
    }
    if cookie.secure == Secure::Always || scheme == Scheme::Https {
        text.push_str("; Secure");
    }
    text.push_str("; HttpOnly");
    text
}

/// Seconds since 1970. Cookies carry the time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "cookies carry the time of day, and nothing else here depends on it"
)]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const TOKEN_CHARS: usize = 16;
/// The end of the year 9999, the last that a date of HTTP can say.
const EXPIRES_SECONDS_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
