//! The operator's file, `vestibule.yaml`: what is true of this edge as a whole.
//!
//! An absent key has the default that its own documentation names. Each key says when a change takes effect:
//! *live* (the next request), *new connections* (what is open keeps what it has), or *restart*. The JSON Schema that
//! `vestibule schema` prints is made from these types, words included.
//!
//! Secrets are never written here; they are named (`secretRef`, `file`, `env`).

mod gateway_services;
mod host_claims;
pub mod issuers;
mod limits;
mod load;
pub mod presets;
pub mod providers;
mod relay;
mod replicas;
mod requests;
mod shared_store;
pub mod units;
pub mod workloads;

pub use gateway_services::{Exposure, GatewayServices};
pub use host_claims::HostClaim;
pub use limits::{Limits, Timeouts, Upstream};
pub use load::{Fault, SettingsError, ValueError};
pub use relay::Relay;
pub use replicas::Replicas;
pub use requests::Requests;
pub use shared_store::SharedStore;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::route::table::ListenerKey;

/// Everything the operator may set.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The classes of Ingress that this edge serves, each on its own addresses. Default: one class `vestibule` on
    /// 127.0.0.1:8080 and 127.0.0.1:8443 that also takes Ingresses without a class. (live)
    pub classes: Vec<Class>,
    /// Gateways of these class names are served. GatewayClass objects whose `controllerName` is ours are found by
    /// themselves; this list is for running without such an object. Default: `[vestibule]`. (live)
    pub gateway_classes: Vec<Arc<str>>,
    /// Where a Gateway's listeners are bound when there is no cluster to give them addresses. Default: every Gateway on
    /// 127.0.0.1, on the ports that it names. (live)
    pub gateways: Vec<GatewayBinding>,
    /// Services that are made for the Gateways that `gateways` does not name. Default: none are made. (live)
    pub gateway_services: Option<GatewayServices>,
    /// Which namespaces may claim which host names. What others claim of them is not served, and is a problem of theirs; hosts
    /// that no pattern takes are for everybody. Default: everything is for everybody. (live)
    pub hosts: Vec<HostClaim>,
    /// Whose word about the client's address and scheme is taken, on listeners that do not say so themselves.
    /// Default: nobody's. (new connections)
    pub trust: Trust,
    /// Networks by name, for use in `trust`. A name that Vestibule knows already is replaced. (new connections)
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub presets: BTreeMap<Arc<str>, Vec<IpNet>>,
    /// Ways to find out who is asking, by the names that routes choose them by. Default: none. (live)
    #[schemars(with = "BTreeMap<String, providers::Provider>")]
    pub providers: BTreeMap<Arc<str>, providers::Provider>,
    /// Who is asked about routes that do not say so themselves.
    pub auth: providers::AuthDefaults,
    /// Bounds on what clients may send and hold open.
    pub limits: Limits,
    /// Redis or Valkey: for rates that hold for all replicas together (`rate-limit: 600/m per user cluster`), and for sessions of
    /// providers with `session.store: shared`. Default: none. (live)
    pub shared_store: Option<SharedStore>,
    /// Connections and datagrams that are passed on unread.
    pub relay: Relay,
    /// How long a client may take over each part of an exchange.
    pub timeouts: Timeouts,
    /// How requests are read where applications differ over what they mean.
    pub requests: Requests,
    /// Defaults for every backend; a route may set its own.
    pub upstream: Upstream,
    /// Certificates and protocol versions of listeners that speak TLS.
    pub tls: Tls,
    /// Who issues certificates to objects that ask for them. Default: nobody. (live)
    pub issuers: Vec<issuers::Issuer>,
    /// Where certificates that are ordered are kept.
    pub certificates: issuers::Certificates,
    /// Services of type ExternalName.
    pub external_name: ExternalName,
    /// What is read from the API server and written to it, where objects come from a cluster.
    pub cluster: Cluster,
    /// The port on which the replicas of this edge speak with each other.
    pub replicas: Replicas,
    /// One line for each request.
    pub access_log: AccessLog,
    /// Health, metrics and insight, on an address of its own.
    pub admin: Admin,
    /// One line on error pages that tells visitors whom to ask, such as `Ask help@example.com`. Default: none. (live)
    pub contact: Option<Arc<str>>,
    /// How long running requests may take to end after SIGTERM before they are cut. Default: 30s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub drain: Duration,
    /// The same for sessions, which seldom end by themselves: WebSockets, and what is passed on unread (TCP, TLS, UDP). Both
    /// times also hold for what is open on a listener that is gone. Default: as long as `drain`. (live)
    #[serde(deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub drain_sessions: Option<Duration>,
    /// Routes that wake workloads (`vestibule.dev/wake`), and what is seen meanwhile.
    pub wake: workloads::Wake,
    /// Programs of this machine that routes may wake. Default: none. (live)
    pub workloads: Vec<workloads::Process>,
    /// Where this process runs, to prefer endpoints that are near (zone hints, `trafficDistribution`).
    pub locality: Locality,
    /// Threads that serve requests. Default: one for each processor that the process may use. (restart)
    pub workers: Option<NonZeroUsize>,
}

