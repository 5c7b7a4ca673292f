//! Which route answers a request, and what each step on the way says: the words of `vestibule explain`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use acme::http01::CHALLENGE_PATH;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};

use crate::edge::Bound;
use crate::limit::{Bounds, Mode};
use crate::request::access::{self, Admitted};
use crate::request::redirect;
use crate::request::target::{Scheme, Target};
use crate::route::auth::Satisfy;
use crate::route::matches::Lookup;
use crate::route::table::{Found, Listener, ListenerKey, Table};
use crate::route::{Action, Route};
use crate::settings::Settings;

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: Method,
    pub scheme: Scheme,
    /// As it would stand in Host.
    pub authority: String,
    /// The port that the URL names.
    pub port: Option<u16>,
    /// Path and query as written.
    pub target: Bytes,
    pub headers: HeaderMap,
    /// The client's address, to judge access by it.
    pub client: Option<IpAddr>,
}

/// Why something is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("`{0}` is no URL; write one such as https://shop.example.com/cart")]
    Url(String),
    #[error("`{0}` is no header; write one such as 'Accept: text/html'")]
    Header(String),
    #[error("`{0}` is no method")]
    Method(String),
    #[error("`{0}` is no address")]
    Client(String),
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `GET https://shop.example.com/cart`, normalised, or as it was asked where it cannot be.
    pub request: String,
    /// Why the request is refused before any listener is asked.
    pub refused: Option<Verdict>,
    /// One for each listener that could take the request.
    pub listeners: Vec<ListenerReport>,
}

/// What one listener does with the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerReport {
    pub listener: String,
    pub addresses: Vec<String>,
    pub verdicts: Vec<Verdict>,
    /// What the client gets: `forwarded to shop/web:80`, `404 route_not_found`.
    pub answer: String,
    /// Where the route was written.
    pub route: Option<String>,
}

/// What one step says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// `target`, `route`, `challenge`, `refusal`, `redirect`, `access`, `limit` or `backend`.
    pub step: String,
    /// False where the step ends the request.
    pub passes: bool,
    pub text: String,
}

impl Question {
    /// `headers` are written as `Name: value`. A URL without a scheme is taken for plain HTTP.
    pub fn parse(
        url: &str,
        method: &str,
        headers: &[String],
        client: Option<&str>,
    ) -> Result<Question, QuestionError> {
        let wrong = || QuestionError::Url(url.to_owned());
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some(_) => return Err(wrong()),
            None => (Scheme::Http, url),
        };
        // A fragment never leaves the browser.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let port = format!("http://{authority}/").parse::<Uri>().map_err(|_| wrong())?.port_u16();
        if authority.is_empty() {
            return Err(wrong());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut map = HeaderMap::new();
        for header in headers {
            let wrong = || QuestionError::Header(header.clone());
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| wrong())?;
            map.append(name, value);
        }
        Ok(Question {
            method: Method::from_bytes(method.as_bytes())
                .map_err(|_| QuestionError::Method(method.to_owned()))?,
            scheme,
            authority: authority.to_owned(),
            port,
            target: path.into(),
            headers: map,
            client: client
                .map(|client| client.parse().map_err(|_| QuestionError::Client(client.to_owned())))
                .transpose()?,
        })
    }
}

/// By what a request is explained.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    pub table: &'a Table,
    pub settings: &'a Settings,
    /// Where the listeners are bound; empty: nowhere, as far as is known.
    pub bound: &'a [Bound],
}

