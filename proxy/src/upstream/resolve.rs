//! Names of upstreams (Service type ExternalName): resolved when connecting, kept for their TTL, checked before use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use ipnet::IpNet;
use tokio::runtime::Handle;

use super::connect::ConnectError;

/// Resolves upstream names on the control runtime, with one cache for all workers.
pub(crate) struct Resolver {
    control: Handle,
    resolver: Option<TokioResolver>,
    /// Addresses that only the edge is meant to reach: the API server's, for one.
    also_refused: Vec<IpAddr>,
}

impl Resolver {
    /// A resolver as `/etc/resolv.conf` says. Where that cannot be read every name is unresolved, and says so.
    pub(crate) fn new(control: Handle, also_refused: Vec<IpAddr>) -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).ok();
        Resolver { control, resolver, also_refused }
    }

    /// The addresses of `name` that may be connected to, in the order of the answer. `allowed` are the networks that names
    /// may lead to although they look internal (`externalName.allow`).
    ///
    /// A name is tenants' data: one that leads to this machine, to link-local services or nowhere sensible is refused, or a
    /// tenant could reach through the edge what only the edge can reach.
    pub(crate) async fn resolve(
        &self,
        name: &Arc<str>,
        allowed: &[IpNet],
    ) -> Result<Vec<IpAddr>, ConnectError> {
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
            addresses.into_iter().partition(|address| is_permitted(*address, allowed, &self.also_refused));
        match (permitted.is_empty(), forbidden.first()) {
            (true, Some(&address)) => Err(ConnectError::Forbidden { name: Arc::clone(name), address }),
            _ => Ok(permitted),
        }
    }
}

/// The address of the API server, as the kubelet tells every pod of it in `KUBERNETES_SERVICE_HOST`.
pub(crate) fn api_server_address(service_host: Option<&str>) -> Option<IpAddr> {
    service_host?.parse().ok()
}

/// Not where only this machine or the edge is meant to go, unless `allowed`.
fn is_permitted(address: IpAddr, allowed: &[IpNet], also_refused: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    let refused = is_special(address) || also_refused.iter().any(|known| known.to_canonical() == address);
    !refused || allowed.iter().any(|network| network.contains(&address))
}

/// Loopback, link-local, unspecified, multicast, broadcast, where clouds keep their metadata services, and what only wraps
/// one of these.
fn is_special(address: IpAddr) -> bool {
    let special = METADATA_V4.iter().any(|known| address == IpAddr::V4(*known))
        || METADATA_V6.iter().any(|known| address == IpAddr::V6(*known))
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast();
    special
        || match address {
            // 0.0.0.0/8 is "this host on this network" (RFC 1122 §3.2.1.3).
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local()
                    || is_ipv4_compatible(v6)
                    || embedded(v6).is_some_and(|v4| is_special(IpAddr::V4(v4)))
            }
        }
}

/// `::/96`: deprecated, and without a use that would not be an attack (RFC 4291 §2.5.5.1).
fn is_ipv4_compatible(address: Ipv6Addr) -> bool {
    address.segments()[..6] == [0; 6]
}

/// The IPv4 address that packets to a NAT64 (RFC 6052) or 6to4 (RFC 3056) address end up at.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

/// Metadata services that are not link-local: Alibaba Cloud, Azure, Oracle Cloud.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// AWS, Google Cloud.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn names_may_not_lead_inside_unless_the_operator_says_so() {
        let allowed: Vec<IpNet> = vec!["127.0.0.0/8".parse().expect("a network")];
        for (text, by_default, when_allowed) in [
            ("93.184.216.34", true, true),
            ("10.0.0.7", true, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("0.0.0.0", false, false),
            ("0.0.0.1", false, false),
            ("224.0.0.1", false, false),
            ("::1", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("fd00:ec2::255", true, true),
            ("2001:db8::1", true, true),
        ] {
            let address = address(text);
            assert_eq!(is_permitted(address, &[], &[]), by_default, "{text}");
            assert_eq!(is_permitted(address, &allowed, &[]), when_allowed, "{text}");
        }
    }

    #[test]
    fn what_wraps_an_internal_address_is_internal() {
        for (text, permitted) in [
            ("64:ff9b::127.0.0.1", false),
            ("64:ff9b::169.254.169.254", false),
            ("64:ff9b::168.63.129.16", false),
            ("64:ff9b::93.184.216.34", true),
            ("::93.184.216.34", false),
            ("::127.0.0.1", false),
            ("2002:7f00:1::1", false),
            ("2002:a9fe:a9fe::", false),
            ("2002:5db8:d822::1", true),
        ] {
            assert_eq!(is_permitted(address(text), &[], &[]), permitted, "{text}");
        }
    }

    #[test]
    fn the_api_server_is_reached_by_no_name() {
        let api_server = api_server_address(Some("10.96.0.1")).expect("an address");
        assert!(is_permitted(api_server, &[], &[]));
        assert!(!is_permitted(api_server, &[], &[api_server]));
        assert!(!is_permitted(address("::ffff:10.96.0.1"), &[], &[api_server]));
        assert!(is_permitted(address("10.96.0.2"), &[], &[api_server]));
        let allowed: IpNet = "10.96.0.0/16".parse().expect("a network");
        assert!(is_permitted(api_server, &[allowed], &[api_server]));
        assert_eq!(api_server_address(None), None);
        assert_eq!(api_server_address(Some("kubernetes.default")), None);
    }
}
