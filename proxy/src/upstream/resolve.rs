//! Names of upstreams (Service type ExternalName): resolved when connecting, kept for their TTL, checked before use.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use ipnet::IpNet;
use tokio::runtime::Handle;

use super::connect::ConnectError;

/// Resolves upstream names on the control runtime, with one cache for all workers.
pub(crate) struct Resolver {
    control: Handle,
    resolver: Option<TokioResolver>,
    /// Networks that names may lead to although they look internal (`externalName.allow`).
    allowed: Vec<IpNet>,
}

impl Resolver {
    /// A resolver as `/etc/resolv.conf` says. Where that cannot be read every name is unresolved, and says so.
    pub(crate) fn new(control: Handle, allowed: Vec<IpNet>) -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).ok();
        Resolver { control, resolver, allowed }
    }

    /// The addresses of `name` that may be connected to, in the order of the answer.
    ///
    /// A name is tenants' data: one that leads to this machine, to link-local services or nowhere sensible is refused, or a
    /// tenant could reach through the edge what only the edge can reach.
    pub(crate) async fn resolve(&self, name: &Arc<str>) -> Result<Vec<IpAddr>, ConnectError> {
        let unresolved = |cause: String| ConnectError::Unresolved { name: Arc::clone(name), cause };
        let addresses: Vec<IpAddr> = if let Ok(literal) = name.parse() {
            vec![literal]
        } else {
            let resolver =
                self.resolver.clone().ok_or_else(|| unresolved("/etc/resolv.conf is not usable".into()))?;
            let query = name.to_string();
            let lookup = self.control.spawn(async move { resolver.lookup_ip(query).await });
            let found = lookup.await.map_err(|error| unresolved(error.to_string()))?;
            found.map_err(|error| unresolved(error.to_string()))?.iter().collect()
        };
        let (permitted, forbidden): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| is_permitted(*address, &self.allowed));
        match (permitted.is_empty(), forbidden.first()) {
            (true, Some(&address)) => Err(ConnectError::Forbidden { name: Arc::clone(name), address }),
            _ => Ok(permitted),
        }
    }
}

/// Neither loopback nor link-local (where cloud metadata services live), unspecified, multicast or broadcast, unless `allowed`.
fn is_permitted(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = address.to_canonical();
    let internal = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4 == Ipv4Addr::new(100, 100, 100, 200),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let special = internal || address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !special || allowed.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_not_lead_inside_unless_the_operator_says_so() {
        let allowed: Vec<IpNet> = vec!["127.0.0.0/8".parse().expect("a network")];
        for (address, by_default, when_allowed) in [
            ("93.184.216.34", true, true),
            ("10.0.0.7", true, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("100.100.100.200", false, false),
            ("0.0.0.0", false, false),
            ("224.0.0.1", false, false),
            ("::1", false, false),
            ("fe80::1", false, false),
            ("2001:db8::1", true, true),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(is_permitted(address, &[]), by_default, "{address}");
            assert_eq!(is_permitted(address, &allowed), when_allowed, "{address}");
        }
    }
}
