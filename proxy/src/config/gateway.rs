//! Lowering a Gateway: which of its listeners can be served, and which routes each of them lets in.

mod frontend;

use std::sync::Arc;

use super::certs::{Certificates, target};
use super::lower::{Place, Scope, bystander, nowhere};
use super::objects::gateway::{
    AllowedRoutes, Gateway, LabelSelector, Listener, ListenerProtocol, NamespacesFrom, TlsMode,
};
use super::objects::metadata::Known;
use super::objects::{Namespace, Objects};
use super::problem::{Kind, ObjectRef, Problem, Severity};
use super::status::{Condition, GatewayStatus, ListenerStatus};
use crate::route::Refusal;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::route::table::ListenerKey;
use crate::settings::Settings;
use crate::tls::certificates::Certificate;
use crate::tls::client_auth::ClientAuth;

/// `spec.controllerName` of the GatewayClasses that are ours.
pub const GATEWAY_CONTROLLER: &str = "vestibule.dev/gateway-controller";

/// The group of Gateway API's own kinds.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// A Gateway of ours, judged.
#[derive(Debug)]
pub(crate) struct LoweredGateway {
    pub(crate) reference: ObjectRef,
    pub(crate) generation: i64,
    /// What routes see of it; as long as this stays the same, they need not be looked at again.
    pub(crate) doors: Vec<Door>,
    /// Own keys on the Gateway that guard access: nothing behind it is served.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) sides: Vec<Side>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) depends: Vec<ObjectRef>,
    accepted: Condition,
    insecure_frontend: bool,
}

/// One listener as routes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) place: Arc<Place>,
    pub(crate) port: u16,
    pub(crate) host: HostPattern,
    /// The kinds of routes that may attach.
    pub(crate) kinds: Vec<Kind>,
    namespaces: Admission,
}

/// The namespaces whose routes may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admission {
    All,
    Same,
    Selected(LabelSelector),
    None,
}

/// One listener as its sockets and its status see it.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) host: HostPattern,
    pub(crate) certificates: Vec<Arc<Certificate>>,
    pub(crate) client_auth: Option<Arc<ClientAuth>>,
    accepted: Condition,
    resolved_refs: Condition,
    conflicted: Condition,
    programmed: Condition,
}

impl Side {
    /// Whether it can be served, as far as its own objects go.
    pub(crate) fn is_usable(&self) -> bool {
        self.programmed.holds
    }
}

impl Door {
    /// Whether routes of this namespace may attach to a listener of a Gateway in that one.
    pub(crate) fn admits(&self, route: &str, gateway: &str, namespace: Option<&Arc<Namespace>>) -> bool {
        match &self.namespaces {
            Admission::All => true,
            Admission::Same => route == gateway,
            // The name of every namespace is a label of it, also of one that was not read.
            Admission::Selected(selector) => match namespace {
                Some(namespace) => selector.matches(&with_name(&namespace.metadata.labels, route)),
                None => selector.matches(&with_name(&Default::default(), route)),
            },
            Admission::None => false,
        }
    }
}

fn with_name(
    labels: &super::objects::metadata::StringMap,
    name: &str,
) -> super::objects::metadata::StringMap {
    labels.iter().chain([("kubernetes.io/metadata.name", name)]).collect()
}

/// Whether a Gateway is ours, by its GatewayClass or by the settings.
pub(crate) fn is_ours(gateway: &Gateway, objects: &Objects, settings: &Settings) -> bool {
    let name = &gateway.spec.gateway_class_name;
    match objects.gateway_classes.find("", name) {
        Some(class) => *class.spec.controller_name == *GATEWAY_CONTROLLER,
        None => settings.gateway_classes.contains(name),
    }
}

/// Judges a Gateway of ours.
pub(crate) fn lower(
    gateway: &Gateway,
    certificates: &mut Certificates,
    mut scope: Scope<'_>,
) -> LoweredGateway {
    let reference = scope.source.clone();
    scope.depend(Kind::GatewayClass, nowhere(), &gateway.spec.gateway_class_name);
    let mut refusal = None;
    let misplaced = bystander(&gateway.metadata.annotations, Kind::Gateway);
    scope.inherit(&mut refusal, misplaced, &reference);
    let conflicts = conflicts(&gateway.spec.listeners);
    let mut doors = Vec::new();
    let mut sides = Vec::new();
    for (index, listener) in gateway.spec.listeners.iter().enumerate() {
        let mut judge = Judge { gateway, index, listener, certificates, scope: &mut scope };
        let (door, side) = judge.listener(conflicts[index].clone());
        doors.push(door);
        sides.push(side);
    }
    let insecure_frontend = sides.iter().any(|side| {
        side.client_auth
            .as_ref()
            .is_some_and(|auth| auth.mode() == crate::tls::client_auth::ClientAuthMode::InsecureFallback)
    });
    let accepted = accepted(gateway, &sides, &mut scope);
    LoweredGateway {
        generation: gateway.metadata.generation,
        reference,
        doors,
        refusal,
        sides,
        problems: scope.problems,
        depends: scope.depends,
        accepted,
        insecure_frontend,
    }
}

