//! Lowering an Ingress: its rules, default backend and annotations become routes of its class.

pub(crate) mod canary;
mod client_certificates;
mod companions;
mod owner;
mod passthrough;
mod shares;

pub use owner::INGRESS_CONTROLLER;
pub(crate) use owner::{Owner, owner};

use std::collections::BTreeSet;
use std::sync::Arc;

use acme::name::Name;
use http::StatusCode;

use self::client_certificates::HostDemand;
use super::annotations::{Annotations, Dialect, Reading};
use super::backend::port_of;
use super::certs::Certificates;
use super::limits;
use super::lower::{
    BackendWishes, Content, Lowered, Place, RelayPlace, Scope, Share, bystander, handling, https_redirect,
    route,
};
use super::nginx::{self, Defaults};
use super::objects::ingress::{Ingress, IngressBackend, IngressPath, IngressRule, IngressTls, PathType};
use super::objects::metadata::Known;
use super::problem::{Kind, Severity};
use super::providers::{Guard, OWN_PATH_NAME, OwnPath, OwnTarget, guard};
use crate::certificates::requests::{Wish, auth_hosts, wish};
use crate::route::expression::LetterCase;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::route::matches::{Conditions, Precedence, Rule};
use crate::route::table::ListenerKey;
use crate::route::{
    Action, Handling, Location, Origin, PathPattern, PathRewrite, Redirect, Refusal, Rewrite, Route,
    WeightedBackend,
};
use crate::settings::Class;
use crate::tls::{CertificateUse, ClientAuthRule, Hosts};
use crate::upstream::Backend;

/// The hosts that the Ingress declares to have TLS.
pub(crate) fn tls_hosts(ingress: &Ingress) -> impl Iterator<Item = HostPattern> {
    ingress.spec.tls.iter().flat_map(|tls| hosts_of(ingress, tls))
}

/// The hosts of one entry of `spec.tls`; one that lists none means those of the rules.
fn hosts_of<'a>(ingress: &'a Ingress, tls: &'a IngressTls) -> impl Iterator<Item = HostPattern> + use<'a> {
    let rules = ingress.spec.rules.iter().filter(|_| tls.hosts.is_empty());
    let hosts = tls.hosts.iter().chain(rules.filter_map(|rule| rule.host.as_ref()));
    hosts.filter_map(|host| HostPattern::parse(host, WildcardLabels::One).ok())
}

/// The place of an Ingress class.
pub(crate) fn place_of(class: &Class) -> Place {
    Place { listener: ListenerKey::Class { class: class.name.clone(), tls: false }, section: "".into() }
}

/// Lowers an Ingress of this class. `has_tls` says whether a host has TLS, by this Ingress or another of the class.
pub(crate) fn lower(
    ingress: &Ingress,
    class: &Class,
    place: &Arc<Place>,
    has_tls: &dyn Fn(&HostPattern) -> bool,
    certificates: &mut Certificates,
    mut scope: Scope<'_>,
) -> Lowered {
    let nginx = nginx::taken_over(class, scope.objects);
    let dialect = if nginx.is_some() { Dialect::Nginx } else { Dialect::Own };
    let mut reading = scope.annotations(&ingress.metadata.annotations, dialect);
    if let Some(nginx) = nginx {
        let defaults = Defaults::read(&nginx, &mut scope);
        defaults.fill(&mut reading.annotations);
        reading.refusal = reading.refusal.or(defaults.refusal);
    }
    let wishes = match scope.backend_wishes(&reading.annotations) {
        Ok(wishes) => Some(wishes),
        Err(refusal) => {
            reading.refusal.get_or_insert(refusal);
            None
        }
    };
    let defaults = class.auth.as_ref().unwrap_or(&scope.settings.auth);
    let guard = guard(&mut scope, &mut reading, defaults);
    limits::tell(&mut scope, &reading.annotations.limits, &guard);
    let words = reading.annotations.client.clone();
    let demand = client_certificates::lower(&mut scope, &words);
    if let Err(refusal) = &demand {
        reading.refusal.get_or_insert(refusal.clone());
    }
    let mut handling = handling(&reading.annotations, &scope.source);
    (handling.auth, handling.declared_open) = (guard.auth.clone(), guard.declared_open);
    let handling = handling.shared();
    let (shares, client_auth) = (Vec::new(), Vec::new());
    let mut lowering = Lowering {
        ingress,
        class,
        place,
        reading,
        handling,
        guard,
        wishes,
        demand,
        scope,
        shares,
        client_auth,
        relays: Vec::new(),
    };
    lowering.companions();
    let is_canary = lowering.reading.annotations.canary == Some(true);
    for (index, rule) in ingress.spec.rules.iter().enumerate() {
        if is_canary {
            lowering.canary_rule(index, rule);
        } else {
            lowering.rule(index, rule, has_tls);
        }
    }
    if !is_canary {
        lowering.default_backend(has_tls);
        lowering.idle_canary_keys();
    }
    if ingress.spec.rules.is_empty() && ingress.spec.default_backend.is_none() {
        let message = "the Ingress has neither rules nor a default backend";
        lowering.scope.problem(Severity::Warning, "spec", "NoRules", message);
    }
    let certificates = lowering.certificates(certificates).into();
    let client_auth = lowering.client_auth.into();
    let relays = lowering.relays.into();
    let class = Some(place.clone());
    Lowered { certificates, client_auth, relays, class, ..lowering.scope.finish(lowering.shares) }
}

