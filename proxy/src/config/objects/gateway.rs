//! `gateway.networking.k8s.io`: GatewayClass, Gateway and ReferenceGrant (v1 of Gateway API 1.6).

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::{Known, Metadata, StringMap, Words, or_default};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GatewayClass {
    pub metadata: Metadata,
    pub spec: GatewayClassSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    pub controller_name: Arc<str>,
    pub parameters_ref: Option<ParametersReference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ParametersReference {
    #[serde(default, deserialize_with = "or_default")]
    pub group: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub namespace: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Gateway {
    pub metadata: Metadata,
    pub spec: GatewaySpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    pub gateway_class_name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub listeners: Box<[Listener]>,
    #[serde(default, deserialize_with = "or_default")]
    pub addresses: Box<[GatewayAddress]>,
    pub infrastructure: Option<Infrastructure>,
    #[serde(default, deserialize_with = "or_default")]
    pub tls: GatewayTls,
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_listeners: AllowedListeners,
}

/// Which ListenerSets may add to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// Absent `from`: `None`, unlike with routes.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: RouteNamespaces,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GatewayAddress {
    /// Absent: `IPAddress`.
    #[serde(rename = "type")]
    pub address_type: Option<Box<str>>,
    /// Absent or empty: any address of the type.
    pub value: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Infrastructure {
    #[serde(deserialize_with = "or_default")]
    pub labels: StringMap,
    #[serde(deserialize_with = "or_default")]
    pub annotations: StringMap,
    pub parameters_ref: Option<ParametersReference>,
}

/// TLS for the Gateway as a whole: towards clients (`frontend`) and towards backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatewayTls {
    pub frontend: Option<FrontendTls>,
    pub backend: Option<BackendClientTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendTls {
    #[serde(deserialize_with = "or_default")]
    pub default: FrontendPortTls,
    #[serde(deserialize_with = "or_default")]
    pub per_port: Box<[FrontendPort]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FrontendPort {
    pub port: u16,
    #[serde(default, deserialize_with = "or_default")]
    pub tls: FrontendPortTls,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FrontendPortTls {
    pub validation: Option<FrontendValidation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendValidation {
    #[serde(deserialize_with = "or_default")]
    pub ca_certificate_refs: Box<[ObjectReference]>,
    /// Absent: `AllowValidOnly`.
    pub mode: Option<Known<FrontendValidationMode>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrontendValidationMode {
    AllowValidOnly,
    AllowInsecureFallback,
}

impl Words for FrontendValidationMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("AllowValidOnly", FrontendValidationMode::AllowValidOnly),
        ("AllowInsecureFallback", FrontendValidationMode::AllowInsecureFallback),
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendClientTls {
    pub client_certificate_ref: Option<ObjectReference>,
}

/// A reference to an object, perhaps in another namespace. What an absent group or kind means depends on the field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct ObjectReference {
    pub group: Option<Box<str>>,
    pub kind: Option<Box<str>>,
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: Arc<str>,
    /// Absent or empty: every host.
    pub hostname: Option<Box<str>>,
    pub port: u16,
    pub protocol: Known<ListenerProtocol>,
    pub tls: Option<ListenerTls>,
    #[serde(default, deserialize_with = "or_default")]
    pub allowed_routes: AllowedRoutes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerProtocol {
    Http,
    Https,
    Tls,
    Tcp,
    Udp,
}

impl Words for ListenerProtocol {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("HTTP", ListenerProtocol::Http),
        ("HTTPS", ListenerProtocol::Https),
        ("TLS", ListenerProtocol::Tls),
        ("TCP", ListenerProtocol::Tcp),
        ("UDP", ListenerProtocol::Udp),
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// Absent: `Terminate`.
    pub mode: Option<Known<TlsMode>>,
    #[serde(deserialize_with = "or_default")]
    pub certificate_refs: Box<[ObjectReference]>,
    #[serde(deserialize_with = "or_default")]
    pub options: StringMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    Terminate,
    Passthrough,
}

impl Words for TlsMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("Terminate", TlsMode::Terminate), ("Passthrough", TlsMode::Passthrough)];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    #[serde(deserialize_with = "or_default")]
    pub namespaces: RouteNamespaces,
    /// Empty: what the protocol carries.
    #[serde(deserialize_with = "or_default")]
    pub kinds: Box<[RouteGroupKind]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// Absent: `Same`.
    pub from: Option<Known<NamespacesFrom>>,
    pub selector: Option<LabelSelector>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamespacesFrom {
    All,
    Selector,
    Same,
    None,
}

impl Words for NamespacesFrom {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("All", NamespacesFrom::All),
        ("Selector", NamespacesFrom::Selector),
        ("Same", NamespacesFrom::Same),
        ("None", NamespacesFrom::None),
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RouteGroupKind {
    /// Absent: `gateway.networking.k8s.io`.
    pub group: Option<Box<str>>,
    pub kind: Box<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    #[serde(deserialize_with = "or_default")]
    pub match_labels: StringMap,
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Box<[LabelRequirement]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LabelRequirement {
    pub key: Box<str>,
    pub operator: Known<LabelOperator>,
    #[serde(default, deserialize_with = "or_default")]
    pub values: Box<[Box<str>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Words for LabelOperator {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("In", LabelOperator::In),
        ("NotIn", LabelOperator::NotIn),
        ("Exists", LabelOperator::Exists),
        ("DoesNotExist", LabelOperator::DoesNotExist),
    ];
}

impl LabelSelector {
    /// Whether these labels are selected. A requirement with an unknown operator selects nothing.
    pub fn matches(&self, labels: &StringMap) -> bool {
        let equal = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        equal && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &StringMap) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.iter().any(|allowed| **allowed == *value));
        match self.operator.value() {
            Some(LabelOperator::In) => listed,
            Some(LabelOperator::NotIn) => !listed,
            Some(LabelOperator::Exists) => value.is_some(),
            Some(LabelOperator::DoesNotExist) => value.is_none(),
            None => false,
        }
    }
}

/// Lets objects of other namespaces refer to objects of this one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrant {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: ReferenceGrantSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    #[serde(deserialize_with = "or_default")]
    pub from: Box<[GrantFrom]>,
    #[serde(deserialize_with = "or_default")]
    pub to: Box<[GrantTo]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GrantFrom {
    #[serde(default, deserialize_with = "or_default")]
    pub group: Box<str>,
    pub kind: Box<str>,
    pub namespace: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GrantTo {
    #[serde(default, deserialize_with = "or_default")]
    pub group: Box<str>,
    pub kind: Box<str>,
    /// Absent: every object of the kind.
    pub name: Option<Box<str>>,
}
