//! Lowering an HTTPRoute, or a GRPCRoute in the same terms: to which listeners it attaches, and what its rules become there.
//!
//! A rule of which a part cannot be used keeps its paths and answers 500: a request never falls through to another rule
//! because its own is broken.

mod backends;
mod filters;
pub(crate) mod matches;
mod persistence;

use std::sync::Arc;

use http::StatusCode;

use super::annotations::{Dialect, Reading};
use super::attach::{Attachment, Belonging, Parents, attach};
use super::limits;
use super::lower::{BackendWishes, Content, Lowered, Scope, Share, handling, https_redirect, route};
use super::objects::httproute::{
    HttpBackendReference, HttpRoute, HttpRouteFilter, HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts,
    SessionPersistence,
};
use super::objects::metadata::Metadata;
use super::problem::{ObjectRef, Severity};
use super::providers::{self, Guard, OWN_PATH_NAME, OwnPath, OwnTarget, guard};
use super::status::{Condition, ParentStatus, RouteStatus};
use super::values::parse_duration;
use crate::route::auth::Auth;
use crate::route::matches::{Conditions, Precedence, Rule};
use crate::route::{
    Action, Handling, HeaderEdits, Origin, PathPattern, Refusal, Route, Timeouts, WeightedBackend,
};
use crate::tls::certificates::Certificate;
use crate::upstream::Backend;
use crate::workload::gate::Gate;
use filters::Filters;
use matches::Match;

/// A route as it was written, in terms that HTTPRoute and GRPCRoute share.
pub(crate) struct Written<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) belonging: Belonging<'a>,
    pub(crate) rules: Vec<WrittenRule<'a>>,
}

/// One rule of it.
pub(crate) struct WrittenRule<'a> {
    pub(crate) name: Option<&'a Arc<str>>,
    pub(crate) matches: Vec<Match>,
    pub(crate) filters: &'a [HttpRouteFilter],
    pub(crate) backend_refs: &'a [HttpBackendReference],
    pub(crate) timeouts: Option<&'a HttpRouteTimeouts>,
    pub(crate) retry: Option<&'a HttpRouteRetry>,
    pub(crate) session_persistence: Option<&'a SessionPersistence>,
}

impl<'a> WrittenRule<'a> {
    fn of(rule: &'a HttpRouteRule) -> Self {
        WrittenRule {
            name: rule.name.as_ref(),
            matches: matches::lower(rule),
            filters: &rule.filters,
            backend_refs: &rule.backend_refs,
            timeouts: Some(&rule.timeouts),
            retry: rule.retry.as_ref(),
            session_persistence: rule.session_persistence.as_ref(),
        }
    }
}

/// Lowers an HTTPRoute.
pub(crate) fn lower(object: &HttpRoute, parents: Parents<'_>, scope: Scope<'_>) -> Lowered {
    let everything = [HttpRouteRule::default()];
    let rules = object.spec.rules.as_deref().unwrap_or(&everything);
    let belonging = Belonging {
        namespace: &object.metadata.namespace,
        parent_refs: &object.spec.parent_refs,
        hostnames: &object.spec.hostnames,
    };
    let rules = rules.iter().map(WrittenRule::of).collect();
    lower_written(Written { metadata: &object.metadata, belonging, rules }, parents, scope)
}

