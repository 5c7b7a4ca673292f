//! Who may enter, by address.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::reject::Reject;
use crate::route::auth::Satisfy;
use crate::route::{AddressRules, Route};

/// What a client's address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Enough.
    Wholly,
    /// Not enough where the route asks who it is.
    IfKnown,
}

/// Judges the client's address by the rules of the route, and whether it can stand in for an identity (`satisfy: any`).
pub(crate) fn admit(route: &Route, address: IpAddr) -> Result<Admitted, Reject> {
    let checked = check(&route.access, address);
    let any = route.auth.as_deref().is_some_and(|auth| auth.satisfy == Satisfy::Any);
    if !any || (route.access.allow.is_empty() && route.access.deny.is_empty()) {
        // Without rules about addresses there is nothing that an address could satisfy.
        return checked.map(|()| Admitted::IfKnown);
    }
    Ok(if checked.is_ok() { Admitted::Wholly } else { Admitted::IfKnown })
}

/// Lets the client's address in, or refuses it: deny wins over allow, and an empty allow list lets everyone in who is
/// not denied. An IPv4-mapped IPv6 address is its IPv4 address, in the rules as in the client.
pub fn check(rules: &AddressRules, address: IpAddr) -> Result<(), Reject> {
    if rules.allow.is_empty() && rules.deny.is_empty() {
        return Ok(());
    }
    let address = address.to_canonical();
    let denied = rules.deny.iter().any(|range| contains(range, address));
    let allowed = rules.allow.is_empty() || rules.allow.iter().any(|range| contains(range, address));
    if allowed && !denied { Ok(()) } else { Err(Reject::AddressDenied) }
}

fn contains(range: &IpNet, address: IpAddr) -> bool {
    match (range, address) {
        // `::ffff:10.0.0.0/104` speaks of IPv4 clients, and `::/0` of everyone.
        (IpNet::V6(range), IpAddr::V4(address)) => range.contains(&address.to_ipv6_mapped()),
        (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_) | IpNet::V4(_), IpAddr::V6(_)) => {
            range.contains(&address)
        }
    }
}
