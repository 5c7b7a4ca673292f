//! What lowering one object makes, and what it may look at while it does so.
//!
//! Every look at another object is noted, so that a change of that object lowers this one again and nothing else.

use std::sync::{Arc, LazyLock};

use http::{HeaderName, StatusCode};

use super::annotations::{self, Annotations, Dialect, NextUpstream, Reading, WrittenProtocol};
use super::backend::{Backends, PortChoice, Speech, Through, unverified_tls};
use super::backend_tls::Policies;
use super::certs::{Certificates, SEALED, is_sealed};
use super::objects::{ConfigMap, Namespace, Objects, Secret, Service};
use super::problem::{Kind, ObjectRef, Problem, Severity};
use super::providers::Outside;
use super::status::RouteStatus;
use crate::certificates::requests::shared_places;
use crate::limit::Limiting;
use crate::login::Providers;
use crate::request::target::Scheme;
use crate::route::auth::Auth;
use crate::route::client_certificates::ClientCertificates;
use crate::route::host::HostPattern;
use crate::route::matches::Rule;
use crate::route::relay::Relay;
use crate::route::table::ListenerKey;
use crate::route::{
    AddressRules, Canary, Handling, HeaderEdits, HttpsRedirect, Limits, Origin, Refusal, Retry, Rewrite,
    Route, Timeouts,
};
use crate::settings::Settings;
use crate::tls::certificates::Certificate;
use crate::tls::{CertificateUse, ClientAuthRule};
use crate::upstream::{Backend, BackendKey, BackendProtocol, BackendTls, Verify};
use crate::workload::gate::Gate;

/// A section of a listener. A class has one, which its plain and its TLS listener share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// For a class: the plain side.
    pub(crate) listener: ListenerKey,
    /// The Gateway listener's name; empty for a class.
    pub(crate) section: Arc<str>,
}

/// What one Ingress or route became.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    pub(crate) shares: Box<[Share]>,
    pub(crate) problems: Box<[Problem]>,
    /// What was looked up, found or not.
    pub(crate) depends: Box<[ObjectRef]>,
    pub(crate) status: Option<Arc<RouteStatus>>,
    /// What a TLSRoute, TCPRoute or UDPRoute became.
    pub(crate) relays: Box<[RelayPlace]>,
    /// BackendTLSPolicies of its backends, each once.
    pub(crate) policies: Box<[ObjectRef]>,
    /// Sections that carry the route, each once.
    pub(crate) attached: Box<[Arc<Place>]>,
    /// The section of an Ingress's class.
    pub(crate) class: Option<Arc<Place>>,
    /// Certificates of an Ingress, for the TLS side of its class.
    pub(crate) certificates: Box<[CertificateUse]>,
    /// Which client certificates its hosts ask for, there too.
    pub(crate) client_auth: Box<[ClientAuthRule]>,
}

impl Lowered {
    /// Whether the TLS side of its class is made of it, too.
    pub(crate) fn concerns_tls(&self) -> bool {
        !self.certificates.is_empty() || !self.client_auth.is_empty()
    }

    /// How many routes there are, each counted once however many hosts it has.
    pub(crate) fn routes_len(&self) -> u32 {
        let routes = self.shares.iter().flat_map(|share| match &share.content {
            Content::Rules(rules) | Content::Twin(rules) => rules.iter().map(|rule| &rule.route).collect(),
            Content::Default(route) => vec![route],
            Content::Alias { .. } | Content::Canary(_) | Content::ClientCertificates(_) => Vec::new(),
        });
        let mut seen: Vec<*const Route> = routes.map(Arc::as_ptr).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len() as u32
    }
}

/// Where the connections for one host of one section go.
#[derive(Debug)]
pub(crate) struct RelayPlace {
    pub(crate) place: Arc<Place>,
    pub(crate) host: HostPattern,
    pub(crate) relay: Arc<Relay>,
}