/// Lowers a route of the kind that the scope says.
pub(crate) fn lower_written(written: Written<'_>, parents: Parents<'_>, mut scope: Scope<'_>) -> Lowered {
    let Written { metadata, belonging, rules } = written;
    let attachments = attach(belonging, parents, &mut scope);
    if attachments.is_empty() {
        // Another controller's, as far as can be seen: nothing to say about its rules.
        return scope.finish(Vec::new());
    }
    let mut reading = scope.annotations(&metadata.annotations, Dialect::Own);
    let wishes = scope.backend_wishes(&reading.annotations).map_err(|refusal| {
        reading.refusal.get_or_insert(refusal);
    });
    let defaults = &scope.settings.auth;
    let guard = guard(&mut scope, &mut reading, defaults);
    limits::tell(&mut scope, &reading.annotations.limits, &guard);
    let mut lowering = Lowering {
        metadata,
        reading,
        guard,
        wishes: wishes.ok(),
        certificate: None,
        scope,
        policies: Vec::new(),
        verdict: Verdict::default(),
    };
    // Gateways may show different certificates to the same backends, which are different backends then.
    let mut by_certificate: Vec<(Option<Arc<Certificate>>, LoweredRules)> = Vec::new();
    for attachment in &attachments {
        if !by_certificate.iter().any(|(certificate, _)| *certificate == attachment.client_certificate) {
            lowering.verdict = Verdict::default();
            lowering.certificate.clone_from(&attachment.client_certificate);
            let mut lowered = lowering.rules(&rules);
            lowered.extend(lowering.own_paths(lowered.len()));
            by_certificate.push((attachment.client_certificate.clone(), lowered));
        }
    }
    let Lowering { scope, verdict, policies, .. } = lowering;
    let mut shares = Vec::new();
    let mut parents = Vec::new();
    let mut attached = Vec::new();
    for attachment in attachments {
        let (accepted, partially_invalid) = verdict.accepted(&attachment, &metadata.name);
        let listeners = if accepted.holds { attachment.names() } else { Vec::new() };
        let of_it =
            by_certificate.iter().find(|(certificate, _)| *certificate == attachment.client_certificate);
        let rules = of_it.map_or(&[][..], |(_, rules)| rules);
        for (door, hosts, refusal) in attachment.doors {
            attached.push(door.place.clone());
            let rules = refused(rules, refusal.as_ref());
            for host in hosts {
                let content = Content::Rules(rules.clone());
                shares.push(Share { place: door.place.clone(), host, content });
            }
        }
        let resolved_refs = verdict.resolved.clone().unwrap_or_else(|| Condition::yes("ResolvedRefs"));
        parents.push(ParentStatus {
            parent: attachment.parent,
            gateway: attachment.gateway,
            accepted,
            resolved_refs,
            partially_invalid,
            listeners,
        });
    }
    let status = RouteStatus { route: scope.source.clone(), generation: metadata.generation, parents };
    let attached = if verdict.is_accepted() { attached } else { Vec::new() };
    Lowered {
        status: Some(Arc::new(status)),
        attached: attached.into(),
        policies: policies.into(),
        ..scope.finish(shares)
    }
}

/// The rules of a route, each match by itself, with what the matches of one rule share.
type LoweredRules = Vec<(Rule, Arc<Parts>)>;

/// The same rules, with a refusal that the Gateway brings along.
fn refused(rules: &[(Rule, Arc<Parts>)], refusal: Option<&Refusal>) -> Box<[Rule]> {
    let Some(refusal) = refusal else { return rules.iter().map(|(rule, _)| rule.clone()).collect() };
    rules
        .iter()
        .map(|(rule, parts)| {
            let mut route = parts.route(rule.route.origin.clone());
            route.refusal.get_or_insert(refusal.clone());
            Rule { route: Arc::new(route), ..rule.clone() }
        })
        .collect()
}

/// How the rules as a whole came out.
#[derive(Default)]
struct Verdict {
    rules: usize,
    broken: usize,
    /// The first cause, in Gateway API's words.
    cause: Option<(&'static str, Arc<str>)>,
    resolved: Option<Condition>,
}

impl Verdict {
    /// Whether some rule is in use as it was written, or there is none that could be broken.
    fn is_accepted(&self) -> bool {
        self.broken == 0 || self.broken < self.rules
    }

