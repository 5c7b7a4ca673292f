//! Where a person goes after logging in or out: never to another site (an open redirect is what phishing mails are made of).

use super::{Provider, Visit};
use crate::session::Transport;

/// A longer address is not returned to.
pub const RETURN_BYTES_MAX: usize = 4096;

/// What may stand in `Location` for the address `wanted`: a path of this host, or, where sessions are for a domain, an
/// https address of one of its hosts. `/` for anything else.
pub fn return_address(wanted: &str, provider: &Provider, visit: &Visit<'_>) -> String {
    permitted(wanted, provider, visit).unwrap_or_else(|| "/".to_owned())
}

fn permitted(wanted: &str, provider: &Provider, visit: &Visit<'_>) -> Option<String> {
    if wanted.len() > RETURN_BYTES_MAX || !wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    {
        return None;
    }
    if let Some(rest) = strip_prefix_ignoring_case(wanted, &visit.origin()) {
        // The authority must have ended there: `https://app.example.evil.example` begins in the same way.
        return match rest.bytes().next() {
            None => Some("/".to_owned()),
            Some(b'/') => path(rest),
            Some(_) => None,
        };
    }
    if wanted.starts_with('/') {
        return path(wanted);
    }
    let domain = provider.settings().cookie_domain.as_ref()?;
    let rest =
        strip_prefix_ignoring_case(wanted, "https://").filter(|_| visit.transport == Transport::Tls)?;
    let (authority, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let host = host.to_ascii_lowercase();
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let is_port =
        port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let below = host == *domain || host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
    if !is_name || !is_port || !below {
        return None;
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let tail = if tail.is_empty() { "/".to_owned() } else { path(tail)? };
    Some(format!("https://{host}{port}{tail}"))
}

/// A path, with a query perhaps, that every browser takes for one. The fragment never reached us.
fn path(text: &str) -> Option<String> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    let hidden = ["//", "/./", "/../", "%2e", "%2f", "%5c", "%09", "%0a", "%0d", "%00"];
    let ends = lower.ends_with("/.") || lower.ends_with("/..");
    // Not back to where logins begin and end: that is a circle.
    let circle = lower.starts_with(super::PREFIX);
    let clean = lower.starts_with('/') && !ends && !hidden.iter().any(|hidden| lower.contains(hidden));
    (clean && !circle).then(|| text.to_owned())
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
