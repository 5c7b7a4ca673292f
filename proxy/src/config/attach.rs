//! To which listeners a route attaches.

use std::sync::Arc;

use crate::config::gateway::{Door, GATEWAY_GROUP, LoweredGateway};
use crate::config::lower::Scope;
use crate::config::objects::httproute::ParentReference;
use crate::config::problem::{Kind, Severity};
use crate::config::status::Condition;
use crate::route::Refusal;
use crate::route::host::{HostPattern, WildcardLabels};

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
    /// Why nothing attached.
    pub(crate) refused: Option<Condition>,
    pub(crate) doors: Vec<(&'g Door, Vec<HostPattern>, Option<Refusal>)>,
}

impl Attachment<'_> {
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.doors.iter().map(|(door, _, _)| door.place.section.clone()).collect()
    }
}

/// The parents of the route that are Gateways of ours; those that carry nothing say why.
pub(crate) fn attach<'g>(
    object: Belonging<'_>,
    gateways: &dyn Fn(&str, &str) -> Option<&'g LoweredGateway>,
    scope: &mut Scope<'_>,
) -> Vec<Attachment<'g>> {
    let mut attachments = Vec::new();
    let mut taken: Vec<&Door> = Vec::new();
    for (index, parent) in object.parent_refs.iter().enumerate() {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        if (group, kind) != (GATEWAY_GROUP, "Gateway") {
            continue;
        }
        let namespace = parent.namespace.as_ref().unwrap_or(object.namespace);
        scope.depend(Kind::Gateway, namespace, &parent.name);
        let Some(gateway) = gateways(namespace, &parent.name) else {
            if scope.objects.gateways.find(namespace, &parent.name).is_none() {
                let message = format!("there is no Gateway {namespace}/{}", parent.name);
                let field = format!("spec.parentRefs[{index}]");
                scope.problem(Severity::Degraded, field, "NoMatchingParent", message);
            }
            continue;
        };
        let mut attachment = open(object, parent, gateway, scope);
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

/// The listeners of one Gateway that carry the route: those that the parent reference selects, that allow it, and whose host
/// name meets its own (Gateway API v1, `ParentReference`, `AllowedRoutes`, `spec.hostnames` of routes).
fn open<'g>(
    object: Belonging<'_>,
    parent: &ParentReference,
    gateway: &'g LoweredGateway,
    scope: &mut Scope<'_>,
) -> Attachment<'g> {
    let none = |reason, message: String| Attachment {
        parent: parent.clone(),
        refused: Some(Condition::no(reason, message)),
        doors: Vec::new(),
    };
    let selected = |door: &&Door| {
        parent.section_name.as_ref().is_none_or(|name| name.is_empty() || *name == door.place.section)
            && parent.port.is_none_or(|port| port == door.port)
    };
    let selected: Vec<&Door> = gateway.doors.iter().filter(selected).collect();
    if selected.is_empty() {
        let message = format!("{} has no listener of that section name and port", gateway.reference);
        return none("NoMatchingParent", message);
    }
    let (own, kind) = (object.namespace, scope.source.kind);
    let namespace = scope.namespace(own);
    let allowed: Vec<&Door> = selected
        .into_iter()
        .filter(|door| {
            door.kinds.contains(&kind) && door.admits(own, &gateway.reference.namespace, namespace)
        })
        .collect();
    if allowed.is_empty() {
        let message = format!("no listener of {} lets in {kind}s of namespace {own}", gateway.reference);
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
        (!met.is_empty()).then(|| (door, met, gateway.refusal.clone()))
    };
    let doors: Vec<_> = allowed.into_iter().filter_map(meet).collect();
    if doors.is_empty() {
        let message = format!("no host name of the route is one of the listeners of {}", gateway.reference);
        return none("NoMatchingListenerHostname", message);
    }
    Attachment { parent: parent.clone(), refused: None, doors }
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