    fn accepted(&self, attachment: &Attachment<'_>, name: &str) -> (Condition, Option<Condition>) {
        if let Some(refused) = &attachment.refused {
            return (refused.clone(), None);
        }
        match &self.cause {
            None => (Condition::yes("Accepted"), None),
            Some((reason, message)) if !self.is_accepted() => (Condition::no(reason, message.clone()), None),
            Some((_, message)) => {
                // The specification asks for these two words at the start.
                let dropped = format!("Dropped Rule of {name}: {message}");
                let partial = Condition { message: dropped.into(), ..Condition::yes("UnsupportedValue") };
                (Condition::yes("Accepted"), Some(partial))
            }
        }
    }
}

struct Lowering<'a, 's> {
    metadata: &'a Metadata,
    reading: Reading,
    guard: Guard,
    wishes: Option<BackendWishes>,
    /// Shown to backends.
    certificate: Option<Arc<Certificate>>,
    scope: Scope<'s>,
    /// Of the backends so far, each once.
    policies: Vec<ObjectRef>,
    verdict: Verdict,
}

/// Why a rule cannot be used as it is written: Gateway API's word for it, and the words for people.
type Broken = (&'static str, String);

impl Lowering<'_, '_> {
    fn rules(&mut self, written: &[WrittenRule<'_>]) -> Vec<(Rule, Arc<Parts>)> {
        let mut lowered = Vec::new();
        self.verdict.rules = written.len();
        for (index, rule) in written.iter().enumerate() {
            let mut broken = None;
            let mut dropped: Option<Broken> = None;
            let mut matches = Vec::with_capacity(rule.matches.len());
            // What cannot be understood is left out as a whole match: to guess at a part of it could take requests that
            // were never meant.
            for (position, written) in rule.matches.iter().cloned().enumerate() {
                match written {
                    Ok(matched) => matches.push(matched),
                    Err((part, message)) => {
                        dropped.get_or_insert(("UnsupportedValue", message.clone()));
                        let field = format!("spec.rules[{index}].matches[{position}].{part}");
                        self.scope.problem(Severity::Refused, field, "UnsupportedValue", message);
                    }
                }
            }
            match dropped {
                Some(cause) if matches.is_empty() => broken = Some(cause),
                // The other matches mean what they say and stay.
                Some((reason, message)) => {
                    self.verdict.cause.get_or_insert((reason, message.into()));
                }
                None => {}
            }
            let parts = Arc::new(self.parts(index, rule, &matches, &mut broken));
            if let Some((reason, message)) = broken {
                self.verdict.broken += 1;
                self.verdict.cause.get_or_insert((reason, message.into()));
            }
            for (entry, (path, conditions)) in matches.into_iter().enumerate() {
                let origin = self.origin(index, rule.name, path.clone());
                let precedence = Precedence {
                    created: self.metadata.creation_timestamp,
                    object: self.scope.source.clone(),
                    rule: index,
                    entry,
                };
                let route = Arc::new(parts.route(origin));
                lowered.push((Rule { path, conditions, precedence, route }, parts.clone()));
            }
        }
        lowered
    }

    fn origin(&self, rule: usize, name: Option<&Arc<str>>, path: PathPattern) -> Origin {
        Origin { object: self.scope.source.clone(), rule: rule as u32, name: name.cloned(), path }
    }

    /// All that the matches of one rule share.
    fn parts(
        &mut self,
        index: usize,
        rule: &WrittenRule<'_>,
        matches: &[(PathPattern, Conditions)],
        broken: &mut Option<Broken>,
    ) -> Parts {
        let field = format!("spec.rules[{index}]");
        let only_prefixes = matches.iter().all(|(path, _)| matches!(path, PathPattern::Prefix(_)));
        let mut filters = match filters::lower(self.scope.source.kind, rule.filters, only_prefixes) {
            Ok(filters) => filters,
            Err((position, reason, message)) => {
                let field = format!("{field}.filters[{position}]");
                self.scope.problem(Severity::Refused, field, reason, message.clone());
                broken.get_or_insert((reason, message));
                Filters::default()
            }
        };
        let mirrors = self.mirrors(&field, std::mem::take(&mut filters.mirrors));
        let timeouts = self.timeouts(&field, rule, broken);
        let retry = self.retry(&field, rule, broken);
        let persistence = rule
            .session_persistence
            .and_then(|written| persistence::lower(&mut self.scope, written, index, &field));
        let auth = match filters.external_auth.take() {
            None => Ok(self.guard.auth.clone()),
            Some(wanted) => self.filter_auth(&field, wanted).map(Some),
        };
        let auth = auth.unwrap_or_else(|cause| {
            broken.get_or_insert(cause);
            None
        });
        let mut refusal = None;
        let shares = self.backends(&field, rule.backend_refs, &mut refusal);
        let action = if broken.is_some() {
            Shape::Status(StatusCode::INTERNAL_SERVER_ERROR)
        } else if let Some(redirect) = filters.redirect.take() {
            Shape::Redirect(redirect)
        } else if shares.iter().all(|share| share.weight == 0) {
            let message = match rule.backend_refs.len() {
                0 => "the rule has neither backends nor a redirect: its requests are answered 500",
                _ => "all backends have the weight 0: the requests are answered 500",
            };
            self.scope.problem(Severity::Refused, format!("{field}.backendRefs"), "NoBackends", message);
            Shape::Status(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            Shape::Forward(shares)
        };
        let mut handling = handling(&self.reading.annotations, &self.scope.source);
        handling.timeouts.request = timeouts.request;
        handling.timeouts.backend_request = timeouts.backend_request;
        handling.retry = retry.unwrap_or(handling.retry);
        extend(&mut handling.request_headers, &filters.request_headers);
        extend(&mut handling.response_headers, &filters.response_headers);
        if let Some(rewrite) = filters.rewrite {
            handling.rewrite.host = rewrite.host.or(handling.rewrite.host);
            handling.rewrite.path = rewrite.path;
        }
        handling.cors = filters.cors;
        handling.mirrors = mirrors;
        handling.affinity = persistence.map(Arc::new).or(handling.affinity);
        (handling.auth, handling.declared_open) = (auth, self.guard.declared_open);
        let backends = match &action {
            Shape::Forward(portions) => &portions[..],
            Shape::Redirect(_) | Shape::Login(_) | Shape::Status(_) => &[],
        };
        let live = backends.iter().filter(|portion| portion.weight > 0);
        let live = live.filter_map(|portion| portion.backend.as_ref().ok());
        let gate = self.scope.gate(&self.reading.annotations, live);
        Parts { reading: self.base(), action, handling: handling.shared(), gate, refusal }
    }

    /// The guard that a filter `ExternalAuth` puts up.
    fn filter_auth(&mut self, field: &str, wanted: filters::WantedAuth) -> Result<Arc<Auth>, Broken> {
        let field = format!("{field}.filters[{}].externalAuth", wanted.position);
        let backend = self.filter_backend(&wanted.target).map_err(|(reason, message)| {
            self.scope.problem(Severity::Refused, format!("{field}.backendRef"), reason, message.clone());
            self.unresolved(reason, message.clone());
            (reason, message)
        })?;
        let words = &self.reading.annotations.auth;
        let external = providers::filter(&wanted.filter, backend);
        let auth = external
            .and_then(|external| Guard::with_filter(&self.scope, words, &self.scope.settings.auth, external));
        auth.map_err(|message| {
            self.scope.problem(Severity::Refused, field, "UnsupportedValue", message.clone());
            ("UnsupportedValue", message)
        })
    }

    /// The paths of an authentication server that the hosts of this route send to it, so that people can sign in there.
    fn own_paths(&self, index: usize) -> Vec<(Rule, Arc<Parts>)> {
        let lower = |(entry, own): (usize, &OwnPath)| {
            let name = Some(OWN_PATH_NAME.into());
            let object = self.scope.source.clone();
            let origin = Origin { object, rule: index as u32, name, path: own.path.clone() };
            let parts = Parts {
                reading: self.base(),
                action: match &own.to {
                    OwnTarget::Server(backend) => Shape::Forward(vec![Portion::whole(backend.clone())]),
                    OwnTarget::Login(provider) => Shape::Login(provider.clone()),
                },
                handling: handling(&self.reading.annotations, &self.scope.source).of_server().shared(),
                gate: None,
                refusal: None,
            };
            let precedence = Precedence {
                created: self.metadata.creation_timestamp,
                object: self.scope.source.clone(),
                rule: index,
                entry,
            };
            let route = Arc::new(parts.route(origin));
            let (path, conditions) = (own.path.clone(), Conditions::default());
            (Rule { path, conditions, precedence, route }, Arc::new(parts))
        };
        self.guard.own_paths.iter().enumerate().map(lower).collect()
    }

    /// What the annotations give to every route.
    fn base(&self) -> Reading {
        Reading {
            dialect: self.reading.dialect,
            annotations: self.reading.annotations.clone(),
            refusal: self.reading.refusal.clone(),
            findings: Vec::new(),
        }
    }

    fn timeouts(&mut self, field: &str, rule: &WrittenRule<'_>, broken: &mut Option<Broken>) -> Timeouts {
        let Some(written) = rule.timeouts else { return Timeouts::default() };
        let mut read = |name: &str, text: Option<&str>| {
            let text = text?;
            let parsed = parse_duration(text);
            if parsed.is_none() {
                let message = format!("`{text}` is no duration: write one such as 10s or 1m30s");
                self.broken(&format!("{field}.timeouts.{name}"), message, broken);
            }
            parsed
        };
        let request = read("request", written.request.as_deref());
        let backend_request = read("backendRequest", written.backend_request.as_deref());
        Timeouts { request, backend_request, ..Timeouts::default() }
    }

    fn retry(
        &mut self,
        field: &str,
        rule: &WrittenRule<'_>,
        broken: &mut Option<Broken>,
    ) -> Option<crate::route::Retry> {
        let retry = rule.retry?;
        let backoff = retry.backoff.as_deref().and_then(|text| {
            let parsed = parse_duration(text);
            if parsed.is_none() {
                let message = format!("`{text}` is no duration: write one such as 100ms");
                self.broken(&format!("{field}.retry.backoff"), message, broken);
            }
            parsed
        });
        let mut codes = Vec::new();
        for code in &retry.codes {
            match StatusCode::from_u16(*code) {
                Ok(status) if (400..600).contains(code) => codes.push(status),
                _ => {
                    let message = format!("{code} is no status of a failure (400 to 599)");
                    self.broken(&format!("{field}.retry.codes"), message, broken);
                }
            }
        }
        Some(crate::route::Retry { attempts: retry.attempts, codes, backoff, within: None })
    }

    fn broken(&mut self, field: &str, message: String, broken: &mut Option<Broken>) {
        self.scope.problem(Severity::Refused, field, "UnsupportedValue", message.clone());
        broken.get_or_insert(("UnsupportedValue", message));
    }
}

/// One rule but for its matches; each match is a route of its own, because it has a path of its own.
#[derive(Debug)]
struct Parts {
    reading: Reading,
    action: Shape,
    handling: Arc<Handling>,
    gate: Option<Arc<Gate>>,
    refusal: Option<Refusal>,
}

/// An [`Action`] that can be given to several routes.
#[derive(Debug)]
enum Shape {
    Forward(Vec<Portion>),
    Redirect(crate::route::Redirect),
    Login(Arc<crate::login::OidcProvider>),
    Status(StatusCode),
}

#[derive(Clone, Debug)]
struct Portion {
    weight: u32,
    backend: Result<Arc<Backend>, StatusCode>,
    request_headers: HeaderEdits,
    response_headers: HeaderEdits,
}

impl Parts {
    fn route(&self, origin: Origin) -> Route {
        let action = match &self.action {
            Shape::Forward(portions) => {
                Action::Forward(portions.iter().cloned().map(Portion::into_share).collect())
            }
            Shape::Redirect(redirect) => Action::Redirect(Box::new(redirect.clone())),
            Shape::Login(provider) => Action::Login(provider.clone()),
            Shape::Status(status) => Action::Status(*status),
        };
        let mut route = route(origin, action, &self.reading, self.handling.clone());
        let words = &self.reading.annotations;
        if words.ssl_redirect == Some(true) || words.force_ssl_redirect == Some(true) {
            route.https_redirect = Some(https_redirect(None));
        }
        route.refusal = route.refusal.or_else(|| self.refusal.clone());
        route.wake.clone_from(&self.gate);
        route
    }
}

impl Portion {
    /// The share of a backend that is the only one.
    fn whole(backend: Arc<Backend>) -> Self {
        let (request_headers, response_headers) = Default::default();
        Portion { weight: 1, backend: Ok(backend), request_headers, response_headers }
    }

    fn into_share(self) -> WeightedBackend {
        WeightedBackend {
            weight: self.weight,
            backend: self.backend,
            request_headers: self.request_headers.shared(),
            response_headers: self.response_headers.shared(),
        }
    }
}

fn extend(edits: &mut HeaderEdits, more: &HeaderEdits) {
    edits.set.extend_from_slice(&more.set);
    edits.add.extend_from_slice(&more.add);
    edits.remove.extend_from_slice(&more.remove);
}
