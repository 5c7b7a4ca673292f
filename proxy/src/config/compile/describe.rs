//! The table as text, for people and for tests.

use std::fmt::{self, Write};

use super::super::problem::Problem;
use crate::limit::{Bounds, Limiting};
use crate::route::host::HostPattern;
use crate::route::path::Candidate;
use crate::route::relay::Relays;
use crate::route::table::{HostFallback, Listener, ListenerKey, Table};
use crate::route::{
    Action, Cors, HeaderEdits, OriginPattern, PathPattern, PathRewrite, Redirect, Retry, Rewrite, Route,
    Timeouts, WeightedBackend,
};
use crate::upstream::{AlternativeName, Backend, BackendProtocol, Balance, Verify};

/// Listeners with their sections, hosts and routes, each route in the order in which it is tried.
pub fn describe(table: &Table) -> String {
    let mut text = String::new();
    for listener in &table.listeners {
        // Writing to a String cannot fail.
        let _ = describe_listener(&mut text, listener, table);
    }
    text
}

fn describe_listener(f: &mut String, listener: &Listener, table: &Table) -> fmt::Result {
    match &listener.key {
        ListenerKey::Class { class, tls } => {
            write!(f, "class {class} {}", if *tls { "https" } else { "http" })?;
        }
        ListenerKey::Gateway { namespace, name, port } => {
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            let scheme = match &listener.relays {
                None => scheme,
                Some(Relays::Tcp(_)) => "tcp",
                Some(Relays::Udp(_) | Relays::Tls(_)) => "tls",
            };
            write!(f, "Gateway {namespace}/{name} port {port} {scheme}")?;
        }
        ListenerKey::Datagrams { namespace, name, port } => {
            write!(f, "Gateway {namespace}/{name} port {port} udp")?;
        }
    }
    for address in &listener.addresses {
        write!(f, " {address}")?;
    }
    writeln!(f)?;
    for line in listener.relays.iter().flat_map(Relays::describe) {
        writeln!(f, "  {line}")?;
    }
    // The two sides of a class have the same routes.
    if let ListenerKey::Class { class, tls: true } = &listener.key
        && table.listener(&ListenerKey::Class { class: class.clone(), tls: false }).is_some()
    {
        return Ok(());
    }
    for section in listener.sections() {
        if !section.name.is_empty() {
            writeln!(f, "  listener {} ({})", section.name, section.host)?;
        }
        let mut hosts: Vec<_> = section.hosts.hosts().iter().collect();
        hosts.sort_by(|(a, _), (b, _)| b.specificity().cmp(&a.specificity()).then_with(|| a.cmp(b)));
        for (host, routes) in hosts {
            describe_host(f, &host, &routes.list())?;
        }
        if let Some(route) = section.hosts.default_route() {
            let scope = match section.hosts.fallback() {
                HostFallback::Never | HostFallback::LessSpecific => "otherwise",
            };
            writeln!(f, "    {scope}")?;
            describe_route(f, "", route)?;
        }
    }
    Ok(())
}

fn describe_host(f: &mut String, host: &HostPattern, routes: &[(PathPattern, &Candidate)]) -> fmt::Result {
    writeln!(f, "    {host}")?;
    for (path, candidate) in routes {
        let mut matched = path.to_string();
        if !candidate.conditions.is_empty() {
            write!(matched, " [{}]", candidate.conditions)?;
        }
        describe_route(f, &matched, &candidate.route)?;
    }
    Ok(())
}