/// What one object adds to one host of one section.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) place: Arc<Place>,
    pub(crate) host: HostPattern,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Rules(Box<[Rule]>),
    /// The host has the routes of another one, as long as nobody has rules for it.
    Alias {
        of: HostPattern,
    },
    /// Rules for a host that count only as long as nobody has rules for it.
    Twin(Box<[Rule]>),
    /// Alternatives for the paths of other Ingresses.
    Canary(Box<[CanaryRule]>),
    /// Answers what no rule takes. Its host is [`HostPattern::Any`].
    Default(Arc<Route>),
    /// What the host asks of the certificates of its clients, or why that cannot be had.
    ClientCertificates(Result<Arc<ClientCertificates>, Refusal>),
}

/// One path of a canary Ingress.
#[derive(Debug)]
pub(crate) struct CanaryRule {
    /// As written.
    pub(crate) path: Arc<str>,
    /// Whether its type is Exact; the other types are one.
    pub(crate) exact: bool,
    pub(crate) rule: u32,
    pub(crate) entry: u32,
    /// What the canary itself asks for; in force is what the other Ingress says.
    pub(crate) access: AddressRules,
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) canary: Canary,
}

/// What lowering may use.
pub(crate) struct Scope<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) settings: &'a Settings,
    pub(crate) outside: &'a Outside,
    pub(crate) backends: &'a mut Backends,
    pub(crate) policies: &'a Policies,
    pub(crate) providers: &'a Arc<Providers>,
    /// The object that is being lowered.
    pub(crate) source: ObjectRef,
    pub(crate) problems: Vec<Problem>,
    pub(crate) depends: Vec<ObjectRef>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(
        objects: &'a Objects,
        (settings, outside): (&'a Settings, &'a Outside),
        backends: &'a mut Backends,
        policies: &'a Policies,
        providers: &'a Arc<Providers>,
        source: ObjectRef,
    ) -> Self {
        let (problems, depends) = (Vec::new(), Vec::new());
        Scope { objects, settings, outside, backends, policies, providers, source, problems, depends }
    }

    pub(crate) fn problem(
        &mut self,
        severity: Severity,
        field: impl Into<Arc<str>>,
        reason: &'static str,
        message: impl Into<Arc<str>>,
    ) {
        self.problems.push(Problem {
            severity,
            object: Some(self.source.clone()),
            field: field.into(),
            reason,
            message: message.into(),
            place: None,
        });
    }

    pub(crate) fn depend(&mut self, kind: Kind, namespace: &Arc<str>, name: &Arc<str>) {
        let reference = ObjectRef { kind, namespace: namespace.clone(), name: name.clone() };
        if !self.depends.contains(&reference) {
            self.depends.push(reference);
        }
    }

    pub(crate) fn service(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&'a Arc<Service>> {
        self.depend(Kind::Service, namespace, name);
        self.objects.services.find(namespace, name)
    }

    pub(crate) fn secret(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&'a Arc<Secret>> {
        self.depend(Kind::Secret, namespace, name);
        self.objects.secrets.find(namespace, name)
    }

    /// The certificate of a name that an issuer keeps in Vestibule's own namespace, such as a wildcard for all.
    pub(crate) fn shared_certificate(
        &mut self,
        certificates: &mut Certificates,
        issuer: &str,
        name: &acme::name::Name,
    ) -> Option<Arc<Certificate>> {
        for place in shared_places(self.settings, issuer, name) {
            if let Some(secret) = self.secret(&place.namespace, &place.name)
                && let Ok(certificate) = certificates.of(secret)
            {
                return Some(certificate);
            }
        }
        None
    }

    pub(crate) fn config_map(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&'a Arc<ConfigMap>> {
        self.depend(Kind::ConfigMap, namespace, name);
        self.objects.config_maps.find(namespace, name)
    }

    pub(crate) fn namespace(&mut self, name: &Arc<str>) -> Option<&'a Arc<Namespace>> {
        self.depend(Kind::Namespace, nowhere(), name);
        self.objects.namespaces.find("", name)
    }

    /// Whether the object being lowered may refer to this one (Gateway API v1, `ReferenceGrant`). Always within its own
    /// namespace.
    pub(crate) fn is_granted(&mut self, target: &ObjectRef) -> bool {
        if target.namespace == self.source.namespace {
            return true;
        }
        self.depend(Kind::ReferenceGrant, &target.namespace, &ANY_NAME.into());
        let group = |kind: Kind| kind.api_versions()[0].rsplit_once('/').map_or("", |(group, _)| group);
        self.objects.reference_grants.in_namespace(&target.namespace).any(|grant| {
            let from = grant.spec.from.iter().any(|from| {
                *from.group == *group(self.source.kind)
                    && *from.kind == *self.source.kind.as_str()
                    && *from.namespace == *self.source.namespace
            });
            let to = grant.spec.to.iter().any(|to| {
                *to.group == *group(target.kind)
                    && *to.kind == *target.kind.as_str()
                    && to.name.as_deref().is_none_or(|name| name.is_empty() || *name == *target.name)
            });
            from && to
        })
    }

    /// Reads the annotations of the object being lowered, and those of its Namespace, which takes none: whoever wrote a
    /// guard there believes that it is in force.
    pub(crate) fn annotations(
        &mut self,
        object: &super::objects::metadata::StringMap,
        dialect: Dialect,
    ) -> Reading {
        let mut reading = annotations::read(object, self.source.kind, dialect);
        for finding in &reading.findings {
            let field = format!("metadata.annotations['{}']", finding.key);
            self.problem(finding.severity, field, finding.reason, finding.message.clone());
        }
        let namespace = self.source.namespace.clone();
        if let Some(namespace) = self.namespace(&namespace) {
            let refusal = bystander(&namespace.metadata.annotations, Kind::Namespace);
            self.inherit(&mut reading.refusal, refusal, &namespace.metadata.reference(Kind::Namespace));
        }
        reading
    }

    /// Takes over the refusal that another object's misplaced key brings with it.
    pub(crate) fn inherit(&mut self, own: &mut Option<Refusal>, other: Option<Refusal>, from: &ObjectRef) {
        let Some(other) = other else { return };
        let message: Arc<str> =
            if *from == self.source { other.message } else { format!("on {from}: {}", other.message).into() };
        self.problem(Severity::Refused, "", "MisplacedAnnotation", message.clone());
        own.get_or_insert(Refusal { message });
    }

    /// The live backend for a port of a Service, spoken to as its port, or else the annotations, say.
    pub(crate) fn backend(
        &mut self,
        service: &Service,
        port: PortChoice<'_>,
        wishes: &BackendWishes,
    ) -> Arc<Backend> {
        let written = wishes.speech.unwrap_or_else(|| port.speech());
        let key = BackendKey {
            namespace: service.metadata.namespace.clone(),
            service: service.metadata.name.clone(),
            port: port.number,
            protocol: written.protocol,
            tls: written.tls.then(|| wishes.tls.clone()),
            balance: wishes.balance,
        };
        let backend = self.backends.obtain(self.objects, key, wishes.through);
        if let Err(error) = backend.tls() {
            let message = format!(
                "the backend {}/{} cannot be reached by TLS: {error}",
                backend.key.namespace, backend.key.service
            );
            self.problem(Severity::Refused, "", "InvalidBackendTls", message);
        }
        backend
    }

    /// The gate of a route that sends to these backends; `None` when it wakes nobody.
    pub(crate) fn gate<'b>(
        &mut self,
        words: &Annotations,
        backends: impl Iterator<Item = &'b Arc<Backend>>,
    ) -> Option<Arc<Gate>> {
        words.wake.wake.as_ref()?;
        let backends: Vec<&Arc<Backend>> = backends.collect();
        if backends.is_empty() {
            return None;
        }
        self.backends.gates.obtain(&self.source.namespace, &words.wake, &backends)
    }

    /// The live backend for a port of a Service that is asked and not forwarded to: what the annotations ask of backends does not
    /// hold for it, a BackendTLSPolicy does. The error says why that cannot be enforced.
    pub(crate) fn server(
        &mut self,
        service: &Service,
        port: PortChoice<'_>,
        speech: Speech,
    ) -> Result<Arc<Backend>, String> {
        let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
        self.depend(Kind::BackendTLSPolicy, namespace, &ANY_NAME.into());
        let wishes = BackendWishes::speaking(speech);
        let wishes = match self.policies.in_force(namespace, name, port.name).map(|policy| policy.tls) {
            None => wishes,
            Some(Ok(tls)) => wishes.with_policy(speech, tls),
            Some(Err(message)) => return Err(message.to_string()),
        };
        Ok(self.backend(service, port, &wishes))
    }

    /// The live backend for a server that is no Service.
    pub(crate) fn outside_backend(
        &mut self,
        host: &str,
        port: u16,
        tls: Option<Arc<BackendTls>>,
        through: Through,
    ) -> Arc<Backend> {
        let key = BackendKey {
            namespace: nowhere().clone(),
            service: host.into(),
            port,
            protocol: BackendProtocol::Http1,
            tls,
            balance: Default::default(),
        };
        self.backends.obtain(self.objects, key, through)
    }

    /// What the annotations ask of backends, or the reason why that cannot be had (it guards what is sent to them).
    pub(crate) fn backend_wishes(&mut self, words: &Annotations) -> Result<BackendWishes, Refusal> {
        if words.backend_protocol == Some(WrittenProtocol::AutoHttp) && self.source.kind != Kind::Ingress {
            let message = "AUTO_HTTP: the backends of a route are asked without TLS; write HTTP or HTTPS";
            let field = "metadata.annotations['vestibule.dev/backend-protocol']";
            self.problem(Severity::Degraded, field, "UnsupportedValue", message);
        }
        let speech = words.backend_protocol.map(|protocol| match protocol {
            // Which of the two is known where the client's scheme is: an Ingress decides for each host.
            WrittenProtocol::Http | WrittenProtocol::AutoHttp => {
                Speech { protocol: BackendProtocol::Http1, tls: false }
            }
            WrittenProtocol::Https => Speech { protocol: BackendProtocol::Http1, tls: true },
            WrittenProtocol::Grpc | WrittenProtocol::H2c => {
                Speech { protocol: BackendProtocol::Http2, tls: false }
            }
            WrittenProtocol::Grpcs => Speech { protocol: BackendProtocol::Http2, tls: true },
        });
        let named = words.backend_tls_secret.as_ref().map(|secret| self.tls_parts(secret)).transpose()?;
        let (authorities, client_certificate) = named.unwrap_or_default();
        let verify = match (words.backend_verify, authorities) {
            (Some(true), None) => Verify::System,
            (Some(true), Some(authorities)) => Verify::Authority(authorities),
            (Some(false) | None, _) => Verify::Nothing,
        };
        let tls = match (&words.backend_server_name, verify, client_certificate) {
            (None, Verify::Nothing, None) => unverified_tls(),
            (server_name, verify, client_certificate) => {
                Arc::new(BackendTls { client_certificate, ..BackendTls::new(server_name.clone(), verify) })
            }
        };
        let through =
            if words.service_upstream == Some(true) { Through::ClusterIp } else { Through::Endpoints };
        Ok(BackendWishes { speech, tls, balance: words.balance.unwrap_or_default(), through })
    }

    /// What the Secret that `proxy-ssl-secret` names holds: authorities (`ca.crt`), a certificate to show to backends that ask for
    /// one (`tls.crt` and `tls.key`), or both.
    fn tls_parts(&mut self, written: &str) -> Result<TlsParts, Refusal> {
        let own = self.source.namespace.clone();
        let (namespace, name) = written.split_once('/').unwrap_or((&own, written));
        let result = if *namespace != *own {
            Err("which is of another namespace".to_owned())
        } else {
            match self.secret(&own, &name.into()) {
                None => Err("which does not exist".to_owned()),
                Some(secret) => parts_of(secret),
            }
        };
        result.map_err(|reason| {
            let message: Arc<str> =
                format!("`proxy-ssl-secret` names the Secret {namespace}/{name}, {reason}").into();
            let field = "metadata.annotations['vestibule.dev/proxy-ssl-secret']";
            self.problem(Severity::Refused, field, "InvalidAnnotation", message.clone());
            Refusal { message }
        })
    }

    pub(crate) fn finish(self, shares: Vec<Share>) -> Lowered {
        // Kept for as long as the object is, and there are thousands of them: no more room than is used.
        Lowered {
            shares: shares.into(),
            problems: self.problems.into(),
            depends: self.depends.into(),
            ..Lowered::default()
        }
    }
}

