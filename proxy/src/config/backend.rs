//! Backends: from a reference to a Service to its live state, and from EndpointSlices to its endpoints.
//!
//! The state of a backend (pools, health) outlives configuration: the same port of the same Service, spoken to in the same
//! way, stays the same `Arc<Backend>` for as long as any table uses it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::objects::Objects;
use super::objects::core::{
    AddressType, EndpointSlice, Service, ServicePort, ServiceType, SliceEndpoint, TransportProtocol,
};
use super::objects::ingress::ServicePortReference;
use super::objects::metadata::Known;
use crate::tls::upstream::UpstreamTlsCache;
use crate::upstream::{
    Backend, BackendKey, BackendProtocol, BackendTls, EndpointAddress, EndpointSpec, Verify,
};

use crate::workload::gate::Gates;

pub use crate::settings::Locality;

/// How a backend's addresses are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Through {
    /// The Service's ready endpoints.
    #[default]
    Endpoints,
    /// The Service's own address, so that the cluster balances (`service-upstream`).
    ClusterIp,
    /// The Service's ready endpoints for UDP.
    Datagrams,
    /// No Service at all, but a name or address that a tenant wrote: resolved and judged like an ExternalName.
    Name,
    /// The same, an address that the operator wrote.
    Address,
}

/// The backends in use, by Service.
#[derive(Debug)]
pub(crate) struct Backends {
    locality: Locality,
    tls: UpstreamTlsCache,
    pub(crate) gates: Gates,
    /// By namespace and name.
    services: HashMap<(Arc<str>, Arc<str>), LiveBackends, RandomState>,
}

/// The backends of one Service: nearly always one.
type LiveBackends = SmallVec<[Live; 1]>;

#[derive(Debug)]
struct Live {
    through: Through,
    backend: Arc<Backend>,
}

impl Backends {
    pub(crate) fn new(locality: Locality) -> Self {
        Backends {
            locality,
            tls: UpstreamTlsCache::default(),
            gates: Gates::default(),
            services: HashMap::default(),
        }
    }

    /// The backend for this key: the one that is there, or a new one with its endpoints.
    pub(crate) fn obtain(&mut self, objects: &Objects, key: BackendKey, through: Through) -> Arc<Backend> {
        let service = (key.namespace.clone(), key.service.clone());
        let live = self.services.entry(service).or_default();
        if let Some(known) = live.iter().find(|live| live.through == through && live.backend.key == key) {
            return known.backend.clone();
        }
        let backend = Arc::new(Backend::new(key, &self.tls));
        backend.publish(&endpoints_for(objects, &backend.key, through, &self.locality));
        live.push(Live { through, backend: backend.clone() });
        backend
    }

    /// Publishes the present endpoints of a Service into its backends; true when any of them changed.
    pub(crate) fn refresh(&self, objects: &Objects, namespace: &str, service: &str) -> bool {
        let Some(live) = self.services.get(&(Arc::from(namespace), Arc::from(service))) else { return false };
        live.iter().fold(false, |changed, live| {
            let endpoints = endpoints_for(objects, &live.backend.key, live.through, &self.locality);
            live.backend.publish(&endpoints) || changed
        })
    }

    /// Publishes the present endpoints of every backend.
    pub(crate) fn refresh_all(&self, objects: &Objects) -> bool {
        self.services
            .keys()
            .fold(false, |changed, (namespace, name)| self.refresh(objects, namespace, name) || changed)
    }

    /// Forgets the backends that nothing uses any more: no route, no table that is still running.
    pub(crate) fn sweep(&mut self) {
        self.services.retain(|_, live| {
            live.retain(|live| Arc::strong_count(&live.backend) > 1);
            !live.is_empty()
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.services.values().map(SmallVec::len).sum()
    }
}

/// The port of a Service that an Ingress means, or `None` when it has no such port.
pub(crate) fn port_of<'a>(service: &'a Service, wanted: &ServicePortReference) -> Option<PortChoice<'a>> {
    let tcp = service.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_ref()));
    match (&wanted.name, wanted.number) {
        (Some(name), _) if !name.is_empty() => {
            tcp.clone().find(|port| port.name == *name).map(PortChoice::of)
        }
        (_, Some(number)) => numbered_port(service, number),
        _ => None,
    }
}

/// The first port of a Service that carries TCP.
pub(crate) fn first_port(service: &Service) -> Option<PortChoice<'_>> {
    service.spec.ports.iter().find(|port| is_tcp(port.protocol.as_ref())).map(PortChoice::of)
}

/// The port of a Service with this number.
pub(crate) fn numbered_port(service: &Service, number: u16) -> Option<PortChoice<'_>> {
    let mut tcp = service.spec.ports.iter().filter(|port| is_tcp(port.protocol.as_ref()));
    let listed = tcp.find(|port| port.port == number).map(PortChoice::of);
    // An ExternalName need not list its ports.
    listed.or_else(|| {
        (is_external_name(service) && number != 0).then_some(PortChoice {
            number,
            name: "",
            app_protocol: None,
        })
    })
}

