//! Upstreams: a backend's endpoints, and the way a request reaches one of them.

pub(crate) mod balance;
pub(crate) mod connect;
pub(crate) mod exchange;
pub mod health;
pub(crate) mod http2;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod retry;
pub mod upgrade;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::route::host::HostPattern;
use crate::tls::certificates::Certificate;
use crate::tls::upstream::{UpstreamTls, UpstreamTlsCache, UpstreamTlsError};

/// A Service's live state, shared by every worker and kept across configuration changes.
///
/// Made once for a [`BackendKey`]; configuration publishes endpoints into it, and nothing else of it ever changes.
#[derive(Debug)]
pub struct Backend {
    pub key: BackendKey,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Whose turn it is, where endpoints take turns.
    turn: AtomicUsize,
    /// Made when the backend was; an error refuses its traffic, which is never sent in plain instead.
    tls: Result<Option<Arc<UpstreamTls>>, UpstreamTlsError>,
}

impl Backend {
    /// A backend without endpoints. May read the system's certificate authorities from disk.
    pub fn new(key: BackendKey, tls: &UpstreamTlsCache) -> Self {
        let certificate = key.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref());
        let tls = tls.upstream(&key, certificate);
        Backend { key, endpoints: ArcSwap::from_pointee(Vec::new()), turn: AtomicUsize::new(0), tls }
    }

    /// How its connections are secured; `Ok(None)`: not at all.
    pub fn tls(&self) -> Result<Option<&UpstreamTls>, &UpstreamTlsError> {
        self.tls.as_ref().map(Option::as_deref)
    }

    /// The endpoints as last published.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// Whether one of the endpoints has this token.
    pub(crate) fn has(&self, token: u64) -> bool {
        self.endpoints.load().iter().any(|endpoint| endpoint.token == token)
    }

    /// Replaces the endpoints. Those whose address stays keep their identity, and with it their health and connections.
    /// Returns false, and changes nothing, when the list is the same.
    pub fn publish(&self, specs: &[EndpointSpec]) -> bool {
        let old = self.endpoints.load();
        if old.len() == specs.len() && old.iter().zip(specs).all(|(endpoint, spec)| endpoint.spec == *spec) {
            return false;
        }
        let new = specs
            .iter()
            .map(|spec| {
                old.iter()
                    .find(|endpoint| endpoint.spec == *spec)
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Endpoint::new(spec.clone())))
            })
            .collect();
        self.endpoints.store(Arc::new(new));
        true
    }
}

/// What makes two references the same backend: the same port of the same Service, spoken to in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendKey {
    pub namespace: Arc<str>,
    pub service: Arc<str>,
    /// The Service's port number.
    pub port: u16,
    pub protocol: BackendProtocol,
    pub tls: Option<Arc<BackendTls>>,
    pub balance: Balance,
}

impl fmt::Display for BackendKey {
    /// `shop/web:80`; `auth.example.com:443` for what is no Service.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// What an endpoint is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge; over TLS, by ALPN.
    Http2,
}

/// TLS towards a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendTls {
    /// SNI, and the name that the certificate must carry. `None`: the Service's own name (`web.shop.svc`).
    pub server_name: Option<Arc<str>>,
    pub verify: Verify,
    /// Where there are any, the certificate must carry one of these, and the server name is for SNI alone.
    pub alternative_names: Arc<[AlternativeName]>,
    /// Shown to backends that ask for one.
    pub client_certificate: Option<Arc<Certificate>>,
    /// Whether the protocol is named by ALPN; false where it is not known.
    pub offers_alpn: bool,
}

impl BackendTls {
    /// Without alternative names, and with no certificate to show.
    pub fn new(server_name: Option<Arc<str>>, verify: Verify) -> Self {
        BackendTls {
            server_name,
            verify,
            alternative_names: [].into(),
            client_certificate: None,
            offers_alpn: true,
        }
    }
}

/// A name that a backend's certificate may carry (BackendTLSPolicy `subjectAltNames`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// A whole name or a wildcard.
    Host(HostPattern),
    /// Compared as it is written (`spiffe://cluster.local/ns/shop/sa/web`).
    Uri(Arc<str>),
}

/// Whose certificates a TLS backend may show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Signed by an authority that the system trusts.
    System,
    /// Signed by one of these (PEM).
    Authority(Arc<[u8]>),
    /// Anything: encrypted, not authenticated (ingress-nginx's default for `backend-protocol: HTTPS`).
    Nothing,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Two random candidates, the one with less expected latency.
    #[default]
    PowerOfTwo,
    RoundRobin,
}

/// One address behind a Service, as configuration knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    pub address: EndpointAddress,
    /// True when the topology hints or `trafficDistribution` make this one near; far ones serve only when no near one can.
    pub local: bool,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Socket(SocketAddr),
    /// An ExternalName: resolved when connecting, and again when its TTL is over.
    Name(Arc<str>, u16),
}

/// One address behind a Service, with what has been learnt about it.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process; pools are keyed by it.
    pub id: u64,
    pub spec: EndpointSpec,
    /// Made of its address alone, so that every replica and every restart knows it by the same number.
    pub token: u64,
    pub health: health::Health,
}

impl Endpoint {
    fn new(spec: EndpointSpec) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let token = Endpoint::hash_of(&spec.address.to_bytes());
        Endpoint { id: NEXT.fetch_add(1, Ordering::Relaxed), spec, token, health: health::Health::default() }
    }

    /// A number for a text that is the same in every process.
    pub(crate) fn hash_of(text: &[u8]) -> u64 {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
        let first = digest.as_ref().first_chunk::<8>();
        first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl EndpointAddress {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            EndpointAddress::Socket(address) => address.to_string().into_bytes(),
            EndpointAddress::Name(name, port) => format!("{name}:{port}").into_bytes(),
        }
    }
}

/// The defaults for every backend; a route may set its own.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
pub const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;