/// Authorities in PEM, and a certificate of our own.
type TlsParts = (Option<Arc<[u8]>>, Option<Arc<Certificate>>);

fn parts_of(secret: &Secret) -> Result<TlsParts, String> {
    if is_sealed(secret) {
        return Err(format!("but {SEALED}"));
    }
    let part = |key: &str| secret.data.get(key).map(|value| value.expose());
    let certificate = match (part("tls.crt"), part("tls.key")) {
        (None, None) => None,
        (Some(chain), Some(key)) => {
            let certificate = Certificate::from_pem(chain, key);
            Some(Arc::new(certificate.map_err(|error| format!("whose certificate cannot be used: {error}"))?))
        }
        (Some(_), None) => return Err("which has a tls.crt and no tls.key".to_owned()),
        (None, Some(_)) => return Err("which has a tls.key and no tls.crt".to_owned()),
    };
    let authorities = part("ca.crt").map(Arc::from);
    if authorities.is_none() && certificate.is_none() {
        return Err("which has neither a ca.crt nor a tls.crt with its tls.key".to_owned());
    }
    Ok((authorities, certificate))
}

/// How the routes of one object speak to their backends.
#[derive(Clone, Debug)]
pub(crate) struct BackendWishes {
    /// `None`: as the Service's port says.
    speech: Option<Speech>,
    tls: Arc<BackendTls>,
    balance: crate::upstream::Balance,
    through: Through,
}

