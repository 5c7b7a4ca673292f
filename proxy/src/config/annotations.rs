//! Annotations: the keys that people write on an Ingress or HTTPRoute, as one table, and what they mean together.
//!
//! A key that guards access is never dropped in silence: where it cannot be enforced, [`Reading::refusal`] says why, and
//! every route of the object refuses.

pub mod foreign;
pub mod keys;
pub mod reference;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

pub(crate) use self::keys::auth::cache_default as auth_cache_default;
use self::keys::nginx::Does;
use self::keys::{KEYS, Key};
use super::objects::metadata::StringMap;
use super::problem::{Kind, Severity};
use super::values::items;
use crate::limit::rule::{COUNT_MAX, Period, Rate, WrittenAtOnce, WrittenLimits, WrittenRate};
use crate::limit::{Across, By, Mode};
use crate::request::external::Template;
use crate::route::affinity::{
    Affinity, AfterFailure, COOKIE_NAME_DEFAULT, Carrier, Cookie, HashBy, Reach, SameSite, Secure, Session,
};
use crate::route::auth::Satisfy;
use crate::route::host::HostPattern;
use crate::route::{Cors, OriginPattern, Refusal, RegexPattern};
use crate::settings::providers::Chain;
use crate::upstream::Balance;

/// What the annotations of one object ask for. `None` and empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    pub ssl_redirect: Option<bool>,
    pub force_ssl_redirect: Option<bool>,
    pub hsts: Option<HeaderValue>,
    pub permanent_redirect: Option<HeaderValue>,
    pub permanent_redirect_code: Option<StatusCode>,
    pub temporal_redirect: Option<HeaderValue>,
    pub temporal_redirect_code: Option<StatusCode>,
    pub app_root: Option<Arc<str>>,
    pub rewrite_target: Option<Arc<str>>,
    pub use_regex: Option<bool>,
    /// 0: no bound.
    pub body_bytes_max: Option<u64>,
    pub connect_timeout: Option<Duration>,
    pub read_timeout: Option<Duration>,
    pub send_timeout: Option<Duration>,
    pub next_upstream: Option<NextUpstream>,
    /// The first try included; 0: the default.
    pub next_upstream_tries: Option<u32>,
    /// Zero: no bound.
    pub next_upstream_timeout: Option<Duration>,
    pub backend_protocol: Option<WrittenProtocol>,
    pub backend_verify: Option<bool>,
    pub send_proxy_protocol: Option<bool>,
    pub ssl_passthrough: Option<bool>,
    pub backend_server_name: Option<Arc<str>>,
    /// `name` or `namespace/name` of a Secret with `ca.crt`, or with `tls.crt` and `tls.key`.
    pub backend_tls_secret: Option<Arc<str>>,
    pub upstream_vhost: Option<HeaderValue>,
    pub cors: CorsWords,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    pub balance: Option<Balance>,
    pub server_aliases: Vec<HostPattern>,
    pub www_redirect: Option<bool>,
    pub canary: Option<bool>,
    pub canary_words: CanaryWords,
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    pub service_upstream: Option<bool>,
    /// Services in the place of the one that a path names, each with its port, where it is another one, and its weight.
    pub service_weights: Vec<ServiceWeight>,
    /// `none`: nobody.
    pub issuer: Option<Arc<str>>,
    pub limits: LimitWords,
    pub wake: wake::policy::Words,
    pub auth: Box<AuthWords>,
    pub client: Box<ClientWords>,
    pub affinity: Box<AffinityWords>,
    pub errors: ErrorWords,
    pub mirror: MirrorWords,
    /// In place of 308.
    pub https_redirect_status: Option<StatusCode>,
    pub forwarded_prefix: Option<HeaderValue>,
    /// Keys of other controllers that the author declares to be without effect; `*` at the end takes the rest.
    pub ignore: Vec<Box<str>>,
}