/// Where this process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Locality {
    /// `topology.kubernetes.io/zone` of the node. Default: unknown, so that everything is equally near. (restart)
    pub zone: Option<Arc<str>>,
    /// The node's name. Default: unknown. (restart)
    pub node: Option<Arc<str>>,
}

/// One Ingress class.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Class {
    /// The name in `spec.ingressClassName`. (live)
    pub name: Arc<str>,
    /// Takes Ingresses that name no class, too. At most one class may. Default: false. (live)
    #[serde(default)]
    pub default: bool,
    /// Addresses that speak plain HTTP, as `address:port`. Default: none. (live)
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub http: Vec<SocketAddr>,
    /// Addresses that speak TLS, as `address:port`. Default: none. (live)
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub https: Vec<SocketAddr>,
    /// Whose word is taken on these addresses, in place of the `trust` of the whole edge. (new connections)
    #[serde(default)]
    pub trust: Option<Trust>,
    /// Who is asked about Ingresses of this class that do not say so themselves, in place of the `auth` of the whole edge.
    /// (live)
    #[serde(default)]
    pub auth: Option<providers::AuthDefaults>,
    /// The addresses that are written to the status of Ingresses of this class: what external-dns publishes. (live)
    #[serde(default)]
    pub publish: Publish,
    /// Takes the place of ingress-nginx: its annotations and defaults hold, and its IngressClass of this name is ours. So it
    /// is, too, when the IngressClass of this name has the controller `k8s.io/ingress-nginx`. Default: none. (live)
    #[serde(default)]
    pub ingress_nginx: Option<IngressNginx>,
}

/// How a class takes the place of ingress-nginx.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IngressNginx {
    /// The ConfigMap of its controller, as `namespace/name`. Default: none, so that its defaults hold. (live)
    pub config_map: Option<Arc<str>>,
    /// The Service that writes the pages of `custom-http-errors` where an Ingress names no `default-backend`, as
    /// `namespace/name` (there: `--default-backend-service`). Default: none. (live)
    pub default_backend: Option<Arc<str>>,
}

/// Under which addresses clients reach an Ingress class. Both may be given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Publish {
    /// The Service in front of this edge, as `namespace/name`: the addresses that its load balancer gave it. Default:
    /// none. (live)
    pub service: Option<Arc<str>>,
    /// Addresses and host names as they are. Default: none. (live)
    pub addresses: Vec<Arc<str>>,
    /// The port on which clients find TLS there, for redirects to https. Default: 443 where the class has plain HTTP on port
    /// 80 itself, else the port of its first address in `https`. (live)
    pub https_port: Option<NonZeroU16>,
}

/// Where the listeners of one Gateway are bound.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayBinding {
    /// `namespace/name`, or `*` for every Gateway without a binding of its own. (live)
    pub gateway: Arc<str>,
    /// The addresses to bind. (live)
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// Listener port → port to bind, where they differ (80 → 8080 for a process without privileges). (live)
    #[serde(default)]
    pub ports: BTreeMap<u16, u16>,
    /// The addresses and host names that are written to the status of the Gateway. Default: those that are bound, save for
    /// 0.0.0.0 and [::]. (live)
    #[serde(default)]
    pub publish: Vec<Arc<str>>,
    /// Whose word is taken on these addresses, in place of the `trust` of the whole edge. (new connections)
    #[serde(default)]
    pub trust: Option<Trust>,
}

/// Whose word is taken, per kind of word. Entries are networks (`10.0.0.0/8`), addresses (`192.0.2.7`) or names of
/// presets (`cloudflare`, `private`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Trust {
    /// Peers whose `X-Forwarded-*` and `Forwarded` headers are believed. Default: none. (new connections)
    pub forwarded: Vec<presets::Network>,
    /// Peers that speak the PROXY protocol; others are refused on listeners where this is not empty. Default: none.
    /// (new connections)
    pub proxy_protocol: Vec<presets::Network>,
}