fn describe_route(f: &mut String, matched: &str, route: &Route) -> fmt::Result {
    writeln!(f, "      {matched}{}{}", if matched.is_empty() { "" } else { " " }, Does(&route.action))?;
    let mut detail = |name: &str, text: String| -> fmt::Result {
        if text.is_empty() { Ok(()) } else { writeln!(f, "          {name}: {text}") }
    };
    detail("from", route.origin.to_string())?;
    detail("refuses", route.refusal.as_ref().map_or(String::new(), |refusal| refusal.message.to_string()))?;
    let https = route.https_redirect.map_or(String::new(), |redirect| match redirect.port {
        Some(port) => format!("{} to port {port}", redirect.status.as_u16()),
        None => redirect.status.as_u16().to_string(),
    });
    detail("plain http", https)?;
    detail(
        "hsts",
        route.hsts.as_ref().map_or(String::new(), |value| String::from_utf8_lossy(value.as_bytes()).into()),
    )?;
    detail("allow", list(&route.access.allow))?;
    detail("deny", list(&route.access.deny))?;
    let certificates = route.client_certificates.as_ref();
    detail("client certificates", certificates.map_or(String::new(), ToString::to_string))?;
    detail("auth", route.auth.as_ref().map_or(String::new(), |auth| auth.to_string()))?;
    detail(
        "body",
        route
            .limits
            .body_bytes_max
            .filter(|bytes| *bytes > 0)
            .map_or(String::new(), |bytes| format!("at most {bytes} bytes")),
    )?;
    detail("limits", route.limiting.as_deref().map_or(String::new(), limiting))?;
    detail("timeouts", timeouts(&route.timeouts))?;
    detail("wakes", route.wake.as_ref().map_or(String::new(), |gate| gate.to_string()))?;
    detail("retry", retry(&route.retry))?;
    detail("request headers", edits(&route.request_headers))?;
    detail("response headers", edits(&route.response_headers))?;
    detail("rewrite", rewrite(&route.rewrite))?;
    detail("error pages", route.errors.as_ref().map_or(String::new(), ToString::to_string))?;
    detail("affinity", route.affinity.as_ref().map_or(String::new(), ToString::to_string))?;
    detail("cors", route.cors.as_ref().map_or(String::new(), |cors| describe_cors(cors)))?;
    for mirror in &route.mirrors {
        let share = format!("{}/{} to {}", mirror.numerator, mirror.denominator, Named(&mirror.backend));
        detail("mirror", share)?;
    }
    if let Some(canary) = &route.canary {
        let text = format!("{} for {canary}, from {}", backend_name(&canary.share), canary.origin);
        detail("canary", text)?;
    }
    if let Action::Forward(shares) = &route.action {
        for share in shares {
            let name = backend_name(share);
            detail(
                &format!("request headers for {name}"),
                share.request_headers.as_deref().map_or(String::new(), edits),
            )?;
            detail(
                &format!("response headers of {name}"),
                share.response_headers.as_deref().map_or(String::new(), edits),
            )?;
        }
    }
    Ok(())
}

/// One line for a problem, as `check` and tests print it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let severity = match self.severity {
            super::super::problem::Severity::Refused => "refused",
            super::super::problem::Severity::Degraded => "degraded",
            super::super::problem::Severity::Warning => "warning",
        };
        write!(f, "{severity} {}: ", self.reason)?;
        if let Some(object) = &self.object {
            write!(f, "{object} ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

struct Does<'a>(&'a Action);

impl fmt::Display for Does<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::Forward(shares) => {
                f.write_str("->")?;
                for share in shares {
                    write!(f, " {}", backend_name(share))?;
                    if shares.len() > 1 || share.weight != 1 {
                        write!(f, " x{}", share.weight)?;
                    }
                }
                Ok(())
            }
            Action::Redirect(redirect) => write!(f, "-> {}", describe_redirect(redirect)),
            Action::Location(fixed) => {
                let location = String::from_utf8_lossy(fixed.location.as_bytes());
                write!(f, "-> {} {location}", fixed.status.as_u16())
            }
            Action::Login(provider) => write!(f, "-> login {}", provider.name()),
            Action::Status(status) => write!(f, "-> {}", status.as_u16()),
        }
    }
}

fn describe_redirect(redirect: &Redirect) -> String {
    let scheme = redirect.scheme.map_or("(scheme)", |scheme| scheme.as_str());
    let host = redirect.host.as_deref().unwrap_or("(host)");
    let port = redirect.port.map_or(String::new(), |port| format!(":{port}"));
    let path = redirect.path.as_ref().map_or("(path)".into(), describe_path);
    format!("{} {scheme}://{host}{port}{path}", redirect.status.as_u16())
}

fn describe_path(path: &PathRewrite) -> String {
    match path {
        PathRewrite::Full(path) => path.to_string(),
        PathRewrite::Prefix(prefix) => format!("{prefix}(rest)"),
        PathRewrite::Captures(template) => template.to_string(),
    }
}

fn backend_name(share: &WeightedBackend) -> String {
    match &share.backend {
        Ok(backend) => Named(backend).to_string(),
        Err(status) => status.as_u16().to_string(),
    }
}

struct Named<'a>(&'a Backend);