/// The UDP port of a Service with this number.
pub(crate) fn numbered_udp_port(service: &Service, number: u16) -> Option<PortChoice<'_>> {
    let mut udp = service.spec.ports.iter().filter(|port| is_udp(port.protocol.as_ref()));
    let listed = udp.find(|port| port.port == number).map(PortChoice::of);
    listed.or_else(|| {
        (is_external_name(service) && number != 0).then_some(PortChoice {
            number,
            name: "",
            app_protocol: None,
        })
    })
}

/// One port of a Service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortChoice<'a> {
    pub(crate) number: u16,
    /// Empty where it has none.
    pub(crate) name: &'a str,
    app_protocol: Option<&'a str>,
}

impl<'a> PortChoice<'a> {
    fn of(port: &'a ServicePort) -> Self {
        PortChoice { number: port.port, name: &port.name, app_protocol: port.app_protocol.as_deref() }
    }

    /// What the Service says is spoken on this port (`appProtocol`). Words that are not known count as HTTP/1.1.
    pub(crate) fn speech(&self) -> Speech {
        match self.app_protocol {
            Some("kubernetes.io/h2c" | "h2c" | "grpc") => {
                Speech { protocol: BackendProtocol::Http2, tls: false }
            }
            Some("https" | "kubernetes.io/wss") => Speech { protocol: BackendProtocol::Http1, tls: true },
            Some("grpcs") => Speech { protocol: BackendProtocol::Http2, tls: true },
            _ => Speech { protocol: BackendProtocol::Http1, tls: false },
        }
    }
}

impl PortChoice<'_> {
    /// What is spoken on this port to serve gRPC: HTTP/2 unless the Service says otherwise; `None` when it says something
    /// that cannot carry gRPC.
    pub(crate) fn grpc_speech(&self) -> Option<Speech> {
        let tls = match self.app_protocol {
            Some("http" | "kubernetes.io/ws" | "kubernetes.io/wss" | "tcp" | "udp") => return None,
            Some("https" | "grpcs") => true,
            _ => false,
        };
        Some(Speech { protocol: BackendProtocol::Http2, tls })
    }
}

/// What an endpoint is spoken to in, and whether inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speech {
    pub(crate) protocol: BackendProtocol,
    pub(crate) tls: bool,
}

/// TLS towards a backend that asked for nothing in particular: encrypted, and not authenticated, because certificates inside
/// a cluster are rarely signed by an authority that the system knows.
pub(crate) fn unverified_tls() -> Arc<BackendTls> {
    Arc::new(BackendTls::new(None, Verify::Nothing))
}

/// The endpoints of one backend, in a stable order.
///
/// Ready and not terminating, by the name of the Service's port; the first address of each. A Service without any
/// EndpointSlice is reached through its own address where it has one, which is how files name a machine. Nothing when the
/// Service or its port does not exist.
pub(crate) fn endpoints_for(
    objects: &Objects,
    key: &BackendKey,
    through: Through,
    locality: &Locality,
) -> Vec<EndpointSpec> {
    let address = match through {
        Through::Endpoints | Through::ClusterIp | Through::Datagrams => None,
        Through::Name => Some(EndpointAddress::Name(key.service.clone(), key.port)),
        Through::Address => {
            key.service.parse().ok().map(|ip| EndpointAddress::Socket(SocketAddr::new(ip, key.port)))
        }
    };
    if let Some(address) = address {
        return vec![EndpointSpec { address, local: true }];
    }
    let Some(service) = objects.services.find(&key.namespace, &key.service) else { return Vec::new() };
    if is_external_name(service) {
        // Resolved, and its addresses judged, when connecting.
        let name = service.spec.external_name.iter().filter(|name| !name.is_empty());
        return name
            .map(|name| EndpointSpec { address: EndpointAddress::Name(name.clone(), key.port), local: true })
            .collect();
    }
    let slices: Vec<_> = objects.slices_of(&key.namespace, &key.service).collect();
    if through == Through::ClusterIp || slices.is_empty() {
        let address = cluster_ip(service).map(|ip| EndpointAddress::Socket(SocketAddr::new(ip, key.port)));
        return address.into_iter().map(|address| EndpointSpec { address, local: true }).collect();
    }
    let is_meant = match through {
        Through::Endpoints | Through::ClusterIp | Through::Name | Through::Address => is_tcp,
        Through::Datagrams => is_udp,
    };
    let Some(port) =
        service.spec.ports.iter().find(|port| port.port == key.port && is_meant(port.protocol.as_ref()))
    else {
        return Vec::new();
    };
    let family = family(service, &slices);
    let slices =
        slices.iter().filter(|slice| slice.address_type.as_ref().and_then(Known::value) == Some(family));
    let mut found: Vec<(EndpointAddress, &SliceEndpoint)> =
        slices.flat_map(|slice| ready_addresses(slice, port, is_meant)).collect();
    found.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    found.dedup_by(|(a, _), (b, _)| a == b);
    let nearness = Nearness::of(service, found.iter().map(|(_, endpoint)| *endpoint), locality);
    found
        .into_iter()
        .map(|(address, endpoint)| EndpointSpec { address, local: nearness.is_local(endpoint, locality) })
        .collect()
}

