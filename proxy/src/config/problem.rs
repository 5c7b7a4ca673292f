//! Problems: why an object, or a part of it, is not in use. They are data: conditions, Events, log lines and the output
//! of `check` are all written from them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    pub kind: Kind,
    /// Empty for kinds without a namespace.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    /// `Ingress shop/web`, or `GatewayClass vestibule`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The kinds that Vestibule reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Ingress,
    IngressClass,
    GatewayClass,
    Gateway,
    HTTPRoute,
    GRPCRoute,
    TLSRoute,
    TCPRoute,
    UDPRoute,
    ListenerSet,
    BackendTLSPolicy,
    ReferenceGrant,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    Namespace,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 17] = [
        Kind::Ingress,
        Kind::IngressClass,
        Kind::GatewayClass,
        Kind::Gateway,
        Kind::HTTPRoute,
        Kind::GRPCRoute,
        Kind::TLSRoute,
        Kind::TCPRoute,
        Kind::UDPRoute,
        Kind::ListenerSet,
        Kind::BackendTLSPolicy,
        Kind::ReferenceGrant,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Secret,
        Kind::ConfigMap,
        Kind::Namespace,
    ];

    /// The kind that a manifest's `apiVersion` and `kind` name, or `None` when it is not one that Vestibule reads.
    pub fn from_api(api_version: &str, kind: &str) -> Option<Kind> {
        let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        known.api_versions().contains(&api_version).then_some(known)
    }

    /// The `apiVersion`s that are read, the one to ask for first.
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Kind::Ingress | Kind::IngressClass => &["networking.k8s.io/v1"],
            Kind::GatewayClass | Kind::Gateway | Kind::HTTPRoute | Kind::ReferenceGrant => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
            }
            Kind::GRPCRoute | Kind::ListenerSet => &["gateway.networking.k8s.io/v1"],
            Kind::TLSRoute => &[
                "gateway.networking.k8s.io/v1",
                "gateway.networking.k8s.io/v1alpha3",
                "gateway.networking.k8s.io/v1alpha2",
            ],
            Kind::TCPRoute | Kind::UDPRoute => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
            }
            Kind::BackendTLSPolicy => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3"],
            Kind::EndpointSlice => &["discovery.k8s.io/v1"],
            Kind::Service | Kind::Secret | Kind::ConfigMap | Kind::Namespace => &["v1"],
        }
    }

    /// False for kinds that stand outside namespaces.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Kind::IngressClass | Kind::GatewayClass | Kind::Namespace)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Ingress => "Ingress",
            Kind::IngressClass => "IngressClass",
            Kind::GatewayClass => "GatewayClass",
            Kind::Gateway => "Gateway",
            Kind::HTTPRoute => "HTTPRoute",
            Kind::GRPCRoute => "GRPCRoute",
            Kind::TLSRoute => "TLSRoute",
            Kind::TCPRoute => "TCPRoute",
            Kind::UDPRoute => "UDPRoute",
            Kind::ListenerSet => "ListenerSet",
            Kind::BackendTLSPolicy => "BackendTLSPolicy",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
            Kind::Namespace => "Namespace",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is for the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Routes answer 503 (or 500 for a share) because of it.
    Refused,
    /// A part is not in use; the rest is served.
    Degraded,
    /// Served as written, but probably not as meant.
    Warning,
}

/// One problem, with its place and its mend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    pub severity: Severity,
    /// `None` when no object could be made out (a file that does not parse).
    pub object: Option<ObjectRef>,
    /// Path of the field at fault: `spec.rules[0].http.paths[1].backend`, `metadata.annotations['vestibule.dev/auth']`.
    /// Empty: the object as a whole.
    pub field: Arc<str>,
    /// A stable word for machines: a Gateway API reason where one fits (`BackendNotFound`, `RefNotPermitted`),
    /// else one of ours in the same style (`InvalidAnnotation`, `Unparsable`).
    pub reason: &'static str,
    /// What is wrong and what to write instead, one sentence or two, no secrets.
    pub message: Arc<str>,
    /// Where it stands, when it came from a file.
    pub place: Option<Place>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<PathBuf>,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