impl fmt::Display for Named<'_> {
    /// `shop/web:80`, with what is not the default after it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.0.key;
        write!(f, "{}/{}:{}", key.namespace, key.service, key.port)?;
        if key.protocol == BackendProtocol::Http2 {
            f.write_str("+http2")?;
        }
        if let Some(tls) = &key.tls {
            f.write_str(match tls.verify {
                Verify::System => "+tls(verified)",
                Verify::Authority(_) => "+tls(own authority)",
                Verify::Nothing => "+tls",
            })?;
            if let Some(name) = &tls.server_name {
                write!(f, "({name})")?;
            }
            for name in tls.alternative_names.iter() {
                match name {
                    AlternativeName::Host(host) => write!(f, "(or {host})")?,
                    AlternativeName::Uri(uri) => write!(f, "(or {uri})")?,
                }
            }
            if tls.client_certificate.is_some() {
                f.write_str("+client certificate")?;
            }
        }
        match key.balance {
            Balance::PowerOfTwo => Ok(()),
            Balance::RoundRobin => f.write_str("+round-robin"),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn limiting(limiting: &Limiting) -> String {
    let rules =
        limiting.bounds().into_iter().flat_map(Bounds::answers).map(|(answer, _)| answer.rule.to_string());
    let exempt = (!limiting.exempt.is_empty()).then(|| format!("except {}", list(&limiting.exempt)));
    rules.chain(exempt).collect::<Vec<_>>().join("; ")
}

fn timeouts(timeouts: &Timeouts) -> String {
    let parts = [
        ("request", timeouts.request),
        ("backend request", timeouts.backend_request),
        ("connect", timeouts.connect),
        ("read", timeouts.read),
        ("send", timeouts.send),
    ];
    let written = parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value:?}")));
    written.collect::<Vec<_>>().join(", ")
}

fn retry(retry: &Retry) -> String {
    let mut parts = Vec::new();
    if let Some(attempts) = retry.attempts {
        parts.push(format!("{attempts} times"));
    }
    if !retry.codes.is_empty() {
        parts.push(format!(
            "on {}",
            list(&retry.codes.iter().map(http::StatusCode::as_u16).collect::<Vec<_>>())
        ));
    }
    if let Some(backoff) = retry.backoff {
        parts.push(format!("after {backoff:?}"));
    }
    if let Some(within) = retry.within {
        parts.push(format!("within {within:?}"));
    }
    parts.join(", ")
}

fn edits(edits: &HeaderEdits) -> String {
    let pair = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let set = edits.set.iter().map(|header| format!("set {}", pair(header)));
    let add = edits.add.iter().map(|header| format!("add {}", pair(header)));
    let remove = edits.remove.iter().map(|name| format!("remove {name}"));
    set.chain(add).chain(remove).collect::<Vec<_>>().join("; ")
}

fn rewrite(rewrite: &Rewrite) -> String {
    let host = rewrite.host.as_ref().map(|host| format!("host {}", String::from_utf8_lossy(host.as_bytes())));
    let path = rewrite.path.as_ref().map(|path| format!("path {}", describe_path(path)));
    host.into_iter().chain(path).collect::<Vec<_>>().join(", ")
}

fn describe_cors(cors: &Cors) -> String {
    let origin = |origin: &OriginPattern| match origin {
        OriginPattern::Any => "*".to_owned(),
        OriginPattern::Exact(text) => String::from_utf8_lossy(text).into_owned(),
        OriginPattern::Wildcard { scheme, suffix, port } => {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            format!("{}://*{}{port}", String::from_utf8_lossy(scheme), String::from_utf8_lossy(suffix))
        }
    };
    let any = |any: bool, names: String| if any { "*".to_owned() } else { names };
    let mut parts = vec![
        format!("origins {}", cors.origins.iter().map(origin).collect::<Vec<_>>().join(" ")),
        format!("methods {}", any(cors.any_method, list(&cors.methods))),
        format!("headers {}", any(cors.any_header, list(&cors.headers))),
    ];
    if cors.any_expose || !cors.expose.is_empty() {
        parts.push(format!("expose {}", any(cors.any_expose, list(&cors.expose))));
    }
    if cors.credentials {
        parts.push("credentials".into());
    }
    parts.extend(cors.max_age.map(|seconds| format!("max-age {seconds}")));
    parts.join("; ")
}
