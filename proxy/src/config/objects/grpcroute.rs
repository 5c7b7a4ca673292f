//! `gateway.networking.k8s.io`: GRPCRoute (v1 of Gateway API 1.6, experimental fields included).
//!
//! Filters and backends are written as in an HTTPRoute, of which a GRPCRoute takes a part.

use std::sync::Arc;

use serde::Deserialize;

use super::httproute::{
    HttpBackendReference, HttpRouteFilter, HttpValueMatch, ParentReference, SessionPersistence,
    ValueMatchType,
};
use super::metadata::{Known, Metadata, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GrpcRoute {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: GrpcRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteSpec {
    #[serde(deserialize_with = "or_default")]
    pub parent_refs: Box<[ParentReference]>,
    #[serde(deserialize_with = "or_default")]
    pub hostnames: Box<[Box<str>]>,
    /// Empty: nothing is routed, unlike with HTTPRoute.
    #[serde(deserialize_with = "or_default")]
    pub rules: Box<[GrpcRouteRule]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    pub name: Option<Arc<str>>,
    /// Empty: everything.
    #[serde(deserialize_with = "or_default")]
    pub matches: Box<[GrpcRouteMatch]>,
    #[serde(deserialize_with = "or_default")]
    pub filters: Box<[HttpRouteFilter]>,
    #[serde(deserialize_with = "or_default")]
    pub backend_refs: Box<[HttpBackendReference]>,
    pub session_persistence: Option<SessionPersistence>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    pub method: Option<GrpcMethodMatch>,
    #[serde(deserialize_with = "or_default")]
    pub headers: Box<[HttpValueMatch]>,
}

/// At least one of service and method is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// Absent: `Exact`.
    #[serde(rename = "type")]
    pub match_type: Option<Known<ValueMatchType>>,
    pub service: Option<Box<str>>,
    pub method: Option<Box<str>>,
}