/// Walks the steps of a request without sending anything.
pub fn explain(grounds: Grounds<'_>, question: &Question) -> Report {
    let written = String::from_utf8_lossy(&question.target);
    let asked = format!("{} {}://{}{written}", question.method, question.scheme.as_str(), question.authority);
    let refuse = |text: String| Report {
        request: asked.clone(),
        refused: Some(Verdict { step: "target".into(), passes: false, text }),
        listeners: Vec::new(),
    };
    if matches!(question.method, Method::CONNECT | Method::TRACE) {
        return refuse(format!("{} is not served here: 501 method_unsupported", question.method));
    }
    let host = question
        .headers
        .get(http::header::HOST)
        .map_or(question.authority.as_bytes(), |host| host.as_bytes());
    let target = Target::parse(
        &question.method,
        &question.target,
        None,
        Some(host),
        question.scheme,
        grounds.settings.requests.encoded_slash,
    );
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            return refuse(format!("{error}: {}", crate::reject::Reject::BadTarget(error).status()));
        }
    };
    let listeners = listeners_for(grounds, question);
    let refused = listeners.is_empty().then(|| Verdict {
        step: "listener".into(),
        passes: false,
        text: match question.port {
            Some(port) => format!("no listener speaks {} on port {port}", question.scheme.as_str()),
            None => format!("no listener speaks {}", question.scheme.as_str()),
        },
    });
    let lookup = Lookup {
        host: target.host.as_ref(),
        path: target.path(),
        method: &question.method,
        headers: &question.headers,
        query: target.query(),
    };
    Report {
        request: format!(
            "{} {}://{}{}",
            question.method,
            target.scheme.as_str(),
            question.authority.to_ascii_lowercase(),
            target.path_and_query.as_str()
        ),
        refused,
        listeners: listeners
            .into_iter()
            .map(|listener| ask(grounds, listener, &lookup, &target, question))
            .collect(),
    }
}

impl Grounds<'_> {
    fn addresses(&self, listener: &Listener) -> impl Iterator<Item = SocketAddr> {
        listener.addresses.iter().map(|wanted| Bound::actual(self.bound, &listener.key, *wanted))
    }
}

impl Report {
    /// True when some listener has a route for the request that does not refuse it for want of an access rule in force.
    pub fn is_served(&self) -> bool {
        self.listeners.iter().any(|listener| {
            listener.route.is_some() && !listener.verdicts.iter().any(|verdict| verdict.step == "refusal")
        })
    }
}

/// Those that speak the scheme; of them those on the port that the URL names, if there are any. A port may be mapped by
/// something in front, so that one that no listener has says nothing.
fn listeners_for<'t>(grounds: Grounds<'t>, question: &Question) -> Vec<&'t Arc<Listener>> {
    let speaks = |listener: &&Arc<Listener>| listener.tls.is_some() == (question.scheme == Scheme::Https);
    let all: Vec<_> = grounds.table.listeners.iter().filter(speaks).collect();
    let has_port = |listener: &&&Arc<Listener>| {
        question.port.is_some_and(|port| {
            let is_listener_port =
                matches!(listener.key, ListenerKey::Gateway { port: listener_port, .. } if listener_port == port);
            is_listener_port || grounds.addresses(listener).any(|address| address.port() == port)
        })
    };
    let on_port: Vec<_> = all.iter().filter(has_port).copied().collect();
    if on_port.is_empty() { all } else { on_port }
}

fn ask(
    grounds: Grounds<'_>,
    listener: &Listener,
    lookup: &Lookup<'_>,
    target: &Target,
    question: &Question,
) -> ListenerReport {
    let explanation = listener.explain(lookup);
    let mut verdicts: Vec<Verdict> = explanation
        .steps
        .iter()
        .map(|step| Verdict { step: "route".into(), passes: true, text: step.to_string() })
        .collect();
    let is_answered = challenge(grounds.table, lookup, &explanation.found, &mut verdicts);
    let (answer, route) = match explanation.found {
        _ if is_answered => {
            ("200 with the proof for the CA".to_owned(), Some("an issuer with http01".into()))
        }
        Found::Route(route) => {
            (follow(route, target, question, &mut verdicts), Some(route.origin.to_string()))
        }
        Found::NoRoute => ("404 route_not_found".to_owned(), None),
        Found::NoHost => ("404 host_not_found".to_owned(), None),
    };
    if route.is_none()
        && let Some(last) = verdicts.last_mut()
    {
        last.passes = false;
    }
    ListenerReport {
        listener: listener.key.to_string(),
        addresses: grounds.addresses(listener).map(|address| address.to_string()).collect(),
        verdicts,
        answer,
        route,
    }
}

