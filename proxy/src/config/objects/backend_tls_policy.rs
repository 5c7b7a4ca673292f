//! `gateway.networking.k8s.io`: BackendTLSPolicy (v1 of Gateway API 1.6; v1alpha3 has the same fields).

use std::sync::Arc;

use serde::Deserialize;

use super::gateway::ObjectReference;
use super::metadata::{Known, Metadata, Words, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BackendTlsPolicy {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: BackendTlsPolicySpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsPolicySpec {
    #[serde(deserialize_with = "or_default")]
    pub target_refs: Box<[PolicyTarget]>,
    #[serde(deserialize_with = "or_default")]
    pub validation: BackendTlsValidation,
}

/// An object of the policy's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    #[serde(default, deserialize_with = "or_default")]
    pub group: Box<str>,
    pub kind: Box<str>,
    pub name: Arc<str>,
    /// The name of one port of a Service; absent: all of its ports.
    pub section_name: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsValidation {
    /// ConfigMaps of the policy's own namespace, each with `ca.crt`.
    #[serde(deserialize_with = "or_default")]
    pub ca_certificate_refs: Box<[ObjectReference]>,
    /// `System` is the only word of the API.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<Known<WellKnownAuthorities>>,
    /// SNI, and the name to verify where there are no `subjectAltNames`.
    #[serde(deserialize_with = "or_default")]
    pub hostname: Box<str>,
    #[serde(deserialize_with = "or_default")]
    pub subject_alt_names: Box<[SubjectAltName]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WellKnownAuthorities {
    System,
}

impl Words for WellKnownAuthorities {
    const WORDS: &'static [(&'static str, Self)] = &[("System", WellKnownAuthorities::System)];
}

/// The field that its type names is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SubjectAltName {
    #[serde(rename = "type")]
    pub name_type: Known<SubjectAltNameType>,
    pub hostname: Option<Box<str>>,
    pub uri: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectAltNameType {
    Hostname,
    Uri,
}

impl Words for SubjectAltNameType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("Hostname", SubjectAltNameType::Hostname), ("URI", SubjectAltNameType::Uri)];
}
