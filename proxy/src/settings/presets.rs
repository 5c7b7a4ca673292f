//! Networks by name: proxies in front of the edge that publish the addresses they come from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// One entry of a list of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// A network, or one address as a network of its own.
    Range(IpNet),
    /// The name of a preset, not yet looked up.
    Preset(Arc<str>),
}

impl Network {
    /// The networks meant. The operator's own presets come before the built-in ones.
    pub fn resolve(&self, own: &BTreeMap<Arc<str>, Vec<IpNet>>) -> Result<Vec<IpNet>, UnknownPreset> {
        match self {
            Network::Range(range) => Ok(vec![*range]),
            Network::Preset(name) => match own.get(name) {
                Some(networks) => Ok(networks.clone()),
                None => built_in(name).ok_or_else(|| UnknownPreset(name.clone())),
            },
        }
    }
}

/// A name that is no preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a network nor a preset; write a network such as 10.0.0.0/8, one of cloudflare, private, \
         loopback, or add it under `presets`"
)]
pub struct UnknownPreset(pub Arc<str>);

impl From<&str> for Network {
    fn from(text: &str) -> Self {
        if let Ok(range) = text.parse::<IpNet>() {
            return Network::Range(range);
        }
        match text.parse::<std::net::IpAddr>() {
            Ok(address) => Network::Range(address.into()),
            Err(_) => Network::Preset(text.into()),
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Network::from(&*Cow::<'de, str>::deserialize(deserializer)?))
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A network, an address, or the name of a preset."})
    }
}

/// The networks of a built-in preset.
fn built_in(name: &str) -> Option<Vec<IpNet>> {
    let ranges = match name {
        "cloudflare" => CLOUDFLARE,
        "private" => PRIVATE,
        "loopback" => LOOPBACK,
        _ => return None,
    };
    Some(ranges.iter().filter_map(|range| range.parse().ok()).collect())
}

/// What Cloudflare publishes at https://www.cloudflare.com/ips/, as of its last change on 2023-09-28.
const CLOUDFLARE: &[&str] = &[
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

/// RFC 1918, RFC 4193, and the shared space of RFC 6598 that Tailscale uses.
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1/128"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_range_is_a_network() {
        for (name, ranges) in [("cloudflare", CLOUDFLARE), ("private", PRIVATE), ("loopback", LOOPBACK)] {
            assert_eq!(built_in(name).unwrap().len(), ranges.len(), "{name}");
        }
    }

    #[test]
    fn the_operators_preset_replaces_the_built_in_one() {
        let network = Network::from("cloudflare");
        assert!(network.resolve(&BTreeMap::new()).unwrap().len() > 10);
        let own = BTreeMap::from([("cloudflare".into(), vec!["192.0.2.0/24".parse().unwrap()])]);
        assert_eq!(network.resolve(&own).unwrap(), ["192.0.2.0/24".parse().unwrap()]);
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(Network::from("2001:db8::1"), Network::Range("2001:db8::1/128".parse().unwrap()));
        assert!(
            Network::from("cloudfare")
                .resolve(&BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("cloudfare")
        );
    }
}
