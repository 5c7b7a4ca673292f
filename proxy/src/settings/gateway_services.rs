//! Services that are made for Gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

/// How Gateways are reached that are not bound to addresses by name: each by a Service of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayServices {
    /// Where the Services stand: the namespace that Vestibule runs in. (live)
    pub namespace: Arc<str>,
    /// The labels of the Pods that serve. (live)
    pub selector: BTreeMap<String, String>,
    /// Default: LoadBalancer. (live)
    #[serde(default)]
    pub exposure: Exposure,
    /// Which load balancer takes the Services, where there are several. (live)
    #[serde(default)]
    pub load_balancer_class: Option<Arc<str>>,
    /// Labels of the Services, beside those that mark them. (live)
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Services. (live)
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The first and the last number that a Pod listens on for Gateways; rules for networks and meshes may name the range.
    /// Default: [10000, 10255]. (live)
    #[serde(default = "target_ports")]
    pub target_ports: (u16, u16),
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Exposure {
    /// By an address that a load balancer gives it.
    #[default]
    LoadBalancer,
    /// Within the cluster alone.
    ClusterIp,
}

fn target_ports() -> (u16, u16) {
    (10_000, 10_255)
}