impl BackendWishes {
    /// The same, where nothing else is asked for speaking as this.
    pub(crate) fn or_speech(&self, speech: Speech) -> BackendWishes {
        BackendWishes { speech: self.speech.or(Some(speech)), ..self.clone() }
    }

    /// The same, but in this TLS, whatever the protocol inside it.
    pub(crate) fn with_policy(&self, speech: Speech, tls: &Arc<BackendTls>) -> BackendWishes {
        let speech = Speech { tls: true, ..self.speech.unwrap_or(speech) };
        BackendWishes { speech: Some(speech), tls: tls.clone(), ..self.clone() }
    }

    /// The same, spoken to as this whatever the annotations say: they speak of HTTP.
    pub(crate) fn only_speech(&self, speech: Speech) -> BackendWishes {
        BackendWishes { speech: Some(speech), ..self.clone() }
    }

    pub(crate) fn through(&self, through: Through) -> BackendWishes {
        BackendWishes { through, ..self.clone() }
    }

    /// The same, for what no name of ALPN is known for.
    pub(crate) fn without_alpn(&self) -> BackendWishes {
        let tls = BackendTls { offers_alpn: false, ..(*self.tls).clone() };
        BackendWishes { tls: Arc::new(tls), ..self.clone() }
    }

    /// The same, with this certificate for backends that ask for one.
    pub(crate) fn with_certificate(&self, certificate: &Arc<Certificate>) -> BackendWishes {
        let tls = BackendTls { client_certificate: Some(certificate.clone()), ..(*self.tls).clone() };
        BackendWishes { tls: Arc::new(tls), ..self.clone() }
    }