struct Lowering<'a, 's> {
    ingress: &'a Ingress,
    class: &'a Class,
    place: &'a Arc<Place>,
    reading: Reading,
    /// What the annotations say; every route has it.
    handling: Arc<Handling>,
    guard: Guard,
    wishes: Option<BackendWishes>,
    /// What its hosts ask of the certificates of their clients.
    demand: Result<Option<HostDemand>, Refusal>,
    scope: Scope<'s>,
    shares: Vec<Share>,
    client_auth: Vec<ClientAuthRule>,
    relays: Vec<RelayPlace>,
}

impl Lowering<'_, '_> {
    fn rule(&mut self, index: usize, rule: &IngressRule, has_tls: &dyn Fn(&HostPattern) -> bool) {
        let Some(host) = self.host(index, rule) else { return };
        let Some(http) = &rule.http else { return };
        let secure = has_tls(&host);
        let mut rules = Vec::with_capacity(http.paths.len() + 1);
        // Comes first, so that it wins over a path `/` of the same rule.
        rules.extend(self.app_root(index, secure));
        for (entry, path) in http.paths.iter().enumerate() {
            rules.extend(self.path(index, entry + 1, path, secure));
        }
        rules.extend(self.own_paths(index, http.paths.len() + 1, secure));
        if self.reading.dialect == Dialect::Nginx {
            let is_path = |without: &str| http.paths.iter().any(|path| path.path.as_deref() == Some(without));
            let slashed = http.paths.iter().enumerate().filter(|(_, path)| {
                // Whoever gave the path without the slash a rule of its own wants no redirect.
                path.path
                    .as_deref()
                    .and_then(|text| text.strip_suffix('/'))
                    .is_some_and(|without| !is_path(without))
            });
            for (entry, path) in slashed {
                rules.extend(self.slash(index, SLASHED_FROM + entry, path, secure));
            }
        }
        self.twins(index, &host, secure);
        self.demand_certificates(&host);
        self.passthrough(index, &host, &http.paths);
        self.share(host, Content::Rules(rules.into()));
    }

    /// Makes the host, and its other names, ask for client certificates.
    fn demand_certificates(&mut self, host: &HostPattern) {
        let content = match &self.demand {
            Ok(None) => return,
            Ok(Some(demand)) => {
                let aliases = self.reading.annotations.server_aliases.iter();
                for name in std::iter::once(host).chain(aliases) {
                    let policy = demand.policy.clone();
                    self.client_auth.push(ClientAuthRule { host: Some(name.clone()), policy });
                }
                Ok(demand.rules.clone())
            }
            Err(refusal) => Err(refusal.clone()),
        };
        self.share(host.clone(), Content::ClientCertificates(content));
    }

