//! Classes that take the place of ingress-nginx: whose they are, its defaults, and the ConfigMap of its controller.
//!
//! The annotations are in [`super::annotations::keys::nginx`]; here is what holds for every Ingress of the class where its
//! annotations are silent.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::annotations::{Annotations, NextUpstream, keys};
use super::lower::Scope;
use super::objects::{ConfigMap, Objects};
use super::problem::{Kind, Problem, Severity};
use super::values::{parse_flag, parse_header, parse_networks, parse_seconds, parse_size};
use crate::route::Refusal;
use crate::settings::{Class, IngressNginx};
use crate::upstream::Balance;

/// `spec.controller` of IngressClasses that are ingress-nginx's.
pub const NGINX_CONTROLLER: &str = "k8s.io/ingress-nginx";

/// How this class takes the place of ingress-nginx, if it does: by the settings, or by its IngressClass.
pub(crate) fn taken_over(class: &Class, objects: &Objects) -> Option<IngressNginx> {
    if let Some(taken_over) = &class.ingress_nginx {
        return Some(taken_over.clone());
    }
    let object = objects.ingress_classes.find("", &class.name)?;
    (*object.spec.controller == *NGINX_CONTROLLER).then(IngressNginx::default)
}

/// What holds where an Ingress says nothing.
#[derive(Debug)]
pub(crate) struct Defaults {
    words: Annotations,
    force_ssl_redirect: bool,
    /// The ConfigMap guards access in a way that cannot be enforced.
    pub(crate) refusal: Option<Refusal>,
}

impl Defaults {
    /// Reads the ConfigMap that `taken_over` names; what is wrong with it is told on the ConfigMap.
    pub(crate) fn read(taken_over: &IngressNginx, scope: &mut Scope<'_>) -> Defaults {
        let mut defaults = Defaults::of_the_controller();
        defaults.words.errors.class_backend.clone_from(&taken_over.default_backend);
        let Some(written) = &taken_over.config_map else { return defaults };
        let (namespace, name) = written.split_once('/').unwrap_or(("default", written));
        let (namespace, name) = (Arc::from(namespace), Arc::from(name));
        scope.depend(Kind::ConfigMap, &namespace, &name);
        match scope.objects.config_maps.find(&namespace, &name) {
            Some(map) => defaults.take(map, scope),
            None => {
                // It may hold an allow list.
                let message: Arc<str> =
                    format!("`ingressNginx.configMap` names {namespace}/{name}, which does not exist").into();
                scope.problem(Severity::Refused, "", "ConfigMapNotFound", message.clone());
                defaults.refusal = Some(Refusal { message });
            }
        }
        defaults
    }

    /// Puts the defaults where `words` say nothing.
    pub(crate) fn fill(&self, words: &mut Annotations) {
        let own = &self.words;
        words.body_bytes_max = words.body_bytes_max.or(own.body_bytes_max);
        words.hsts = words.hsts.take().or_else(|| own.hsts.clone());
        words.connect_timeout = words.connect_timeout.or(own.connect_timeout);
        words.read_timeout = words.read_timeout.or(own.read_timeout);
        words.send_timeout = words.send_timeout.or(own.send_timeout);
        words.next_upstream = words.next_upstream.take().or_else(|| own.next_upstream.clone());
        words.next_upstream_tries = words.next_upstream_tries.or(own.next_upstream_tries);
        words.next_upstream_timeout = words.next_upstream_timeout.or(own.next_upstream_timeout);
        words.ssl_redirect = words.ssl_redirect.or(own.ssl_redirect);
        words.force_ssl_redirect = words.force_ssl_redirect.or(self.force_ssl_redirect.then_some(true));
        words.https_redirect_status = words.https_redirect_status.or(own.https_redirect_status);
        words.balance = words.balance.or(own.balance);
        words.service_upstream = words.service_upstream.or(own.service_upstream);
        words.errors.codes = words.errors.codes.take().or_else(|| own.errors.codes.clone());
        words.errors.class_backend.clone_from(&own.errors.class_backend);
        // Headers of the operator first, so that an Ingress may set them anew.
        for (headers, defaults) in [
            (&mut words.request_headers, &own.request_headers),
            (&mut words.response_headers, &own.response_headers),
        ] {
            headers.splice(0..0, defaults.iter().cloned());
        }
        let asks_itself =
            words.auth.chain.is_some() || words.auth.url.is_some() || words.auth.basic.is_some();
        if own.auth.url.is_some() && !asks_itself && words.auth.use_default != Some(false) {
            self.authenticate(words);
        }
        words.limits.rate_status = own.limits.rate_status;
        words.limits.connections_status = own.limits.connections_status;
        for (list, default) in [(&mut words.allow, &own.allow), (&mut words.deny, &own.deny)] {
            // An annotation replaces the list of the ConfigMap.
            if list.is_empty() {
                list.clone_from(default);
            }
        }
    }