    /// Nothing but a way to speak.
    pub(crate) fn speaking(speech: Speech) -> Self {
        BackendWishes {
            speech: Some(speech),
            tls: unverified_tls(),
            balance: Default::default(),
            through: Through::Endpoints,
        }
    }
}

/// The refusal that own keys on an object without routes bring to what stands behind it.
pub(crate) fn bystander(annotations: &super::objects::metadata::StringMap, kind: Kind) -> Option<Refusal> {
    if annotations.is_empty() { None } else { annotations::read_bystander(annotations, kind).refusal }
}

/// A route with nothing but its action, handled like this.
pub(crate) fn route(
    origin: Origin,
    action: crate::route::Action,
    reading: &Reading,
    handling: Arc<Handling>,
) -> Route {
    Route {
        origin,
        refusal: reading.refusal.clone(),
        action,
        canary: None,
        https_redirect: None,
        handling,
        wake: None,
        metrics: Default::default(),
    }
}

/// What the annotations say of every route of their object.
pub(crate) fn handling(words: &Annotations, source: &ObjectRef) -> Handling {
    let set = |headers: &Vec<_>| HeaderEdits { set: headers.clone(), ..HeaderEdits::default() };
    Handling {
        hsts: words.hsts.clone(),
        cors: words.cors.rules().map(Arc::new),
        access: AddressRules { allow: words.allow.clone(), deny: words.deny.clone() },
        client_certificates: None,
        auth: None,
        declared_open: false,
        limits: Limits { body_bytes_max: words.body_bytes_max },
        limiting: Limiting::new(&words.limits.written(), &source.to_string()),
        timeouts: Timeouts {
            request: None,
            backend_request: None,
            connect: words.connect_timeout,
            read: words.read_timeout,
            send: words.send_timeout,
        },
        retry: retry(words),
        request_headers: request_headers(words),
        response_headers: set(&words.response_headers),
        rewrite: Rewrite { host: words.upstream_vhost.clone(), path: None },
        affinity: words.affinity.lower().map(Arc::new),
        mirrors: Vec::new(),
        errors: None,
    }
}

