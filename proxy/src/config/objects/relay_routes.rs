//! `gateway.networking.k8s.io`: TLSRoute, TCPRoute and UDPRoute (v1 of Gateway API 1.6; the alpha versions before have the same
//! fields).

use std::sync::Arc;

use serde::Deserialize;

use super::httproute::{HttpBackendReference, ParentReference};
use super::metadata::{Metadata, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TlsRoute {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: RelayRouteSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TcpRoute {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: RelayRouteSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UdpRoute {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: RelayRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelayRouteSpec {
    #[serde(deserialize_with = "or_default")]
    pub parent_refs: Box<[ParentReference]>,
    /// Of TLSRoutes alone.
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Box<[Box<str>]>,
    /// One; there is nothing by which bytes could be told apart.
    #[serde(deserialize_with = "or_default")]
    pub rules: Box<[RelayRouteRule]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelayRouteRule {
    pub name: Option<Arc<str>>,
    #[serde(deserialize_with = "or_default")]
    pub backend_refs: Box<[HttpBackendReference]>,
}
