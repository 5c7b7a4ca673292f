//! Lowering a Gateway with its ListenerSets: which listeners can be served, and which routes each of them lets in.

mod addresses;
mod backend;
mod binding;
mod conflicts;
mod frontend;
mod judge;
mod report;

use std::net::IpAddr;
use std::sync::Arc;

use self::conflicts::Conflict;
use self::judge::Judge;
use super::certs::Certificates;
use super::lower::{Place, Scope, bystander, nowhere};
use super::objects::gateway::{Gateway, LabelSelector, Listener, NamespacesFrom, RouteNamespaces};
use super::objects::metadata::Known;
use super::objects::{ListenerSet, Namespace, Objects};
use super::problem::{Kind, ObjectRef, Problem, Severity};
use super::status::Condition;
use crate::route::Refusal;
use crate::route::host::HostPattern;
use crate::settings::Settings;
use crate::tls::certificates::Certificate;
use crate::tls::client_auth::{ClientAuth, ClientAuthMode};

pub(crate) use self::addresses::{Claim, claim};
pub(crate) use self::binding::{
    GATEWAY_LABEL, GATEWAY_NAMESPACE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, bound, service_name,
};
pub(crate) use self::report::Outcome;

/// `spec.controllerName` of the GatewayClasses that are ours.
pub const GATEWAY_CONTROLLER: &str = "vestibule.dev/gateway-controller";

/// The group of Gateway API's own kinds.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// A Gateway of ours, judged.
#[derive(Debug)]
pub(crate) struct LoweredGateway {
    pub(crate) reference: ObjectRef,
    pub(crate) generation: i64,
    /// What routes see of it; as long as this and the sets stay the same, they need not be looked at again.
    pub(crate) doors: Vec<Door>,
    /// Own keys on the Gateway that guard access: nothing behind it is served.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) sides: Vec<Side>,
    /// The ListenerSets that name it, in the order in which they come.
    pub(crate) sets: Vec<LoweredSet>,
    /// Shown to backends that ask for one.
    pub(crate) client_certificate: Option<Arc<Certificate>>,
    /// The addresses that it asks for; empty: any.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) depends: Vec<ObjectRef>,
    accepted: Condition,
    /// Present where the Gateway refers to something itself.
    resolved_refs: Option<Condition>,
    insecure_frontend: bool,
}

/// A ListenerSet of such a Gateway, judged.
#[derive(Debug)]
pub(crate) struct LoweredSet {
    pub(crate) reference: ObjectRef,
    pub(crate) generation: i64,
    /// Empty when the Gateway does not let the set in.
    pub(crate) doors: Vec<Door>,
    pub(crate) sides: Vec<Side>,
    /// Own keys that guard access, on the set or on its Gateway.
    pub(crate) refusal: Option<Refusal>,
    accepted: Condition,
}

impl LoweredGateway {
    /// All listeners with the object that each stands in: its own, then those of the sets.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (&ObjectRef, usize, &Door, &Side)> {
        let sets = self.sets.iter().map(|set| (&set.reference, &set.doors, &set.sides));
        let all = std::iter::once((&self.reference, &self.doors, &self.sides)).chain(sets);
        all.flat_map(|(object, doors, sides)| {
            doors.iter().zip(sides).enumerate().map(move |(index, (door, side))| (object, index, door, side))
        })
    }

    /// Whether routes see the same of both.
    pub(crate) fn looks_like(&self, other: &LoweredGateway) -> bool {
        let sets = |gateway: &LoweredGateway| gateway.sets.len();
        self.doors == other.doors
            && self.refusal == other.refusal
            && self.client_certificate == other.client_certificate
            && sets(self) == sets(other)
            && self.sets.iter().zip(&other.sets).all(|(set, other)| {
                set.reference == other.reference && set.doors == other.doors && set.refusal == other.refusal
            })
    }
}

/// One listener as routes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// As it is written; two sets may have listeners of one name.
    pub(crate) name: Arc<str>,
    pub(crate) place: Arc<Place>,
    pub(crate) port: u16,
    pub(crate) host: HostPattern,
    pub(crate) carries: Carries,
    /// The kinds of routes that may attach.
    pub(crate) kinds: Vec<Kind>,
    namespaces: Admission,
}

/// What goes over a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Http,
    Https,
    /// TLS that ends at the backend.
    Passthrough,
    /// TLS that ends here, and bytes inside it.
    Terminate,
    Tcp,
    Udp,
}