    /// What `global-auth-*` ask for, for an Ingress that says nothing of it.
    fn authenticate(&self, words: &mut Annotations) {
        let (own, auth) = (&self.words.auth, &mut words.auth);
        auth.url.clone_from(&own.url);
        auth.method.clone_from(&own.method);
        auth.signin.clone_from(&own.signin);
        auth.signin_parameter.clone_from(&own.signin_parameter);
        auth.response_headers.clone_from(&own.response_headers);
        auth.redirect.clone_from(&own.redirect);
        auth.cache_key.clone_from(&own.cache_key);
        auth.cache_durations.clone_from(&own.cache_durations);
    }

    fn of_the_controller() -> Defaults {
        let mut words = Annotations {
            body_bytes_max: Some(BODY_BYTES_MAX),
            hsts: Some(HeaderValue::from_static("max-age=31536000; includeSubDomains")),
            next_upstream_tries: Some(TRIES),
            balance: Some(Balance::RoundRobin),
            ..Annotations::default()
        };
        words.limits.rate_status = Some(StatusCode::SERVICE_UNAVAILABLE);
        words.limits.connections_status = Some(StatusCode::SERVICE_UNAVAILABLE);
        Defaults { words, force_ssl_redirect: false, refusal: None }
    }

    fn take(&mut self, map: &ConfigMap, scope: &mut Scope<'_>) {
        let mut hsts = Hsts::default();
        for (key, value) in map.data.iter() {
            let result = match hsts.take(key, value) {
                Some(result) => result,
                None => match key {
                    "add-headers" | "proxy-set-headers" => self.take_headers(key, value.trim(), scope),
                    _ => self.take_key(key, value.trim()),
                },
            };
            if let Err(Fault { severity, message }) = result {
                if severity == Severity::Refused {
                    self.refusal.get_or_insert_with(|| Refusal { message: message.clone() });
                }
                scope.problems.push(Problem {
                    severity,
                    object: Some(map.metadata.reference(Kind::ConfigMap)),
                    field: format!("data['{key}']").into(),
                    reason: "IngressNginxConfiguration",
                    message,
                    place: None,
                });
            }
        }
        self.words.hsts = hsts.header();
    }

    /// Headers that stand in a ConfigMap of their own.
    fn take_headers(&mut self, key: &str, value: &str, scope: &mut Scope<'_>) -> Result<(), Fault> {
        if value.is_empty() {
            return Ok(());
        }
        let fault = |reason: String| Fault::degraded(format!("`{key}: {value}` is left out: {reason}"));
        let (namespace, name) =
            value.split_once('/').ok_or_else(|| fault("write it as namespace/name".into()))?;
        let map = scope
            .config_map(&namespace.into(), &name.into())
            .ok_or_else(|| fault("there is no such ConfigMap".into()))?;
        let headers = if key == "add-headers" {
            &mut self.words.response_headers
        } else {
            &mut self.words.request_headers
        };
        for (name, value) in map.data.iter() {
            if value.contains('$') {
                return Err(fault(format!("variables such as in `{name}` are not supported")));
            }
            headers.push(parse_header(name, value).map_err(fault)?);
        }
        Ok(())
    }

