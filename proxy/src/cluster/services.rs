//! Services of Gateways: what brings clients to the sockets, and what carries the labels that a Gateway asks for.
//!
//! Where the settings say so (`gatewayServices`), each Gateway has a Service of its own in Vestibule's namespace, which
//! selects the edge's Pods; Kubernetes keeps its endpoints. Its target ports are the record of which number each listener
//! got, so that they stay over restarts. In the Gateway's own namespace stands an alias of it with the labels and
//! annotations of `spec.infrastructure`. Services that are not marked as ours are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::status::{Status, Wanted};
use crate::config::gateway::{
    GATEWAY_LABEL, GATEWAY_NAMESPACE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, is_ours, parent_of,
};
use crate::config::objects::gateway::{Gateway, Listener, ListenerProtocol};
use crate::config::objects::{Objects, Service};
use crate::config::problem::{Kind, ObjectRef};
use crate::config::status::Statuses;
use crate::settings::{Exposure, GatewayServices, Settings};

/// The Services that should be, and those of ours that should be no more.
pub(super) fn wanted(objects: &Objects, settings: &Settings, statuses: &Statuses) -> Vec<Wanted> {
    let mut services: BTreeMap<ObjectRef, Value> = BTreeMap::new();
    let mut taken = Taken::of(objects, settings.gateway_services.as_ref());
    for status in &statuses.gateways {
        let reference = &status.gateway;
        let Some(gateway) = objects.gateways.find(&reference.namespace, &reference.name) else { continue };
        let bound_by_hand = settings.is_bound_by_name(&reference.namespace, &reference.name);
        let own = settings.gateway_services.as_ref().filter(|_| !bound_by_hand);
        if let Some(own) = own {
            let ports = ports_of(gateway, objects, statuses);
            let name = service_name(reference);
            let known = objects.services.find(&own.namespace, &name);
            let ports = taken.allot(&ports, known, own);
            let service =
                ObjectRef { kind: Kind::Service, namespace: own.namespace.clone(), name: name.into() };
            services.insert(service, for_clients(gateway, own, &ports));
        }
        if own.is_some() || gateway.spec.infrastructure.is_some() {
            let name = alias_name(gateway);
            let alias =
                ObjectRef { kind: Kind::Service, namespace: reference.namespace.clone(), name: name.into() };
            services.insert(alias, alias_of(gateway, own));
        }
    }
    let is_marked = |service: &Service| service.metadata.labels.get(MANAGED_BY_LABEL) == Some(MANAGED_BY);
    let mut all = Vec::new();
    for service in objects.services.iter().filter(|service| is_marked(service)) {
        let reference = service.metadata.reference(Kind::Service);
        if !services.contains_key(&reference) && is_left_over(service, objects, settings) {
            all.push(Wanted {
                object: reference,
                resource_version: service.metadata.resource_version.clone(),
                status: Status::Gone,
            });
        }
    }
    for (reference, body) in services {
        let known = objects.services.find(&reference.namespace, &reference.name);
        // Somebody else's, by whatever chance.
        if known.is_some_and(|known| !is_marked(known)) {
            continue;
        }
        let resource_version =
            known.map_or_else(Box::default, |known| known.metadata.resource_version.clone());
        all.push(Wanted { object: reference, resource_version, status: Status::Applied(Arc::new(body)) });
    }
    all
}

/// Whether the Gateway that a Service of ours was made for is gone, or has no use for it any more. One of another class may
/// be served by another installation, which marks its Services in the same way.
fn is_left_over(service: &Service, objects: &Objects, settings: &Settings) -> bool {
    let Some((namespace, name)) =
        service.metadata.annotations.get(GATEWAY_LABEL).and_then(|whole| whole.split_once('/'))
    else {
        return false;
    };
    let gateway = objects.gateways.find(namespace, name);
    gateway.is_none_or(|gateway| is_ours(gateway, objects, settings))
}

/// One port of a Gateway: its number, and whether it is of UDP.
type Port = (u16, bool);

/// The ports of all listeners, those of accepted ListenerSets among them.
fn ports_of(gateway: &Gateway, objects: &Objects, statuses: &Statuses) -> BTreeSet<Port> {
    let port =
        |listener: &Listener| (listener.port, listener.protocol.value() == Some(ListenerProtocol::Udp));
    let reference = gateway.metadata.reference(Kind::Gateway);
    let sets = statuses.sets.iter().filter(|set| set.accepted.holds).filter_map(|status| {
        let set = objects.listener_sets.find(&status.set.namespace, &status.set.name)?;
        (parent_of(set).as_ref() == Some(&reference)).then_some(set)
    });
    let own = gateway.spec.listeners.iter().map(port);
    own.chain(sets.flat_map(|set| set.spec.listeners.iter().map(port))).collect()
}

/// The numbers that Gateways have so far.
struct Taken(BTreeSet<u16>);

impl Taken {
    fn of(objects: &Objects, settings: Option<&GatewayServices>) -> Self {
        let Some(settings) = settings else { return Taken(BTreeSet::new()) };
        let ours = objects.services.in_namespace(&settings.namespace).filter(|service| {
            service.metadata.labels.get(MANAGED_BY_LABEL) == Some(MANAGED_BY)
                && service.metadata.labels.get(GATEWAY_LABEL).is_some()
        });
        Taken(
            ours.flat_map(|service| service.spec.ports.iter().filter_map(|port| port.target_number()))
                .collect(),
        )
    }

