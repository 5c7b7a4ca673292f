//! What is written into the status of objects: made from what was compiled, laid over what is there.
//!
//! Only our own part is touched: conditions of types that are ours, `parents` with our controller's name, addresses. What
//! others wrote stays as it is, and what says the same already is not written again; a transition time moves only with
//! the status (Gateway API, `metav1.Condition`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::gateway::{GATEWAY_CONTROLLER, is_ours};
use crate::config::ingress::{Owner, owner};
use crate::config::objects::core::{Service, ServiceType};
use crate::config::objects::httproute::ParentReference;
use crate::config::objects::metadata::{Known, Metadata};
use crate::config::objects::{GatewayClass, Objects};
use crate::config::problem::{Kind, ObjectRef};
use crate::config::status::{
    Condition, GatewayStatus, ListenerSetStatus, ListenerStatus, ParentStatus, PolicyStatus, RouteStatus,
    Statuses,
};
use crate::replicas::programmed::PENDING;
use crate::settings::{Publish, Settings};

/// The status that an object should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) object: ObjectRef,
    /// Of the object when it was read last.
    pub(super) resource_version: Box<str>,
    pub(super) status: Status,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ingress(Arc<[Address]>),
    GatewayClass {
        generation: i64,
        accepted: Condition,
        /// Known to whoever writes it.
        supported: Option<Condition>,
    },
    Gateway(Box<GatewayStatus>, Arc<[Address]>),
    ListenerSet(Box<ListenerSetStatus>),
    Policy(Box<PolicyStatus>),
    Route(Arc<RouteStatus>),
    /// Not a status: the object as a whole should be like this.
    Applied(Arc<Value>),
    /// The object should not be there.
    Gone,
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    Ip(IpAddr),
    Name(Arc<str>),
}

impl Address {
    fn parse(text: &Arc<str>) -> Address {
        text.parse().map_or_else(|_| Address::Name(text.clone()), Address::Ip)
    }
}

/// The statuses of everything that is ours.
pub(super) fn wanted<'a>(
    objects: &Objects,
    settings: &Settings,
    statuses: &Statuses,
    routes: impl Iterator<Item = &'a Arc<RouteStatus>>,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut want = |object: ObjectRef, metadata: &Metadata, status: Status| {
        wanted.push(Wanted { object, resource_version: metadata.resource_version.clone(), status });
    };
    for class in objects.gateway_classes.iter() {
        if *class.spec.controller_name == *GATEWAY_CONTROLLER {
            let status = Status::GatewayClass {
                generation: class.metadata.generation,
                accepted: class_accepted(class),
                supported: None,
            };
            want(class.metadata.reference(Kind::GatewayClass), &class.metadata, status);
        }
    }
    for status in &statuses.gateways {
        let reference = &status.gateway;
        let object = objects.gateways.find(&reference.namespace, &reference.name);
        // One that changed since will be compiled and come again.
        if let Some(gateway) = object.filter(|gateway| is_ours(gateway, objects, settings)) {
            let addresses = status.addresses.iter().map(Address::parse).collect();
            want(reference.clone(), &gateway.metadata, Status::Gateway(Box::new(status.clone()), addresses));
        }
    }
    for status in &statuses.sets {
        if let Some(metadata) = objects.metadata_of(&status.set) {
            want(status.set.clone(), metadata, Status::ListenerSet(Box::new(status.clone())));
        }
    }
    for status in &statuses.policies {
        if let Some(metadata) = objects.metadata_of(&status.policy) {
            want(status.policy.clone(), metadata, Status::Policy(Box::new(status.clone())));
        }
    }
    for status in routes {
        let reference = &status.route;
        if let Some(metadata) = objects.metadata_of(reference) {
            want(reference.clone(), metadata, Status::Route(status.clone()));
        }
    }
    let by_class: Vec<(&str, Arc<[Address]>)> = settings
        .classes
        .iter()
        .map(|class| (&*class.name, published(&class.publish, objects)))
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    for ingress in objects.ingresses.iter().filter(|_| !by_class.is_empty()) {
        let Owner::Class(class) = owner(ingress, objects, settings) else { continue };
        if let Some((_, addresses)) = by_class.iter().find(|(name, _)| **name == *class.name) {
            let reference = ingress.metadata.reference(Kind::Ingress);
            want(reference, &ingress.metadata, Status::Ingress(addresses.clone()));
        }
    }
    wanted
}

