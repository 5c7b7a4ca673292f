//! The table of keys. The documentation, the schema and the reader are made from it.

mod affinity;
pub(super) mod auth;
mod client;
mod companions;
pub mod nginx;
mod setters;
mod sharing;
mod waking;

use std::time::Duration;

use http::Method;
use ipnet::IpNet;

use self::setters::{
    absolute_path, header_names, headers, location, redirect_code, set_aliases, set_hsts, set_next_upstream,
    set_protocol, set_vhost,
};
use super::Annotations;
use crate::config::cors::parse_origin;
use crate::config::problem::Kind;
use crate::config::values::{
    items, parse_flag, parse_header_name, parse_networks, parse_seconds, parse_size,
};
use crate::limit::rule::{COUNT_MAX, parse_at_once, parse_rates};
use crate::route::RegexPattern;
use crate::route::host::Host;
use crate::upstream::Balance;

/// One key under `vestibule.dev/`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Without the prefix.
    pub name: &'static str,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// Other names for the same, under the same prefix.
    pub aliases: &'static [&'static str],
    /// Without it, or with another value, somebody might get in, or be spoken to in the clear.
    pub guards_access: bool,
    pub takes: Takes,
    pub setter: Setter,
}

/// The kinds of objects that take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Ingress,
    /// Ingress, HTTPRoute and GRPCRoute.
    Routes,
    /// TLSRoute and TCPRoute.
    Relays,
}

impl Takes {
    /// Whether an object of this kind takes the key.
    pub(crate) fn includes(self, kind: Kind) -> bool {
        match self {
            Takes::Ingress => kind == Kind::Ingress,
            Takes::Routes => matches!(kind, Kind::Ingress | Kind::HTTPRoute | Kind::GRPCRoute),
            Takes::Relays => matches!(kind, Kind::TLSRoute | Kind::TCPRoute),
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Takes::Ingress => "an Ingress",
            Takes::Routes => "an Ingress, HTTPRoute or GRPCRoute",
            Takes::Relays => "a TLSRoute or TCPRoute",
        }
    }
}

/// How a value is read, and where it goes.
#[derive(Clone, Copy)]
pub enum Setter {
    Flag(fn(&mut Annotations) -> &mut Option<bool>),
    Seconds(fn(&mut Annotations) -> &mut Option<Duration>),
    Size(fn(&mut Annotations) -> &mut Option<u64>),
    Networks(fn(&mut Annotations) -> &mut Vec<IpNet>),
    Text { expects: &'static str, set: fn(&mut Annotations, &str) -> Result<(), String> },
}

impl std::fmt::Debug for Setter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expects())
    }
}

impl Setter {
    pub(crate) fn apply(self, annotations: &mut Annotations, value: &str) -> Result<(), String> {
        match self {
            Setter::Flag(field) => {
                *field(annotations) = Some(parse_flag(value).ok_or("it is neither true nor false")?);
            }
            Setter::Seconds(field) => {
                *field(annotations) = Some(parse_seconds(value).ok_or("it is no duration")?);
            }
            Setter::Size(field) => *field(annotations) = Some(parse_size(value).ok_or("it is no size")?),
            // Two names for one list join; the reader sees each name once.
            Setter::Networks(field) => field(annotations).extend(parse_networks(value)?),
            Setter::Text { set, .. } => set(annotations, value.trim())?,
        }
        Ok(())
    }

    /// What to write, in words.
    pub fn expects(self) -> &'static str {
        match self {
            Setter::Flag(_) => "\"true\" or \"false\"",
            Setter::Seconds(_) => "seconds such as \"60\", or a duration such as \"1m30s\"",
            Setter::Size(_) => "bytes such as \"8m\" (\"0\" for no bound)",
            Setter::Networks(_) => "networks and addresses such as \"10.0.0.0/8, 192.0.2.1\"",
            Setter::Text { expects, .. } => expects,
        }
    }
}

impl Key {
    /// The name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Statuses of errors, as `custom-http-errors` has them.
pub(crate) fn error_codes(value: &str) -> Result<Vec<http::StatusCode>, String> {
    companions::codes(value)
}

/// The key of this name or alias.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.names().any(|known| known == name))
}

/// The key whose name is the most similar, if any is similar at all.
pub(super) fn nearest(name: &str) -> Option<&'static Key> {
    let scored = KEYS.iter().flat_map(|key| key.names().map(move |known| (distance(name, known), key)));
    let (edits, key) = scored.min_by_key(|(edits, _)| *edits)?;
    (edits <= 3 && edits * 2 < name.len()).then_some(key)
}

