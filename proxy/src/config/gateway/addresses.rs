//! The addresses that a Gateway asks for (`spec.addresses`), and which of them it can have.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::lower::Scope;
use crate::config::objects::gateway::Gateway;
use crate::config::problem::Severity;
use crate::config::status::Condition;
use crate::settings::GatewayBinding;

/// What a Gateway gets of what the settings have for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// To be bound.
    pub(crate) addresses: Vec<IpAddr>,
    /// Addresses and host names for its status.
    pub(crate) published: Vec<Arc<str>>,
    /// Asked for, and not there.
    pub(crate) unusable: Vec<IpAddr>,
}

/// The addresses that are asked for; none when any will do. A type that is not known refuses the Gateway.
pub(super) fn requested(gateway: &Gateway, accepted: &mut Condition, scope: &mut Scope<'_>) -> Vec<IpAddr> {
    let mut requested = Vec::new();
    for (index, address) in gateway.spec.addresses.iter().enumerate() {
        let kind = address.address_type.as_deref().unwrap_or("IPAddress");
        let value = address.value.as_deref().unwrap_or_default();
        let fault = match (kind, value, value.parse()) {
            ("IPAddress", "", _) => continue,
            ("IPAddress", _, Ok(ip)) => {
                requested.push(ip);
                continue;
            }
            ("IPAddress", _, Err(_)) => format!("`{}` is no IP address", value.escape_debug()),
            _ => format!("addresses of type {} cannot be asked for: write IPAddress", kind.escape_debug()),
        };
        let field = format!("spec.addresses[{index}]");
        scope.problem(Severity::Refused, field, "UnsupportedAddress", fault.clone());
        if accepted.holds {
            *accepted = Condition::no("UnsupportedAddress", fault);
        }
    }
    requested
}

/// What a Gateway that asks for these addresses gets. An address that is published but not bound (that of a load balancer in
/// front) can be asked for, too, and then all that is bound is taken.
pub(crate) fn claim(requested: &[IpAddr], binding: Option<&GatewayBinding>) -> Claim {
    let Some(binding) = binding else {
        return Claim { unusable: requested.to_vec(), ..Claim::default() };
    };
    let published: Vec<Arc<str>> = if binding.publish.is_empty() {
        let bound = binding.addresses.iter().filter(|address| !address.is_unspecified());
        bound.map(|address| address.to_string().into()).collect()
    } else {
        binding.publish.clone()
    };
    if requested.is_empty() {
        return Claim { addresses: binding.addresses.clone(), published, unusable: Vec::new() };
    }
    let is_published = |ip: &IpAddr| published.iter().any(|name| name.parse() == Ok(*ip));
    let (usable, unusable): (Vec<IpAddr>, Vec<IpAddr>) =
        requested.iter().partition(|ip| binding.addresses.contains(ip) || is_published(ip));
    let addresses = if usable.iter().all(|ip| binding.addresses.contains(ip)) {
        usable.clone()
    } else {
        binding.addresses.clone()
    };
    Claim { addresses, published: usable.iter().map(|ip| ip.to_string().into()).collect(), unusable }
}