/// One Service of `service-weights`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWeight {
    pub name: Arc<str>,
    /// A number or a name; `None`: that of the path's own backend.
    pub port: Option<Arc<str>>,
    pub weight: u32,
}

/// The keys about who is asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthWords {
    pub chain: Option<Chain>,
    /// These four were read once, and can be.
    pub allow: Option<Arc<str>>,
    pub deny: Option<Arc<str>>,
    pub skip: Option<Arc<str>>,
    pub headers: Option<Arc<str>>,
    pub url: Option<Arc<str>>,
    pub method: Option<http::Method>,
    pub signin: Option<Arc<str>>,
    pub signin_parameter: Option<Arc<str>>,
    pub response_headers: Vec<Arc<str>>,
    pub redirect: Option<Template>,
    /// `name` or `namespace/name` of a ConfigMap.
    pub proxy_set_headers: Option<Arc<str>>,
    pub cache_key: Option<Template>,
    pub cache_durations: Option<Box<[(StatusCode, Duration)]>>,
    /// Nothing hangs on it.
    pub always_set_cookie: Option<bool>,
    /// `auth-type: basic`.
    pub basic: Option<()>,
    /// `name` or `namespace/name` of a Secret.
    pub secret: Option<Arc<str>>,
    pub secret_is_map: Option<bool>,
    pub realm: Option<Arc<str>>,
    pub satisfy: Option<Satisfy>,
    /// Zero: none, whatever the operator says.
    pub stream_age: Option<Duration>,
    /// Whether the operator's default holds.
    pub use_default: Option<bool>,
}

/// The keys about client certificates (`auth-tls-*`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientWords {
    /// `name` or `namespace/name` of a Secret.
    pub secret: Option<Arc<str>>,
    pub verify: Option<VerifyClient>,
    pub depth: Option<u32>,
    pub subject: Option<RegexPattern>,
    pub passes_certificate: Option<bool>,
    pub error_page: Option<HeaderValue>,
}

/// `auth-tls-verify-client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyClient {
    On,
    Optional,
    OptionalWithoutAuthority,
    Off,
}

impl ClientWords {
    /// A key that asks for more than it gets without `auth-tls-secret`.
    pub(crate) fn needs_secret(&self) -> Option<&'static str> {
        let keys = [
            ("auth-tls-match-cn", self.subject.is_some()),
            ("auth-tls-verify-client", self.verify.is_some()),
            ("auth-tls-verify-depth", self.depth.is_some()),
            ("auth-tls-pass-certificate-to-upstream", self.passes_certificate == Some(true)),
        ];
        keys.into_iter().find(|(_, written)| *written).map(|(key, _)| key)
    }
}

/// The keys about error pages and stand-ins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorWords {
    pub codes: Option<Vec<StatusCode>>,
    /// A Service of the same namespace.
    pub backend: Option<Arc<str>>,
    /// `namespace/name` of the class's Service for pages.
    pub class_backend: Option<Arc<str>>,
    pub edge_only: Option<bool>,
}

/// The `mirror-*` keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MirrorWords {
    pub target: Option<Arc<str>>,
    pub host: Option<HeaderValue>,
    pub body: Option<bool>,
}

/// The keys that keep clients on endpoints; those of the cookie count only together with `affinity`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AffinityWords {
    pub by_cookie: bool,
    /// Nothing hangs on it.
    pub mode: Option<()>,
    pub reach: Option<Reach>,
    pub name: Option<Box<str>>,
    pub path: Option<Box<str>>,
    pub domain: Option<Box<str>>,
    pub max_age: Option<Duration>,
    pub expires: Option<Duration>,
    pub same_site: Option<SameSite>,
    pub secure: Option<bool>,
    pub moves_on_failure: Option<bool>,
    pub hash_by: Option<Template>,
    pub hash_subset: Option<bool>,
    pub hash_subset_size: Option<u16>,
}

