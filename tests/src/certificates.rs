//! Certificates made on the spot, and the TLS sides that use them.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that certificates of a test come from.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    /// A Secret of type `kubernetes.io/tls` with this metadata besides its namespace and name. JSON, which is YAML, too.
    pub fn to_secret(&self, namespace: &str, name: &str, mut metadata: serde_json::Value) -> String {
        metadata["namespace"] = namespace.into();
        metadata["name"] = name.into();
        let encode = |pem: &str| BASE64_STANDARD.encode(pem);
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": {"tls.crt": encode(&self.certificate), "tls.key": encode(&self.key)},
        })
        .to_string()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new("Test authority")
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these host names, good for servers and clients.
    pub fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The same, begun so many days ago and ending in so many; in none that are left when that is negative.
    #[expect(clippy::disallowed_methods, reason = "what is due is a matter of today")]
    pub fn issue_for(&self, names: &[&str], (old, left): (i64, i64)) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        // As CAs do; with it they can be asked when to renew.
        params.use_authority_key_identifier_extension = true;
        let now = jiff::Timestamp::now();
        let moment =
            |days: i64| std::time::SystemTime::from(now + jiff::SignedDuration::from_hours(24 * days));
        params.not_before = moment(-old).into();
        params.not_after = moment(left).into();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for a client of this name, with this serial number.
    pub fn issue_to(&self, name: &str, serial: u64) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// An authority that this one has signed.
    pub fn intermediate(&self, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority { issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate") }
    }

    /// The certificates with these serial numbers are no good any more.
    pub fn revocation_list(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2126, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }

    /// A client that trusts this authority.
    pub fn client(&self) -> ClientOptions {
        ClientOptions { root: self.pem(), ..ClientOptions::default() }
    }
}

/// How a TLS client presents itself.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    root: String,
    pub alpn: Vec<&'static str>,
    pub identity: Option<Pair>,
    pub version: Option<&'static rustls::SupportedProtocolVersion>,
    pub without_sni: bool,
}

impl ClientOptions {
    /// A client that trusts the first certificate of this PEM.
    pub fn trusting(root: &str) -> Self {
        ClientOptions { root: root.to_owned(), ..ClientOptions::default() }
    }

    pub fn alpn(mut self, names: &[&'static str]) -> Self {
        self.alpn = names.to_vec();
        self
    }

    pub fn identity(mut self, pair: Pair) -> Self {
        self.identity = Some(pair);
        self
    }

    pub fn version(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        self.version = Some(version);
        self
    }

    pub fn without_sni(mut self) -> Self {
        self.without_sni = true;
        self
    }

    pub fn build(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(chain(&self.root).remove(0)).expect("a root");
        let versions = match self.version {
            Some(version) => vec![version],
            None => rustls::ALL_VERSIONS.to_vec(),
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                builder.with_client_auth_cert(chain(&pair.certificate), key(&pair.key)).expect("a pair")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = !self.without_sni;
        Arc::new(config)
    }
}

/// The server side for an upstream.
pub fn server(pair: &Pair, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain(&pair.certificate), key(&pair.key))
        .expect("a pair");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The same for one that takes clients with a certificate of this authority and no others.
pub fn server_for(pair: &Pair, clients_of: &Authority) -> Arc<rustls::ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(&clients_of.pem()));
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(chain(&pair.certificate), key(&pair.key))
        .expect("a pair");
    Arc::new(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}
