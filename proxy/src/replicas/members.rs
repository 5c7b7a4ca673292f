//! Which replicas there are.

use std::net::{IpAddr, SocketAddr};

use crate::config::objects::Objects;

/// A replica, as others tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    /// Clients may come to it, as far as Kubernetes knows.
    pub(crate) ready: bool,
}

/// Those behind a headless Service: all its Pods, whether they are ready, end, or cannot be reached; sorted.
pub(crate) fn of_service(objects: &Objects, namespace: &str, name: &str) -> Vec<Member> {
    let mut members = Vec::new();
    for slice in objects.slices_of(namespace, name) {
        let named = slice.ports.iter().find(|port| &*port.name == PORT_NAME);
        let port = named.or(match &slice.ports[..] {
            [only] => Some(only),
            _ => None,
        });
        let Some(port) = port.and_then(|port| port.port) else { continue };
        for endpoint in &slice.endpoints {
            let conditions = &endpoint.conditions;
            let serving = conditions.serving.or(conditions.ready).unwrap_or(true);
            let ready = serving && !conditions.terminating.unwrap_or(false);
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            members.extend(addresses.map(|ip| Member { address: SocketAddr::new(ip, port), ready }));
        }
    }
    members.sort_unstable();
    members.dedup_by_key(|member| member.address);
    members
}

/// Those of a list.
pub(crate) fn of_list(addresses: &[SocketAddr]) -> Vec<Member> {
    let mut members: Vec<Member> =
        addresses.iter().map(|address| Member { address: *address, ready: true }).collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// The port of the Service that counts, where it has several.
const PORT_NAME: &str = "replicas";

#[cfg(test)]
mod tests;