impl AffinityWords {
    /// What they mean together; a cookie wins over a hash.
    pub(crate) fn lower(&self) -> Option<Affinity> {
        if self.by_cookie {
            let cookie = Cookie {
                name: self.name.clone().unwrap_or_else(|| COOKIE_NAME_DEFAULT.into()),
                path: self.path.clone(),
                domain: self.domain.clone(),
                max_age: self.max_age,
                expires: self.expires,
                same_site: self.same_site,
                secure: if self.secure == Some(true) { Secure::Always } else { Secure::AsRequest },
            };
            let moves = self.moves_on_failure == Some(true);
            return Some(Affinity::Session(Session {
                carrier: Carrier::Cookie(cookie),
                absolute_timeout: None,
                after_failure: if moves { AfterFailure::Moves } else { AfterFailure::Stays },
                reach: self.reach.unwrap_or(Reach::AllBackends),
            }));
        }
        let key = self.hash_by.clone()?;
        let among = match self.hash_subset {
            Some(true) => self.hash_subset_size.unwrap_or(SUBSET_SIZE),
            Some(false) | None => 1,
        };
        Some(Affinity::Hash(HashBy { key, among }))
    }

    /// A key that has no effect, because the one is missing that it belongs to.
    fn idle(&self) -> Option<(&'static str, &'static str)> {
        let alone =
            AffinityWords { hash_by: None, hash_subset: None, hash_subset_size: None, ..self.clone() };
        if !self.by_cookie && alone != AffinityWords::default() {
            return Some(("session-cookie-name", "affinity"));
        }
        let subset = self.hash_subset == Some(true) || self.hash_subset_size.is_some();
        (self.hash_by.is_none() && subset).then_some(("upstream-hash-by-subset", "upstream-hash-by"))
    }
}

/// `backend-protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenProtocol {
    Http,
    Https,
    Grpc,
    Grpcs,
    H2c,
    /// As the client asked: in TLS where it did.
    AutoHttp,
}

/// `proxy-next-upstream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextUpstream {
    /// Never a second try.
    Off,
    /// After a failure to reach the backend, and after these statuses.
    On { codes: Vec<StatusCode> },
}

/// The keys that limit how often and how many at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitWords {
    pub rates: Vec<WrittenRate>,
    pub at_once: Vec<WrittenAtOnce>,
    /// `limit-rps`
    pub per_second: Option<u32>,
    /// `limit-rpm`
    pub per_minute: Option<u32>,
    /// `limit-connections`
    pub connections: Option<u32>,
    pub burst_multiplier: Option<u32>,
    /// `limit-allowlist`
    pub exempt: Vec<IpNet>,
    /// What those over a rate get in place of 429 with Retry-After.
    pub rate_status: Option<StatusCode>,
    /// The same for requests at once.
    pub connections_status: Option<StatusCode>,
}

/// The `cors-*` keys; they count only together with `enable-cors`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CorsWords {
    pub enable: Option<bool>,
    pub origins: Option<Vec<OriginPattern>>,
    pub methods: Option<Vec<http::Method>>,
    pub headers: Option<Vec<HeaderName>>,
    pub any_header: bool,
    pub expose: Vec<HeaderName>,
    pub any_expose: bool,
    pub credentials: Option<bool>,
    pub max_age: Option<u32>,
}

/// The `canary-*` keys; they count only together with `canary`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanaryWords {
    pub weight: Option<u32>,
    pub weight_total: Option<u32>,
    pub header: Option<HeaderName>,
    pub header_value: Option<Box<str>>,
    pub header_pattern: Option<RegexPattern>,
    /// There is one, and it is no expression.
    pub header_pattern_is_bad: bool,
    pub cookie: Option<Box<str>>,
}

/// The annotations of one object, read.
#[derive(Debug, Default)]
pub struct Reading {
    pub annotations: Annotations,
    /// Set when a key that guards access cannot be enforced.
    pub refusal: Option<Refusal>,
    pub findings: Vec<Finding>,
    pub dialect: Dialect,
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The whole key, with its prefix.
    pub key: Box<str>,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: Arc<str>,
}

