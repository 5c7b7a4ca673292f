use std::sync::Mutex;
use std::time::Duration;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::accept::{HandshakeError, TlsStream, TlsVersion, accept};
use super::*;

#[test]
fn the_post_quantum_key_exchange_is_preferred() {
    assert_eq!(provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_handshake_tells_what_it_settled() {
    let authority = Authority::new("server authority");
    let listener = listener(&[use_of(authority.issue(&["www.example.com"]))], vec![]);
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (server, client) = handshake(&listener, config.into(), "WWW.example.com").await;
    let (_, info) = server.unwrap();
    assert_eq!(info.server_name, Some(host("www.example.com")));
    assert_eq!(info.version, TlsVersion::Tls13);
    assert_eq!(info.alpn, Some(Alpn::Http2));
    assert_eq!(info.client_certificate, None);
    assert!(!info.client_verified);
    let client = client.unwrap();
    let group = client.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn tls_1_2_and_clients_without_alpn_are_served() {
    let authority = Authority::new("server authority");
    let listener = listener(&[use_of(authority.issue(&["www.example.com"]))], vec![]);
    let config = authority.client_of(&[&rustls::version::TLS12], None);
    let (server, client) = handshake(&listener, config.into(), "www.example.com").await;
    let (_, info) = server.unwrap();
    assert_eq!((info.version, info.alpn), (TlsVersion::Tls12, None));
    client.unwrap();
}

#[tokio::test]
async fn a_listener_may_speak_http_1_only() {
    let authority = Authority::new("server authority");
    let spec = ListenerTlsSpec {
        alpn: vec![Alpn::Http11],
        ..spec(&[use_of(authority.issue(&["a.example"]))], vec![])
    };
    let listener = ListenerTls::new(&spec, &secret());
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (server, _) = handshake(&listener, config.into(), "a.example").await;
    assert_eq!(server.unwrap().1.alpn, Some(Alpn::Http11));
}

#[tokio::test]
async fn of_two_certificates_for_a_name_the_one_that_the_client_can_use_is_shown() {
    let authority = Authority::new("server authority");
    let ed25519 = authority.issue_with(&["a.example"], &rcgen::PKCS_ED25519);
    let ecdsa = authority.issue(&["a.example"]);
    let listener = listener(&[use_of(ed25519), use_of(ecdsa.clone())], vec![]);
    let mut provider = provider().as_ref().clone();
    let p256_only: &[_] = &[(rustls::SignatureScheme::ECDSA_NISTP256_SHA256, {
        let mapping = provider.signature_verification_algorithms.mapping;
        mapping
            .iter()
            .find(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256)
            .unwrap()
            .1
    })];
    provider.signature_verification_algorithms.mapping = Box::leak(p256_only.to_vec().into_boxed_slice());
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    let (server, client) = handshake(&listener, config.into(), "a.example").await;
    server.unwrap();
    let shown = client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, ecdsa.certified_key().cert[0]);
}

#[tokio::test]
async fn connections_outlive_a_change_of_certificate() {
    let authority = Authority::new("server authority");
    let old = listener(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let (server, client) = handshake(&old, authority.client().into(), "a.example").await;
    let (mut server, info) = server.unwrap();
    let mut client = client.unwrap();
    let certificate = authority.issue(&["a.example"]);
    let new = listener(&[use_of(certificate.clone())], vec![]);
    assert_ne!(old, new);
    drop(old);
    exchange(&mut server, &mut client).await;
    assert!(new.covers(&info, Some(&host("a.example"))));
    let (_, client) = handshake(&new, authority.client().into(), "a.example").await;
    let shown = client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, certificate.certified_key().cert[0]);
}

#[test]
fn equal_data_makes_equal_listeners() {
    let authority = Authority::new("server authority");
    let (a, b) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    let base = spec(&[use_of(a.clone()), use_of(b.clone())], vec![]);
    let made = |spec: &ListenerTlsSpec| ListenerTls::new(spec, &secret());
    assert_eq!(made(&base), made(&base.clone()));
    let only = |host: &str| CertificateUse { certificate: a.clone(), hosts: Hosts::Only(vec![exact(host)]) };
    let others = [
        spec(&[use_of(b.clone()), use_of(a.clone())], vec![]),
        spec(&[only("a.example"), use_of(b)], vec![]),
        ListenerTlsSpec { default_certificate: Some(a.clone()), ..base.clone() },
        ListenerTlsSpec { alpn: vec![Alpn::Http11], ..base.clone() },
        ListenerTlsSpec { min_version: crate::settings::TlsVersion::Tls13, ..base.clone() },
        ListenerTlsSpec { key: ListenerKey::Class { class: "other".into(), tls: true }, ..base.clone() },
        ListenerTlsSpec {
            client_auth: vec![rule(None, authority.policy(ClientAuthMode::Request))],
            ..base.clone()
        },
    ];
    for other in others {
        assert_ne!(made(&base), made(&other), "{other:?}");
    }
}

#[test]
fn ten_thousand_hosts_share_one_configuration() {
    let certificate = Authority::new("server authority").issue(&["*.example.com"]);
    let hosts = (0..10_000).map(|number| exact(&format!("h{number}.example.com")));
    let uses =
        hosts.map(|host| CertificateUse { certificate: certificate.clone(), hosts: Hosts::Only(vec![host]) });
    let listener = listener(&uses.collect::<Vec<_>>(), vec![]);
    assert_eq!(listener.policies.len(), 1);
    assert_eq!(listener.certificate(Some(&host("h9999.example.com"))), Some(&certificate));
    assert_eq!(listener.certificate(Some(&host("h10000.example.com"))), None);
    assert_eq!(Arc::strong_count(listener.certificate(Some(&host("h1.example.com"))).unwrap()), 10_001);
}

#[tokio::test]
async fn a_connection_serves_hosts_of_its_own_policy_only() {
    let authority = Authority::new("server authority");
    let clients = Authority::new("client authority");
    let require = clients.policy(ClientAuthMode::Require);
    let certificate = use_of(authority.issue(&["open.example", "shut.example", "deep.shut.example"]));
    let rules = vec![
        rule(Some(exact("shut.example")), require.clone()),
        rule(
            Some(HostPattern::Wildcard { suffix: ".shut.example".into(), labels: WildcardLabels::OneOrMore }),
            require.clone(),
        ),
    ];
    let mixed = listener(std::slice::from_ref(&certificate), rules);
    assert_eq!(mixed.policies.len(), 2);

    let (server, _) = handshake(&mixed, authority.client().into(), "open.example").await;
    let (_, open) = server.unwrap();
    assert!(mixed.covers(&open, Some(&host("open.example"))));
    assert!(mixed.covers(&open, Some(&host("another.example"))));
    assert!(mixed.covers(&open, None));
    assert!(!mixed.covers(&open, Some(&host("shut.example"))));
    assert!(!mixed.covers(&open, Some(&host("deep.shut.example"))));

    let config = authority.client_of(rustls::ALL_VERSIONS, Some(clients.issue_client("ada")));
    let (server, _) = handshake(&mixed, config.into(), "shut.example").await;
    let (_, shut) = server.unwrap();
    assert!(shut.client_verified);
    assert!(mixed.covers(&shut, Some(&host("shut.example"))));
    assert!(mixed.covers(&shut, Some(&host("deep.shut.example"))));
    assert!(!mixed.covers(&shut, Some(&host("open.example"))));
    assert!(!mixed.covers(&shut, None));

    // The same policy made anew is the same; a stricter one is not.
    let same = vec![rule(Some(exact("shut.example")), clients.policy(ClientAuthMode::Require))];
    let again = listener(std::slice::from_ref(&certificate), same);
    assert!(again.covers(&shut, Some(&host("shut.example"))));
    let stricter = vec![rule(None, Authority::new("third authority").policy(ClientAuthMode::Require))];
    let stricter = listener(&[certificate], stricter);
    assert!(!stricter.covers(&shut, Some(&host("shut.example"))));
    assert!(!stricter.covers(&open, Some(&host("open.example"))));
}

#[test]
fn the_most_specific_rule_decides_and_the_first_of_equal_ones() {
    let authority = Authority::new("client authority");
    let of = |mode| authority.policy(mode);
    let wildcard =
        || Some(HostPattern::Wildcard { suffix: ".example.com".into(), labels: WildcardLabels::OneOrMore });
    let rules = vec![
        rule(wildcard(), of(ClientAuthMode::Request)),
        rule(Some(exact("a.example.com")), of(ClientAuthMode::Require)),
        rule(Some(exact("a.example.com")), of(ClientAuthMode::None)),
        rule(None, of(ClientAuthMode::InsecureFallback)),
    ];
    let listener = listener(&[], rules);
    let mode = |name: &str| listener.policy(Some(&host(name))).client_auth.mode();
    assert_eq!(mode("a.example.com"), ClientAuthMode::Require);
    assert_eq!(mode("b.example.com"), ClientAuthMode::Request);
    assert_eq!(mode("b.c.example.com"), ClientAuthMode::Request);
    assert_eq!(mode("example.com"), ClientAuthMode::InsecureFallback);
    assert_eq!(listener.policy(None).client_auth.mode(), ClientAuthMode::InsecureFallback);
}

#[tokio::test]
async fn a_session_is_resumed_on_another_replica() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new("server authority");
        let certificate = [use_of(authority.issue(&["a.example"]))];
        let (one, other) = (listener(&certificate, vec![]), listener(&certificate, vec![]));
        let config = Arc::new(authority.client_of(&[version], None));
        assert_eq!(visit(&one, &config, "a.example").await.unwrap(), HandshakeKind::Full);
        assert_eq!(visit(&other, &config, "a.example").await.unwrap(), HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_where_key_or_secret_differs() {
    let authority = Authority::new("server authority");
    let base = spec(&[use_of(authority.issue(&["a.example"]))], vec![]);
    let gateway = ListenerKey::Gateway { namespace: "infra".into(), name: "edge".into(), port: 443 };
    let elsewhere = ListenerTlsSpec { key: gateway, ..base.clone() };
    // Any change of a client-certificate policy, also that of a host which the session is not for.
    let policy = authority.policy(ClientAuthMode::Require);
    let changed =
        ListenerTlsSpec { client_auth: vec![rule(Some(exact("b.example")), policy)], ..base.clone() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for other in [
            ListenerTls::new(&elsewhere, &secret()),
            ListenerTls::new(&changed, &secret()),
            ListenerTls::new(&base, &TicketSecret::random()),
        ] {
            let config = Arc::new(authority.client_of(&[version], None));
            visit(&ListenerTls::new(&base, &secret()), &config, "a.example").await.unwrap();
            assert_eq!(visit(&other, &config, "a.example").await.unwrap(), HandshakeKind::Full);
        }
    }
}

/// A ticket is got where no certificate is asked for, and shown where one is: on another host of the same listener, on the
/// same host of another listener, and on the same host after its policy changed. Each must ask for the certificate.
#[tokio::test]
async fn a_ticket_never_skips_a_client_certificate() {
    let authority = Authority::new("server authority");
    let clients = Authority::new("client authority");
    let certificate = [use_of(authority.issue(&["open.example", "shut.example"]))];
    for mode in [ClientAuthMode::Request, ClientAuthMode::Require, ClientAuthMode::InsecureFallback] {
        let policy = clients.policy(mode);
        let open = spec(&certificate, vec![rule(Some(exact("shut.example")), policy.clone())]);
        let elsewhere = ListenerKey::Gateway { namespace: "infra".into(), name: "edge".into(), port: 443 };
        let whole = ListenerTlsSpec { client_auth: vec![rule(None, policy.clone())], ..open.clone() };
        let same_host =
            ListenerTlsSpec { client_auth: vec![rule(Some(exact("open.example")), policy)], ..open.clone() };
        let targets = [
            (&open, "shut.example"),
            (&whole, "open.example"),
            (&same_host, "open.example"),
            (&ListenerTlsSpec { key: elsewhere.clone(), ..whole.clone() }, "open.example"),
            (&ListenerTlsSpec { key: elsewhere, ..open.clone() }, "shut.example"),
        ];
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (target, host) in targets {
                let target = ListenerTls::new(target, &secret());
                let config = || {
                    let mut config = authority.client_of(&[version], None);
                    config.resumption = Resumption::store(Arc::new(AnyHostStore::new()));
                    Arc::new(config)
                };
                let config = config();
                let start = ListenerTls::new(&open, &secret());
                assert_eq!(visit(&start, &config, "open.example").await.unwrap(), HandshakeKind::Full);
                // The store does give the ticket to any host: the server that issued it resumes.
                assert_eq!(visit(&start, &config, "open.example").await.unwrap(), HandshakeKind::Resumed);
                match (mode, visit(&target, &config, host).await) {
                    (ClientAuthMode::Require, Err(HandshakeError::ClientCertificateRequired)) => {}
                    (ClientAuthMode::Request | ClientAuthMode::InsecureFallback, Ok(HandshakeKind::Full)) => {
                    }
                    (_, result) => panic!("{mode:?} {host} {version:?}: {result:?}"),
                }
            }
        }
    }
}

/// Where certificates are asked for, there is nothing to resume, not even with the certificate.
#[tokio::test]
async fn a_host_that_asks_for_certificates_issues_no_tickets() {
    let authority = Authority::new("server authority");
    let clients = Authority::new("client authority");
    let certificate = [use_of(authority.issue(&["shut.example"]))];
    for mode in [ClientAuthMode::Request, ClientAuthMode::Require, ClientAuthMode::InsecureFallback] {
        let listener = listener(&certificate, vec![rule(None, clients.policy(mode))]);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = Arc::new(authority.client_of(&[version], Some(clients.issue_client("ada"))));
            assert_eq!(visit(&listener, &config, "shut.example").await.unwrap(), HandshakeKind::Full);
            assert_eq!(visit(&listener, &config, "shut.example").await.unwrap(), HandshakeKind::Full);
        }
    }
}

/// Connects, moves a byte each way so that tickets arrive, and says what kind of handshake it was.
pub(super) async fn visit(
    listener: &ListenerTls,
    config: &Arc<ClientConfig>,
    host: &str,
) -> Result<HandshakeKind, HandshakeError> {
    let (server, client) = handshake(listener, config.clone(), host).await;
    let (mut server, _) = server?;
    let mut client = client.unwrap();
    exchange(&mut server, &mut client).await;
    assert_eq!(client.get_ref().1.handshake_kind(), server.get_ref().1.handshake_kind());
    Ok(client.get_ref().1.handshake_kind().unwrap())
}

pub(super) async fn handshake(
    listener: &ListenerTls,
    config: Arc<ClientConfig>,
    host: &str,
) -> (
    Result<(TlsStream<DuplexStream>, TlsInfo), HandshakeError>,
    std::io::Result<tokio_rustls::client::TlsStream<DuplexStream>>,
) {
    let (client, server) = tokio::io::duplex(64 << 10);
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    tokio::join!(accept(server, listener, deadline), TlsConnector::from(config).connect(host, client))
}

pub(super) async fn exchange(
    server: &mut TlsStream<DuplexStream>,
    client: &mut tokio_rustls::client::TlsStream<DuplexStream>,
) {
    let mut byte = [0];
    client.write_all(b"?").await.unwrap();
    server.read_exact(&mut byte).await.unwrap();
    server.write_all(b"!").await.unwrap();
    client.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"!");
}

