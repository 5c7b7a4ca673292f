//! To which listeners a route attaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::gateway::{Door, GATEWAY_GROUP, LoweredGateway, LoweredSet, parent_of};
use crate::config::lower::Scope;
use crate::config::objects::Objects;
use crate::config::objects::httproute::ParentReference;
use crate::config::problem::{Kind, ObjectRef, Severity};
use crate::config::status::Condition;
use crate::route::Refusal;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::tls::certificates::Certificate;

/// What a route says of where it belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belonging<'a> {
    pub(crate) namespace: &'a Arc<str>,
    pub(crate) parent_refs: &'a [ParentReference],
    pub(crate) hostnames: &'a [Box<str>],
}

/// One parent of ours and what it lets in.
pub(crate) struct Attachment<'g> {
    pub(crate) parent: ParentReference,
    /// The Gateway, also where the parent is a ListenerSet of it.
    pub(crate) gateway: ObjectRef,
    /// What the Gateway shows to backends.
    pub(crate) client_certificate: Option<Arc<Certificate>>,
    /// Why nothing attached.
    pub(crate) refused: Option<Condition>,
    pub(crate) doors: Vec<(&'g Door, Vec<HostPattern>, Option<Refusal>)>,
}

impl Attachment<'_> {
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.doors.iter().map(|(door, _, _)| door.name.clone()).collect()
    }
}

/// The Gateways of ours, with their ListenerSets.
#[derive(Clone, Copy)]
pub(crate) struct Parents<'g> {
    pub(crate) gateways: &'g BTreeMap<ObjectRef, LoweredGateway>,
    pub(crate) objects: &'g Objects,
}

/// A Gateway or ListenerSet that routes may attach to.
#[derive(Clone, Copy)]
struct Parent<'g> {
    reference: &'g ObjectRef,
    gateway: &'g LoweredGateway,
    doors: &'g [Door],
    refusal: Option<&'g Refusal>,
}

impl<'g> Parents<'g> {
    fn find(&self, reference: &ObjectRef) -> Option<Parent<'g>> {
        if reference.kind == Kind::Gateway {
            let gateway = self.gateways.get(reference)?;
            let LoweredGateway { reference, doors, refusal, .. } = gateway;
            return Some(Parent { reference, gateway, doors, refusal: refusal.as_ref() });
        }
        let set = self.objects.listener_sets.find(&reference.namespace, &reference.name)?;
        let gateway = self.gateways.get(&parent_of(set)?)?;
        let LoweredSet { reference, doors, refusal, .. } =
            gateway.sets.iter().find(|set| set.reference == *reference)?;
        Some(Parent { reference, gateway, doors, refusal: refusal.as_ref() })
    }
}

/// The parents of the route that are Gateways or ListenerSets of ours; those that carry nothing say why.
pub(crate) fn attach<'g>(
    object: Belonging<'_>,
    parents: Parents<'g>,
    scope: &mut Scope<'_>,
) -> Vec<Attachment<'g>> {
    let mut attachments = Vec::new();
    let mut taken: Vec<&Door> = Vec::new();
    for (index, parent) in object.parent_refs.iter().enumerate() {
        let Some(reference) = reference(parent, object.namespace) else { continue };
        scope.depend(reference.kind, &reference.namespace, &reference.name);
        if reference.kind == Kind::ListenerSet
            && let Some(set) = scope.objects.listener_sets.find(&reference.namespace, &reference.name)
            && let Some(gateway) = parent_of(set)
        {
            scope.depend(gateway.kind, &gateway.namespace, &gateway.name);
        }
        let Some(found) = parents.find(&reference) else {
            if !scope.objects.contains(&reference) {
                let message = format!("there is no {reference}");
                let field = format!("spec.parentRefs[{index}]");
                scope.problem(Severity::Degraded, field, "NoMatchingParent", message);
            }
            continue;
        };
        let mut attachment = open(object, parent, found, scope);
        // Two parents may name the same listener; it carries the route once.
        attachment.doors.retain(|(door, _, _)| !taken.contains(door));
        taken.extend(attachment.doors.iter().map(|(door, _, _)| *door));
        if let Some(refused) = &attachment.refused {
            let field = format!("spec.parentRefs[{index}]");
            scope.problem(Severity::Degraded, field, refused.reason, refused.message.clone());
        }
        attachments.push(attachment);
    }
    attachments
}