/// Whose keys are in force, besides our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Own,
    /// The object's class takes the place of ingress-nginx.
    Nginx,
}

/// Reads the annotations of an object of this kind.
pub fn read(annotations: &StringMap, kind: Kind, dialect: Dialect) -> Reading {
    let mut reading = Reading { dialect, ..Reading::default() };
    // First, so that what it names is known when the others are judged.
    if let Some(list) = annotations.get(IGNORE) {
        reading.annotations.ignore = items(list).map(Into::into).collect();
    }
    for (key, value) in annotations.iter() {
        let nginx = key.strip_prefix(NGINX_PREFIX).filter(|_| dialect == Dialect::Nginx);
        match (key.strip_prefix(PREFIX).or_else(|| reading.canary_of_nginx(key)), nginx) {
            (_, Some(name)) => reading.nginx(key, name, value, kind),
            (Some(name), None) => reading.own(key, name, value, kind),
            (None, None) => reading.foreign(key, value),
        }
    }
    if let Some((idle, missing)) = reading.annotations.affinity.idle() {
        let message = format!("the keys of `{idle}` have no effect without `{missing}`");
        reading.note(&format!("{PREFIX}{idle}"), Severity::Warning, "NoAffinity", message);
    }
    reading
}

impl Reading {
    /// A key of ingress-nginx, in a class that takes its place.
    fn nginx(&mut self, key: &str, name: &str, value: &str, kind: Kind) {
        if self.ignores(key) {
            return;
        }
        let Some(known) = keys::nginx::find(name) else { return self.unknown_of_nginx(key, name) };
        let asks_for_nothing = |values: &[&str]| {
            let value = value.trim();
            values.iter().any(|default| {
                let flag = super::values::parse_flag(default);
                value.eq_ignore_ascii_case(default)
                    || (flag.is_some() && flag == super::values::parse_flag(value))
            })
        };
        match known.does {
            Does::Same(_) if name == "backend-protocol" && value.trim().eq_ignore_ascii_case("FCGI") => {
                let message =
                    format!("`{key}: FCGI`: FastCGI is not spoken; put a web server beside the application");
                self.refuse(key, "NotSupported", message);
            }
            Does::Same(own) => match keys::find(own) {
                Some(same) => self.known(key, same, value, kind),
                None => self.unknown(key, own),
            },
            Does::Nothing(_) => {}
            Does::Only(values, _) if asks_for_nothing(values) => {}
            Does::Only(_, instead) | Does::Refused(instead) => {
                let value = shorten(value);
                let message = format!("`{key}: {value}` is not supported: {instead}");
                self.bad(key, known.guards_access, "NotSupported", message);
            }
        }
    }

    fn unknown_of_nginx(&mut self, key: &str, name: &str) {
        let message = format!("`{key}` is no key of ingress-nginx 1.15 and has no effect");
        if name.starts_with("auth") || name.starts_with("whitelist") || name.starts_with("denylist") {
            self.refuse(key, "UnknownAnnotation", message);
        } else {
            self.note(key, Severity::Warning, "UnknownAnnotation", message);
        }
    }

    fn own(&mut self, key: &str, name: &str, value: &str, kind: Kind) {
        match keys::find(name) {
            Some(known) => self.known(key, known, value, kind),
            None => self.unknown(key, name),
        }
    }

    fn known(&mut self, key: &str, known: &Key, value: &str, kind: Kind) {
        if !known.takes.includes(kind) {
            return self.misplaced(key, known, kind);
        }
        let result = known.setter.apply(&mut self.annotations, value);
        if let Err(reason) = result {
            let value = shorten(value);
            let expects = known.setter.expects();
            let message = format!("`{key}: {value}` cannot be used: {reason}; write {expects}");
            self.bad(key, known.guards_access, "InvalidAnnotation", message);
        }
    }

