//! Takes out of a message what must not cross this hop.
//!
//! Applications trust certain header names to come from the proxy in front of them: the client's address, the user who
//! is logged in, the client's certificate. Many of them treat `X_Auth_User` or `X.Auth.User` as `X-Auth-User`, so names
//! are compared folded: every byte that is neither letter nor digit counts as the same one.
//!
//! The forwarding headers of a trusted peer must be read (see `forwarded`) before this runs: it removes them all.

#[cfg(test)]
mod tests;

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use super::forwarded::PeerTrust;

/// What becomes of header names with `_`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Underscores {
    /// Removed, as nginx does: CGI-like applications cannot tell them from `-`.
    #[default]
    Drop,
    /// Removed, and told by [`Sanitized::underscore`], so that the request can be refused.
    Refuse,
    /// Kept, save those that fold to a name this module removes.
    Keep,
}

/// What `sanitize` met on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sanitized {
    /// The request carried forwarding headers. From an untrusted peer this is worth a Problem that names its network.
    pub forwarding: bool,
    /// A name with `_` came where those are refused.
    pub underscore: bool,
}

/// Removes from a request, in this order: what `Connection` names, hop-by-hop fields (RFC 9110 §7.6.1), all forwarding
/// headers, and all names by which applications are told who is asking.
///
/// `TE` becomes `trailers` or goes; `Upgrade` and `Expect` go, the codec has remembered them. Content-Length stays for the codec.
/// `CF-Connecting-IP` stays when the peer is Cloudflare.
pub fn sanitize(headers: &mut HeaderMap, trust: PeerTrust, underscores: Underscores) -> Sanitized {
    remove_connection_tokens(headers);
    let mut sanitized = Sanitized::default();
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let mut te = false;
    for name in headers.keys() {
        if underscores == Underscores::Refuse && name.as_str().contains('_') {
            sanitized.underscore = true;
        }
        match judge(name.as_str()) {
            Verdict::Keep => {}
            Verdict::Te => te = true,
            Verdict::Underscore if underscores == Underscores::Keep => {}
            Verdict::Cloudflare if trust == PeerTrust::Cloudflare => {}
            Verdict::Underscore | Verdict::HopByHop | Verdict::Identity => doomed.push(name.clone()),
            Verdict::Forwarding | Verdict::Cloudflare => {
                sanitized.forwarding = true;
                doomed.push(name.clone());
            }
        }
    }
    for name in &doomed {
        headers.remove(name);
    }
    if te {
        keep_trailers_only(headers);
    }
    sanitized
}

/// Removes from an upstream's answer what `Connection` names and the hop-by-hop fields. Content-Length stays.
pub fn sanitize_response(headers: &mut HeaderMap) {
    remove_connection_tokens(headers);
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    for name in headers.keys() {
        if is_hop_by_hop(name.as_str()) {
            doomed.push(name.clone());
        }
    }
    for name in &doomed {
        headers.remove(name);
    }
}

/// Removes from trailers, of a request or an answer, all that has a meaning only in front of the body (RFC 9110 §6.5.1),
/// and everything that [`sanitize`] removes.
pub fn sanitize_trailers(trailers: &mut HeaderMap) {
    let mut doomed: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for name in trailers.keys() {
        let text = name.as_str();
        if judge(text) != Verdict::Keep || FORBIDDEN_IN_TRAILERS.contains(&text) {
            doomed.push(name.clone());
        }
    }
    for name in &doomed {
        trailers.remove(name);
    }
}

/// True for names that `Connection`, header filters and operators' lists must not touch: message framing, routing, and
/// what this module or `forwarded` decides.
pub(crate) fn is_protected(name: &str) -> bool {
    PROTECTED.contains(&name)
        || matches!(judge(name), Verdict::Forwarding | Verdict::Cloudflare | Verdict::Identity)
}

/// True for fields that belong to one connection (RFC 9110 §7.6.1), and for `Proxy`, which CGI programs take for a
/// setting of their own.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'h') => name == "http2-settings",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => {
            matches!(name, "proxy-connection" | "proxy-authorization" | "proxy-authenticate" | "proxy")
                || name == "proxy-authentication-info"
        }
        Some(b't') => matches!(name, "te" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        Some(_) | None => false,
    }
}

/// The fate of one header name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    HopByHop,
    Te,
    Forwarding,
    /// Cloudflare's word on the client.
    Cloudflare,
    Identity,
    Underscore,
}