fn ready_addresses<'a>(
    slice: &'a EndpointSlice,
    port: &'a ServicePort,
    is_meant: fn(Option<&Known<TransportProtocol>>) -> bool,
) -> impl Iterator<Item = (EndpointAddress, &'a SliceEndpoint)> {
    let listed =
        slice.ports.iter().find(|listed| listed.name == port.name && is_meant(listed.protocol.as_ref()));
    // A slice port without a number stands for every port.
    let number = listed.map(|listed| listed.port.unwrap_or(port.port));
    let ready = slice.endpoints.iter().filter(|endpoint| {
        endpoint.conditions.ready.unwrap_or(true) && !endpoint.conditions.terminating.unwrap_or(false)
    });
    ready.filter_map(move |endpoint| {
        let (text, number) = (endpoint.addresses.first()?, number?);
        let address = match text.parse::<IpAddr>() {
            Ok(ip) => EndpointAddress::Socket(SocketAddr::new(ip, number)),
            Err(_) => EndpointAddress::Name((**text).into(), number),
        };
        Some((address, endpoint))
    })
}

/// A dual-stack Service has each of its pods once per address family; only one of them is used, the Service's first.
fn family(service: &Service, slices: &[&Arc<EndpointSlice>]) -> AddressType {
    let has = |family| slices.iter().any(|slice| slice.address_type == Some(Known::Value(family)));
    let preferred = match cluster_ip(service) {
        Some(IpAddr::V6(_)) => [AddressType::Ipv6, AddressType::Ipv4],
        Some(IpAddr::V4(_)) | None => [AddressType::Ipv4, AddressType::Ipv6],
    };
    preferred.into_iter().find(|family| has(*family)).unwrap_or(AddressType::Fqdn)
}

/// What makes an endpoint near.
enum Nearness {
    /// Every endpoint carries hints of the cluster's own.
    Hints,
    Zone,
    Node,
    /// Nothing was asked for, or it is not known where this process runs.
    Everywhere,
}

impl Nearness {
    fn of<'a>(
        service: &Service,
        mut endpoints: impl Iterator<Item = &'a SliceEndpoint>,
        locality: &Locality,
    ) -> Self {
        // As kube-proxy does: one endpoint without hints makes the hints incomplete, and incomplete hints are not used.
        if endpoints
            .all(|endpoint| !endpoint.hints.for_zones.is_empty() || !endpoint.hints.for_nodes.is_empty())
        {
            return Nearness::Hints;
        }
        match service.spec.traffic_distribution.as_deref() {
            Some("PreferClose" | "PreferSameZone") if locality.zone.is_some() => Nearness::Zone,
            Some("PreferSameNode") if locality.node.is_some() => Nearness::Node,
            _ => Nearness::Everywhere,
        }
    }

    fn is_local(&self, endpoint: &SliceEndpoint, locality: &Locality) -> bool {
        let hinted = |hints: &[super::objects::core::Named], here: &Option<Arc<str>>| {
            here.as_ref().is_none_or(|here| hints.is_empty() || hints.iter().any(|hint| hint.name == *here))
        };
        match self {
            Nearness::Hints => {
                hinted(&endpoint.hints.for_zones, &locality.zone)
                    && hinted(&endpoint.hints.for_nodes, &locality.node)
            }
            Nearness::Zone => endpoint.zone == locality.zone,
            Nearness::Node => endpoint.node_name == locality.node,
            Nearness::Everywhere => true,
        }
    }
}

fn is_external_name(service: &Service) -> bool {
    service.spec.service_type == Some(Known::Value(ServiceType::ExternalName))
}

fn is_tcp(protocol: Option<&Known<TransportProtocol>>) -> bool {
    protocol.is_none_or(|protocol| *protocol == Known::Value(TransportProtocol::Tcp))
}

fn is_udp(protocol: Option<&Known<TransportProtocol>>) -> bool {
    protocol == Some(&Known::Value(TransportProtocol::Udp))
}

/// The Service's own address; `None` for headless Services, whose text is `None` and no address.
fn cluster_ip(service: &Service) -> Option<IpAddr> {
    service.spec.cluster_ip.as_deref().or(service.spec.cluster_ips.first().map(|ip| &**ip))?.parse().ok()
}

fn order(address: &EndpointAddress) -> (Option<SocketAddr>, &str, u16) {
    match address {
        EndpointAddress::Socket(address) => (Some(*address), "", 0),
        EndpointAddress::Name(name, port) => (None, name, *port),
    }
}

#[cfg(test)]
mod tests;