    /// A bad value of a guarding key refuses; of any other key it counts as absent.
    fn bad(&mut self, key: &str, guards_access: bool, reason: &'static str, message: String) {
        if guards_access {
            self.refuse(key, reason, message);
        } else {
            self.note(key, Severity::Degraded, reason, message);
        }
    }

    fn misplaced(&mut self, key: &str, known: &Key, kind: Kind) {
        let takers = known.takes.describe();
        let message = format!("`{key}` has no meaning on {kind} objects: write it on {takers}");
        self.bad(key, known.guards_access, "MisplacedAnnotation", message);
    }

    fn unknown(&mut self, key: &str, name: &str) {
        let nearest = keys::nearest(name);
        let hint = nearest.map_or(String::new(), |near| format!("; did you mean `{PREFIX}{}`?", near.name));
        if looks_like_access(name) {
            let message =
                format!("`{key}` is not a key of Vestibule, but looks like one that guards access{hint}");
            self.refuse(key, "UnknownAnnotation", message);
        } else {
            let message = format!("`{key}` is not a key of Vestibule and has no effect{hint}");
            self.note(key, Severity::Warning, "UnknownAnnotation", message);
        }
    }

    /// The canary keys are read by their ingress-nginx names too: as a route of its own, a canary would take requests away from
    /// the Ingress that it is a part of.
    fn canary_of_nginx<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(NGINX_PREFIX)?;
        let is_canary = name.starts_with("canary") && keys::find(name).is_some();
        (is_canary && !self.ignores(key)).then_some(name)
    }

    fn ignores(&self, key: &str) -> bool {
        self.annotations.ignore.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => **ignored == *key,
        })
    }

    fn foreign(&mut self, key: &str, value: &str) {
        if self.ignores(key) {
            return;
        }
        if let Some(guard) = foreign::guard(key, value) {
            let mend = foreign::instead(key, value).unwrap_or("translate it");
            let message = format!(
                "`{key}` {guard} for another controller and is not in force here: {mend}, or name the key in `{IGNORE}`"
            );
            self.refuse(key, "ForeignAnnotation", message);
        }
    }

    fn refuse(&mut self, key: &str, reason: &'static str, message: String) {
        let message: Arc<str> = message.into();
        // The first one is enough for the route; the findings hold all of them.
        self.refusal.get_or_insert_with(|| Refusal { message: message.clone() });
        self.findings.push(Finding { key: key.into(), severity: Severity::Refused, reason, message });
    }

    fn note(&mut self, key: &str, severity: Severity, reason: &'static str, message: String) {
        self.findings.push(Finding { key: key.into(), severity, reason, message: message.into() });
    }
}

/// Findings for own keys on an object that takes none (a Service, a Gateway, a Namespace): its author believes them to be in
/// force, so those that guard access refuse what the object stands behind.
pub fn read_bystander(annotations: &StringMap, kind: Kind) -> Reading {
    let mut reading = Reading::default();
    for (key, value) in annotations.iter() {
        if let Some(name) = key.strip_prefix(PREFIX) {
            reading.own(key, name, value, kind);
        }
    }
    reading
}

impl LimitWords {
    /// Whether a limit counts by who is asking.
    pub(crate) fn asks_who(&self) -> bool {
        self.counted_by().any(By::needs_identity)
    }

    /// Whether a rate holds for all replicas together.
    pub(crate) fn spans_replicas(&self) -> bool {
        self.rates.iter().any(|rule| rule.across == Across::Cluster)
    }

    /// The claims that limits count by.
    pub(crate) fn claims(&self) -> Vec<Arc<str>> {
        let claim = |by: &By| match by {
            By::Claim(name) => Some(name.clone()),
            By::Address | By::Header(_) | By::Route | By::User | By::Group => None,
        };
        self.counted_by().filter_map(claim).collect()
    }

