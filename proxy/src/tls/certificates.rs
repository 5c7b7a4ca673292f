//! Certificates with their keys, parsed once from what a Secret holds.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::route::host::{Host, HostPattern, WildcardLabels};

/// A certificate chain with its key, checked to belong together. `Debug` shows no byte of the key.
pub struct Certificate {
    certified_key: Arc<CertifiedKey>,
    names: Vec<HostPattern>,
    addresses: Vec<IpAddr>,
    not_before: Timestamp,
    not_after: Timestamp,
    digest: [u8; 32],
}

/// Where a moment stands to a certificate's dates. A certificate is served whatever it says: a client that checks refuses
/// it with a better message than a closed connection, and one that does not check keeps working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    NotYet { not_before: Timestamp },
    Valid,
    Expired { not_after: Timestamp },
}

/// Why a chain and key cannot be used. The words are for who wrote the Secret, and name its keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("tls.crt or tls.key is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    #[error("tls.crt is not PEM: {0}")]
    ChainNotPem(Arc<str>),
    #[error("tls.crt holds no certificate: it must be PEM, with at least one `BEGIN CERTIFICATE` block")]
    NoCertificate,
    #[error("certificate {position} of tls.crt cannot be read: {reason}")]
    BadCertificate { position: usize, reason: Arc<str> },
    #[error("tls.key is not PEM: {0}")]
    KeyNotPem(Arc<str>),
    #[error("tls.key holds no private key: it must be PEM, with a `BEGIN PRIVATE KEY` block")]
    NoKey,
    #[error("tls.key is encrypted: write the key without a passphrase")]
    EncryptedKey,
    #[error(
        "tls.key is of a kind that is not supported: use RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKey,
    #[error("tls.key does not belong to the certificate in tls.crt")]
    KeyMismatch,
    #[error(
        "tls.key belongs to certificate {position} of tls.crt: the server's own certificate must come first"
    )]
    ChainOrder { position: usize },
    #[error("the self-signed certificate cannot be made: {0}")]
    SelfSigned(Arc<str>),
}

impl Certificate {
    /// Parses a chain (`tls.crt`, leaf first) and its key (`tls.key`: PKCS#8, PKCS#1 or SEC1), both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateError> {
        if chain.len() > PEM_BYTES_MAX || key.len() > PEM_BYTES_MAX {
            return Err(CertificateError::TooLarge);
        }
        let chain = parse_chain(chain)?;
        Certificate::new(chain, parse_key(key)?)
    }

    /// Makes a certificate for these names (host names and addresses) that no one vouches for: the default of an edge that
    /// runs without a cluster, so that https answers before there is a real one. Valid for a year from `now`.
    pub fn self_signed(names: &[&str], now: Timestamp) -> Result<Certificate, CertificateError> {
        let failed = |error: rcgen::Error| CertificateError::SelfSigned(error.to_string().into());
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Vestibule self-signed certificate");
        // An hour back, for clients whose clock is behind.
        params.not_before = (std::time::SystemTime::from(now) - SELF_SIGNED_LEEWAY).into();
        params.not_after = (std::time::SystemTime::from(now) + SELF_SIGNED_LIFETIME).into();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| CertificateError::SelfSigned(reason.into()))?;
        Certificate::new(vec![certificate.der().clone()], key)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let mut context = digest::Context::new(&digest::SHA256);
        chain.iter().for_each(|certificate| context.update(certificate));
        let Some(leaf) = chain.first() else { return Err(CertificateError::NoCertificate) };
        let leaf = parse_certificate(leaf, 1)?;
        let key = any_supported_type(&key).map_err(|_| CertificateError::UnsupportedKey)?;
        if let Some(public_key) = key.public_key() {
            belongs(&chain, &public_key)?;
        }
        let (names, addresses) = subject_names(&leaf);
        let validity = leaf.validity();
        let (not_before, not_after) =
            (timestamp(validity.not_before.timestamp()), timestamp(validity.not_after.timestamp()));
        Ok(Certificate {
            names,
            addresses,
            not_before,
            not_after,
            digest: super::finish(context),
            certified_key: Arc::new(CertifiedKey::new(chain, key)),
        })
    }

    /// The host names that it carries (`subjectAltName`), lower case; wildcards cover exactly one label. The common name
    /// does not count (RFC 9525 §6.3).
    pub fn names(&self) -> &[HostPattern] {
        &self.names
    }

    /// The IP addresses that it carries.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Where `now` stands to the leaf's dates.
    pub fn validity(&self, now: Timestamp) -> Validity {
        if now < self.not_before {
            Validity::NotYet { not_before: self.not_before }
        } else if now > self.not_after {
            Validity::Expired { not_after: self.not_after }
        } else {
            Validity::Valid
        }
    }

    /// SHA-256 of the chain. Equal digests mean the same certificate, and with it the same key.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// True when a client that checks would accept it for this host, its dates apart.
    pub fn carries(&self, host: &Host) -> bool {
        self.names.iter().any(|name| name.matches(host))
    }

    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Certificate {}