    /// A number for each port: the one that it has, or the lowest that is free. Without a free one a port is left out.
    fn allot(
        &mut self,
        ports: &BTreeSet<Port>,
        known: Option<&Arc<Service>>,
        settings: &GatewayServices,
    ) -> Vec<(Port, u16)> {
        let mut allotted = Vec::new();
        for port in ports {
            // TCP and UDP share numbers as they share ports.
            let twin = allotted.iter().find(|((number, _), _): &&(Port, u16)| *number == port.0);
            let twin = twin.map(|(_, number)| *number);
            let held = twin.or_else(|| {
                let same = known?.spec.ports.iter().find(|held| held.port == port.0);
                same.and_then(|held| held.target_number())
            });
            let free =
                || (settings.target_ports.0..=settings.target_ports.1).find(|free| !self.0.contains(free));
            match held.or_else(free) {
                Some(number) => {
                    self.0.insert(number);
                    allotted.push((*port, number));
                }
                None => tracing::warn!(
                    port = port.0,
                    "no number of gatewayServices.targetPorts is free for a port of a Gateway: widen the range"
                ),
            }
        }
        allotted
    }
}

/// The Service that clients come in by.
fn for_clients(gateway: &Gateway, settings: &GatewayServices, ports: &[(Port, u16)]) -> Value {
    let mut labels = marks(gateway);
    labels.extend(settings.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut annotations: BTreeMap<String, String> = settings.annotations.clone();
    annotations.insert(GATEWAY_LABEL.into(), whole_name(gateway));
    let requested: Vec<&str> =
        gateway.spec.addresses.iter().filter_map(|address| address.value.as_deref()).collect();
    if !requested.is_empty() {
        annotations.insert(METALLB_ADDRESSES.into(), requested.join(","));
    }
    let ports: Vec<Value> = ports
        .iter()
        .map(|((port, udp), target)| {
            let protocol = if *udp { "UDP" } else { "TCP" };
            json!({
                "name": format!("{}-{port}", protocol.to_ascii_lowercase()),
                "port": port,
                "targetPort": target,
                "protocol": protocol,
            })
        })
        .collect();
    let mut spec = Map::new();
    spec.insert("selector".into(), json!(settings.selector));
    spec.insert("ports".into(), ports.into());
    match settings.exposure {
        Exposure::LoadBalancer => {
            spec.insert("type".into(), "LoadBalancer".into());
            // The application sees the client's own address.
            spec.insert("externalTrafficPolicy".into(), "Local".into());
            if let Some(class) = &settings.load_balancer_class {
                spec.insert("loadBalancerClass".into(), (&**class).into());
            }
        }
        Exposure::ClusterIp => {
            spec.insert("type".into(), "ClusterIP".into());
        }
    }
    manifest(
        &service_name(&gateway.metadata.reference(Kind::Gateway)),
        &settings.namespace,
        labels,
        annotations,
        spec,
    )
}

/// What stands for the Gateway in its own namespace. Without a Service to point to it has no address at all.
fn alias_of(gateway: &Gateway, settings: Option<&GatewayServices>) -> Value {
    let mut labels = marks(gateway);
    let mut annotations = BTreeMap::new();
    if let Some(infrastructure) = &gateway.spec.infrastructure {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        for (key, value) in infrastructure.labels.iter().map(owned) {
            // Ours say what it is; a Gateway cannot rename them.
            labels.entry(key).or_insert(value);
        }
        annotations.extend(infrastructure.annotations.iter().map(owned));
    }
    annotations.insert(GATEWAY_LABEL.into(), whole_name(gateway));
    let mut spec = Map::new();
    match settings {
        Some(settings) => {
            let name = service_name(&gateway.metadata.reference(Kind::Gateway));
            spec.insert("type".into(), "ExternalName".into());
            let target = format!("{name}.{}.svc.cluster.local", settings.namespace);
            spec.insert("externalName".into(), target.into());
        }
        None => {
            spec.insert("clusterIP".into(), "None".into());
        }
    }
    manifest(&alias_name(gateway), &gateway.metadata.namespace, labels, annotations, spec)
}

fn manifest(
    name: &str,
    namespace: &str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    spec: Map<String, Value>,
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": spec,
    })
}

/// `shop/edge`, which may be too long for a label.
fn whole_name(gateway: &Gateway) -> String {
    format!("{}/{}", gateway.metadata.namespace, gateway.metadata.name)
}

/// What makes a Service ours, and says of which Gateway.
fn marks(gateway: &Gateway) -> BTreeMap<String, String> {
    let metadata = &gateway.metadata;
    // Values of labels end at 63 characters; the name of the Service still tells two long names apart.
    let cut = |text: &str| text.get(..LABEL_BYTES_MAX).unwrap_or(text).to_owned();
    [
        (MANAGED_BY_LABEL, MANAGED_BY.to_owned()),
        (GATEWAY_LABEL, cut(&metadata.name)),
        (GATEWAY_NAMESPACE_LABEL, cut(&metadata.namespace)),
        (GATEWAY_NAME_LABEL, cut(&metadata.name)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

pub(super) use crate::config::gateway::service_name;

fn alias_name(gateway: &Gateway) -> String {
    let name = format!("{}-{}", gateway.metadata.name, gateway.spec.gateway_class_name);
    if name.len() <= LABEL_BYTES_MAX && !name.contains('.') {
        return name;
    }
    format!("{}-alias", service_name(&gateway.metadata.reference(Kind::Gateway)))
}

/// Names and label values end here (RFC 1123).
const LABEL_BYTES_MAX: usize = 63;
/// Gateway API's own label for what is made for a Gateway (GEP-1762).
const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
const METALLB_ADDRESSES: &str = "metallb.io/loadBalancerIPs";

#[cfg(test)]
mod tests;
