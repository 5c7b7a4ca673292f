//! TLS on the listening side: certificates by SNI, ALPN, client certificates, session tickets.
//!
//! A [`ListenerTls`] is made once by `compile` and never changes: a new certificate is a new `ListenerTls` in a new
//! snapshot, and connections that stand keep what they were made with. Handshakes are done by [`accept::accept`].
//!
//! The provider (aws-lc-rs) is always passed explicitly, so that nothing depends on what a dependency installed as the
//! default of the process.

pub mod accept;
mod authorities;
pub mod certificates;
pub mod client_auth;
mod names;
pub mod tickets;
pub mod upstream;

use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::route::host::{Host, HostMap, HostPattern, WildcardLabels};
use crate::route::table::ListenerKey;
use crate::settings::TlsVersion;

use self::accept::TlsInfo;
use self::certificates::Certificate;
use self::client_auth::{ClientAuth, ClientAuthMode};
use self::names::CertificateNames;
use self::tickets::{TicketKeys, TicketSecret};

/// What one TLS listener shows and asks for, as data. [`ListenerTls::new`] makes it live; where an equal one is live
/// already, keeping that is much cheaper than making it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTlsSpec {
    /// Tickets are bound to it, so that one listener's sessions mean nothing to another.
    pub key: ListenerKey,
    /// In the order of configuration: of two certificates that serve a name equally well, the first is shown.
    pub certificates: Vec<CertificateUse>,
    /// Shown for unknown names and to clients that send none. `None`: they are refused with `unrecognized_name`.
    pub default_certificate: Option<Arc<Certificate>>,
    /// Which client certificates are asked for. The most specific host decides; nothing is asked of hosts without a rule.
    pub client_auth: Vec<ClientAuthRule>,
    /// What is offered by ALPN, preferred first. Empty: no ALPN at all.
    pub alpn: Vec<Alpn>,
    /// Clients that speak nothing newer than an older one are refused with `protocol_version`.
    pub min_version: TlsVersion,
}

/// A certificate, and the hosts that configuration gave it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUse {
    pub certificate: Arc<Certificate>,
    pub hosts: Hosts,
}

/// The hosts that a certificate may be shown for.
///
/// The certificate's own names (SAN) never widen this: else a tenant could put a certificate in front of another's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All the names that the certificate carries (a Gateway listener without a host name).
    Carried,
    /// Only these (`spec.tls[].hosts` of an Ingress, the host name of a Gateway listener). A certificate that carries the
    /// name asked for comes first; where none does, it is shown all the same, because configuration names it for that host.
    Only(Vec<HostPattern>),
}

/// Which client certificates one host asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthRule {
    /// `None`, like [`HostPattern::Any`]: every host of the listener.
    pub host: Option<HostPattern>,
    pub policy: Arc<ClientAuth>,
}

/// An application protocol that a listener speaks (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    Http2,
    Http11,
}

impl Alpn {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Alpn::Http2 => "h2",
            Alpn::Http11 => "http/1.1",
        }
    }

    fn parse(name: &[u8]) -> Option<Alpn> {
        [Alpn::Http2, Alpn::Http11].into_iter().find(|alpn| alpn.as_str().as_bytes() == name)
    }
}

/// What one TLS listener shows and asks for, ready for handshakes. Shared by all workers.
///
/// Cost: one rustls `ServerConfig` per different client-certificate policy, whatever the number of hosts, and one map entry
/// per name.
pub struct ListenerTls {
    names: Arc<CertificateNames>,
    policies: Vec<Policy>,
    policy_by_host: HostMap<u32>,
    /// When the first of the configured certificates ends.
    expires: Option<Timestamp>,
    /// Over all that was given to [`ListenerTls::new`], save the ticket secret.
    digest: [u8; 32],
}

struct Policy {
    client_auth: Arc<ClientAuth>,
    config: Arc<ServerConfig>,
}