/// Edits (insert, delete, replace, swap of neighbours) between two names; at least 3 when the lengths alone say so.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 3 {
        return a.len().abs_diff(b.len());
    }
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| "it is no whole number".into())
}

/// A bound where 0 stands for none.
fn count(value: &str) -> Result<u32, String> {
    let count = value.parse::<u32>().ok().filter(|count| *count <= COUNT_MAX);
    count.ok_or_else(|| format!("it is no whole number up to {COUNT_MAX}"))
}

const COUNT: &str = "a whole number (\"0\" for no bound)";

const fn key(name: &'static str, takes: Takes, setter: Setter, doc: &'static str) -> Key {
    Key { name, doc, aliases: &[], guards_access: false, takes, setter }
}

const fn text(
    name: &'static str,
    takes: Takes,
    expects: &'static str,
    set: fn(&mut Annotations, &str) -> Result<(), String>,
    doc: &'static str,
) -> Key {
    key(name, takes, Setter::Text { expects, set }, doc)
}

const fn guard(key: Key) -> Key {
    Key { guards_access: true, ..key }
}

const fn also(key: Key, aliases: &'static [&'static str]) -> Key {
    Key { aliases, ..key }
}

/// All keys that are known.
pub static KEYS: &[Key] = &[
    // Who may enter.
    also(
        guard(key(
            "allow-from",
            Takes::Routes,
            Setter::Networks(|a| &mut a.allow),
            "Only clients with an address in these networks may enter; others get 403.",
        )),
        &["whitelist-source-range", "allowlist-source-range"],
    ),
    also(
        guard(key(
            "deny-from",
            Takes::Routes,
            Setter::Networks(|a| &mut a.deny),
            "Clients with an address in these networks get 403; wins over allow-from.",
        )),
        &["denylist-source-range"],
    ),
    // From plain HTTP to https.
    guard(key(
        "ssl-redirect",
        Takes::Routes,
        Setter::Flag(|a| &mut a.ssl_redirect),
        "Whether plain HTTP is sent to https with 308. Default: true on an Ingress host that has TLS, else false.",
    )),
    guard(key(
        "force-ssl-redirect",
        Takes::Routes,
        Setter::Flag(|a| &mut a.force_ssl_redirect),
        "Sends plain HTTP to https also where the host has no TLS here.",
    )),
    text(
        "hsts",
        Takes::Routes,
        "\"true\", \"false\" or \"max-age=31536000; includeSubDomains; preload\"",
        set_hsts,
        "Strict-Transport-Security of answers over TLS. Default: none; true is a year for this host alone.",
    ),
    // Redirects.
    text(
        "permanent-redirect",
        Takes::Ingress,
        "a URL such as \"https://example.com/new\"",
        |a, value| location(value).map(|location| a.permanent_redirect = Some(location)),
        "Answers every request with 301 to this URL.",
    ),
    text(
        "permanent-redirect-code",
        Takes::Ingress,
        "a status from 300 to 308",
        |a, value| redirect_code(value).map(|code| a.permanent_redirect_code = Some(code)),
        "The status of permanent-redirect in place of 301.",
    ),
    text(
        "temporal-redirect",
        Takes::Ingress,
        "a URL such as \"https://example.com/away\"",
        |a, value| location(value).map(|location| a.temporal_redirect = Some(location)),
        "Answers every request with 302 to this URL; wins over permanent-redirect.",
    ),
    text(
        "temporal-redirect-code",
        Takes::Ingress,
        "a status from 300 to 308",
        |a, value| redirect_code(value).map(|code| a.temporal_redirect_code = Some(code)),
        "The status of temporal-redirect in place of 302.",
    ),
    text(
        "app-root",
        Takes::Ingress,
        "a path such as \"/app\"",
        |a, value| absolute_path(value).map(|path| a.app_root = Some(path)),
        "Answers a request for exactly / with 302 to this path.",
    ),
    key(
        "from-to-www-redirect",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.www_redirect),
        "The name with www. in front, or without it, is sent to the name of the rule with 308.",
    ),
    text(
        "server-alias",
        Takes::Ingress,
        "host names such as \"a.example.com, b.example.com\"",
        set_aliases,
        "More host names for the same routes; a name that another Ingress has as its host is left alone.",
    ),
    // The request on its way.
    text(
        "rewrite-target",
        Takes::Ingress,
        "a path such as \"/$1\"",
        |a, value| absolute_path(value).map(|path| a.rewrite_target = Some(path)),
        "The new path; $1, $2, … are the groups of the path's expression, and their use makes paths expressions.",
    ),
    key(
        "use-regex",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.use_regex),
        "Paths of the types Prefix and ImplementationSpecific are regular expressions, letter case free.",
    ),
    text(
        "upstream-vhost",
        Takes::Routes,
        "a host name",
        set_vhost,
        "The Host that the backend sees in place of the client's.",
    ),
    also(
        text(
            "custom-request-headers",
            Takes::Routes,
            "lines of \"Name: value\"",
            |a, value| headers(value).map(|headers| a.request_headers = headers),
            "Headers set on the request to the backend, one a line.",
        ),
        &["request-headers"],
    ),
    also(
        text(
            "custom-response-headers",
            Takes::Routes,
            "lines of \"Name: value\"",
            |a, value| headers(value).map(|headers| a.response_headers = headers),
            "Headers set on the answer, one a line.",
        ),
        &["response-headers", "custom-headers"],
    ),
    text(
        "x-forwarded-prefix",
        Takes::Ingress,
        "a path such as \"/app\"",
        |a, value| {
            if value.contains('$') {
                return Err("groups of the path cannot be filled in here".into());
            }
            let path = absolute_path(value)?;
            a.forwarded_prefix = Some(path.parse().map_err(|_| "it is no header value")?);
            Ok(())
        },
        "X-Forwarded-Prefix for the backend; only together with rewrite-target.",
    ),
    // Limits and times.
    key(
        "proxy-body-size",
        Takes::Routes,
        Setter::Size(|a| &mut a.body_bytes_max),
        "The largest request body; above it 413. Default: `limits.bodyBytes`, which is 64m.",
    ),
    key(
        "proxy-connect-timeout",
        Takes::Routes,
        Setter::Seconds(|a| &mut a.connect_timeout),
        "How long connecting to the backend may take. Default: 5 s.",
    ),
    key(
        "proxy-read-timeout",
        Takes::Routes,
        Setter::Seconds(|a| &mut a.read_timeout),
        "How long the backend may be silent between two reads. Default: 60 s.",
    ),
    key(
        "proxy-send-timeout",
        Takes::Routes,
        Setter::Seconds(|a| &mut a.send_timeout),
        "How long the backend may refuse to take more between two writes. Default: 60 s.",
    ),
    text(
        "proxy-next-upstream",
        Takes::Routes,
        "words such as \"error timeout http_503\", or \"off\"",
        set_next_upstream,
        "When another endpoint is tried, as far as repeating the request is safe.",
    ),
    text(
        "proxy-next-upstream-tries",
        Takes::Routes,
        "a number (\"0\" for the default)",
        |a, value| {
            let tries = value.parse::<u32>().ok().filter(|tries| *tries <= TRIES_MAX);
            a.next_upstream_tries = Some(tries.ok_or(format!("it is no number up to {TRIES_MAX}"))?);
            Ok(())
        },
        "How many endpoints are tried, the first included.",
    ),
    key(
        "proxy-next-upstream-timeout",
        Takes::Routes,
        Setter::Seconds(|a| &mut a.next_upstream_timeout),
        "After how long no further endpoint is tried, counted from the first one. Default: 0, which is no bound.",
    ),
    // How often, and how many at once.
    guard(text(
        "rate-limit",
        Takes::Routes,
        "rules such as \"20/s burst 40 per ip; 600/m per user\"",
        |a, value| parse_rates(value).map(|rates| a.limits.rates = rates),
        "How often requests may come: a number per s, m, h or d, how many of them at once, and per ip, user, group, route, header NAME \
         or claim NAME. Above it 429 with Retry-After. At the end of a rule, cluster counts for all replicas together (sharedStore in the \
         settings), and dry-run only counts.",
    )),
    guard(text(
        "concurrency-limit",
        Takes::Routes,
        "rules such as \"10 per ip; 200 per route\"",
        |a, value| parse_at_once(value).map(|at_once| a.limits.at_once = at_once),
        "How many requests may be under way at the same time, per ip, user, group, route, header NAME or claim NAME; above it 429.",
    )),
    guard(text(
        "limit-rps",
        Takes::Routes,
        COUNT,
        |a, value| count(value).map(|count| a.limits.per_second = Some(count)),
        "Requests a second of one client address, with a burst of five times as many and one.",
    )),
    guard(text(
        "limit-rpm",
        Takes::Routes,
        COUNT,
        |a, value| count(value).map(|count| a.limits.per_minute = Some(count)),
        "Requests a minute of one client address, with a burst of five times as many and one.",
    )),
    guard(text(
        "limit-connections",
        Takes::Routes,
        COUNT,
        |a, value| count(value).map(|count| a.limits.connections = Some(count)),
        "Requests of one client address that may be under way at the same time.",
    )),
    text(
        "limit-burst-multiplier",
        Takes::Routes,
        COUNT,
        |a, value| count(value).map(|count| a.limits.burst_multiplier = Some(count.max(1))),
        "How many times limit-rps or limit-rpm may come at once. Default: 5.",
    ),
    also(
        key(
            "limit-allowlist",
            Takes::Routes,
            Setter::Networks(|a| &mut a.limits.exempt),
            "Client networks that no limit counts.",
        ),
        &["limit-whitelist"],
    ),
    // The backend.
    text(
        "backend-protocol",
        Takes::Routes,
        "\"HTTP\", \"HTTPS\", \"AUTO_HTTP\", \"GRPC\", \"GRPCS\" or \"H2C\"",
        set_protocol,
        "What the backend speaks; wins over the Service's appProtocol. AUTO_HTTP, on an Ingress, is HTTPS for hosts with TLS.",
    ),
    guard(key(
        "proxy-ssl-verify",
        Takes::Routes,
        Setter::Flag(|a| &mut a.backend_verify),
        "Whether a TLS backend must show a certificate of an authority that is trusted. Default: false.",
    )),
    guard(text(
        "proxy-ssl-name",
        Takes::Routes,
        "a host name",
        |a, value| {
            let host = Host::parse(value).map_err(|error| error.to_string())?;
            a.backend_server_name = Some(host.as_str().into());
            Ok(())
        },
        "The name asked of a TLS backend by SNI, and looked for in its certificate.",
    )),
    guard(text(
        "proxy-ssl-secret",
        Takes::Routes,
        "the name of a Secret, or namespace/name of its own namespace",
        |a, value| {
            let clean = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
            if value.is_empty() || !clean {
                return Err("it is no name of a Secret".into());
            }
            a.backend_tls_secret = Some(value.into());
            Ok(())
        },
        "A Secret with the authorities for proxy-ssl-verify (ca.crt), with a certificate to show to TLS backends (tls.crt and tls.key), or \
         with both.",
    )),
    guard(key(
        "ssl-passthrough",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.ssl_passthrough),
        "Whether TLS connections for its hosts go to the Service of the path `/` as they are, found by SNI. No rule for access can hold \
         there: beside one of them, the connections are closed.",
    )),
    key(
        "send-proxy-protocol",
        Takes::Relays,
        Setter::Flag(|a| &mut a.send_proxy_protocol),
        "Whether backends are told the client's address by a PROXY header of version 2, which they must expect.",
    ),
    text(
        "issuer",
        Takes::Ingress,
        "the name of an issuer of the settings, or \"none\"",
        |a, value| {
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if value.is_empty() || !value.bytes().all(is_word) {
                return Err("it is no name of an issuer".into());
            }
            a.issuer = Some(value.into());
            Ok(())
        },
        "Who issues the certificates of spec.tls (on a Gateway: of its listeners). Default: the default issuer, if there is \
         one; none where an annotation names an issuer of cert-manager.",
    ),
    text(
        "load-balance",
        Takes::Routes,
        "\"ewma\" or \"round_robin\"",
        |a, value| {
            a.balance = Some(match value {
                "ewma" | "p2c" => Balance::PowerOfTwo,
                "round_robin" => Balance::RoundRobin,
                _ => return Err("it is no way of balancing that is known".into()),
            });
            Ok(())
        },
        "How an endpoint is chosen. Default: ewma, the better of two random ones.",
    ),
    sharing::SERVICE_WEIGHTS,
    key(
        "service-upstream",
        Takes::Routes,
        Setter::Flag(|a| &mut a.service_upstream),
        "Speaks to the Service's own address and lets the cluster balance.",
    ),
    // Which endpoint.
    affinity::AFFINITY,
    affinity::MODE,
    affinity::CANARY_BEHAVIOR,
    affinity::NAME,
    affinity::PATH,
    affinity::DOMAIN,
    affinity::MAX_AGE,
    affinity::EXPIRES,
    affinity::SAME_SITE,
    affinity::SECURE,
    affinity::CHANGE_ON_FAILURE,
    affinity::HASH_BY,
    affinity::HASH_SUBSET,
    affinity::HASH_SUBSET_SIZE,
    // Cross-origin requests.
    key(
        "enable-cors",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.cors.enable),
        "Answers cross-origin requests.",
    ),
    text(
        "cors-allow-origin",
        Takes::Ingress,
        "origins such as \"https://app.example.com, https://*.example.org\", or \"*\"",
        |a, value| {
            let origins: Result<Vec<_>, _> = items(value).map(parse_origin).collect();
            // Kept even when it is bad: no origin is allowed then, where the default would be every one.
            a.cors.origins = Some(origins.clone().unwrap_or_default());
            origins.map(|_| ())
        },
        "Which origins may. Default: *.",
    ),
    text(
        "cors-allow-methods",
        Takes::Ingress,
        "methods such as \"GET, POST\"",
        |a, value| {
            let methods: Result<Vec<_>, _> = items(value)
                .map(|item| Method::from_bytes(item.as_bytes()).map_err(|_| format!("`{item}` is no method")))
                .collect();
            a.cors.methods = Some(methods?);
            Ok(())
        },
        "Which methods they may use. Default: GET, PUT, POST, DELETE, PATCH, OPTIONS.",
    ),
    text(
        "cors-allow-headers",
        Takes::Ingress,
        "header names",
        |a, value| {
            let (names, any) = header_names(value)?;
            (a.cors.headers, a.cors.any_header) = (Some(names), any);
            Ok(())
        },
        "Which headers they may send. Default: a list of the usual ones.",
    ),
    text(
        "cors-expose-headers",
        Takes::Ingress,
        "header names",
        |a, value| {
            (a.cors.expose, a.cors.any_expose) = header_names(value)?;
            Ok(())
        },
        "Which headers of the answer they may read. Default: none beyond the standard's.",
    ),
    key(
        "cors-allow-credentials",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.cors.credentials),
        "Whether they may send cookies. Default: true.",
    ),
    text(
        "cors-max-age",
        Takes::Ingress,
        "seconds",
        |a, value| {
            a.cors.max_age = Some(value.parse().map_err(|_| "it is no number of seconds")?);
            Ok(())
        },
        "For how long a browser may remember the answer to a preflight. Default: 1728000.",
    ),
    // Workloads that sleep and wake.
    text(
        "wake",
        Takes::Routes,
        "\"true\", a group as \"group/NAME\", or workloads such as \"deployment/app after statefulset/db\"",
        waking::set_target,
        "Wakes the Service's own workload, or those that are named, for the first request, and puts them to sleep when nobody uses them.",
    ),
    text(
        "wake-idle",
        Takes::Routes,
        "a duration such as \"15m\", or \"never\"",
        waking::set_idle,
        "Without a request for so long, they sleep. Default: wake.idle of the settings.",
    ),
    text(
        "wake-timeout",
        Takes::Routes,
        "a duration such as \"60s\"",
        waking::set_timeout,
        "How long a request is held. Default: wake.timeout of the settings.",
    ),
    text(
        "wake-wait",
        Takes::Routes,
        "\"auto\", \"page\" or \"hold\"",
        waking::set_wait,
        "What visitors get meanwhile: auto shows browsers a page after 1.5 s, page shows it at once, hold lets them wait. Default: auto.",
    ),
    text(
        "wake-keep-awake",
        Takes::Routes,
        "windows such as \"Mon-Fri 08:00-18:00 Europe/Berlin; Sat 10:00-14:00\"",
        waking::set_keep_awake,
        "Windows of time in which they are awake. Without a zone: UTC.",
    ),
    text(
        "wake-sleep",
        Takes::Routes,
        "windows such as \"22:00-06:00 Europe/Berlin\"",
        waking::set_sleep,
        "Windows of time in which they sleep as soon as nobody uses them, and no request wakes them.",
    ),
    text(
        "wake-quiet-agents",
        Takes::Routes,
        "parts of user agents such as \"my-monitor, checker\"",
        waking::set_quiet_agents,
        "User agents that wake nobody, besides well-known probes, monitors and crawlers; none as the first lets those wake, too.",
    ),
    text(
        "wake-quiet-paths",
        Takes::Routes,
        "paths such as \"/healthz, /metrics*\"",
        waking::set_quiet_paths,
        "Paths that wake nobody, besides /favicon.ico, /robots.txt and /apple-touch-icon*.",
    ),
    text(
        "wake-title",
        Takes::Routes,
        "a few words",
        waking::set_title,
        "What the waiting page calls the application. Default: its host name.",
    ),
    text(
        "wake-probe",
        Takes::Routes,
        "a path such as \"/healthz\"",
        waking::set_probe,
        "A path that has to answer, with anything but a server error, before requests are let through. Default: to take a connection is enough.",
    ),
    // Words about this table itself.
    text(
        "ignore",
        Takes::Routes,
        "whole keys of other controllers",
        // Read before all others.
        |_, _| Ok(()),
        "Keys of other controllers that are known to be without effect here; an asterisk at the end takes the rest.",
    ),
    key(
        "canary",
        Takes::Ingress,
        Setter::Flag(|a| &mut a.canary),
        "Makes the Ingress an alternative for the same host, path and path type of another one, never a route of its own.",
    ),
    text(
        "canary-weight",
        Takes::Ingress,
        "a number from 0 to the total",
        |a, value| number(value).map(|weight| a.canary_words.weight = Some(weight)),
        "How many of canary-weight-total requests go to the canary, of those that nothing else decides. Default: 0.",
    ),
    text(
        "canary-weight-total",
        Takes::Ingress,
        "a number from 100",
        |a, value| number(value).map(|total| a.canary_words.weight_total = Some(total)),
        "What canary-weight is a part of. Default: 100, which is also the least.",
    ),
    text(
        "canary-by-header",
        Takes::Ingress,
        "a header name",
        |a, value| parse_header_name(value).map(|name| a.canary_words.header = Some(name)),
        "A header that decides first: always goes to the canary, never stays away, all else leaves it to the cookie.",
    ),
    text(
        "canary-by-header-value",
        Takes::Ingress,
        "the value that goes to the canary",
        |a, value| {
            // An empty value is none, as for ingress-nginx.
            a.canary_words.header_value = (!value.is_empty()).then(|| value.into());
            Ok(())
        },
        "The value of canary-by-header that goes to the canary, in place of always and never.",
    ),
    text(
        "canary-by-header-pattern",
        Takes::Ingress,
        "a regular expression",
        |a, value| {
            let pattern = RegexPattern::search(value).map_err(|error| error.to_string());
            a.canary_words.header_pattern_is_bad = pattern.is_err();
            pattern.map(|pattern| a.canary_words.header_pattern = Some(pattern))
        },
        "As canary-by-header-value, which wins: an expression that is searched in the value.",
    ),
    text(
        "canary-by-cookie",
        Takes::Ingress,
        "the name of a cookie",
        |a, value| {
            // A token, as the name of a header is, but with its letter case (RFC 6265 §4.1.1).
            parse_header_name(value).map_err(|_| "it is no name of a cookie")?;
            a.canary_words.cookie = Some(value.into());
            Ok(())
        },
        "A cookie that decides where the header does not: always goes to the canary, never stays away.",
    ),
    // Who is asking.
    auth::AUTH,
    auth::AUTH_ALLOW,
    auth::AUTH_DENY,
    auth::AUTH_SKIP,
    auth::AUTH_HEADERS,
    auth::AUTH_STREAM_AGE,
    auth::AUTH_URL,
    auth::AUTH_METHOD,
    auth::AUTH_SIGNIN,
    auth::AUTH_SIGNIN_PARAMETER,
    auth::AUTH_RESPONSE_HEADERS,
    auth::AUTH_REQUEST_REDIRECT,
    auth::AUTH_PROXY_SET_HEADERS,
    auth::AUTH_CACHE_KEY,
    auth::AUTH_CACHE_DURATION,
    auth::AUTH_ALWAYS_SET_COOKIE,
    auth::AUTH_KEEPALIVE,
    auth::AUTH_TYPE,
    auth::AUTH_SECRET,
    auth::AUTH_SECRET_TYPE,
    auth::AUTH_REALM,
    auth::SATISFY,
    auth::ENABLE_GLOBAL_AUTH,
    // Which certificate a client shows.
    client::SECRET,
    client::VERIFY,
    client::DEPTH,
    client::SUBJECT,
    client::PASSES,
    client::ERROR_PAGE,
    // Other backends beside the one of the path.
    companions::DEFAULT_BACKEND,
    companions::CUSTOM_HTTP_ERRORS,
    companions::EDGE_ERRORS_ONLY,
    companions::MIRROR_TARGET,
    companions::MIRROR_HOST,
    companions::MIRROR_BODY,
];

/// Tries of one request, as far as annotations can ask for them.
pub const TRIES_MAX: u32 = 100;