    fn take_key(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let words = &mut self.words;
        let bad = || Fault::degraded(format!("`{key}: {value}` cannot be read; the default is used"));
        match key {
            "proxy-body-size" => words.body_bytes_max = Some(parse_size(value).ok_or_else(bad)?),
            "proxy-connect-timeout" => words.connect_timeout = Some(parse_seconds(value).ok_or_else(bad)?),
            "proxy-read-timeout" => words.read_timeout = Some(parse_seconds(value).ok_or_else(bad)?),
            "proxy-send-timeout" => words.send_timeout = Some(parse_seconds(value).ok_or_else(bad)?),
            "proxy-next-upstream-tries" => {
                words.next_upstream_tries = Some(value.parse().map_err(|_| bad())?);
            }
            "proxy-next-upstream-timeout" => {
                words.next_upstream_timeout = Some(parse_seconds(value).ok_or_else(bad)?);
            }
            "proxy-next-upstream" => {
                words.next_upstream = Some(NextUpstream::parse(value).map_err(|_| bad())?);
            }
            "ssl-redirect" => words.ssl_redirect = Some(parse_flag(value).ok_or_else(bad)?),
            "force-ssl-redirect" => self.force_ssl_redirect = parse_flag(value).ok_or_else(bad)?,
            "http-redirect-code" => {
                let code = value.parse::<u16>().ok().filter(|code| [301, 302, 307, 308].contains(code));
                words.https_redirect_status = Some(code.and_then(status).ok_or_else(bad)?);
            }
            "limit-req-status-code" => words.limits.rate_status = Some(error_status(value).ok_or_else(bad)?),
            "limit-conn-status-code" => {
                words.limits.connections_status = Some(error_status(value).ok_or_else(bad)?);
            }
            "load-balance" => {
                words.balance = Some(match value {
                    "round_robin" => Balance::RoundRobin,
                    "ewma" => Balance::PowerOfTwo,
                    _ => return Err(bad()),
                });
            }
            "custom-http-errors" if !value.is_empty() => {
                words.errors.codes = Some(keys::error_codes(value).map_err(|_| bad())?);
            }
            _ if key.starts_with("global-auth-") && !value.is_empty() => {
                // Each says for all what the key of the same name says for one.
                let known = key.strip_prefix("global-").and_then(keys::find);
                let known = known.ok_or_else(|| Fault::refused(key, "it is not known"))?;
                known.setter.apply(words, value).map_err(|reason| Fault::refused(key, &reason))?;
            }
            "service-upstream" => words.service_upstream = Some(parse_flag(value).ok_or_else(bad)?),
            "whitelist-source-range" if !value.is_empty() => {
                words.allow = parse_networks(value).map_err(|reason| Fault::refused(key, &reason))?;
            }
            "denylist-source-range" | "block-cidrs" if !value.is_empty() => {
                let networks = parse_networks(value).map_err(|reason| Fault::refused(key, &reason))?;
                words.deny.extend(networks);
            }
            _ if value.is_empty() => {}
            _ => return judge(key, value),
        }
        Ok(())
    }
}

