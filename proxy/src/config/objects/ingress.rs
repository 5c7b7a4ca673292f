//! `networking.k8s.io/v1`: Ingress and IngressClass.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::{Known, Metadata, Words, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ingress {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: IngressSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    pub ingress_class_name: Option<Arc<str>>,
    pub default_backend: Option<Box<IngressBackend>>,
    #[serde(deserialize_with = "or_default")]
    pub tls: Box<[IngressTls]>,
    #[serde(deserialize_with = "or_default")]
    pub rules: Box<[IngressRule]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    #[serde(deserialize_with = "or_default")]
    pub hosts: Box<[Box<str>]>,
    pub secret_name: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Absent or empty: every host.
    pub host: Option<Box<str>>,
    pub http: Option<IngressPaths>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressPaths {
    #[serde(deserialize_with = "or_default")]
    pub paths: Box<[IngressPath]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressPath {
    pub path: Option<Box<str>>,
    pub path_type: Option<Known<PathType>>,
    #[serde(default, deserialize_with = "or_default")]
    pub backend: IngressBackend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

impl Words for PathType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("Exact", PathType::Exact),
        ("Prefix", PathType::Prefix),
        ("ImplementationSpecific", PathType::ImplementationSpecific),
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    pub service: Option<IngressServiceBackend>,
    pub resource: Option<Box<TypedReference>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IngressServiceBackend {
    pub name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub port: ServicePortReference,
}

/// One of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServicePortReference {
    pub name: Option<Box<str>>,
    pub number: Option<u16>,
}

/// A reference to an object of any kind in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypedReference {
    pub api_group: Option<Box<str>>,
    pub kind: Box<str>,
    pub name: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IngressClass {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: IngressClassSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClassSpec {
    #[serde(deserialize_with = "or_default")]
    pub controller: Arc<str>,
}