    fn host(&mut self, index: usize, rule: &IngressRule) -> Option<HostPattern> {
        let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) else {
            return Some(HostPattern::Any);
        };
        let parsed = HostPattern::parse(host, WildcardLabels::One).map_err(|error| {
            let message = format!("the rule is not served: {error}");
            let field = format!("spec.rules[{index}].host");
            self.scope.problem(Severity::Degraded, field, "InvalidHost", message);
        });
        parsed.ok()
    }

    fn path(&mut self, rule: usize, entry: usize, path: &IngressPath, secure: bool) -> Option<Rule> {
        let field = path_field(rule, entry);
        let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
        let pattern = match self.pattern(text, path.path_type.as_ref(), &field) {
            Ok(pattern) => pattern,
            Err(message) => return self.bad_path(rule, entry, text, message),
        };
        let origin = self.origin(rule, Some(text.into()), pattern.clone());
        let (action, refusal) = self.action(&path.backend, &format!("{field}.backend"), secure);
        let route = self.route(origin, action, refusal, secure);
        Some(self.matched(rule, entry, pattern, route))
    }

    /// A path that cannot be matched is left out. Where the Ingress guards access, what the path plainly begins with refuses
    /// instead: its requests must not reach another route that is open.
    fn bad_path(&mut self, rule: usize, entry: usize, text: &str, message: String) -> Option<Rule> {
        let field = format!("{}.path", path_field(rule, entry));
        if !self.is_guarded() {
            self.scope.problem(Severity::Degraded, field, "InvalidPath", message);
            return None;
        }
        let pattern = PathPattern::Prefix(plain_start(text));
        let message: Arc<str> = format!("{message}; all that begins like it refuses").into();
        self.scope.problem(Severity::Refused, field, "InvalidPath", message.clone());
        let origin = self.origin(rule, Some(text.into()), pattern.clone());
        let unavailable = Action::Status(StatusCode::SERVICE_UNAVAILABLE);
        let route = self.route(origin, unavailable, Some(Refusal { message }), false);
        Some(self.matched(rule, entry, pattern, route))
    }

    /// Whether a rule says who may enter.
    fn is_guarded(&self) -> bool {
        let words = &self.reading.annotations;
        self.reading.refusal.is_some()
            || self.guard.auth.is_some()
            || !matches!(self.demand, Ok(None))
            || !words.allow.is_empty()
            || !words.deny.is_empty()
    }

    /// The path as its type says, and as an expression where the annotations make it one.
    fn pattern(
        &mut self,
        text: &str,
        path_type: Option<&Known<PathType>>,
        field: &str,
    ) -> Result<PathPattern, String> {
        let path_type = match path_type {
            Some(Known::Value(path_type)) => *path_type,
            None => PathType::ImplementationSpecific,
            Some(Known::Unknown(word)) => {
                // The narrowest reading: whoever wrote it may have meant one path alone.
                let message = format!("`{word}` is no path type; it is taken as Exact");
                self.scope.problem(
                    Severity::Degraded,
                    format!("{field}.pathType"),
                    "UnsupportedValue",
                    message,
                );
                PathType::Exact
            }
        };
        let pattern = match path_type {
            PathType::Exact if self.reading.dialect == Dialect::Own || !self.uses_expressions(text) => {
                PathPattern::exact(text)
            }
            _ if self.uses_expressions(text) => PathPattern::regex(text, LetterCase::Insensitive),
            PathType::Exact | PathType::Prefix | PathType::ImplementationSpecific => {
                PathPattern::prefix(text)
            }
        };
        pattern.map_err(|error| format!("the path is not served: {error}"))
    }

    /// ingress-nginx sends a request for `/shop` to `/shop/` where that is the path of a rule.
    fn slash(&mut self, rule: usize, entry: usize, path: &IngressPath, secure: bool) -> Option<Rule> {
        let text = path.path.as_deref().filter(|text| text.len() > 1)?;
        let without = text.strip_suffix('/')?;
        if self.uses_expressions(text) {
            return None;
        }
        let pattern = PathPattern::exact(without).ok()?;
        let origin = self.origin(rule, Some("trailing slash".into()), pattern.clone());
        let action = Action::Redirect(Box::new(Redirect {
            scheme: None,
            host: None,
            port: None,
            path: Some(PathRewrite::Full(text.into())),
            status: StatusCode::MOVED_PERMANENTLY,
        }));
        let route = self.route(origin, action, None, secure);
        Some(self.matched(rule, entry, pattern, route))
    }

    /// Asked for by `use-regex`, or by a rewrite that names groups, which only an expression has; in ingress-nginx by any
    /// rewrite to another path.
    fn uses_expressions(&self, path: &str) -> bool {
        let words = &self.reading.annotations;
        let names_groups = |target: &str| {
            target.split('$').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let rewrites = |target: &str| match self.reading.dialect {
            Dialect::Own => names_groups(target),
            Dialect::Nginx => target != path,
        };
        words.use_regex == Some(true) || words.rewrite_target.as_deref().is_some_and(rewrites)
    }

    /// What the path does, and the refusal that its Service brings along.
    fn action(&mut self, backend: &IngressBackend, field: &str, secure: bool) -> (Action, Option<Refusal>) {
        match redirect(&self.reading.annotations) {
            Some(redirect) => (redirect, None),
            None => self.forward(backend, field, secure),
        }
    }

    /// The live backend that is meant, and the refusal that its Service brings along. Without one a problem was told.
    fn service_backend(
        &mut self,
        backend: &IngressBackend,
        field: &str,
    ) -> (Option<Arc<Backend>>, Option<Refusal>) {
        let wishes = self.wishes.clone();
        self.backend_with(wishes.as_ref(), backend, field)
    }

    fn backend_with(
        &mut self,
        wishes: Option<&BackendWishes>,
        backend: &IngressBackend,
        field: &str,
    ) -> (Option<Arc<Backend>>, Option<Refusal>) {
        let Some(wanted) = &backend.service else {
            let message = "only Services can be backends: name one under `service`";
            self.scope.problem(Severity::Refused, field, "InvalidKind", message);
            return (None, None);
        };
        let namespace = self.ingress.metadata.namespace.clone();
        let Some(service) = self.scope.service(&namespace, &wanted.name) else {
            let message = format!("there is no Service {namespace}/{}", wanted.name);
            self.scope.problem(
                Severity::Refused,
                format!("{field}.service.name"),
                "BackendNotFound",
                message,
            );
            return (None, None);
        };
        let Some(port) = port_of(service, &wanted.port) else {
            let ports = describe_ports(service);
            let message =
                format!("the Service {namespace}/{} has no such TCP port; it has {ports}", wanted.name);
            self.scope.problem(
                Severity::Refused,
                format!("{field}.service.port"),
                "BackendNotFound",
                message,
            );
            return (None, None);
        };
        let mut refusal = None;
        let misplaced = bystander(&service.metadata.annotations, Kind::Service);
        self.scope.inherit(&mut refusal, misplaced, &service.metadata.reference(Kind::Service));
        let Some(wishes) = wishes else { return (None, refusal) };
        (Some(self.scope.backend(service, port, wishes)), refusal)
    }

    fn route(
        &mut self,
        origin: Origin,
        action: Action,
        refusal: Option<Refusal>,
        secure: bool,
    ) -> Arc<Route> {
        let words = &self.reading.annotations;
        let exempt = match &origin.path {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => path.starts_with(ACME_CHALLENGE),
            PathPattern::Regex(_) => false,
        };
        let rewrite = words.rewrite_target.as_ref().map(|target| match &origin.path {
            PathPattern::Regex(_) => PathRewrite::Captures(target.clone()),
            // A path without groups leaves nothing to fill in.
            PathPattern::Exact(_) | PathPattern::Prefix(_) => PathRewrite::Full(without_groups(target)),
        });
        let handling = match rewrite {
            None => self.handling.clone(),
            Some(path) => {
                let rewrite = Rewrite { path: Some(path), ..self.handling.rewrite.clone() };
                Arc::new(Handling { rewrite, ..Handling::clone(&self.handling) })
            }
        };
        // The redirects that an Ingress adds of itself show nothing and have no server to sign in at: who follows them is asked
        // where they lead. A certificate authority cannot sign in; what answers it would not be found behind a default.
        let asks_nobody = matches!(action, Action::Redirect(_))
            || (exempt && (self.guard.by_default || self.reading.dialect == Dialect::Nginx));
        let handling = if asks_nobody && handling.auth.is_some() {
            Arc::new(Handling { auth: None, declared_open: true, ..Handling::clone(&handling) })
        } else {
            handling
        };
        let mut route = route(origin, action, &self.reading, handling);
        route.refusal = route.refusal.or(refusal);
        route.wake = self.scope.gate(words, route.action.backends());
        let wanted = secure && !self.class.https.is_empty() && words.ssl_redirect != Some(false);
        if (wanted || words.force_ssl_redirect == Some(true)) && !exempt {
            let mut redirect = https_redirect(redirect_port(self.class));
            redirect.status = words.https_redirect_status.unwrap_or(redirect.status);
            route.https_redirect = Some(redirect);
        }
        Arc::new(route)
    }

    /// The paths of an authentication server that this host sends to it, so that people can sign in here.
    fn own_paths(&mut self, rule: usize, entry: usize, secure: bool) -> Vec<Rule> {
        let own_paths = self.guard.own_paths.clone();
        let handling = self.handling.of_server().shared();
        let redirects = self.reading.annotations.ssl_redirect != Some(false);
        let lower = |(index, own): (usize, OwnPath)| {
            let origin = self.origin(rule, Some(OWN_PATH_NAME.into()), own.path.clone());
            let action = match own.to {
                OwnTarget::Server(backend) => Action::Forward([WeightedBackend::whole(backend)].into()),
                OwnTarget::Login(provider) => Action::Login(provider),
            };
            let mut route = route(origin, action, &self.reading, handling.clone());
            if secure && !self.class.https.is_empty() && redirects {
                route.https_redirect = Some(https_redirect(redirect_port(self.class)));
            }
            self.matched(rule, entry + index, own.path, Arc::new(route))
        };
        own_paths.into_iter().enumerate().map(lower).collect()
    }

    /// `app-root`: exactly `/` is sent elsewhere.
    fn app_root(&mut self, rule: usize, secure: bool) -> Option<Rule> {
        let target = self.reading.annotations.app_root.clone()?;
        let pattern = PathPattern::Exact("/".into());
        let origin = self.origin(rule, Some("app-root".into()), pattern.clone());
        let action = Action::Redirect(Box::new(Redirect {
            scheme: None,
            host: None,
            port: None,
            path: Some(PathRewrite::Full(target)),
            status: StatusCode::FOUND,
        }));
        let route = self.route(origin, action, None, secure);
        Some(self.matched(rule, 0, pattern, route))
    }

    /// `server-alias` and `from-to-www-redirect`: other names for the host of a rule.
    fn twins(&mut self, rule: usize, host: &HostPattern, secure: bool) {
        for alias in self.reading.annotations.server_aliases.clone() {
            if alias != *host {
                self.share(alias, Content::Alias { of: host.clone() });
            }
        }
        let HostPattern::Exact(name) = host else { return };
        if self.reading.annotations.www_redirect != Some(true) {
            return;
        }
        let twin: Arc<str> = match name.strip_prefix("www.") {
            Some(bare) => bare.into(),
            None => format!("www.{name}").into(),
        };
        let pattern = PathPattern::Prefix("".into());
        let origin = self.origin(rule, Some("from-to-www-redirect".into()), pattern.clone());
        let action = Action::Redirect(Box::new(Redirect {
            scheme: None,
            host: Some(name.clone()),
            port: None,
            path: None,
            status: StatusCode::PERMANENT_REDIRECT,
        }));
        let route = self.route(origin, action, None, secure);
        let rules = [self.matched(rule, 0, pattern, route)];
        self.share(HostPattern::Exact(twin), Content::Twin(rules.into()));
    }

    fn default_backend(&mut self, has_tls: &dyn Fn(&HostPattern) -> bool) {
        let Some(backend) = &self.ingress.spec.default_backend else { return };
        let pattern = PathPattern::Prefix("".into());
        let origin = self.origin(0, Some("default backend".into()), pattern);
        let secure = has_tls(&HostPattern::Any);
        let (action, refusal) = self.action(backend, "spec.defaultBackend", secure);
        let mut route = self.route(origin, action, refusal, secure);
        if let Ok(Some(HostDemand { rules, policy })) = &self.demand {
            let handling =
                Handling { client_certificates: Some(rules.clone()), ..Handling::clone(&route.handling) };
            route = Arc::new(Route { handling: Arc::new(handling), ..Route::clone(&route) });
            let host = Some(HostPattern::Any);
            self.client_auth.push(ClientAuthRule { host, policy: policy.clone() });
        }
        self.share(HostPattern::Any, Content::Default(route));
    }

    /// The certificates of `spec.tls`, for the hosts that each entry lists, and for those of the rules that it carries.
    fn certificates(&mut self, certificates: &mut Certificates) -> Vec<CertificateUse> {
        let ingress = self.ingress;
        let settings = self.scope.settings;
        let wish = wish(&ingress.metadata, settings);
        let mut uses = Vec::new();
        for (index, tls) in ingress.spec.tls.iter().enumerate() {
            let named = tls.secret_name.as_ref().filter(|name| !name.is_empty());
            let secret = named.and_then(|name| self.scope.secret(&ingress.metadata.namespace, name));
            let certificate = match (named, secret, wish) {
                // What an issuer orders is there soon, or there for all already.
                (_, None, Wish::Issuer(issuer))
                    if settings.issuers.iter().any(|known| *known.name == *issuer) =>
                {
                    let (field, hosts) = (format!("spec.tls[{index}]"), hosts_of(ingress, tls).collect());
                    self.shared(field, hosts, issuer, certificates, &mut uses);
                    continue;
                }
                // Without a Secret the default certificate is shown, as by ingress-nginx.
                (None, _, _) => continue,
                (Some(name), None, _) => {
                    Err(format!("there is no Secret {}/{name}", ingress.metadata.namespace))
                }
                (Some(name), Some(secret), _) => certificates.of(secret).map_err(|error| {
                    format!("the Secret {}/{name} cannot be used: {error}", ingress.metadata.namespace)
                }),
            };
            match certificate {
                Ok(certificate) => {
                    let listed = hosts_of(ingress, tls);
                    let carried = ingress.spec.rules.iter().filter_map(|rule| {
                        let host = HostPattern::parse(rule.host.as_deref()?, WildcardLabels::One).ok()?;
                        certificate
                            .names()
                            .iter()
                            .any(|name| host.intersect(name).as_ref() == Some(&host))
                            .then_some(host)
                    });
                    let hosts: BTreeSet<HostPattern> = listed.chain(carried).collect();
                    uses.push(CertificateUse {
                        certificate,
                        hosts: Hosts::Only(hosts.into_iter().collect()),
                    });
                }
                Err(message) => {
                    let field = format!("spec.tls[{index}].secretName");
                    self.scope.problem(Severity::Degraded, field, "InvalidCertificateRef", message);
                }
            }
        }
        if let Wish::Issuer(issuer) = wish
            && settings.issuers.iter().any(|known| *known.name == *issuer)
        {
            let hosts = auth_hosts(ingress, settings);
            let hosts = hosts.iter().flat_map(|name| HostPattern::parse(name.as_str(), WildcardLabels::One));
            self.shared("spec.rules".to_owned(), hosts.collect(), issuer, certificates, &mut uses);
        }
        uses
    }

    /// The certificates that an issuer keeps for everyone, for these hosts; and a word on those that have none yet.
    fn shared(
        &mut self,
        field: String,
        hosts: Vec<HostPattern>,
        issuer: &str,
        certificates: &mut Certificates,
        uses: &mut Vec<CertificateUse>,
    ) {
        let mut pending = Vec::new();
        for host in hosts {
            let Ok(name) = Name::parse(&host.to_string()) else { continue };
            match self.scope.shared_certificate(certificates, issuer, &name) {
                Some(certificate) => {
                    uses.push(CertificateUse { certificate, hosts: Hosts::Only([host].into()) });
                }
                None => pending.push(name.to_string()),
            }
        }
        if !pending.is_empty() {
            let message = format!(
                "there is no certificate for {} yet: the issuer `{issuer}` orders it; `vestibule certificates` says how far \
                 that is",
                pending.join(", ")
            );
            self.scope.problem(Severity::Warning, field, "CertificatePending", message);
        }
    }

    fn share(&mut self, host: HostPattern, content: Content) {
        self.shares.push(Share { place: self.place.clone(), host, content });
    }

    fn origin(&self, rule: usize, name: Option<Arc<str>>, path: PathPattern) -> Origin {
        Origin { object: self.scope.source.clone(), rule: rule as u32, name, path }
    }

    fn matched(&self, rule: usize, entry: usize, path: PathPattern, route: Arc<Route>) -> Rule {
        let precedence = Precedence {
            created: self.ingress.metadata.creation_timestamp,
            object: self.scope.source.clone(),
            rule,
            entry,
        };
        Rule { path, conditions: Conditions::default(), precedence, route }
    }
}