/// What becomes of the keys that are not taken over one by one.
fn judge(key: &str, value: &str) -> Result<(), Fault> {
    let off = parse_flag(value) == Some(false);
    let starts = |starts: &[&str]| starts.iter().any(|start| key.starts_with(start));
    if starts(&["block-user-agents", "block-referers"]) {
        return Err(Fault::refused(key, "requests cannot be refused by it"));
    }
    if (key == "enable-modsecurity" || key == "enable-owasp-modsecurity-crs" || key == "modsecurity-snippet")
        && !off
    {
        return Err(Fault::refused(key, "there is no firewall here; put one in front, and remove the key"));
    }
    if ["server-snippet", "location-snippet", "http-snippet", "main-snippet", "stream-snippet"].contains(&key)
    {
        return Err(Fault::refused(key, "there is no nginx that could run it, and it may restrict access"));
    }
    if ["use-forwarded-headers", "enable-real-ip", "use-proxy-protocol"].contains(&key) && !off {
        let message =
            format!("`{key}` has no effect here: name the proxies in front under `trust` in the settings");
        return Err(Fault::warning(message));
    }
    if starts(&["proxy-real-ip-cidr", "forwarded-for-header", "compute-full-forwarded-for"]) {
        return Err(Fault::warning(format!("`{key}` has no effect here: see `trust` in the settings")));
    }
    let elsewhere = [
        ("client-header-timeout", "timeouts.headers"),
        ("client-body-timeout", "timeouts.bodyIdle"),
        ("keep-alive", "timeouts.keepAlive"),
        ("keep-alive-requests", "limits.requestsPerConnection"),
        ("client-header-buffer-size", "limits.headerBytes"),
        ("large-client-header-buffers", "limits.headerBytes"),
        ("http2-max-concurrent-streams", "limits.streamsPerConnection"),
        ("ssl-protocols", "tls.minVersion"),
        ("worker-shutdown-timeout", "drain` and `drainSessions"),
        ("ssl-reject-handshake", "tls.defaultCertificate"),
        ("log-format-upstream", "accessLog"),
        ("disable-access-log", "accessLog"),
        ("proxy-buffer-size", "upstream.responseHeadBytes"),
    ];
    if let Some((_, setting)) = elsewhere.iter().find(|(name, _)| *name == key) {
        return Err(Fault::warning(format!("`{key}` has no effect here: write `{setting}` in the settings")));
    }
    // What concerns nginx itself, or is so here anyway.
    let nothing = [
        "worker-",
        "lua-",
        "variables-hash",
        "map-hash",
        "server-name-hash",
        "proxy-headers-hash",
        "max-worker",
    ];
    let so_anyway = [
        "generate-request-id",
        "ignore-invalid-headers",
        "use-http2",
        "proxy-request-buffering",
        "proxy-buffering",
    ];
    if starts(&nothing) || so_anyway.contains(&key) || off {
        return Ok(());
    }
    if key == "allow-snippet-annotations" || key == "annotations-risk-level" {
        return Err(Fault::warning(format!("`{key}` has no effect: snippets are refused always")));
    }
    Err(Fault::warning(format!("`{key}` has no effect here")))
}

/// Strict-Transport-Security, which ingress-nginx sends unless it is told not to.
struct Hsts {
    on: bool,
    max_age: u64,
    subdomains: bool,
    preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Hsts { on: true, max_age: 31_536_000, subdomains: true, preload: false }
    }
}

impl Hsts {
    fn take(&mut self, key: &str, value: &str) -> Option<Result<(), Fault>> {
        let bad = || Fault::degraded(format!("`{key}: {value}` cannot be read; the default is used"));
        let flag = |field: &mut bool| match parse_flag(value) {
            Some(flag) => {
                *field = flag;
                Ok(())
            }
            None => Err(bad()),
        };
        Some(match key {
            "hsts" => flag(&mut self.on),
            "hsts-include-subdomains" => flag(&mut self.subdomains),
            "hsts-preload" => flag(&mut self.preload),
            "hsts-max-age" => value.trim().parse().map(|age| self.max_age = age).map_err(|_| bad()),
            _ => return None,
        })
    }

    fn header(&self) -> Option<HeaderValue> {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        let text = format!("max-age={}{subdomains}{preload}", self.max_age);
        HeaderValue::from_str(&text).ok().filter(|_| self.on)
    }
}

/// What is wrong with one key of the ConfigMap.
struct Fault {
    severity: Severity,
    message: Arc<str>,
}

impl Fault {
    fn degraded(message: String) -> Fault {
        Fault { severity: Severity::Degraded, message: message.into() }
    }

    fn warning(message: String) -> Fault {
        Fault { severity: Severity::Warning, message: message.into() }
    }

    /// Every route of the class refuses: the key restricted access there.
    fn refused(key: &str, reason: &str) -> Fault {
        let message =
            format!("`{key}` of the ConfigMap cannot be enforced, and the class is closed: {reason}");
        Fault { severity: Severity::Refused, message: message.into() }
    }
}

fn status(code: u16) -> Option<StatusCode> {
    StatusCode::from_u16(code).ok()
}

fn error_status(value: &str) -> Option<StatusCode> {
    value.parse::<u16>().ok().filter(|code| (400..600).contains(code)).and_then(status)
}

/// `proxy-body-size` where it is not written.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// `proxy-next-upstream-tries` where it is not written.
const TRIES: u32 = 3;

#[cfg(test)]
mod tests;