fn judge(name: &str) -> Verdict {
    // Names come in lower case. A letter-digit-dash name folds to itself, so ordinary names are compared as they are.
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return judge_folded(name);
    }
    let mut buffer = [0_u8; FOLDED_BYTES_MAX];
    let length = name.len().min(FOLDED_BYTES_MAX);
    for (to, from) in buffer.iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() { from.to_ascii_lowercase() } else { b'-' };
    }
    // Only prefixes can match a name longer than the buffer, and those are far shorter.
    let verdict = judge_folded(std::str::from_utf8(&buffer[..length]).unwrap_or_default());
    if verdict == Verdict::Keep && name.contains('_') { Verdict::Underscore } else { verdict }
}

fn judge_folded(name: &str) -> Verdict {
    match name.as_bytes().first() {
        Some(b'x') => judge_x(name),
        Some(b'c') => match name {
            "connection" => Verdict::HopByHop,
            "cf-connecting-ip" | "cf-connecting-ipv6" | "cf-pseudo-ipv4" => Verdict::Cloudflare,
            "client-ip" => Verdict::Forwarding,
            "client-cert" | "client-cert-chain" => Verdict::Identity,
            _ => Verdict::Keep,
        },
        // Answered on this hop; the codec has remembered it (RFC 9110 §10.1.1).
        Some(b'e') if name == "expect" => Verdict::HopByHop,
        Some(b'f') => match name {
            "forwarded" | "forwarded-for" | "front-end-https" | "fastly-client-ip" => Verdict::Forwarding,
            _ => Verdict::Keep,
        },
        Some(b't') => match name {
            "te" => Verdict::Te,
            "transfer-encoding" => Verdict::HopByHop,
            "true-client-ip" => Verdict::Forwarding,
            _ => Verdict::Keep,
        },
        Some(b'r') if is_remote_identity(name) => Verdict::Identity,
        Some(b's') if begins(name, "ssl-client") => Verdict::Identity,
        Some(b'l') if begins(name, "l5d-") => Verdict::Identity,
        Some(_) if is_hop_by_hop(name) => Verdict::HopByHop,
        Some(_) | None => Verdict::Keep,
    }
}

fn judge_x(name: &str) -> Verdict {
    if FORWARDING_PREFIXES.iter().any(|prefix| begins(name, prefix)) || FORWARDING_NAMES.contains(&name) {
        Verdict::Forwarding
    } else if IDENTITY_PREFIXES.iter().any(|prefix| begins(name, prefix)) {
        Verdict::Identity
    } else {
        Verdict::Keep
    }
}

fn is_remote_identity(name: &str) -> bool {
    matches!(
        name,
        "remote-user" | "remote-groups" | "remote-group" | "remote-name" | "remote-email" | "remote-addr"
    )
}

fn begins(name: &str, prefix: &str) -> bool {
    name.as_bytes().starts_with(prefix.as_bytes())
}

/// Removes the fields that `Connection` names, unless a rule of ours or the framing depends on them: otherwise a client
/// could make its own hop, or ours, forget them.
fn remove_connection_tokens(headers: &mut HeaderMap) {
    let mut doomed: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.is_empty() || COMMON_TOKENS.iter().any(|common| token.eq_ignore_ascii_case(common)) {
                continue;
            }
            let Ok(name) = HeaderName::from_bytes(token) else { continue };
            if !is_protected(name.as_str()) {
                doomed.push(name);
            }
        }
    }
    for name in &doomed {
        headers.remove(name);
    }
}

fn keep_trailers_only(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|value| {
        let mut codings = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Tokens that name no other field, or one that is removed anyway (TE is judged on its own).
const COMMON_TOKENS: [&[u8]; 5] = [b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings"];

/// Fields whose loss would change what a message means.
const PROTECTED: [&str; 18] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "location",
    "origin",
    "range",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "vary",
    "www-authenticate",
];

/// Names, beginning with `x-`, by which proxies speak of the client and of the request as it was.
const FORWARDING_NAMES: [&str; 12] = [
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-for",
    "x-host",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];
/// `x-envoy-` steers Envoy sidecars behind the edge.
const FORWARDING_PREFIXES: [&str; 3] = ["x-forwarded-", "x-original-", "x-envoy-"];

/// oauth2-proxy, authentik, Grafana, the Kubernetes API server, ingress controllers with client certificates.
const IDENTITY_PREFIXES: [&str; 8] = [
    "x-auth-request-",
    "x-authentik-",
    "x-authelia-",
    "x-webauth-",
    "x-remote-",
    "x-ssl-client",
    "x-client-cert",
    "x-tls-client",
];

/// What must be known before the body (RFC 9110 §6.5.1), or is a credential.
const FORBIDDEN_IN_TRAILERS: [&str; 26] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
    "www-authenticate",
];

/// Longer than every name above, so that a longer one can match by prefix only.
const FOLDED_BYTES_MAX: usize = 64;