/// [`Trust`] with every preset spelled out: what a listener asks for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedNetworks {
    pub forwarded: Vec<IpNet>,
    /// Those of `forwarded` that the preset `cloudflare` names: their `CF-Connecting-IP` is believed, too.
    pub cloudflare: Vec<IpNet>,
    pub proxy_protocol: Vec<IpNet>,
}

/// Certificates and protocol versions of listeners that speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// Shown to clients that ask for a name which no object has a certificate for. Default: `selfSigned`.
    /// (new connections)
    pub default_certificate: DefaultCertificate,
    /// The oldest protocol version that is spoken. Default: `"1.2"`. (new connections)
    pub min_version: TlsVersion,
}

/// What a client sees that asks for an unknown name, or for none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum DefaultCertificate {
    /// One made at start, that no client trusts: the error is then about the certificate and not a closed connection.
    #[default]
    SelfSigned,
    /// The handshake is refused with `unrecognized_name`.
    Refuse,
    /// A Secret of type `kubernetes.io/tls`.
    SecretRef(SecretName),
    /// Certificate chain and key in PEM.
    Pem(PemSource),
}

/// Names a Secret object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretName {
    /// The Secret's namespace. (live)
    pub namespace: Arc<str>,
    /// The Secret's name. (live)
    pub name: Arc<str>,
}

/// A certificate chain and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PemSource {
    /// The chain, the server's own certificate first. (new connections)
    pub certificate: ValueSource,
    /// The private key. (new connections)
    pub key: ValueSource,
}

/// Where a value stands that is not written in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ValueSource {
    /// A file; a relative path starts at the settings file's directory.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// Services of type ExternalName.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExternalName {
    /// Networks that a resolved name may lie in although they are refused otherwise: loopback, link-local and the like.
    /// Default: none. (live)
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
}

/// What is read from the API server and written to it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// Only objects of these namespaces are read. Kinds without a namespace (classes, the namespaces' own labels) are read
    /// in any case. Default: all namespaces. (restart)
    pub namespaces: Vec<Arc<str>>,
    /// Whether statuses are written back. Default: `on`. (restart)
    pub status: WriteStatus,
    /// The name of the Lease by which one of several replicas is chosen to write. Two installations in one namespace need
    /// two names. Default: `vestibule`. (restart)
    pub lease: Arc<str>,
    /// Where what was read last is kept, so that a process that starts while the API server is away goes on with it. Only
    /// by processes that serve. Default: nowhere. (restart)
    pub last_good: Option<LastGood>,
}

/// Where objects are kept. Both directories are made, for this user alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastGood {
    /// All objects but Secrets. (restart)
    pub directory: PathBuf,
    /// Secrets. It is to be in memory (tmpfs, an emptyDir with `medium: Memory`), so that no key comes to lie on a disk.
    /// (restart)
    pub secrets_directory: PathBuf,
}

/// Whether anything is written to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WriteStatus {
    #[default]
    On,
    /// Serves and writes nothing: to try this edge beside the one that is in use.
    Off,
}

/// One line for each request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessLog {
    /// How a line is written, on standard output. Default: `json`. (live)
    pub format: AccessLogFormat,
    /// Writes the query string too. It often holds secrets (tokens, reset links). Default: false. (live)
    pub query: bool,
}

/// How an access line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `key=value` pairs after the time.
    Text,
    /// No access log.
    Off,
}

/// Health, metrics and insight, on an address of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// Switches it off where false. Default: true. (restart)
    pub enabled: bool,
    /// The address to bind. It has no authentication of its own: keep it private. Default: 127.0.0.1:10254. (restart)
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// A socket of this machine for the same and for `vestibule wake`, `sleep` and `keep-awake`, which only the user of this process
    /// and root can use. Default: none. (restart)
    pub socket: Option<PathBuf>,
}

impl Settings {
    /// How long sessions may take to end.
    pub fn drain_sessions(&self) -> Duration {
        self.drain_sessions.unwrap_or(self.drain)
    }