fn class_accepted(class: &GatewayClass) -> Condition {
    match &class.spec.parameters_ref {
        None => Condition::yes("Accepted"),
        Some(_) => Condition::no(
            "InvalidParameters",
            "no parameters are known for a GatewayClass: remove parametersRef",
        ),
    }
}

/// Whether the installed definitions of Gateway API, of this version (`v1.6.3`), are ones that are known here.
pub(super) fn supported_version(bundle: &str) -> Condition {
    let mut numbers = bundle.trim_start_matches('v').split(['.', '-']).map(str::parse::<u32>);
    let known = matches!((numbers.next(), numbers.next()), (Some(Ok(1)), Some(Ok(minor))) if BUNDLE_MINORS.contains(&minor));
    if known {
        Condition::yes("SupportedVersion")
    } else {
        let (first, last) = (BUNDLE_MINORS.start(), BUNDLE_MINORS.end());
        let message = format!(
            "the definitions of Gateway API are of version {bundle}; known are v1.{first} to v1.{last}, and others are served \
             as far as they are understood"
        );
        Condition::no("UnsupportedVersion", message)
    }
}

/// Versions 1.x of Gateway API whose definitions are known.
const BUNDLE_MINORS: std::ops::RangeInclusive<u32> = 2..=6;

/// Sorted, each once.
fn published(publish: &Publish, objects: &Objects) -> Arc<[Address]> {
    let service = publish.service.as_deref().and_then(|name| name.split_once('/'));
    let service = service.and_then(|(namespace, name)| objects.services.find(namespace, name));
    let mut addresses: BTreeSet<Address> = publish.addresses.iter().map(Address::parse).collect();
    if let Some(service) = service {
        addresses.extend(addresses_of(service));
    }
    addresses.into_iter().collect()
}

/// Where a Service is reached from outside, or failing that from inside.
fn addresses_of(service: &Service) -> Vec<Address> {
    let spec = &service.spec;
    let external: Vec<Address> = spec.external_ips.iter().map(Address::parse).collect();
    match spec.service_type {
        Some(Known::Value(ServiceType::LoadBalancer)) => {
            let given = service.status.load_balancer.ingress.iter();
            let given = given.filter_map(|entry| entry.ip.as_ref().or(entry.hostname.as_ref()));
            given.map(Address::parse).chain(external).collect()
        }
        Some(Known::Value(ServiceType::ExternalName)) => {
            spec.external_name.iter().map(Address::parse).collect()
        }
        _ if external.is_empty() => {
            spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).map(Address::Ip).collect()
        }
        _ => external,
    }
}

