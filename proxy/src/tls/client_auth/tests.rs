use super::super::certificates::PEM_BYTES_MAX;
use super::super::tests::{Authority, handshake, listener, rule, use_of};
use super::*;
use crate::tls::accept::{HandshakeError, TlsInfo};

#[tokio::test]
async fn each_mode_lets_in_whom_it_should() {
    use ClientAuthMode::{InsecureFallback, None as Nothing, Request, Require};
    let fixture = Fixture::new();
    for (mode, client, expected) in [
        (Nothing, Client::Bare, Ok((false, false))),
        (Nothing, Client::Known, Ok((false, false))),
        (Request, Client::Bare, Ok((false, false))),
        (Request, Client::Known, Ok((true, true))),
        (Request, Client::Stranger, Err("bad_client_certificate")),
        (Require, Client::Bare, Err("client_certificate_required")),
        (Require, Client::Known, Ok((true, true))),
        (Require, Client::Stranger, Err("bad_client_certificate")),
        (InsecureFallback, Client::Bare, Ok((false, false))),
        (InsecureFallback, Client::Known, Ok((true, true))),
        (InsecureFallback, Client::Stranger, Ok((true, false))),
    ] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let result = fixture.connect(mode, client, version).await;
            let seen = result
                .map(|info| (info.client_certificate.is_some(), info.client_verified))
                .map_err(|error| error.reason());
            assert_eq!(seen, expected, "{mode:?} {client:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn what_a_client_certificate_says_can_be_read() {
    let fixture = Fixture::new();
    let info =
        fixture.connect(ClientAuthMode::Require, Client::Known, &rustls::version::TLS13).await.unwrap();
    let certificate = info.client_certificate.unwrap();
    assert_eq!(certificate.subject().as_deref(), Some("CN=ada,O=Example"));
    assert!(certificate.issuer().unwrap().contains("CN=client authority"));
    let uri = ClientName::Uri("spiffe://example.com/ada".into());
    assert_eq!(certificate.names(), [ClientName::Email("ada@example.com".into()), uri]);
    assert!(certificate.serial().unwrap().bytes().all(|byte| byte.is_ascii_hexdigit()));
    let expected = digest::digest(&digest::SHA256, certificate.der());
    assert_eq!(certificate.fingerprint(), expected.as_ref());
}

#[test]
fn a_certificate_that_cannot_be_read_says_nothing() {
    let certificate = ClientCertificate::new(&CertificateDer::from(vec![1, 2, 3]));
    assert_eq!(certificate.subject(), None);
    assert_eq!(certificate.issuer(), None);
    assert_eq!(certificate.serial(), None);
    assert_eq!(certificate.names(), []);
}

#[test]
fn a_bad_bundle_is_refused() {
    let authority = Authority::new("client authority");
    let error = |bundle: &str| ClientAuth::from_pem(ClientAuthMode::Require, bundle.as_bytes()).unwrap_err();
    assert_eq!(error(""), AuthorityError::NoCertificate);
    assert!(matches!(error("-----BEGIN CERTIFICATE-----\nAA"), AuthorityError::NotPem(_)));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let second = authority.pem() + garbage;
    assert!(matches!(error(&second), AuthorityError::BadAuthority { position: 2, .. }));
    let fill = |length: usize| "\n".repeat(length - authority.pem().len()) + &authority.pem();
    assert_eq!(error(&fill(PEM_BYTES_MAX + 1)), AuthorityError::TooLarge);
    let largest = fill(PEM_BYTES_MAX);
    assert!(ClientAuth::from_pem(ClientAuthMode::Require, largest.as_bytes()).is_ok());
}

#[test]
fn policies_are_equal_when_mode_and_authorities_are() {
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let digest = |mode, bundle: &str| *ClientAuth::from_pem(mode, bundle.as_bytes()).unwrap().digest();
    let base = digest(ClientAuthMode::Require, &one.pem());
    assert_eq!(base, digest(ClientAuthMode::Require, &format!("# a comment\n{}", one.pem())));
    assert_ne!(base, digest(ClientAuthMode::Request, &one.pem()));
    assert_ne!(base, digest(ClientAuthMode::Require, &other.pem()));
    assert_ne!(base, digest(ClientAuthMode::Require, &(one.pem() + &other.pem())));
    assert_eq!(digest(ClientAuthMode::None, &one.pem()), *ClientAuth::none().digest());
}

#[test]
fn names_are_written_so_that_no_value_looks_like_another_part() {
    let cases = [
        ("plain", "plain"),
        ("a,CN=b", "a\\,CN=b"),
        ("a+b\"c\\d<e>f;g", "a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
        (" a b ", "\\ a b\\ "),
        ("#1#2", "\\#1#2"),
        ("a\r\nb\0", "a\\0D\\0Ab\\00"),
        ("\u{85}", "\\C2\\85"),
        ("ädä", "ädä"),
        (" ", "\\ "),
        ("", ""),
    ];
    for (value, written) in cases {
        let mut text = String::new();
        escape(value, &mut text);
        assert_eq!(text, written, "{value:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Client {
    /// Has no certificate.
    Bare,
    /// Has one of the authority that is asked for.
    Known,
    /// Has one of another authority with the same name, so that it is offered.
    Stranger,
}

struct Fixture {
    servers: Authority,
    clients: Authority,
    strangers: Authority,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            servers: Authority::new("server authority"),
            clients: Authority::new("client authority"),
            strangers: Authority::new("client authority"),
        }
    }

    async fn connect(
        &self,
        mode: ClientAuthMode,
        client: Client,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Result<TlsInfo, HandshakeError> {
        let rules = vec![rule(None, self.clients.policy(mode))];
        let listener = listener(&[use_of(self.servers.issue(&["a.example"]))], rules);
        let certificate = match client {
            Client::Bare => None,
            Client::Known => Some(self.clients.issue_client("ada")),
            Client::Stranger => Some(self.strangers.issue_client("eve")),
        };
        let config = self.servers.client_of(&[version], certificate);
        handshake(&listener, config.into(), "a.example").await.0.map(|(_, info)| info)
    }
}