/// The whole path elements with which every path of a broken expression begins, as a prefix.
fn plain_start(text: &str) -> Arc<str> {
    let plain = text.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_~".contains(c))).map_or(text, |end| {
        // What stands before the expression may be a part of an element only.
        text[..end].rfind('/').map_or("", |slash| &text[..slash])
    });
    let plain = plain.trim_end_matches('/');
    if plain.is_empty() || plain.starts_with('/') { plain.into() } else { format!("/{plain}").into() }
}

/// A rewrite target with its groups left empty.
fn without_groups(target: &str) -> Arc<str> {
    let mut parts = target.split('$');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == part.len() {
            plain.push('$');
        }
        plain.push_str(rest);
    }
    plain.into()
}

/// The answer that the redirect annotations give in place of the backend.
fn redirect(words: &Annotations) -> Option<Action> {
    let temporal = words.temporal_redirect.as_ref();
    let (location, status) = match (temporal, &words.permanent_redirect) {
        (Some(location), _) => (location, words.temporal_redirect_code.unwrap_or(StatusCode::FOUND)),
        (None, Some(location)) => {
            (location, words.permanent_redirect_code.unwrap_or(StatusCode::MOVED_PERMANENTLY))
        }
        (None, None) => return None,
    };
    Some(Action::Location(Box::new(Location { location: location.clone(), status })))
}