impl ListenerTls {
    /// Makes a listener's TLS from its data. Total: everything that can be wrong was refused when its parts were parsed.
    pub fn new(spec: &ListenerTlsSpec, secret: &TicketSecret) -> ListenerTls {
        let names = Arc::new(CertificateNames::new(&spec.certificates, spec.default_certificate.clone()));
        let (client_auths, policy_by_host) = policies(&spec.client_auth);
        let policy_digest = client_auth_digest(&spec.client_auth);
        let tickets = Arc::new(TicketKeys::new(secret, &spec.key, &policy_digest));
        let policies = client_auths
            .into_iter()
            .map(|client_auth| {
                let config = Arc::new(server_config(&names, &client_auth, spec, &tickets));
                Policy { client_auth, config }
            })
            .collect();
        let expires = spec.certificates.iter().map(|usage| usage.certificate.not_after()).min();
        ListenerTls { names, policies, policy_by_host, expires, digest: spec_digest(spec, &policy_digest) }
    }

    /// When the first of the configured certificates ends. `None`: only the default certificate is shown.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// True when a request for `host` may use a connection that was made with `info`: the host asks for the same client
    /// certificates as the name that the handshake was for.
    ///
    /// Must be asked for every request on a TLS connection, whatever its protocol, also when the request names no host;
    /// where it is false the answer is 421 (RFC 9110 §15.5.20), or else a client could connect for a host that asks for
    /// nothing and send another's name in Host. It also refuses connections that were made before the policy changed.
    pub fn covers(&self, info: &TlsInfo, host: Option<&Host>) -> bool {
        let client_auth = &self.policy(host).client_auth;
        Arc::ptr_eq(client_auth, &info.client_auth) || client_auth == &info.client_auth
    }

    /// The certificate shown to a client that asks for this host, or for none, and can use any signature scheme. `None`: its
    /// handshake is refused.
    pub fn certificate(&self, server_name: Option<&Host>) -> Option<&Arc<Certificate>> {
        self.names.candidates(server_name).first()
    }

    fn policy(&self, host: Option<&Host>) -> &Policy {
        // Most listeners have one policy for all.
        let index = if self.policies.len() == 1 { None } else { self.policy_by_host.best(host) };
        &self.policies[index.copied().unwrap_or(0) as usize]
    }
}

impl PartialEq for ListenerTls {
    /// Equal when made from equal data: the same certificates for the same hosts in the same order, and the same policies.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ListenerTls {}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls")
            .field("names", &self.names)
            .field("client_auth", &self.policies.iter().map(|policy| &policy.client_auth).collect::<Vec<_>>())
            .finish()
    }
}

/// The cryptography of the process: aws-lc-rs, with X25519MLKEM768 as the preferred key exchange.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}

/// Finds the certificate by the SNI of the handshake.
#[derive(Debug)]
struct CertificateResolver(Arc<CertificateNames>);

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().and_then(parse_server_name);
        let candidates = self.0.candidates(host.as_ref());
        // Two certificates for one name are how RSA is kept for old clients beside ECDSA. When none fits, the first is
        // returned all the same, so that the handshake fails with the reason that is true.
        let fits = |certificate: &&Arc<Certificate>| {
            certificate.certified_key().key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let chosen = if candidates.len() > 1 {
            candidates.iter().find(fits).or(candidates.first())
        } else {
            candidates.first()
        };
        chosen.map(|certificate| certificate.certified_key().clone())
    }
}