    fn counted_by(&self) -> impl Iterator<Item = &By> {
        self.rates.iter().map(|rule| &rule.by).chain(self.at_once.iter().map(|rule| &rule.by))
    }

    /// All limits together. The keys of ingress-nginx allow a burst of the limit times `limit-burst-multiplier`, and one.
    pub fn written(&self) -> WrittenLimits {
        let multiplier = self.burst_multiplier.unwrap_or(BURST_MULTIPLIER);
        let rate = |count: Option<u32>, period| {
            let count = count.filter(|count| *count > 0)?;
            let burst = count.saturating_mul(multiplier).saturating_add(1).min(COUNT_MAX);
            let rate = Rate::new(count, period, burst)?;
            Some(WrittenRate { rate, by: By::Address, mode: Mode::Enforced, across: Across::Replica })
        };
        let connections = self.connections.filter(|max| *max > 0);
        let at_once = connections.map(|max| WrittenAtOnce { max, by: By::Address, mode: Mode::Enforced });
        let nginx = [rate(self.per_second, Period::Second), rate(self.per_minute, Period::Minute)];
        WrittenLimits {
            rates: self.rates.iter().cloned().chain(nginx.into_iter().flatten()).collect(),
            at_once: self.at_once.iter().cloned().chain(at_once).collect(),
            exempt: self.exempt.clone(),
            rate_status: self.rate_status,
            at_once_status: self.connections_status,
        }
    }
}

impl CorsWords {
    /// The rules, when they are switched on. The defaults are those of ingress-nginx.
    pub fn rules(&self) -> Option<Cors> {
        if self.enable != Some(true) {
            return None;
        }
        let methods = self.methods.clone().unwrap_or_else(|| CORS_METHODS.to_vec());
        let default_headers = || CORS_HEADERS.iter().map(|name| HeaderName::from_static(name)).collect();
        Some(Cors {
            origins: self.origins.clone().unwrap_or_else(|| vec![OriginPattern::Any]),
            methods,
            any_method: false,
            headers: self.headers.clone().unwrap_or_else(default_headers),
            any_header: self.any_header,
            expose: self.expose.clone(),
            any_expose: self.any_expose,
            credentials: self.credentials.unwrap_or(true),
            max_age: Some(self.max_age.unwrap_or(1_728_000)),
        })
    }
}

/// An unknown name that may well have been meant to guard something.
fn looks_like_access(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let starts = ["auth", "allow", "deny"].iter().any(|start| name.starts_with(start));
    let guarding = KEYS.iter().filter(|key| key.guards_access);
    starts || guarding.flat_map(Key::names).any(|known| keys::distance(&name, known) <= 2)
}

/// Enough of a value to recognise it by.
fn shorten(value: &str) -> String {
    let mut text: String = value.chars().take(VALUE_SHOWN_CHARS).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text.escape_debug().to_string()
}

/// The prefix of our own keys.
pub const PREFIX: &str = "vestibule.dev/";
const NGINX_PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// Names keys of other controllers that are known to be without effect.
pub const IGNORE: &str = "vestibule.dev/ignore";

/// `limit-burst-multiplier` where it is not written.
const BURST_MULTIPLIER: u32 = 5;
/// `upstream-hash-by-subset-size` where it is not written.
const SUBSET_SIZE: u16 = 3;
const VALUE_SHOWN_CHARS: usize = 60;

const CORS_METHODS: [http::Method; 6] = [
    http::Method::GET,
    http::Method::PUT,
    http::Method::POST,
    http::Method::DELETE,
    http::Method::PATCH,
    http::Method::OPTIONS,
];

const CORS_HEADERS: [&str; 9] = [
    "dnt",
    "keep-alive",
    "user-agent",
    "x-requested-with",
    "if-modified-since",
    "cache-control",
    "content-type",
    "range",
    "authorization",
];

#[cfg(test)]
mod tests;
