//! A route: all that one matched request needs, compiled ahead of time.
//!
//! A request finds its `&Route` once, on its listener's table, and nothing is looked up by name after that. Values that
//! outlive configuration (a backend's endpoints, its health) hang behind `Arc<Backend>`.

pub mod affinity;
pub mod auth;
pub mod canary;
pub mod challenges;
pub mod client_certificates;
pub mod errors;
pub mod explain;
pub mod expression;
pub mod host;
pub mod matches;
pub mod path;
pub mod relay;
pub mod table;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use crate::config::problem::ObjectRef;
use crate::limit::Limiting;
use crate::request::external::Template;
use crate::request::target::Scheme;
use crate::upstream::Backend;
use crate::workload::gate::Gate;

pub use canary::Canary;
pub use expression::RegexPattern;

/// Everything that one rule of one object decided about the requests that match it.
///
/// In this order in memory: what every request looks at stands together in front. Of ten thousand routes few are in the
/// processor's cache.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Route {
    /// Set when a rule that guards this route cannot be enforced: the route answers 503 and nothing else is tried.
    pub refusal: Option<Refusal>,
    pub action: Action,
    /// Judged before the backends of [`Action::Forward`].
    pub canary: Option<Arc<Canary>>,
    /// What a client on plain HTTP is told: go to https on this port (`None`: serve plain HTTP too).
    pub https_redirect: Option<HttpsRedirect>,
    /// All that most routes leave as it is; its fields read as if they were the route's own.
    pub handling: Arc<Handling>,
    /// Set where what stands behind the route sleeps and wakes.
    pub(crate) wake: Option<Arc<Gate>>,
    /// Where its requests are counted.
    pub metrics: crate::admin::metrics::RouteHandle,
    /// The object and rule this came from; what `explain`, logs and metrics name.
    pub origin: Origin,
}

/// How the requests of a route are treated besides its action. Routes that say the same share one, and most share
/// [`Handling::plain`], so that ten thousand of them stay small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Strict-Transport-Security for answers over TLS.
    pub hsts: Option<HeaderValue>,
    pub cors: Option<Arc<Cors>>,
    pub access: AddressRules,
    /// What the host asks of the certificates of its clients; `None`: nothing.
    pub client_certificates: Option<Arc<client_certificates::ClientCertificates>>,
    /// Who has to be known; `None`: nobody.
    pub auth: Option<Arc<auth::Auth>>,
    /// Somebody wrote that nobody has to be known.
    pub declared_open: bool,
    pub limits: Limits,
    /// How often requests may come, and how many at once.
    pub limiting: Option<Arc<Limiting>>,
    pub timeouts: Timeouts,
    pub retry: Retry,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub rewrite: Rewrite,
    /// What decides the endpoint before any balancing; `None`: nothing.
    pub affinity: Option<Arc<affinity::Affinity>>,
    /// Who gets a copy of the request; their answers are thrown away.
    pub mirrors: Vec<Mirror>,
    /// Who writes the pages of errors; `None`: whoever answers.
    pub errors: Option<Arc<errors::ErrorPages>>,
}

impl Handling {
    /// The one that asks for nothing, always the same.
    pub fn plain() -> Arc<Handling> {
        static PLAIN: LazyLock<Arc<Handling>> = LazyLock::new(Arc::default);
        PLAIN.clone()
    }

    /// What is left of this for the paths of the authentication server that guards the route: who may reach the site at all,
    /// and nothing that is about its application.
    pub(crate) fn of_server(&self) -> Handling {
        let Handling { hsts, access, client_certificates, limiting, .. } = self.clone();
        Handling { hsts, access, client_certificates, limiting, ..Handling::default() }
    }

    /// For a route; all that ask for nothing get [`Handling::plain`].
    pub fn shared(self) -> Arc<Handling> {
        let plain = Handling::plain();
        if self == *plain { plain } else { Arc::new(self) }
    }
}

impl Route {
    /// True where something on the way of a request may look for X-Forwarded-* or X-Real-IP among its headers: what finds the
    /// backend or fills a template.
    pub(crate) fn looks_at_headers(&self) -> bool {
        self.canary.is_some() || self.affinity.is_some() || !self.mirrors.is_empty()
    }
}

/// The request path reads `route.limits` and the like, wherever they are kept.
impl Deref for Route {
    type Target = Handling;

    fn deref(&self) -> &Handling {
        &self.handling
    }
}

/// Where a route was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub object: ObjectRef,
    /// Index into `spec.rules`.
    pub rule: u32,
    /// `rules[].name`, or the path of an Ingress rule, for people.
    pub name: Option<Arc<str>>,
    /// The path pattern as it was written (`/api`, `^/v[0-9]+`); the length of a prefix also tells a rewrite what to cut.
    pub path: PathPattern,
}

impl fmt::Display for Origin {
    /// `HTTPRoute shop/web rule 0`, or with the rule's name, `HTTPRoute shop/web rule 0 (checkout)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.object, self.rule)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// A path as a route matches it, over the normalised path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path, byte for byte.
    Exact(Arc<str>),
    /// By path element: `/abc` matches `/abc`, `/abc/` and `/abc/x`, never `/abcd`. Stored without trailing slash; `/` is `""`.
    Prefix(Arc<str>),
    /// Anchored at the start of the path.
    Regex(RegexPattern),
}

/// Why a route refuses every request, in words for the operator; visitors see only "not available".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Names the key or field and the mend.
    pub message: Arc<str>,
}

/// What a route does once the request may pass.
#[derive(Clone, Debug)]
pub enum Action {
    Forward(Box<[WeightedBackend]>),
    Redirect(Box<Redirect>),
    /// Sends every request to one address.
    Location(Box<Location>),
    /// Logging in and out (`/oauth2/…`).
    Login(Arc<crate::login::OidcProvider>),
    /// Answers this status always: a backend reference that cannot be used (500), or no backend at all.
    Status(StatusCode),
}