/// What a parent reference means; `None`: something that is not of Gateway API's gateways.
fn reference(parent: &ParentReference, namespace: &Arc<str>) -> Option<ObjectRef> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = match (group, parent.kind.as_deref().unwrap_or("Gateway")) {
        (GATEWAY_GROUP, "Gateway") => Kind::Gateway,
        (GATEWAY_GROUP, "ListenerSet") => Kind::ListenerSet,
        _ => return None,
    };
    let namespace = parent.namespace.as_ref().unwrap_or(namespace).clone();
    Some(ObjectRef { kind, namespace, name: parent.name.clone() })
}

/// The listeners of one parent that carry the route: those that the parent reference selects, that allow it, and whose host
/// name meets its own (Gateway API v1, `ParentReference`, `AllowedRoutes`, `spec.hostnames` of routes).
fn open<'g>(
    object: Belonging<'_>,
    parent: &ParentReference,
    found: Parent<'g>,
    scope: &mut Scope<'_>,
) -> Attachment<'g> {
    let Parent { reference, gateway, doors, refusal } = found;
    let attachment = |refused, doors| Attachment {
        parent: parent.clone(),
        gateway: gateway.reference.clone(),
        client_certificate: gateway.client_certificate.clone(),
        refused,
        doors,
    };
    let none = |reason, message: String| attachment(Some(Condition::no(reason, message)), Vec::new());
    let selected = |door: &&Door| {
        parent.section_name.as_ref().is_none_or(|name| name.is_empty() || *name == door.name)
            && parent.port.is_none_or(|port| port == door.port)
    };
    let selected: Vec<&Door> = doors.iter().filter(selected).collect();
    if selected.is_empty() {
        let message = format!("{reference} has no listener of that section name and port");
        return none("NoMatchingParent", message);
    }
    let (own, kind) = (object.namespace, scope.source.kind);
    let namespace = scope.namespace(own);
    let allowed: Vec<&Door> = selected
        .into_iter()
        .filter(|door| door.kinds.contains(&kind) && door.admits(own, &reference.namespace, namespace))
        .collect();
    if allowed.is_empty() {
        let message = format!("no listener of {reference} lets in {kind}s of namespace {own}");
        return none("NotAllowedByListeners", message);
    }
    let hosts = hosts(object, scope);
    let meet = |door: &'g Door| {
        let mut met: Vec<HostPattern> = Vec::new();
        for host in hosts.iter().filter_map(|host| host.intersect(&door.host)) {
            if !met.contains(&host) {
                met.push(host);
            }
        }
        (!met.is_empty()).then(|| (door, met, refusal.cloned()))
    };
    let doors: Vec<_> = allowed.into_iter().filter_map(meet).collect();
    if doors.is_empty() {
        let message = format!("no host name of the route is one of the listeners of {reference}");
        return none("NoMatchingListenerHostname", message);
    }
    attachment(None, doors)
}

fn hosts(object: Belonging<'_>, scope: &mut Scope<'_>) -> Vec<HostPattern> {
    if object.hostnames.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut hosts = Vec::new();
    for (index, host) in object.hostnames.iter().enumerate() {
        match HostPattern::parse(host, WildcardLabels::OneOrMore) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let field = format!("spec.hostnames[{index}]");
                let message = format!("the host name is not served: {error}");
                let told = scope.problems.iter().any(|problem| *problem.field == *field);
                if !told {
                    scope.problem(Severity::Degraded, field, "UnsupportedValue", message);
                }
            }
        }
    }
    hosts
}