fn server_config(
    names: &Arc<CertificateNames>,
    client_auth: &ClientAuth,
    spec: &ListenerTlsSpec,
    tickets: &Arc<TicketKeys>,
) -> ServerConfig {
    let versions: &[&rustls::SupportedProtocolVersion] = match spec.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(versions)
        .expect("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(client_auth.verifier())
        .with_cert_resolver(Arc::new(CertificateResolver(names.clone())));
    config.alpn_protocols = spec.alpn.iter().map(|alpn| alpn.as_str().as_bytes().to_vec()).collect();
    // Sessions live in tickets only: a cache in memory would be per replica and would cost memory per client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if client_auth.mode() == ClientAuthMode::None {
        config.ticketer = tickets.clone();
        config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
    } else {
        // Without tickets and without a cache there is nothing to resume: each connection shows its certificate anew.
        config.send_tls13_tickets = 0;
    }
    config
}

/// What a client asks for by SNI. A text that is no host name counts as none.
fn parse_server_name(name: &str) -> Option<Host> {
    Host::parse(name).ok()
}

/// The different policies, the one for hosts without a rule first, and which of them each host has.
fn policies(rules: &[ClientAuthRule]) -> (Vec<Arc<ClientAuth>>, HostMap<u32>) {
    let for_any = |rule: &&ClientAuthRule| matches!(rule.host, None | Some(HostPattern::Any));
    let fallback = rules.iter().find(for_any).map(|rule| rule.policy.clone());
    let mut policies = vec![fallback.unwrap_or_else(|| Arc::new(ClientAuth::none()))];
    let by_host = rules.iter().filter_map(|rule| {
        let host = rule.host.clone().filter(|host| *host != HostPattern::Any)?;
        let known = policies.iter().position(|policy| *policy == rule.policy);
        let index = known.unwrap_or_else(|| {
            policies.push(rule.policy.clone());
            policies.len() - 1
        });
        Some((host, index as u32))
    });
    // Of two rules for one host the first holds.
    let by_host = by_host.collect();
    (policies, by_host)
}

/// What tickets are bound to: any change of any client-certificate policy of the listener makes all its tickets void.
fn client_auth_digest(rules: &[ClientAuthRule]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for rule in rules {
        update_with_host(&mut context, rule.host.as_ref());
        context.update(rule.policy.digest());
    }
    finish(context)
}

fn spec_digest(spec: &ListenerTlsSpec, policy_digest: &[u8; 32]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(policy_digest);
    context.update(&[match spec.min_version {
        TlsVersion::Tls12 => 2,
        TlsVersion::Tls13 => 3,
    }]);
    update_with_bytes(&mut context, format!("{:?}", spec.key).as_bytes());
    for alpn in &spec.alpn {
        update_with_bytes(&mut context, alpn.as_str().as_bytes());
    }
    context.update(&[0xff]);
    context.update(spec.default_certificate.as_ref().map_or(&[0; 32], |certificate| certificate.digest()));
    for CertificateUse { certificate, hosts } in &spec.certificates {
        context.update(certificate.digest());
        match hosts {
            Hosts::Carried => context.update(&[0]),
            Hosts::Only(patterns) => {
                context.update(&[1]);
                context.update(&(patterns.len() as u64).to_be_bytes());
                patterns.iter().for_each(|pattern| update_with_host(&mut context, Some(pattern)));
            }
        }
    }
    finish(context)
}

fn update_with_host(context: &mut digest::Context, host: Option<&HostPattern>) {
    let (tag, name) = match host {
        None | Some(HostPattern::Any) => (0, ""),
        Some(HostPattern::Exact(name)) => (1, &**name),
        Some(HostPattern::Wildcard { suffix, labels: WildcardLabels::One }) => (2, &**suffix),
        Some(HostPattern::Wildcard { suffix, labels: WildcardLabels::OneOrMore }) => (3, &**suffix),
    };
    context.update(&[tag]);
    update_with_bytes(context, name.as_bytes());
}

/// Length first, so that no two lists of strings have the same digest.
fn update_with_bytes(context: &mut digest::Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn finish(context: digest::Context) -> [u8; 32] {
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Browsers open two connections at once and use each ticket once.
const TICKETS_PER_HANDSHAKE: usize = 2;

#[cfg(test)]
mod tests;