impl Action {
    /// The backends that get a share of the requests.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let shares = match self {
            Action::Forward(shares) => &**shares,
            Action::Redirect(_) | Action::Location(_) | Action::Login(_) | Action::Status(_) => &[],
        };
        shares.iter().filter(|share| share.weight > 0).filter_map(|share| share.backend.as_ref().ok())
    }
}

/// Sends every request to this address, whatever its own path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub location: HeaderValue,
    pub status: StatusCode,
}

/// One share of a route's traffic.
#[derive(Clone, Debug)]
pub struct WeightedBackend {
    /// Share = weight / sum of weights; 0 gets nothing.
    pub weight: u32,
    /// `Err`: the reference is invalid, and this share answers that status (Gateway API: 500).
    pub backend: Result<Arc<Backend>, StatusCode>,
    pub request_headers: Option<Arc<HeaderEdits>>,
    pub response_headers: Option<Arc<HeaderEdits>>,
}

impl WeightedBackend {
    /// The share of a backend that is the only one.
    pub fn whole(backend: Arc<Backend>) -> Self {
        WeightedBackend { weight: 1, backend: Ok(backend), request_headers: None, response_headers: None }
    }
}

/// One HTTPRoute `RequestMirror`, or `mirror-target`: of `denominator` requests, `numerator` are copied.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub backend: Arc<Backend>,
    pub numerator: u32,
    /// Never 0, and never less than the numerator.
    pub denominator: u32,
    /// How copies differ from the request; `None`: not at all.
    pub target: Option<Arc<MirrorTarget>>,
}

/// What a copy asks for in place of what the request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTarget {
    /// Path and query.
    pub target: Template,
    pub host: HeaderValue,
    pub body: MirrorBody,
}

/// Whether a copy has the body of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorBody {
    Copied,
    LeftOut,
}

impl PartialEq for Mirror {
    fn eq(&self, other: &Self) -> bool {
        let fraction = |mirror: &Self| (mirror.numerator, mirror.denominator);
        Arc::ptr_eq(&self.backend, &other.backend)
            && fraction(self) == fraction(other)
            && self.target == other.target
    }
}

impl Eq for Mirror {}

/// HTTPRoute `RequestRedirect`, or the redirect annotations of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Scheme>,
    pub host: Option<Arc<str>>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
    pub status: StatusCode,
}

/// Sends plain HTTP to https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// 308 by default; 301 where the operator asks for it.
    pub status: StatusCode,
    /// The port to name, `None` for 443.
    pub port: Option<u16>,
}

/// How host and path change on the way upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    pub host: Option<HeaderValue>,
    pub path: Option<PathRewrite>,
}

/// A new path for the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// The whole path is replaced; the query stays.
    Full(Arc<str>),
    /// The matched prefix is replaced (Gateway API `ReplacePrefixMatch`).
    Prefix(Arc<str>),
    /// ingress-nginx `rewrite-target`: a template with `$1`… filled from the captures of this route's path expression.
    Captures(Arc<str>),
}

/// Header changes, applied in the order set, add, remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// For a share; `None` when nothing changes.
    pub(crate) fn shared(self) -> Option<Arc<HeaderEdits>> {
        (!self.is_empty()).then(|| Arc::new(self))
    }
}

/// Which client addresses may enter. Deny wins over allow; an empty allow list lets everyone in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// Bounds of one request on this route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes; zero: no bound; `None`: the operator's default.
    pub body_bytes_max: Option<u64>,
}

impl Limits {
    /// The bound on a request body, where the operator's default is `default` (zero: none).
    pub(crate) fn body_bytes_max(&self, default: u64) -> Option<u64> {
        Some(self.body_bytes_max.unwrap_or(default)).filter(|bytes| *bytes > 0)
    }
}

/// How long each part of an exchange may take. `None` where the default of the upstream holds, zero switches off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Over everything, retries included (HTTPRoute `timeouts.request`): 504.
    pub request: Option<Duration>,
    /// Over one try (HTTPRoute `timeouts.backendRequest`): 504.
    pub backend_request: Option<Duration>,
    pub connect: Option<Duration>,
    /// Between two reads from the upstream.
    pub read: Option<Duration>,
    /// Between two writes to the upstream.
    pub send: Option<Duration>,
}

/// When a failed try is repeated, besides the failures that are always safe to repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first; `None`: the default (1, safe failures only), `Some(0)`: never.
    pub attempts: Option<u32>,
    /// Status codes of the backend that count as failure.
    pub codes: Vec<StatusCode>,
    /// The pause before a retry.
    pub backoff: Option<Duration>,
    /// After so long, counted from the first try, none is begun any more.
    pub within: Option<Duration>,
}

/// Cross-origin rules (Fetch standard; HTTPRoute filter `CORS`, GEP-1767).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    pub origins: Vec<OriginPattern>,
    pub methods: Vec<http::Method>,
    /// `*` as a method.
    pub any_method: bool,
    pub headers: Vec<HeaderName>,
    /// `*` as a header name.
    pub any_header: bool,
    pub expose: Vec<HeaderName>,
    pub any_expose: bool,
    pub credentials: bool,
    /// Seconds; `None` leaves the header out.
    pub max_age: Option<u32>,
}

/// One allowed origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    Any,
    /// `https://app.example.com`, compared byte for byte.
    Exact(Bytes),
    /// `https://*.example.com`: scheme, one or more labels, suffix with its leading dot, port if written.
    Wildcard {
        scheme: Bytes,
        suffix: Bytes,
        port: Option<u16>,
    },
}

#[cfg(test)]
pub(crate) mod fixtures;
