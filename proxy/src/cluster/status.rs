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
use crate::config::status::{Condition, GatewayStatus, ListenerStatus, ParentStatus, RouteStatus};
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
    GatewayClass { generation: i64, accepted: Condition },
    Gateway(Box<GatewayStatus>, Arc<[Address]>),
    Route(Arc<RouteStatus>),
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
    gateways: &[GatewayStatus],
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
            };
            want(class.metadata.reference(Kind::GatewayClass), &class.metadata, status);
        }
    }
    for status in gateways {
        let reference = &status.gateway;
        let object = objects.gateways.find(&reference.namespace, &reference.name);
        // One that changed since will be compiled and come again.
        if let Some(gateway) = object.filter(|gateway| is_ours(gateway, objects, settings)) {
            let addresses = gateway_addresses(settings, reference);
            want(reference.clone(), &gateway.metadata, Status::Gateway(Box::new(status.clone()), addresses));
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

fn gateway_addresses(settings: &Settings, gateway: &ObjectRef) -> Arc<[Address]> {
    let Some(binding) = settings.gateway_binding(&gateway.namespace, &gateway.name) else {
        return [].into();
    };
    if !binding.publish.is_empty() {
        return binding.publish.iter().map(Address::parse).collect();
    }
    let bound = binding.addresses.iter().filter(|address| !address.is_unspecified());
    bound.copied().map(Address::Ip).collect()
}

/// The status to write in the place of `current`; `None` when that says the same already.
pub(super) fn merged(wanted: &Status, current: &Value, now: Timestamp) -> Option<Value> {
    let mut new = current.as_object().cloned().unwrap_or_default();
    match wanted {
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
        Status::GatewayClass { generation, accepted } => {
            let old = &current["conditions"];
            let own = [("Accepted", Some(accepted))];
            new.insert("conditions".into(), conditions(old, &own, *generation, now));
            let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
            new.insert("supportedFeatures".into(), Value::Array(features));
        }
        Status::Gateway(status, addresses) => merge_gateway(&mut new, status, addresses, now),
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
    let listeners = status.listeners.iter().map(|listener| {
        let known = old.as_array().and_then(|old| old.iter().find(|entry| entry["name"] == *listener.name));
        listener_entry(listener, known, generation, now)
    });
    new.insert("listeners".into(), listeners.collect());
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

/// `status.supportedFeatures`: what the official conformance suite has found to work, sorted.
const FEATURES: [&str; 36] = [
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
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
    "ReferenceGrant",
];

#[cfg(test)]
mod tests;