fn request_headers(words: &Annotations) -> HeaderEdits {
    let mut set = words.request_headers.clone();
    if let (Some(prefix), Some(_)) = (&words.forwarded_prefix, &words.rewrite_target) {
        set.push((HeaderName::from_static("x-forwarded-prefix"), prefix.clone()));
    }
    HeaderEdits { set, ..HeaderEdits::default() }
}

fn retry(words: &Annotations) -> Retry {
    let tries = words.next_upstream_tries.filter(|tries| *tries > 0).map(|tries| tries - 1);
    let within = words.next_upstream_timeout.filter(|within| !within.is_zero());
    let retry = Retry { attempts: tries, within, ..Retry::default() };
    match &words.next_upstream {
        Some(NextUpstream::Off) => Retry { attempts: Some(0), ..Retry::default() },
        Some(NextUpstream::On { codes }) => Retry { codes: codes.clone(), ..retry },
        None => retry,
    }
}

/// The answer to plain HTTP where https is wanted.
pub(crate) fn https_redirect(port: Option<u16>) -> HttpsRedirect {
    let port = port.filter(|port| *port != Scheme::Https.default_port());
    HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port }
}

/// The namespace of kinds that have none.
pub(crate) fn nowhere() -> &'static Arc<str> {
    static NOWHERE: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    &NOWHERE
}

/// Stands for all ReferenceGrants of a namespace in a list of dependencies.
pub(crate) const ANY_NAME: &str = "*";
