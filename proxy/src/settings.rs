//! The operator's file, `vestibule.yaml`: what is true of this edge as a whole.
//!
//! Secrets are never written here; they are named (`secretRef`, `file`, `env`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

/// Everything the operator may set. An absent key has the default that its own documentation names.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The classes of Ingress that this edge serves, each on its own addresses.
    pub classes: Vec<Class>,
    /// Gateways of these class names are served (`GatewayClass` objects whose `controllerName` is ours are found by
    /// themselves; this list is for running without such an object).
    pub gateway_classes: Vec<Arc<str>>,
    /// Where a Gateway's listeners are bound when there is no cluster to give them addresses.
    pub gateways: Vec<GatewayBinding>,
    /// Whose word about the client's address and scheme is taken.
    pub trust: Trust,
}

/// One Ingress class.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Class {
    /// The name in `spec.ingressClassName`.
    pub name: Arc<str>,
    /// Takes Ingresses that name no class, too.
    #[serde(default)]
    pub default: bool,
    /// Addresses that speak plain HTTP.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub http: Vec<SocketAddr>,
    /// Addresses that speak TLS.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub https: Vec<SocketAddr>,
}

/// Where the listeners of one Gateway are bound.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayBinding {
    /// `namespace/name`, or `*` for every Gateway without a binding of its own.
    pub gateway: Arc<str>,
    /// The addresses to bind.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// Listener port → port to bind, where they differ (80 → 8080 for a process without privileges).
    #[serde(default)]
    pub ports: std::collections::BTreeMap<u16, u16>,
}

/// Whose word is taken, per kind of word.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Trust {
    /// Peers whose `X-Forwarded-*` and `Forwarded` headers are believed.
    #[schemars(with = "Vec<String>")]
    pub forwarded: Vec<IpNet>,
    /// Peers that speak the PROXY protocol; others are refused on listeners where this is not empty.
    #[schemars(with = "Vec<String>")]
    pub proxy_protocol: Vec<IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Settings {
            classes: vec![Class {
                name: "vestibule".into(),
                default: true,
                http: vec![loopback(8080)],
                https: vec![loopback(8443)],
            }],
            gateway_classes: vec!["vestibule".into()],
            gateways: vec![GatewayBinding {
                gateway: "*".into(),
                addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                ports: Default::default(),
            }],
            trust: Trust::default(),
        }
    }
}