/// The port that a client is sent to for https: the published one, else the usual one when the class speaks plain HTTP on
/// its usual port or is reached on 443, else the one that it listens on.
fn redirect_port(class: &Class) -> Option<u16> {
    if let Some(port) = class.publish.https_port {
        return Some(port.get());
    }
    let usual = class.http.iter().any(|address| address.port() == 80);
    class.https.first().map(|address| address.port()).filter(|_| !usual)
}

/// The field of a path by its place in the order of precedence, where 0 is `app-root`.
pub(crate) fn path_field(rule: usize, entry: usize) -> String {
    match entry.checked_sub(1) {
        Some(index) => format!("spec.rules[{rule}].http.paths[{index}]"),
        None => format!("spec.rules[{rule}]"),
    }
}

fn describe_ports(service: &super::objects::Service) -> String {
    let ports: Vec<String> = service
        .spec
        .ports
        .iter()
        .map(|port| {
            if port.name.is_empty() {
                port.port.to_string()
            } else {
                format!("{} ({})", port.port, port.name)
            }
        })
        .collect();
    if ports.is_empty() { "no ports".into() } else { ports.join(", ") }
}

/// Redirects to paths with a slash come after all else that one rule brings in.
const SLASHED_FROM: usize = 1 << 20;
/// What a certificate authority asks for over plain HTTP (RFC 8555 §8.3) is never redirected.
const ACME_CHALLENGE: &str = "/.well-known/acme-challenge";