impl Carries {
    /// The kinds of routes that have something to say about it.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Carries::Http | Carries::Https => &[Kind::HTTPRoute, Kind::GRPCRoute],
            Carries::Passthrough | Carries::Terminate => &[Kind::TLSRoute],
            Carries::Tcp => &[Kind::TCPRoute],
            Carries::Udp => &[Kind::UDPRoute],
        }
    }
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
    pub(crate) carries: Carries,
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
        self.namespaces.admits(route, gateway, namespace)
    }
}

impl Admission {
    fn admits(&self, guest: &str, own: &str, namespace: Option<&Arc<Namespace>>) -> bool {
        match self {
            Admission::All => true,
            Admission::Same => guest == own,
            // The name of every namespace is a label of it, also of one that was not read.
            Admission::Selected(selector) => match namespace {
                Some(namespace) => selector.matches(&with_name(&namespace.metadata.labels, guest)),
                None => selector.matches(&with_name(&Default::default(), guest)),
            },
            Admission::None => false,
        }
    }

    /// What is written, where an absent `from` means `otherwise`; or the field and the words for what is wrong.
    fn read(
        written: &RouteNamespaces,
        otherwise: NamespacesFrom,
    ) -> Result<Admission, (&'static str, String)> {
        let from = match &written.from {
            None => otherwise,
            Some(Known::Value(from)) => *from,
            Some(Known::Unknown(word)) => {
                return Err((".from", format!("`{word}` is not known: write All, Same, Selector or None")));
            }
        };
        match from {
            NamespacesFrom::Same => Ok(Admission::Same),
            NamespacesFrom::All => Ok(Admission::All),
            NamespacesFrom::None => Ok(Admission::None),
            NamespacesFrom::Selector => match &written.selector {
                Some(selector) => Ok(Admission::Selected(selector.clone())),
                None => Err((".selector", "`from: Selector` needs a selector".to_owned())),
            },
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

/// Judges a Gateway of ours, with the ListenerSets that name it.
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
    let conflicts = conflicts::within(&gateway.spec.listeners);
    let (mut doors, mut sides) = (Vec::new(), Vec::new());
    for ((index, listener), conflict) in gateway.spec.listeners.iter().enumerate().zip(conflicts) {
        let section = listener.name.clone();
        let mut judge = Judge { gateway, section, index, listener, certificates, scope: &mut scope };
        let (door, side) = judge.listener(conflict);
        doors.push(door);
        sides.push(side);
    }
    let (client_certificate, resolved_refs) = backend::client_certificate(gateway, certificates, &mut scope);
    let mut accepted = accepted(gateway, &sides, &mut scope);
    let addresses = addresses::requested(gateway, &mut accepted, &mut scope);
    let mut lowered = LoweredGateway {
        generation: gateway.metadata.generation,
        reference,
        doors,
        refusal,
        sides,
        sets: Vec::new(),
        client_certificate,
        addresses,
        problems: Vec::new(),
        depends: Vec::new(),
        accepted,
        resolved_refs,
        insecure_frontend: false,
    };
    add_sets(gateway, &mut lowered, certificates, &mut scope);
    let insecure = Some(ClientAuthMode::InsecureFallback);
    let insecure_frontend =
        lowered.listeners().any(|(.., side)| side.client_auth.as_ref().map(|auth| auth.mode()) == insecure);
    lowered.insecure_frontend = insecure_frontend;
    lowered.problems = scope.problems;
    lowered.depends = scope.depends;
    lowered
}

/// Judges the ListenerSets of a Gateway, oldest first. A listener that meets an earlier one loses, and it alone
/// (Gateway API v1, `ListenerSet`).
fn add_sets(
    gateway: &Gateway,
    lowered: &mut LoweredGateway,
    certificates: &mut Certificates,
    scope: &mut Scope<'_>,
) {
    let objects = scope.objects;
    let mut sets: Vec<_> = objects
        .listener_sets
        .iter()
        .filter(|set| parent_of(set).as_ref() == Some(&lowered.reference))
        .collect();
    sets.sort_by_cached_key(|set| set.metadata.seniority());
    let admission = Admission::read(&gateway.spec.allowed_listeners.namespaces, NamespacesFrom::None);
    let admission = admission.unwrap_or_else(|(field, message)| {
        let field = format!("spec.allowedListeners.namespaces{field}");
        scope.problem(Severity::Degraded, field, "UnsupportedValue", message);
        Admission::None
    });
    // Those of the Gateway that conflict among themselves have the port as little as anybody, and still come first.
    let mut earlier: Vec<&Listener> = gateway.spec.listeners.iter().collect();
    for set in sets {
        let reference = set.metadata.reference(Kind::ListenerSet);
        let namespace = scope.namespace(&reference.namespace);
        scope.depend(Kind::ListenerSet, &reference.namespace, &reference.name);
        let own = &gateway.metadata.namespace;
        if !admission.admits(&reference.namespace, own, namespace) {
            let message =
                format!("{} lets in no ListenerSets of namespace {}", lowered.reference, reference.namespace);
            lowered.sets.push(LoweredSet::refused(set, Condition::no("NotAllowed", message)));
            continue;
        }
        if !lowered.accepted.holds {
            let message = format!("{} is not accepted", lowered.reference);
            lowered.sets.push(LoweredSet::refused(set, Condition::no("ParentNotAccepted", message)));
            continue;
        }
        let mut own_scope = Scope::new(
            scope.objects,
            (scope.settings, scope.outside),
            scope.backends,
            scope.policies,
            scope.providers,
            reference,
        );
        let judged =
            lower_set(gateway, set, &mut earlier, lowered.refusal.clone(), certificates, &mut own_scope);
        scope.problems.append(&mut own_scope.problems);
        for target in own_scope.depends {
            scope.depend(target.kind, &target.namespace, &target.name);
        }
        lowered.sets.push(judged);
    }
}

fn lower_set<'o>(
    gateway: &Gateway,
    set: &'o ListenerSet,
    earlier: &mut Vec<&'o Listener>,
    mut refusal: Option<Refusal>,
    certificates: &mut Certificates,
    scope: &mut Scope<'_>,
) -> LoweredSet {
    let misplaced = bystander(&set.metadata.annotations, Kind::ListenerSet);
    let reference = scope.source.clone();
    scope.inherit(&mut refusal, misplaced, &reference);
    let (mut doors, mut sides) = (Vec::new(), Vec::new());
    for (index, listener) in set.spec.listeners.iter().enumerate() {
        let conflict = conflicts::with_earlier(listener, earlier);
        if conflict.is_none() {
            earlier.push(listener);
        }
        let section = format!("{}/{}/{}", reference.namespace, reference.name, listener.name).into();
        let mut judge = Judge { gateway, section, index, listener, certificates, scope };
        let (door, side) = judge.listener(conflict);
        doors.push(door);
        sides.push(side);
    }
    LoweredSet {
        generation: set.metadata.generation,
        // Stricter than with a Gateway: one without anything that can be served is none of its Gateway's.
        accepted: listeners_accepted(sides.iter().map(Side::is_usable), "ListenerSet"),
        reference,
        doors,
        sides,
        refusal,
    }
}

impl LoweredSet {
    fn refused(set: &ListenerSet, accepted: Condition) -> Self {
        LoweredSet {
            reference: set.metadata.reference(Kind::ListenerSet),
            generation: set.metadata.generation,
            doors: Vec::new(),
            sides: Vec::new(),
            refusal: None,
            accepted,
        }
    }
}

/// The Gateway that a ListenerSet names; `None` when it names something else.
pub(crate) fn parent_of(set: &ListenerSet) -> Option<ObjectRef> {
    let parent = &set.spec.parent_ref;
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    ((group, kind) == (GATEWAY_GROUP, "Gateway")).then(|| ObjectRef {
        kind: Kind::Gateway,
        namespace: parent.namespace.as_ref().unwrap_or(&set.metadata.namespace).clone(),
        name: parent.name.clone(),
    })
}

fn accepted(gateway: &Gateway, sides: &[Side], scope: &mut Scope<'_>) -> Condition {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if infrastructure.is_some_and(|infrastructure| infrastructure.parameters_ref.is_some()) {
        let message = "no parameters are known for a Gateway: remove parametersRef";
        scope.problem(Severity::Degraded, "spec.infrastructure.parametersRef", "InvalidParameters", message);
        return Condition::no("InvalidParameters", message);
    }
    listeners_accepted(sides.iter().map(|side| side.accepted.holds), "Gateway")
}

fn listeners_accepted(valid: impl ExactSizeIterator<Item = bool>, of: &str) -> Condition {
    let all = valid.len();
    let good = valid.filter(|valid| *valid).count();
    match (good, all) {
        (_, 0) => Condition::no("ListenersNotValid", format!("the {of} has no listeners")),
        (0, _) => Condition::no("ListenersNotValid", "no listener is valid"),
        (good, all) if good < all => Condition {
            message: "some listeners are not valid".into(),
            ..Condition::yes("ListenersNotValid")
        },
        _ => Condition::yes("Accepted"),
    }
}