/// The status to write in the place of `current`; `None` when that says the same already.
pub(super) fn merged(wanted: &Status, current: &Value, now: Timestamp) -> Option<Value> {
    let mut new = current.as_object().cloned().unwrap_or_default();
    match wanted {
        // Of these it is not the status that is written.
        Status::Applied(_) | Status::Gone => return None,
        Status::Ingress(addresses) => {
            let entries: Vec<Value> = addresses.iter().map(load_balancer_entry).collect();
            let old = &current["loadBalancer"]["ingress"];
            // Ports are of no use to anyone who reads this; an equal list with ports is still equal.
            let same = old.as_array().is_some_and(|old| {
                old.len() == entries.len()
                    && old
                        .iter()
                        .zip(&entries)
                        .all(|(old, new)| old["ip"] == new["ip"] && old["hostname"] == new["hostname"])
            });
            if !same {
                new.insert("loadBalancer".into(), json!({"ingress": entries}));
            }
        }
        Status::GatewayClass { generation, accepted, supported } => {
            let old = &current["conditions"];
            let own = [("Accepted", Some(accepted)), ("SupportedVersion", supported.as_ref())];
            new.insert("conditions".into(), conditions(old, &own, *generation, now));
            let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
            new.insert("supportedFeatures".into(), Value::Array(features));
        }
        Status::Gateway(status, addresses) => merge_gateway(&mut new, status, addresses, now),
        Status::ListenerSet(status) => {
            let own = [("Accepted", Some(&status.accepted)), ("Programmed", Some(&status.programmed))];
            new.insert("conditions".into(), conditions(&current["conditions"], &own, status.generation, now));
            let entries = listeners(&status.listeners, &current["listeners"], status.generation, now);
            new.insert("listeners".into(), entries);
        }
        Status::Policy(status) => {
            let old = current["ancestors"].as_array().map_or(&[][..], Vec::as_slice);
            let is_ours = |entry: &&Value| entry["controllerName"] == GATEWAY_CONTROLLER;
            let (ours, others): (Vec<&Value>, Vec<&Value>) = old.iter().partition(is_ours);
            let room = ANCESTORS_MAX.saturating_sub(others.len());
            let entries =
                status.ancestors.iter().take(room).map(|gateway| ancestor_entry(status, gateway, &ours, now));
            let entries: Vec<Value> = others.into_iter().cloned().chain(entries).collect();
            // Nothing has to be said of a policy that nobody uses.
            if !(entries.is_empty() && current["ancestors"].is_null()) {
                new.insert("ancestors".into(), Value::Array(entries));
            }
        }
        Status::Route(status) => {
            let old = current["parents"].as_array().map_or(&[][..], Vec::as_slice);
            let is_ours = |entry: &&Value| entry["controllerName"] == GATEWAY_CONTROLLER;
            let (ours, others): (Vec<&Value>, Vec<&Value>) = old.iter().partition(is_ours);
            let parents = status.parents.iter().map(|parent| {
                let reference = reference(&parent.parent);
                let known = ours.iter().find(|entry| entry["parentRef"] == reference);
                parent_entry(parent, reference, known.copied(), status.generation, now)
            });
            let parents: Vec<Value> = others.into_iter().cloned().chain(parents).collect();
            new.insert("parents".into(), Value::Array(parents));
        }
    }
    if new.is_empty() && current.is_null() {
        return None;
    }
    let new = Value::Object(new);
    (new != *current).then_some(new)
}

fn merge_gateway(
    new: &mut Map<String, Value>,
    status: &GatewayStatus,
    addresses: &[Address],
    now: Timestamp,
) {
    let generation = status.generation;
    let unassigned = Condition::no(
        "AddressNotAssigned",
        "no address: name one under gateways[].publish or gateways[].addresses in the settings",
    );
    let programmed =
        if status.programmed.holds && addresses.is_empty() { &unassigned } else { &status.programmed };
    let own = [
        ("Accepted", Some(&status.accepted)),
        ("Programmed", Some(programmed)),
        ("ResolvedRefs", status.resolved_refs.as_ref()),
        ("InsecureFrontendValidationMode", status.insecure_frontend_validation.as_ref()),
    ];
    let old = new.get("conditions").cloned().unwrap_or_default();
    new.insert("conditions".into(), conditions(&old, &own, generation, now));
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|address| match address {
            Address::Ip(ip) => json!({"type": "IPAddress", "value": ip}),
            Address::Name(name) => json!({"type": "Hostname", "value": name}),
        })
        .collect();
    new.insert("addresses".into(), Value::Array(addresses));
    let old = new.get("listeners").cloned().unwrap_or_default();
    new.insert("listeners".into(), listeners(&status.listeners, &old, generation, now));
    // Written by versions of Gateway API that know it.
    if status.attached_listener_sets > 0 || new.contains_key("attachedListenerSets") {
        new.insert("attachedListenerSets".into(), status.attached_listener_sets.into());
    }
}

fn listeners(listeners: &[ListenerStatus], old: &Value, generation: i64, now: Timestamp) -> Value {
    let entries = listeners.iter().map(|listener| {
        let known = old.as_array().and_then(|old| old.iter().find(|entry| entry["name"] == *listener.name));
        listener_entry(listener, known, generation, now)
    });
    entries.collect()
}

/// What one Gateway says of a policy for its backends.
fn ancestor_entry(status: &PolicyStatus, gateway: &ObjectRef, ours: &[&Value], now: Timestamp) -> Value {
    let reference = json!({
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": gateway.namespace,
        "name": gateway.name,
    });
    let known = ours.iter().find(|entry| entry["ancestorRef"] == reference);
    let own = [("Accepted", Some(&status.accepted)), ("ResolvedRefs", Some(&status.resolved_refs))];
    let old = known.map_or(&Value::Null, |entry| &entry["conditions"]);
    json!({
        "ancestorRef": reference,
        "controllerName": GATEWAY_CONTROLLER,
        "conditions": conditions(old, &own, status.generation, now),
    })
}

