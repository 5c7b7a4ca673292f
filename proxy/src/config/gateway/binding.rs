//! Where a Gateway's listeners are bound: as the settings say, or as the Service says that was made for it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::config::objects::{Objects, Service};
use crate::config::problem::ObjectRef;
use crate::settings::{GatewayBinding, Settings};

/// The addresses and ports that a Gateway can have.
pub(crate) struct Bound<'s> {
    pub(crate) binding: Cow<'s, GatewayBinding>,
    /// Ports that the binding does not name are waited for, and not bound as they are.
    pub(crate) only_named_ports: bool,
}

/// Where a Gateway is bound: by its name in the settings, else by its Service, else as every Gateway. `None`: nowhere.
pub(crate) fn bound<'s>(gateway: &ObjectRef, settings: &'s Settings, objects: &Objects) -> Option<Bound<'s>> {
    let by_settings = || {
        let binding = settings.gateway_binding(&gateway.namespace, &gateway.name)?;
        Some(Bound { binding: Cow::Borrowed(binding), only_named_ports: false })
    };
    let Some(services) = &settings.gateway_services else { return by_settings() };
    if settings.is_bound_by_name(&gateway.namespace, &gateway.name) {
        return by_settings();
    }
    // Only in the one namespace that is ours: anybody may write labels in his own.
    let service = objects.services.find(&services.namespace, &service_name(gateway))?;
    if service.metadata.labels.get(MANAGED_BY_LABEL) != Some(MANAGED_BY) {
        return None;
    }
    Some(Bound { binding: Cow::Owned(of_service(gateway, service)), only_named_ports: true })
}

fn of_service(gateway: &ObjectRef, service: &Service) -> GatewayBinding {
    let given = service.status.load_balancer.ingress.iter();
    let given = given.filter_map(|entry| entry.ip.as_ref().or(entry.hostname.as_ref())).cloned();
    let mut publish: Vec<Arc<str>> = given.chain(service.spec.external_ips.iter().cloned()).collect();
    let is_balanced = service.spec.service_type.as_ref().and_then(|kind| kind.value())
        == Some(crate::config::objects::core::ServiceType::LoadBalancer);
    let own: Vec<&str> = service.spec.cluster_ip.as_deref().into_iter().collect();
    if !is_balanced && publish.is_empty() {
        publish.extend(own.iter().map(|ip| Arc::from(*ip)));
    }
    let has_ipv6 = service.spec.cluster_ips.iter().any(|ip| ip.parse::<Ipv6Addr>().is_ok());
    let mut addresses = vec![IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    if has_ipv6 {
        addresses.push(Ipv6Addr::UNSPECIFIED.into());
    }
    GatewayBinding {
        gateway: format!("{}/{}", gateway.namespace, gateway.name).into(),
        addresses,
        ports: service
            .spec
            .ports
            .iter()
            .filter_map(|port| Some((port.port, port.target_number()?)))
            .collect(),
        publish,
        trust: None,
    }
}

/// The name of the Service by which clients reach a Gateway: readable as far as there is room, and never the same for two.
pub(crate) fn service_name(gateway: &ObjectRef) -> String {
    let whole = format!("{}/{}", gateway.namespace, gateway.name);
    let hash = digest::digest(&digest::SHA256, whole.as_bytes());
    let hash: String = hash.as_ref().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("gateway-{}-{}", gateway.namespace, gateway.name).replace('.', "-");
    let room = NAME_BYTES_MAX - 1 - hash.len();
    let readable = name.get(..room).unwrap_or(&name).trim_end_matches('-');
    format!("{readable}-{hash}")
}

/// What marks a Service as ours.
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub(crate) const MANAGED_BY: &str = "vestibule";
/// The Gateway that a Service was made for.
pub(crate) const GATEWAY_LABEL: &str = "vestibule.dev/gateway";
pub(crate) const GATEWAY_NAMESPACE_LABEL: &str = "vestibule.dev/gateway-namespace";

/// Names of Services end here (RFC 1123).
const NAME_BYTES_MAX: usize = 63;
const HASH_BYTES: usize = 5;