/// A certificate authority for tests.
pub(super) struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(super) fn issue(&self, names: &[&str]) -> Arc<Certificate> {
        self.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(super) fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> Arc<Certificate> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let chain = params(names).signed_by(&key, &self.issuer).unwrap().pem();
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap())
    }

    pub(super) fn sign(&self, params: rcgen::CertificateParams) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(super) fn issue_client(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = params(&[]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![
            rcgen::SanType::Rfc822Name(format!("{name}@example.com").try_into().unwrap()),
            rcgen::SanType::URI(format!("spiffe://example.com/{name}").try_into().unwrap()),
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    pub(super) fn policy(&self, mode: ClientAuthMode) -> Arc<ClientAuth> {
        Arc::new(ClientAuth::from_pem(mode, self.pem().as_bytes()).unwrap())
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this authority.
    pub(super) fn client(&self) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS, None)
    }

    pub(super) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        certificate: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        match certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        }
    }
}

pub(super) fn params(names: &[&str]) -> rcgen::CertificateParams {
    rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

pub(super) fn listener(certificates: &[CertificateUse], client_auth: Vec<ClientAuthRule>) -> ListenerTls {
    ListenerTls::new(&spec(certificates, client_auth), &secret())
}

pub(super) fn spec(certificates: &[CertificateUse], client_auth: Vec<ClientAuthRule>) -> ListenerTlsSpec {
    ListenerTlsSpec {
        key: ListenerKey::Class { class: "vestibule".into(), tls: true },
        certificates: certificates.to_vec(),
        default_certificate: None,
        client_auth,
        alpn: vec![Alpn::Http2, Alpn::Http11],
        min_version: crate::settings::TlsVersion::Tls12,
    }
}

pub(super) fn use_of(certificate: Arc<Certificate>) -> CertificateUse {
    CertificateUse { certificate, hosts: Hosts::Carried }
}

pub(super) fn rule(host: Option<HostPattern>, policy: Arc<ClientAuth>) -> ClientAuthRule {
    ClientAuthRule { host, policy }
}

pub(super) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

pub(super) fn exact(host: &str) -> HostPattern {
    HostPattern::Exact(host.into())
}

pub(super) fn secret() -> TicketSecret {
    TicketSecret::new([7; 32])
}

/// A client's store that shows its tickets to every server, as an attacker would.
#[derive(Debug)]
struct AnyHostStore {
    sessions: ClientSessionMemoryCache,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
}

impl AnyHostStore {
    fn new() -> AnyHostStore {
        AnyHostStore { sessions: ClientSessionMemoryCache::new(8), tls12: Mutex::default() }
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("any.example").unwrap()
    }
}

impl ClientSessionStore for AnyHostStore {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    /// Without effect: a refused ticket is shown again.
    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.sessions.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.sessions.take_tls13_ticket(&Self::name())
    }
}