impl std::hash::Hash for Certificate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("addresses", &self.addresses)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Reads a bundle of certificates (`ca.crt`) or a chain.
pub(super) fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::ChainNotPem(error.to_string().into()))?;
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

/// Reads one certificate of a chain; `position` counts from 1.
pub(super) fn parse_certificate(
    der: &[u8],
    position: usize,
) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(CertificateError::BadCertificate { position, reason: error.to_string().into() }),
    }
}

fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    use rustls_pki_types::pem::Error;
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) if memchr::memmem::find(pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
            Err(CertificateError::EncryptedKey)
        }
        Err(Error::NoItemsFound) => Err(CertificateError::NoKey),
        // The parser's own words may quote the line at fault, which may be a line of the key.
        Err(Error::Base64Decode(_)) => Err(CertificateError::KeyNotPem("its base64 is broken".into())),
        Err(Error::MissingSectionEnd { .. }) => {
            Err(CertificateError::KeyNotPem("its END line is missing".into()))
        }
        Err(_) => Err(CertificateError::KeyNotPem("its BEGIN line is broken".into())),
    }
}

/// Refuses a key that is not the leaf's; says so when it is another certificate's of the chain.
fn belongs(chain: &[CertificateDer<'static>], public_key: &[u8]) -> Result<(), CertificateError> {
    for (index, certificate) in chain.iter().enumerate() {
        let position = index + 1;
        if parse_certificate(certificate, position)?.public_key().raw == public_key {
            return if index == 0 { Ok(()) } else { Err(CertificateError::ChainOrder { position }) };
        }
    }
    Err(CertificateError::KeyMismatch)
}

fn subject_names(leaf: &X509Certificate<'_>) -> (Vec<HostPattern>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return (names, addresses) };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.extend(parse_name(name)),
            GeneralName::IPAddress(bytes) => addresses.extend(parse_address(bytes)),
            _ => {}
        }
    }
    (names, addresses)
}

/// Only whole first labels can be wildcards (RFC 9525 §6.3); anything else with a `*` matches nothing.
fn parse_name(name: &str) -> Option<HostPattern> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match name.strip_prefix('*') {
        Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') && !suffix.contains('*') => {
            Some(HostPattern::Wildcard { suffix: suffix.into(), labels: WildcardLabels::One })
        }
        Some(_) => None,
        None if name.is_empty() || name.contains('*') => None,
        None => Some(HostPattern::Exact(name.into())),
    }
}

fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Dates beyond what a [`Timestamp`] holds are as good as never.
fn timestamp(seconds: i64) -> Timestamp {
    let clamped = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(clamped).unwrap_or(Timestamp::MAX)
}

/// What a Secret can hold at most.
pub const PEM_BYTES_MAX: usize = 1 << 20;

const SELF_SIGNED_LEEWAY: std::time::Duration = std::time::Duration::from_secs(3600);
const SELF_SIGNED_LIFETIME: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests;
