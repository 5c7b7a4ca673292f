//! `v1` and `discovery.k8s.io/v1`: Service, EndpointSlice, Secret, ConfigMap, Namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize, Deserializer};

use super::metadata::{Known, Metadata, StringMap, Words, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Service {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: ServiceSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub status: ServiceStatus,
}

/// What a load balancer has given to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    #[serde(deserialize_with = "or_default")]
    pub load_balancer: LoadBalancerStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    #[serde(deserialize_with = "or_default")]
    pub ingress: Box<[LoadBalancerIngress]>,
}

/// One address of a load balancer: an IP address or a host name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerIngress {
    pub ip: Option<Arc<str>>,
    pub hostname: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Absent: ClusterIP.
    #[serde(rename = "type")]
    pub service_type: Option<Known<ServiceType>>,
    /// `None` as text for headless Services; an address otherwise.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Box<str>>,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Box<[Box<str>]>,
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[ServicePort]>,
    pub external_name: Option<Arc<str>>,
    /// Addresses that lead to the Service by other means than Kubernetes'.
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    pub external_ips: Box<[Arc<str>]>,
    /// `PreferClose`, `PreferSameZone` or `PreferSameNode`.
    pub traffic_distribution: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceType {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

impl Words for ServiceType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ClusterIP", ServiceType::ClusterIp),
        ("NodePort", ServiceType::NodePort),
        ("LoadBalancer", ServiceType::LoadBalancer),
        ("ExternalName", ServiceType::ExternalName),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    #[serde(default, deserialize_with = "or_default")]
    pub name: Box<str>,
    pub port: u16,
    /// Absent: TCP.
    pub protocol: Option<Known<TransportProtocol>>,
    pub app_protocol: Option<Box<str>>,
    /// A number or a name; absent: the same as `port`.
    pub target_port: Option<TargetPort>,
}

/// `targetPort`: a number, or the name of a port of the Pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    Number(u16),
    Name(Box<str>),
}

impl ServicePort {
    /// The number that Pods listen on, where it is one.
    pub fn target_number(&self) -> Option<u16> {
        match self.target_port {
            Some(TargetPort::Number(number)) => Some(number),
            Some(TargetPort::Name(_)) | None => None,
        }
    }

    pub fn is_udp(&self) -> bool {
        self.protocol == Some(Known::Value(TransportProtocol::Udp))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl Words for TransportProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("TCP", TransportProtocol::Tcp),
        ("UDP", TransportProtocol::Udp),
        ("SCTP", TransportProtocol::Sctp),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Metadata,
    pub address_type: Option<Known<AddressType>>,
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Box<[SliceEndpoint]>,
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Box<[SlicePort]>,
}

impl EndpointSlice {
    /// The Service whose endpoints these are, by the label that names it.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.get("kubernetes.io/service-name")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressType {
    Ipv4,
    Ipv6,
    Fqdn,
}

impl Words for AddressType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("IPv4", AddressType::Ipv4), ("IPv6", AddressType::Ipv6), ("FQDN", AddressType::Fqdn)];
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceEndpoint {
    #[serde(default, deserialize_with = "or_default")]
    pub addresses: Box<[Box<str>]>,
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: EndpointConditions,
    pub node_name: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
    #[serde(default, deserialize_with = "or_default")]
    pub hints: EndpointHints,
}

/// Absent conditions read as the API says: ready, not terminating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    #[serde(deserialize_with = "or_default")]
    pub for_zones: Box<[Named]>,
    #[serde(deserialize_with = "or_default")]
    pub for_nodes: Box<[Named]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Named {
    pub name: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlicePort {
    #[serde(default, deserialize_with = "or_default")]
    pub name: Box<str>,
    /// Absent: every port.
    pub port: Option<u16>,
    pub protocol: Option<Known<TransportProtocol>>,
    pub app_protocol: Option<Box<str>>,
}

/// A Secret. Its `Debug` names the keys and never the values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenSecret")]
pub struct Secret {
    pub metadata: Metadata,
    /// `kubernetes.io/tls`, `Opaque`, …
    pub secret_type: Box<str>,
    /// `data` decoded, with `stringData` over it.
    pub data: BTreeMap<Box<str>, SecretBytes>,
}

/// The value of one key of a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// The value in the clear; what is made of it must not be logged.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        SecretBytes(bytes.into())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSecret {
    metadata: Metadata,
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    secret_type: Box<str>,
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<Box<str>, Encoded>,
    #[serde(default, deserialize_with = "or_default")]
    string_data: BTreeMap<Box<str>, Box<str>>,
}

impl From<WrittenSecret> for Secret {
    fn from(written: WrittenSecret) -> Self {
        let mut data: BTreeMap<_, _> =
            written.data.into_iter().map(|(key, Encoded(value))| (key, value)).collect();
        let plain = written.string_data.into_iter();
        data.extend(plain.map(|(key, value)| (key, SecretBytes(value.into_boxed_bytes()))));
        let secret_type = if written.secret_type.is_empty() { "Opaque".into() } else { written.secret_type };
        Secret { metadata: written.metadata, secret_type, data }
    }
}

struct Encoded(SecretBytes);

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        // Manifests fold long values over lines, and kubectl takes them so.
        let text: String = text.split_ascii_whitespace().collect();
        // The decoder's own words would quote a byte of the value.
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| {
            serde::de::Error::custom("a value of data is not base64; plain text belongs into stringData")
        })?;
        Ok(Encoded(SecretBytes(bytes.into())))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConfigMap {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub data: StringMap,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    pub metadata: Metadata,
}