impl LoweredGateway {
    /// Index of a listener in the Gateway's list.
    pub(crate) fn index_of(&self, side: &Side) -> usize {
        self.sides.iter().position(|other| other.name == side.name).unwrap_or(0)
    }

    /// The status, once it is known which ports could be had (`unbound` holds the others) and how many routes attached.
    pub(crate) fn status(
        &self,
        unbound: &[(u16, Arc<str>)],
        attached: impl Fn(&Place) -> u32,
    ) -> GatewayStatus {
        let listeners: Vec<_> = self
            .sides
            .iter()
            .zip(&self.doors)
            .map(|(side, door)| {
                let lost =
                    unbound.iter().find(|(port, _)| *port == side.port).filter(|_| side.accepted.holds);
                let (accepted, programmed) = match lost {
                    Some((_, message)) => (
                        Condition::no("PortUnavailable", message.clone()),
                        Condition::no("Invalid", message.clone()),
                    ),
                    None => (side.accepted.clone(), side.programmed.clone()),
                };
                ListenerStatus {
                    name: side.name.clone(),
                    supported_kinds: door.kinds.iter().map(|kind| kind.as_str()).collect(),
                    attached_routes: attached(&door.place),
                    accepted,
                    programmed,
                    resolved_refs: side.resolved_refs.clone(),
                    conflicted: side.conflicted.clone(),
                }
            })
            .collect();
        let programmed = if !self.accepted.holds {
            Condition::no("Invalid", self.accepted.message.clone())
        } else if listeners.iter().any(|listener| listener.programmed.holds) {
            Condition::yes("Programmed")
        } else {
            Condition::no("Invalid", "no listener can be served")
        };
        GatewayStatus {
            gateway: self.reference.clone(),
            generation: self.generation,
            accepted: self.accepted.clone(),
            programmed,
            insecure_frontend_validation: self
                .insecure_frontend
                .then(|| Condition::yes("ConfigurationChanged")),
            listeners,
        }
    }
}

fn accepted(gateway: &Gateway, sides: &[Side], scope: &mut Scope<'_>) -> Condition {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if infrastructure.is_some_and(|infrastructure| infrastructure.parameters_ref.is_some()) {
        let message = "no parameters are known for a Gateway: remove parametersRef";
        scope.problem(Severity::Degraded, "spec.infrastructure.parametersRef", "InvalidParameters", message);
        return Condition::no("InvalidParameters", message);
    }
    let good = sides.iter().filter(|side| side.accepted.holds).count();
    match (good, sides.len()) {
        (_, 0) => Condition::no("ListenersNotValid", "the Gateway has no listeners"),
        (0, _) => Condition::no("ListenersNotValid", "no listener is valid"),
        (good, all) if good < all => Condition {
            message: "some listeners are not valid".into(),
            ..Condition::yes("ListenersNotValid")
        },
        _ => Condition::yes("Accepted"),
    }
}

/// Per listener, what it conflicts over. Inside one Gateway nobody wins: all that conflict are refused.
fn conflicts(listeners: &[Listener]) -> Vec<Option<(&'static str, String)>> {
    let rank = |listener: &Listener| match listener.protocol.value() {
        Some(ListenerProtocol::Http) => 0,
        Some(ListenerProtocol::Https | ListenerProtocol::Tls) => 1,
        Some(ListenerProtocol::Tcp) => 2,
        Some(ListenerProtocol::Udp) => 3,
        None => 4,
    };
    let host = |listener: &Listener| listener.hostname.as_deref().unwrap_or("").to_ascii_lowercase();
    let conflict = |own: usize| {
        let mut found = None;
        for (index, other) in listeners.iter().enumerate() {
            let listener = &listeners[own];
            // UDP has ports of its own.
            let udp = |listener: &Listener| rank(listener) == 3;
            if index == own || other.port != listener.port || udp(other) != udp(listener) {
                continue;
            }
            if rank(other) != rank(listener) {
                let message = format!(
                    "another protocol is spoken on port {} by listener {}",
                    listener.port, other.name
                );
                return Some(("ProtocolConflict", message));
            }
            if host(other) == host(listener) {
                let message = format!("listener {} has the same port and host name", other.name);
                found = Some(("HostnameConflict", message));
            }
        }
        found
    };
    (0..listeners.len()).map(conflict).collect()
}