/// What is said of a CA's question by HTTP-01; true when it is answered before any route.
fn challenge(table: &Table, lookup: &Lookup<'_>, found: &Found<'_>, verdicts: &mut Vec<Verdict>) -> bool {
    if !lookup.path.starts_with(CHALLENGE_PATH.as_bytes()) {
        return false;
    }
    let answer = table.challenges.as_ref().and_then(|challenges| challenges.answer(lookup, found));
    let text = match &answer {
        Some(_) => "a CA's question (HTTP-01), which every replica answers before any route",
        None => {
            "a CA's question (HTTP-01) that is left to the routes: no issuer proves this name so, no account is there \
             yet, the token is none, or a route is there for just this path"
        }
    };
    // Before the route, as on the way of a request.
    verdicts.insert(0, Verdict { step: "challenge".into(), passes: answer.is_none(), text: text.into() });
    answer.is_some()
}

/// The steps after the look-up, in the order of the request path. Returns what the client gets.
fn follow(route: &Route, target: &Target, question: &Question, verdicts: &mut Vec<Verdict>) -> String {
    let mut say = |step: &str, passes: bool, text: String| {
        verdicts.push(Verdict { step: step.into(), passes, text });
    };
    if let Some(refusal) = &route.refusal {
        say("refusal", false, refusal.message.to_string());
        return "503 refused".into();
    }
    if let Some(rule) = &route.https_redirect
        && let Some(response) = redirect::to_https(rule, target)
    {
        let location = location_of(&response.headers);
        say("redirect", false, format!("plain HTTP is sent to {location}"));
        return format!("{} to {location}", rule.status.as_u16());
    }
    if let Some(certificates) = &route.client_certificates {
        if target.scheme == Scheme::Http {
            say("access", false, "a client certificate is asked for, which plain HTTP cannot show".into());
            return "400 client_certificate".into();
        }
        say("access", true, format!("with a client certificate: {certificates}"));
    }
    let rules = &route.access;
    let mut enough = false;
    match question.client {
        _ if rules.allow.is_empty() && rules.deny.is_empty() => {
            say("access", true, "every address may enter".into());
        }
        None => {
            let list = |networks: &[ipnet::IpNet]| {
                networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            let allow = if rules.allow.is_empty() { "every address".into() } else { list(&rules.allow) };
            let deny =
                if rules.deny.is_empty() { String::new() } else { format!(", except {}", list(&rules.deny)) };
            say("access", true, format!("{allow}{deny} may enter; --client ADDRESS tells for one"));
        }
        Some(client) => match access::admit(route, client) {
            Err(_) => {
                say("access", false, format!("{client} may not enter"));
                return "403 address_denied".into();
            }
            Ok(Admitted::Wholly) => {
                say("access", true, format!("{client} may enter, and needs no login for it"));
                enough = true;
            }
            Ok(Admitted::IfKnown) if access::check(rules, client).is_err() => {
                say("access", true, format!("{client} may enter with a login only"));
            }
            Ok(Admitted::IfKnown) => say("access", true, format!("{client} may enter")),
        },
    }
    if !enough {
        identify(route, target, question, &mut say);
    }
    if let Some(limiting) = &route.limiting {
        let is_exempt = question.client.filter(|client| limiting.exempts(*client));
        if let Some(client) = is_exempt {
            say("limit", true, format!("{client} is not counted"));
        }
        let rules = limiting.bounds().into_iter().flat_map(Bounds::answers);
        for (answer, mode) in rules.filter(|_| is_exempt.is_none()) {
            let status = answer.status.map_or(429, |status| status.as_u16());
            let over = match mode {
                Mode::Enforced => format!("above it {status}"),
                Mode::DryRun => "above it counted only".into(),
            };
            say("limit", true, format!("{}, {over}", answer.rule));
        }
    }
    if let Some(max) = route.limits.body_bytes_max.filter(|max| *max > 0) {
        say("limit", true, format!("a body of at most {max} bytes"));
    }
    match &route.action {
        Action::Status(status) => {
            say("backend", false, format!("the route answers {status} always"));
            format!("{} route_status", status.as_u16())
        }
        Action::Login(provider) => {
            say("login", true, format!("logging in and out by {}", provider.name()));
            "a login".into()
        }
        Action::Location(fixed) => {
            let location = fixed.location.as_bytes().escape_ascii();
            say("redirect", false, format!("the route sends to {location}"));
            format!("{} to {location}", fixed.status.as_u16())
        }
        Action::Redirect(rule) => {
            let port = question.port.unwrap_or(target.scheme.default_port());
            match redirect::redirect(rule, &route.origin.path, target, port) {
                Ok(response) => {
                    let location = location_of(&response.headers);
                    say("redirect", false, format!("the route sends to {location}"));
                    format!("{} to {location}", response.status.as_u16())
                }
                Err(reject) => {
                    say("redirect", false, reject.detail().unwrap_or_default());
                    format!("{} {}", reject.status().as_u16(), reject.reason())
                }
            }
        }
        Action::Forward(backends) => {
            if let Some(canary) = &route.canary {
                let to = match &canary.share.backend {
                    Ok(backend) => backend.key.to_string(),
                    Err(status) => status.as_u16().to_string(),
                };
                say("canary", true, format!("{canary} to {to}, asked for by {}", canary.origin));
            }
            let total: u64 = backends.iter().map(|share| u64::from(share.weight)).sum();
            let mut names = Vec::new();
            for share in backends {
                let part = match (backends.len(), total) {
                    (1, _) => String::new(),
                    (_, 0) => ", no share".into(),
                    (_, total) => format!(", {}% of the requests", u64::from(share.weight) * 100 / total),
                };
                match &share.backend {
                    Ok(backend) => {
                        let endpoints = backend.endpoints().len();
                        let plural = if endpoints == 1 { "" } else { "s" };
                        say(
                            "backend",
                            endpoints > 0,
                            format!("{}, {endpoints} endpoint{plural}{part}", backend.key),
                        );
                        names.push(backend.key.to_string());
                    }
                    Err(status) => {
                        say("backend", false, format!("a reference that cannot be used: {status}{part}"));
                        names.push(status.to_string());
                    }
                }
            }
            if names.is_empty() {
                "500 backend_invalid".into()
            } else {
                format!("forwarded to {}", names.join(" or "))
            }
        }
    }
}

/// Who has to be known. Nobody is asked here, so what they would say is not known.
fn identify(route: &Route, target: &Target, question: &Question, say: &mut dyn FnMut(&str, bool, String)) {
    let Some(auth) = route.auth.as_deref() else {
        return say("auth", true, "nobody has to be known".into());
    };
    let path = std::str::from_utf8(target.path()).unwrap_or_default();
    if auth.policy.skips(&question.method, path) {
        return say("auth", true, format!("{auth} is not asked: auth-skip names {} {path}", question.method));
    }
    let any = match auth.satisfy {
        Satisfy::All => "",
        Satisfy::Any => ", unless the address is enough (satisfy: any)",
    };
    say("auth", true, format!("{auth} is asked who it is{any}"));
}

fn location_of(headers: &HeaderMap) -> String {
    headers
        .get(http::header::LOCATION)
        .map_or_else(String::new, |value| value.as_bytes().escape_ascii().to_string())
}

#[cfg(test)]
mod tests;
