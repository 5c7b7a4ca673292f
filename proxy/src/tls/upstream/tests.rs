use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::super::accept::{HandshakeError, TlsInfo, accept};
use super::super::certificates::PEM_BYTES_MAX;
use super::super::client_auth::ClientAuthMode;
use super::super::tests::{Authority, exchange, host, listener, params, rule, secret, spec, use_of};
use super::super::{Alpn, ListenerTls, ListenerTlsSpec};
use super::*;
use crate::upstream::Balance;

#[tokio::test]
async fn a_backend_is_verified_by_the_given_authority_and_name() {
    let authority = Authority::new("backend authority");
    let server = listener(&[use_of(authority.issue(&["web.shop.svc", "web.example"]))], vec![]);
    let cache = UpstreamTlsCache::default();
    // Without a name the Service's own counts.
    for name in [None, Some("web.example")] {
        let upstream = cache.upstream(&key(name, trusting(&authority)), None).unwrap().unwrap();
        let (client, info) = connect(&upstream, &server).await;
        client.unwrap();
        let info = info.unwrap();
        assert_eq!(info.server_name, Some(host(name.unwrap_or("web.shop.svc"))));
        assert_eq!(info.alpn, Some(Alpn::Http11));
    }
}

#[tokio::test]
async fn a_backend_that_is_not_who_it_should_be_is_refused() {
    let authority = Authority::new("backend authority");
    let mut expired = params(&["web.shop.svc"]);
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let (chain, secret_key) = authority.sign(expired);
    let expired = Certificate::from_pem(chain.as_bytes(), secret_key.as_bytes()).unwrap();
    let certificates = [
        authority.issue(&["other.shop.svc"]),
        Authority::new("another authority").issue(&["web.shop.svc"]),
        Arc::new(expired),
    ];
    for certificate in certificates {
        let server = server_with_default(certificate, vec![Alpn::Http11]);
        let cache = UpstreamTlsCache::default();
        let upstream = cache.upstream(&key(None, trusting(&authority)), None).unwrap().unwrap();
        let (client, _) = connect(&upstream, &server).await;
        assert!(matches!(client, Err(ConnectError::BadCertificate(_))));
        // The same backend without verification.
        let upstream = cache.upstream(&key(None, Verify::Nothing), None).unwrap().unwrap();
        connect(&upstream, &server).await.0.unwrap();
    }
}

#[tokio::test]
async fn http_2_must_be_agreed_on() {
    let authority = Authority::new("backend authority");
    let certificate = authority.issue(&["web.shop.svc"]);
    let cache = UpstreamTlsCache::default();
    let key = BackendKey { protocol: BackendProtocol::Http2, ..key(None, trusting(&authority)) };
    let upstream = cache.upstream(&key, None).unwrap().unwrap();
    let (client, info) =
        connect(&upstream, &server_with_default(certificate.clone(), vec![Alpn::Http2])).await;
    client.unwrap();
    assert_eq!(info.unwrap().alpn, Some(Alpn::Http2));
    for alpn in [vec![], vec![Alpn::Http11]] {
        let (client, _) = connect(&upstream, &server_with_default(certificate.clone(), alpn)).await;
        assert!(matches!(client, Err(ConnectError::NoHttp2)));
    }
}