fn listener_entry(listener: &ListenerStatus, old: Option<&Value>, generation: i64, now: Timestamp) -> Value {
    let own = [
        ("Accepted", Some(&listener.accepted)),
        ("Programmed", Some(&listener.programmed)),
        ("ResolvedRefs", Some(&listener.resolved_refs)),
        ("Conflicted", Some(&listener.conflicted)),
    ];
    let group = "gateway.networking.k8s.io";
    let kinds = listener.supported_kinds.iter().map(|kind| json!({"group": group, "kind": kind}));
    json!({
        "name": listener.name,
        "supportedKinds": kinds.collect::<Vec<Value>>(),
        "attachedRoutes": listener.attached_routes,
        "conditions": conditions(old.map_or(&Value::Null, |old| &old["conditions"]), &own, generation, now),
    })
}

fn parent_entry(
    parent: &ParentStatus,
    reference: Value,
    old: Option<&Value>,
    generation: i64,
    now: Timestamp,
) -> Value {
    let own = [
        ("Accepted", Some(&parent.accepted)),
        ("ResolvedRefs", Some(&parent.resolved_refs)),
        ("PartiallyInvalid", parent.partially_invalid.as_ref()),
    ];
    json!({
        "parentRef": reference,
        "controllerName": GATEWAY_CONTROLLER,
        "conditions": conditions(old.map_or(&Value::Null, |old| &old["conditions"]), &own, generation, now),
    })
}

/// A reference with the fields that its route wrote.
fn reference(parent: &ParentReference) -> Value {
    let mut entry = Map::new();
    let fields = [
        ("group", parent.group.as_deref()),
        ("kind", parent.kind.as_deref()),
        ("namespace", parent.namespace.as_deref()),
        ("name", Some(&*parent.name)),
        ("sectionName", parent.section_name.as_deref()),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            entry.insert(field.into(), value.into());
        }
    }
    if let Some(port) = parent.port {
        entry.insert("port".into(), port.into());
    }
    Value::Object(entry)
}

/// The conditions of `old` with ours in their places: `None` for one that should not be there.
fn conditions(
    old: &Value,
    own: &[(&'static str, Option<&Condition>)],
    generation: i64,
    now: Timestamp,
) -> Value {
    let mut list: Vec<Value> = old.as_array().cloned().unwrap_or_default();
    list.retain(|entry| !own.iter().any(|(kind, wanted)| entry["type"] == *kind && wanted.is_none()));
    for (kind, wanted) in own {
        let Some(wanted) = wanted else { continue };
        let mut entry = json!({
            "type": kind,
            "status": if wanted.holds { "True" } else { "False" },
            "reason": wanted.reason,
            "message": &*wanted.message,
            "observedGeneration": generation,
            "lastTransitionTime": format!("{now:.0}"),
        });
        match list.iter_mut().find(|known| known["type"] == *kind) {
            None => list.push(entry),
            // Every replica had this generation when a leader asked. That one of them is silent now takes nothing back, and the
            // next leader need not have been there.
            Some(known)
                if wanted.reason == PENDING
                    && known["status"] == "True"
                    && known["observedGeneration"] == generation => {}
            Some(known) => {
                if known["status"] == entry["status"] && !known["lastTransitionTime"].is_null() {
                    entry["lastTransitionTime"] = known["lastTransitionTime"].clone();
                }
                *known = entry;
            }
        }
    }
    Value::Array(list)
}

fn load_balancer_entry(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => json!({"ip": ip}),
        Address::Name(name) => json!({"hostname": name}),
    }
}

/// As many ancestors as a policy's status may name (Gateway API v1, `PolicyStatus`).
const ANCESTORS_MAX: usize = 16;

/// `status.supportedFeatures`: what the official conformance suite has found to work, sorted.
const FEATURES: [&str; 48] = [
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

#[cfg(test)]
mod tests;