struct Judge<'a, 'b, 's> {
    gateway: &'a Gateway,
    index: usize,
    listener: &'a Listener,
    certificates: &'b mut Certificates,
    scope: &'b mut Scope<'s>,
}

impl Judge<'_, '_, '_> {
    fn listener(&mut self, conflict: Option<(&'static str, String)>) -> (Door, Side) {
        let mut accepted = Condition::yes("Accepted");
        let mut resolved_refs = Condition::yes("ResolvedRefs");
        let host = self.host(&mut accepted);
        let protocol = self.protocol(&mut accepted);
        let kinds = self.kinds(protocol, &mut resolved_refs);
        let namespaces = self.admission(&mut accepted);
        let tls = protocol == Some(ListenerProtocol::Https);
        let certificates =
            if tls { self.certificates(&mut accepted, &mut resolved_refs) } else { Vec::new() };
        let client_auth = if tls { self.client_auth(&mut accepted, &mut resolved_refs) } else { None };
        let conflicted = match conflict {
            Some((reason, message)) => {
                self.problem(Severity::Refused, "", reason, message.clone());
                accepted = Condition::no(reason, message.clone());
                Condition { message: message.into(), ..Condition::yes(reason) }
            }
            None => Condition::no("NoConflicts", ""),
        };
        // Bad kinds leave the rest of the listener in use; a bad certificate does not.
        let served = accepted.holds && (resolved_refs.holds || resolved_refs.reason == "InvalidRouteKinds");
        let programmed = if conflicted.holds {
            Condition::no(conflicted.reason, conflicted.message.clone())
        } else if served {
            Condition::yes("Programmed")
        } else {
            let cause = if accepted.holds { &resolved_refs } else { &accepted };
            Condition::no("Invalid", cause.message.clone())
        };
        let metadata = &self.gateway.metadata;
        let listener = ListenerKey::Gateway {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            port: self.listener.port,
        };
        let place = Arc::new(Place { listener, section: self.listener.name.clone() });
        let door = Door { place, port: self.listener.port, host: host.clone(), kinds, namespaces };
        let side = Side {
            name: self.listener.name.clone(),
            port: self.listener.port,
            tls,
            host,
            certificates,
            client_auth,
            accepted,
            resolved_refs,
            conflicted,
            programmed,
        };
        (door, side)
    }

    fn host(&mut self, accepted: &mut Condition) -> HostPattern {
        match self.listener.hostname.as_deref().filter(|host| !host.is_empty()) {
            None => HostPattern::Any,
            Some(host) => HostPattern::parse(host, WildcardLabels::OneOrMore).unwrap_or_else(|error| {
                self.refuse(accepted, ".hostname", "UnsupportedValue", error.to_string());
                // Nothing is served here; the most narrow stand-in keeps routes from meaning more than was written.
                HostPattern::Exact(host.into())
            }),
        }
    }

    fn protocol(&mut self, accepted: &mut Condition) -> Option<ListenerProtocol> {
        let tls_mode = self.listener.tls.as_ref().and_then(|tls| tls.mode.as_ref());
        match &self.listener.protocol {
            Known::Value(protocol @ (ListenerProtocol::Http | ListenerProtocol::Https)) => {
                match (protocol, tls_mode) {
                    (ListenerProtocol::Https, Some(Known::Value(TlsMode::Passthrough))) => {
                        let message = "HTTPS listeners end TLS: write mode Terminate".to_owned();
                        self.refuse(accepted, ".tls.mode", "UnsupportedValue", message);
                    }
                    (_, Some(Known::Unknown(mode))) => {
                        let message = format!("`{mode}` is no TLS mode: write Terminate");
                        self.refuse(accepted, ".tls.mode", "UnsupportedValue", message);
                    }
                    _ => {}
                }
                Some(*protocol)
            }
            Known::Value(ListenerProtocol::Tls | ListenerProtocol::Tcp | ListenerProtocol::Udp) => {
                let message = "only HTTP and HTTPS listeners are served".to_owned();
                self.refuse(accepted, ".protocol", "UnsupportedProtocol", message);
                None
            }
            Known::Unknown(word) => {
                let message = format!("`{word}` is no protocol that is known: write HTTP or HTTPS");
                self.refuse(accepted, ".protocol", "UnsupportedProtocol", message);
                None
            }
        }
    }

    /// The kinds of routes that may attach: those that the protocol carries, or the written ones of them.
    fn kinds(&mut self, protocol: Option<ListenerProtocol>, resolved: &mut Condition) -> Vec<Kind> {
        let carried: &[Kind] = match protocol {
            Some(ListenerProtocol::Http | ListenerProtocol::Https) => &[Kind::HTTPRoute, Kind::GRPCRoute],
            Some(ListenerProtocol::Tls | ListenerProtocol::Tcp | ListenerProtocol::Udp) | None => {
                return Vec::new();
            }
        };
        let AllowedRoutes { kinds, .. } = &self.listener.allowed_routes;
        if kinds.is_empty() {
            return carried.to_vec();
        }
        let mut taken = Vec::new();
        for (position, written) in kinds.iter().enumerate() {
            let ours = written.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP;
            match carried.iter().find(|kind| ours && *written.kind == *kind.as_str()) {
                Some(kind) if taken.contains(kind) => {}
                Some(kind) => taken.push(*kind),
                None => {
                    let message = format!("routes of kind {} are not supported here", written.kind);
                    let field = format!(".allowedRoutes.kinds[{position}]");
                    self.problem(Severity::Degraded, &field, "InvalidRouteKinds", message.clone());
                    *resolved = Condition::no("InvalidRouteKinds", message);
                }
            }
        }
        taken
    }

    fn admission(&mut self, accepted: &mut Condition) -> Admission {
        let namespaces = &self.listener.allowed_routes.namespaces;
        match &namespaces.from {
            None | Some(Known::Value(NamespacesFrom::Same)) => Admission::Same,
            Some(Known::Value(NamespacesFrom::All)) => Admission::All,
            Some(Known::Value(NamespacesFrom::None)) => Admission::None,
            Some(Known::Value(NamespacesFrom::Selector)) => match &namespaces.selector {
                Some(selector) => Admission::Selected(selector.clone()),
                None => {
                    let message = "`from: Selector` needs a selector".to_owned();
                    let field = ".allowedRoutes.namespaces.selector";
                    self.refuse(accepted, field, "UnsupportedValue", message);
                    Admission::None
                }
            },
            Some(Known::Unknown(word)) => {
                let message = format!("`{word}` is not known: write All, Same, Selector or None");
                self.refuse(accepted, ".allowedRoutes.namespaces.from", "UnsupportedValue", message);
                Admission::None
            }
        }
    }

    fn certificates(&mut self, accepted: &mut Condition, resolved: &mut Condition) -> Vec<Arc<Certificate>> {
        let references = self.listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
        let mut found = Vec::new();
        if references.is_empty() {
            let message = "an HTTPS listener needs a certificate: name a Secret in tls.certificateRefs";
            self.problem(Severity::Refused, ".tls.certificateRefs", "InvalidCertificateRef", message.into());
            *resolved = Condition::no("InvalidCertificateRef", message);
            return found;
        }
        for (position, reference) in references.iter().enumerate() {
            match self.certificate(reference) {
                Ok(certificate) => found.push(certificate),
                Err((reason, message)) => {
                    let field = format!(".tls.certificateRefs[{position}]");
                    self.problem(Severity::Refused, &field, reason, message.clone());
                    *resolved = Condition::no(reason, message);
                }
            }
        }
        // One good certificate keeps the listener up, with the others told of.
        if !found.is_empty() && !resolved.holds && accepted.holds {
            self.problem(
                Severity::Warning,
                ".tls.certificateRefs",
                "InvalidCertificateRef",
                "the listener is not served until all of its certificates can be used".into(),
            );
        }
        found
    }

    fn certificate(
        &mut self,
        reference: &super::objects::gateway::ObjectReference,
    ) -> Result<Arc<Certificate>, (&'static str, String)> {
        let invalid = "InvalidCertificateRef";
        let target = target(reference, Kind::Secret, &[Kind::Secret], &self.gateway.metadata.namespace)
            .map_err(|kind| (invalid, format!("a certificate stands in a Secret, not in a {kind}")))?;
        if !self.scope.is_granted(&target) {
            let message = format!("no ReferenceGrant in {} allows the {target}", target.namespace);
            return Err(("RefNotPermitted", message));
        }
        let Some(secret) = self.scope.secret(&target.namespace, &target.name) else {
            return Err((invalid, format!("there is no {target}")));
        };
        self.certificates.of(secret).map_err(|error| (invalid, format!("{target} cannot be used: {error}")))
    }

    fn refuse(&mut self, accepted: &mut Condition, field: &str, reason: &'static str, message: String) {
        self.problem(Severity::Refused, field, reason, message.clone());
        *accepted = Condition::no(reason, message);
    }

    fn problem(&mut self, severity: Severity, field: &str, reason: &'static str, message: String) {
        let field = format!("spec.listeners[{}]{field}", self.index);
        self.scope.problem(severity, field, reason, message);
    }
}