#[tokio::test]
async fn http_1_is_spoken_with_backends_that_do_not_know_alpn() {
    let authority = Authority::new("backend authority");
    let server = server_with_default(authority.issue(&["web.shop.svc"]), vec![]);
    let cache = UpstreamTlsCache::default();
    let upstream = cache.upstream(&key(None, trusting(&authority)), None).unwrap().unwrap();
    connect(&upstream, &server).await.0.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_backend_that_asks() {
    let authority = Authority::new("backend authority");
    let policy = authority.policy(ClientAuthMode::Require);
    let server = listener(&[use_of(authority.issue(&["web.shop.svc"]))], vec![rule(None, policy)]);
    let cache = UpstreamTlsCache::default();
    let key = key(None, trusting(&authority));
    let own = authority.issue(&["edge.example"]);
    let upstream = cache.upstream(&key, Some(&own)).unwrap().unwrap();
    let (client, info) = connect(&upstream, &server).await;
    client.unwrap();
    assert_eq!(info.unwrap().client_certificate.unwrap().der(), &*own.certified_key().cert[0]);
    let without = cache.upstream(&key, None).unwrap().unwrap();
    assert!(matches!(connect(&without, &server).await.1, Err(HandshakeError::ClientCertificateRequired)));
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new("backend authority");
    let server = listener(&[use_of(authority.issue(&["web.shop.svc"]))], vec![]);
    let cache = UpstreamTlsCache::default();
    let upstream = cache.upstream(&key(None, trusting(&authority)), None).unwrap().unwrap();
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (client, server) = connect_both(&upstream, &server).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
        exchange(&mut server, &mut client).await;
        assert_eq!(client.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[test]
fn equal_backends_share_and_unused_ones_are_let_go() {
    let authority = Authority::new("backend authority");
    let cache = UpstreamTlsCache::default();
    let base = key(None, trusting(&authority));
    let first = cache.upstream(&base, None).unwrap().unwrap();
    let other_port = BackendKey { port: 8443, balance: Balance::RoundRobin, ..base.clone() };
    assert!(Arc::ptr_eq(&first, &cache.upstream(&other_port, None).unwrap().unwrap()));
    let own = authority.issue(&["edge.example"]);
    let different = [
        (BackendKey { service: "api".into(), ..base.clone() }, None),
        (BackendKey { protocol: BackendProtocol::Http2, ..base.clone() }, None),
        (key(Some("web.example"), trusting(&authority)), None),
        (key(None, Verify::Nothing), None),
        (base, Some(&own)),
    ];
    for (key, certificate) in different {
        assert!(!Arc::ptr_eq(&first, &cache.upstream(&key, certificate).unwrap().unwrap()), "{key:?}");
    }
    // The first, which is held, and the last: the others were let go when the next was made.
    assert_eq!(cache.entries.lock().unwrap().len(), 2);
}

#[test]
fn plain_backends_have_no_tls() {
    let key = BackendKey { tls: None, ..key(None, Verify::Nothing) };
    assert!(UpstreamTlsCache::default().upstream(&key, None).unwrap().is_none());
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let authority = Authority::new("backend authority");
    let error = |name, verify| UpstreamTlsCache::default().upstream(&key(name, verify), None).unwrap_err();
    let bundle = |text: &str| Verify::Authority(text.as_bytes().into());
    assert_eq!(error(Some("a b"), trusting(&authority)), UpstreamTlsError::ServerName("a b".into()));
    assert!(matches!(error(None, bundle("")), UpstreamTlsError::Authority(_)));
    assert!(matches!(error(None, bundle("-----BEGIN CERTIFICATE-----\nAA")), UpstreamTlsError::Authority(_)));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(None, bundle(&(authority.pem() + garbage))), UpstreamTlsError::Authority(_)));
    let fill = |length: usize| "\n".repeat(length - authority.pem().len()) + &authority.pem();
    assert_eq!(
        error(None, bundle(&fill(PEM_BYTES_MAX + 1))),
        UpstreamTlsError::Authority(AuthorityError::TooLarge)
    );
    let largest = key(None, bundle(&fill(PEM_BYTES_MAX)));
    assert!(UpstreamTlsCache::default().upstream(&largest, None).is_ok());
}

fn key(server_name: Option<&str>, verify: Verify) -> BackendKey {
    BackendKey {
        namespace: "shop".into(),
        service: "web".into(),
        port: 443,
        protocol: BackendProtocol::Http1,
        tls: Some(Arc::new(BackendTls::new(server_name.map(Arc::from), verify))),
        balance: Balance::PowerOfTwo,
    }
}

fn trusting(authority: &Authority) -> Verify {
    Verify::Authority(authority.pem().as_bytes().into())
}

fn server_with_default(certificate: Arc<Certificate>, alpn: Vec<Alpn>) -> ListenerTls {
    let spec = ListenerTlsSpec { default_certificate: Some(certificate), alpn, ..spec(&[], vec![]) };
    ListenerTls::new(&spec, &secret())
}

type Connected = Result<TlsStream<DuplexStream>, ConnectError>;
type Accepted = Result<(super::super::accept::TlsStream<DuplexStream>, TlsInfo), HandshakeError>;

async fn connect(
    upstream: &UpstreamTls,
    server: &ListenerTls,
) -> (Connected, Result<TlsInfo, HandshakeError>) {
    let (client, server) = connect_both(upstream, server).await;
    (client, server.map(|(_, info)| info))
}

async fn connect_both(upstream: &UpstreamTls, server: &ListenerTls) -> (Connected, Accepted) {
    let (client_io, server_io) = tokio::io::duplex(64 << 10);
    let deadline = Instant::now() + Duration::from_secs(10);
    // Each side is dropped when it fails, so that the other does not wait for it.
    tokio::join!(upstream.connect(client_io), accept(server_io, server, deadline))
}
