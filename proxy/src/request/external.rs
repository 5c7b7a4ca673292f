//! External authentication: another server is asked about a request, and its answer decides.
//!
//! What is asked about is the normalised target, and the headers as they are after cleaning, so that the server judges what
//! the application will see. Anything but a clear yes keeps the request out; a server that cannot be asked is answered 503.

mod answer;
mod ask;
mod cache;
mod question;
mod template;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::request::sanitize::is_hop_by_hop;
use crate::route::Handling;
use crate::upstream::Backend;

pub use cache::{CACHE_DURATION_MAX, CacheRules};
pub(crate) use template::Subject as TemplateSubject;
pub(crate) use template::escape as escape_uri;
pub use template::{TEMPLATE_BYTES_MAX, Template, TemplateError};

pub(crate) use answer::{Given, Judgement, Refused};
pub(crate) use ask::{Asked, ask};
pub(crate) use cache::Answers;
pub(crate) use question::usual_request_headers;

/// A server that is asked, and what is asked of it.
#[derive(Clone, Debug)]
pub struct External {
    pub backend: Arc<Backend>,
    /// Times and retries of the question.
    pub handling: Handling,
    /// All in all; after it there is no answer.
    pub deadline: Duration,
    pub method: QuestionMethod,
    /// Path and query.
    pub target: QuestionTarget,
    /// Host of the question; `None`: that of the request.
    pub host: Option<HeaderValue>,
    pub request_headers: Selection,
    /// Set on the question, over everything else.
    pub set_headers: Vec<(HeaderName, Template)>,
    /// `X-Auth-Request-Redirect`, in place of path and query of the request.
    pub redirect: Option<Template>,
    /// The largest body that goes along; zero: none does.
    pub body_bytes_max: u64,
    pub success: Success,
    /// Headers of the answer that the application is told, in place of the client's own.
    pub response_headers: Selection,
    /// A yes without one of these is no identity.
    pub require_headers: Vec<HeaderName>,
    pub identity: IdentityNames,
    /// Where a navigation is sent after a 401.
    pub signin: Option<Signin>,
    pub cache: Option<CacheRules>,
}

/// The method of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionMethod {
    Fixed(Method),
    /// That of the request.
    Preserve,
}

/// The target of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionTarget {
    Fixed(Template),
    /// This, then path and query of the request (HTTPRoute `ExternalAuth`).
    Before(Box<str>),
}

/// Some headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that do not concern one connection or one body.
    All,
    Only(Vec<NamePattern>),
}

/// A header name, or the beginning of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    Exact(HeaderName),
    /// `x-authentik-*`; in lower case, without the asterisk.
    Prefix(Box<str>),
}

/// Which answers are a yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// 200 to 299.
    Any2xx,
    /// 200 alone (Gateway API, `HTTPExternalAuthFilter`).
    Only200,
}

/// Which headers of the answer say what of the identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityNames {
    pub user: Option<HeaderName>,
    pub email: Option<HeaderName>,
    pub name: Option<HeaderName>,
    pub groups: Option<HeaderName>,
    pub groups_separator: u8,
}

/// Where people are sent to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signin {
    pub location: Template,
    /// The location is a path of the same host, and so is what is added to it.
    pub is_path: bool,
    /// The parameter that takes the address that was asked for; nothing is added where the location has it already.
    pub parameter: Box<str>,
}

impl PartialEq for External {
    fn eq(&self, other: &Self) -> bool {
        // Named one by one, so that a new field is not forgotten.
        let External {
            backend,
            handling,
            deadline,
            method,
            target,
            host,
            request_headers,
            set_headers,
            redirect,
            body_bytes_max,
            success,
            response_headers,
            require_headers,
            identity,
            signin,
            cache,
        } = self;
        Arc::ptr_eq(backend, &other.backend)
            && *handling == other.handling
            && *deadline == other.deadline
            && *method == other.method
            && *target == other.target
            && *host == other.host
            && *request_headers == other.request_headers
            && *set_headers == other.set_headers
            && *redirect == other.redirect
            && *body_bytes_max == other.body_bytes_max
            && *success == other.success
            && *response_headers == other.response_headers
            && *require_headers == other.require_headers
            && *identity == other.identity
            && *signin == other.signin
            && *cache == other.cache
    }
}

impl Eq for External {}

impl Selection {
    pub(crate) fn takes(&self, name: &HeaderName) -> bool {
        match self {
            Selection::All => true,
            Selection::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }
}

impl NamePattern {
    fn matches(&self, name: &HeaderName) -> bool {
        match self {
            NamePattern::Exact(exact) => exact == name,
            NamePattern::Prefix(prefix) => name.as_str().starts_with(&**prefix),
        }
    }
}

/// True for names by which an application may be told something: those that frame a message, speak of the exchange or of where
/// it came from are none.
pub(crate) fn may_tell(name: &str) -> bool {
    !NEVER_TOLD.contains(&name)
        && !NEVER_TOLD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !is_hop_by_hop(name)
}

/// The same of all names that begin so.
pub(crate) fn may_tell_all(prefix: &str) -> bool {
    let mut never = NEVER_TOLD.iter().chain(&NEVER_TOLD_PREFIXES);
    may_tell(prefix) && !never.any(|name| name.starts_with(prefix))
}

const NEVER_TOLD: [&str; 25] = [
    "accept",
    "accept-encoding",
    "age",
    "alt-svc",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "last-modified",
    "location",
    "origin",
    "range",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];
/// `x-forwarded-user` and its like are for telling; the rest of the family is the edge's own.
const NEVER_TOLD_PREFIXES: [&str; 11] = [
    "access-control-",
    "content-",
    "if-",
    "sec-",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-po",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-original-",
];

/// The largest body that can go along with a question.
pub const QUESTION_BODY_BYTES_MAX: u64 = 1 << 20;
/// The largest body of an answer; more is no answer.
pub const ANSWER_BODY_BYTES_MAX: u64 = 256 << 10;
/// The longest that a server may be given to answer.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