    /// Whose word is taken on a listener: its own `trust` where it has one, else that of the whole edge.
    ///
    /// A name that is no preset names nobody; [`Settings::parse`] refuses such a file.
    pub fn trust_on(&self, listener: &ListenerKey) -> TrustedNetworks {
        let own = match listener {
            ListenerKey::Class { class, .. } => {
                self.classes.iter().find(|known| known.name == *class).and_then(|known| known.trust.as_ref())
            }
            ListenerKey::Gateway { namespace, name, .. } | ListenerKey::Datagrams { namespace, name, .. } => {
                self.gateway_binding(namespace, name).and_then(|binding| binding.trust.as_ref())
            }
        };
        let trust = own.unwrap_or(&self.trust);
        let resolve = |networks: &[presets::Network]| {
            networks.iter().flat_map(|network| network.resolve(&self.presets).unwrap_or_default()).collect()
        };
        let is_cloudflare =
            |network: &&presets::Network| **network == presets::Network::Preset("cloudflare".into());
        let cloudflare: Vec<_> = trust.forwarded.iter().filter(is_cloudflare).cloned().collect();
        TrustedNetworks {
            forwarded: resolve(&trust.forwarded),
            cloudflare: resolve(&cloudflare),
            proxy_protocol: resolve(&trust.proxy_protocol),
        }
    }

    /// The binding of a Gateway: the one that names it, else the one for all.
    pub fn gateway_binding(&self, namespace: &str, name: &str) -> Option<&GatewayBinding> {
        let names_it = |binding: &&GatewayBinding| {
            binding.gateway.split_once('/').is_some_and(|(ns, own)| ns == namespace && own == name)
        };
        self.gateways
            .iter()
            .find(names_it)
            .or_else(|| self.gateways.iter().find(|binding| &*binding.gateway == "*"))
    }

    /// Whether `gateways` names this one, other than by `*`.
    pub fn is_bound_by_name(&self, namespace: &str, name: &str) -> bool {
        self.gateways.iter().any(|binding| {
            binding.gateway.split_once('/').is_some_and(|(ns, own)| ns == namespace && own == name)
        })
    }

    /// The keys that differ from `running` and take effect only after a restart.
    pub fn restart_needed(&self, running: &Settings) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.workers != running.workers {
            keys.push("workers");
        }
        if self.admin != running.admin {
            keys.push("admin");
        }
        if self.locality != running.locality {
            keys.push("locality");
        }
        if self.cluster != running.cluster {
            keys.push("cluster");
        }
        if self.replicas.listen != running.replicas.listen
            || self.replicas.secret != running.replicas.secret
            || self.replicas.key_file != running.replicas.key_file
        {
            keys.push("replicas");
        }
        if self.certificates.namespace != running.certificates.namespace
            || self.certificates.private_namespace != running.certificates.private_namespace
            || self.certificates.directory != running.certificates.directory
        {
            keys.push("certificates");
        }
        if self.wake.only_replica != running.wake.only_replica {
            keys.push("wake.onlyReplica");
        }
        if self.limits.handshakes_per_worker != running.limits.handshakes_per_worker {
            keys.push("limits.handshakesPerWorker");
        }
        if self.limits.rate_limit_keys != running.limits.rate_limit_keys {
            keys.push("limits.rateLimitKeys");
        }
        keys
    }

    /// The JSON Schema of the settings file (2020-12), as `vestibule schema` prints it.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Settings);
        schema.insert("title".into(), "vestibule.yaml".into());
        schema.to_value()
    }
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
                trust: None,
                auth: None,
                publish: Publish::default(),
                ingress_nginx: None,
            }],
            gateway_classes: vec!["vestibule".into()],
            gateways: vec![GatewayBinding {
                gateway: "*".into(),
                addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                ports: BTreeMap::new(),
                publish: Vec::new(),
                trust: None,
            }],
            gateway_services: None,
            hosts: Vec::new(),
            trust: Trust::default(),
            presets: BTreeMap::new(),
            providers: BTreeMap::new(),
            auth: providers::AuthDefaults::default(),
            limits: Limits::default(),
            shared_store: None,
            relay: Relay::default(),
            timeouts: Timeouts::default(),
            requests: Requests::default(),
            upstream: Upstream::default(),
            tls: Tls::default(),
            issuers: Vec::new(),
            certificates: issuers::Certificates::default(),
            external_name: ExternalName::default(),
            wake: workloads::Wake::default(),
            workloads: Vec::new(),
            locality: Locality::default(),
            cluster: Cluster::default(),
            replicas: Replicas::default(),
            access_log: AccessLog::default(),
            admin: Admin::default(),
            contact: None,
            drain: Duration::from_secs(30),
            drain_sessions: None,
            workers: None,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            namespaces: Vec::new(),
            status: WriteStatus::On,
            lease: "vestibule".into(),
            last_good: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            enabled: true,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10254),
            socket: None,
        }
    }
}

#[cfg(test)]
mod tests;
