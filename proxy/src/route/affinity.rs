//! Which endpoint a client comes back to: by a session that it carries, or by a hash of what it sends.

use std::fmt;
use std::time::Duration;

use http::HeaderName;

use crate::request::external::Template;

/// What decides the endpoint of a request before any balancing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    Session(Session),
    Hash(HashBy),
}

/// A client stays with the endpoint that answered it first (HTTPRoute `sessionPersistence`, GEP-1619; ingress-nginx
/// `affinity: cookie`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub carrier: Carrier,
    /// After this time a session is begun anew.
    pub absolute_timeout: Option<Duration>,
    pub after_failure: AfterFailure,
    /// Whether it decides between backends, too, or only between the endpoints of one.
    pub reach: Reach,
}

/// What of a message carries a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    Cookie(Cookie),
    Header(HeaderName),
}

/// The cookie of a session (RFC 6265 §4.1). It is always `HttpOnly`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: Box<str>,
    /// `None`: the path of the route.
    pub path: Option<Box<str>>,
    pub domain: Option<Box<str>>,
    pub max_age: Option<Duration>,
    pub expires: Option<Duration>,
    pub same_site: Option<SameSite>,
    pub secure: Secure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    None,
    Lax,
    Strict,
}

/// Whether browsers may send a cookie in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    Always,
    /// Where the request came over TLS.
    AsRequest,
}

/// What becomes of a session when its endpoint does not answer. Another one answers the request in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The client comes back to the first, as long as it exists.
    Stays,
    /// The client stays with the one that answered.
    Moves,
}

/// How far a session reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Between backends by weight, and between a canary and the others, too.
    AllBackends,
    OneBackend,
}

/// Requests of which this text is the same go to the same endpoint; when endpoints come and go, few of them move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBy {
    pub key: Template,
    /// Each key has so many endpoints, and any of them may answer. Never 0.
    pub among: u16,
}

impl fmt::Display for Affinity {
    /// `cookie INGRESSCOOKIE`, `header x-session`, `hash of $request_uri among 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Affinity::Session(Session { carrier: Carrier::Cookie(cookie), .. }) => {
                write!(f, "cookie {}", cookie.name)
            }
            Affinity::Session(Session { carrier: Carrier::Header(name), .. }) => write!(f, "header {name}"),
            Affinity::Hash(HashBy { key, among: 1 }) => write!(f, "hash of {key}"),
            Affinity::Hash(HashBy { key, among }) => write!(f, "hash of {key} among {among}"),
        }
    }
}

impl SameSite {
    pub fn as_str(self) -> &'static str {
        match self {
            SameSite::None => "None",
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        }
    }
}

/// Of the cookie, where nothing else is written.
pub const COOKIE_NAME_DEFAULT: &str = "INGRESSCOOKIE";
