//! Client certificates: which are asked for, and what is told of the one that came.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::authorities::{Authorities, AuthorityError};
use crate::request::external::escape_uri;

/// How strictly client certificates are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthMode {
    /// Not at all.
    None,
    /// A client may show one; one that does not verify ends the handshake.
    Request,
    /// A client must show one that verifies (Gateway API `AllowValidOnly`).
    Require,
    /// A client may show any or none; whether it verified is told in `TlsInfo::client_verified` (Gateway API
    /// `AllowInsecureFallback`, ingress-nginx `optional_no_ca`).
    InsecureFallback,
}

/// A client-certificate policy: a mode and the authorities that may sign. Made once per bundle and shared.
pub struct ClientAuth {
    mode: ClientAuthMode,
    verifier: Arc<dyn ClientCertVerifier>,
    /// The strict verifier behind `InsecureFallback`.
    strict: Option<Strict>,
    digest: [u8; 32],
}

/// What a certificate has to stand after the handshake, where the handshake takes any.
struct Strict {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    intermediates_max: Option<usize>,
}

/// What is asked of a chain besides the signature of an authority.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    /// Lists of revoked certificates in PEM. Where there are any, each issuer of a chain needs one that has not expired.
    pub lists: Option<Vec<u8>>,
    /// How many certificates between the client's own and an authority a client may show. Only for
    /// [`ClientAuthMode::InsecureFallback`].
    pub intermediates_max: Option<usize>,
}

impl ClientAuth {
    /// Asks for nothing.
    pub fn none() -> ClientAuth {
        ClientAuth {
            mode: ClientAuthMode::None,
            verifier: WebPkiClientVerifier::no_client_auth(),
            strict: None,
            digest: digest_of(ClientAuthMode::None, &[], None, None),
        }
    }

    /// Asks as `mode` says for certificates signed by one of the authorities in `bundle` (PEM, one or more).
    pub fn from_pem(mode: ClientAuthMode, bundle: &[u8]) -> Result<ClientAuth, AuthorityError> {
        ClientAuth::with_revocation(mode, bundle, Revocation::default())
    }

    /// The same, for chains that are no longer than this and hold nothing that was revoked.
    pub fn with_revocation(
        mode: ClientAuthMode,
        bundle: &[u8],
        revocation: Revocation,
    ) -> Result<ClientAuth, AuthorityError> {
        let Authorities { certificates, roots } = Authorities::from_pem(bundle)?;
        if mode == ClientAuthMode::None {
            return Ok(ClientAuth::none());
        }
        let lists = revocation.lists.as_deref().map(revocation_lists).transpose()?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider().clone());
        let builder = match &lists {
            Some(lists) => builder.with_crls(lists.iter().cloned()).enforce_revocation_expiration(),
            None => builder,
        };
        let builder = match mode {
            ClientAuthMode::Require => builder,
            ClientAuthMode::None | ClientAuthMode::Request | ClientAuthMode::InsecureFallback => {
                builder.allow_unauthenticated()
            }
        };
        // There is an authority, so a list is all that can be at fault.
        let verifier =
            builder.build().map_err(|error| AuthorityError::BadRevocationList(error.to_string().into()))?;
        let digest = digest_of(mode, &certificates, lists.as_deref(), revocation.intermediates_max);
        Ok(match mode {
            ClientAuthMode::InsecureFallback => ClientAuth {
                mode,
                verifier: Arc::new(AcceptsAny(verifier.clone())),
                strict: Some(Strict {
                    verifier,
                    authorities: certificates,
                    intermediates_max: revocation.intermediates_max,
                }),
                digest,
            },
            ClientAuthMode::None | ClientAuthMode::Request | ClientAuthMode::Require => {
                ClientAuth { mode, verifier, strict: None, digest }
            }
        })
    }

    pub fn mode(&self) -> ClientAuthMode {
        self.mode
    }

    /// SHA-256 over mode and authorities; equal digests mean the same policy.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    /// Whether the chain of a finished handshake was signed by an authority of this policy.
    pub(super) fn verified(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&self.strict, chain) {
            (_, []) => false,
            (Some(strict), [leaf, intermediates @ ..]) => {
                let is_between = |shown: &&CertificateDer<'_>| {
                    !strict.authorities.iter().any(|authority| authority.as_ref() == shown.as_ref())
                };
                let between = intermediates.iter().filter(is_between).count();
                strict.intermediates_max.is_none_or(|max| between <= max)
                    && strict.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
            }
            // The handshake would have failed.
            (None, _) => self.mode != ClientAuthMode::None,
        }
    }
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientAuth {}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The leaf certificate that a client showed, and proved to hold the key of.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    der: CertificateDer<'static>,
    /// Made for the first request that needs it; a connection has many.
    told: OnceLock<Told>,
}

/// What backends are told of a certificate, as values of headers.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) subject: HeaderValue,
    pub(crate) issuer: HeaderValue,
    /// The certificate in PEM, percent-encoded, as nginx writes it.
    pub(crate) escaped_pem: HeaderValue,
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for ClientCertificate {}

impl ClientCertificate {
    pub(super) fn new(leaf: &CertificateDer<'_>) -> ClientCertificate {
        ClientCertificate { der: leaf.clone().into_owned(), told: OnceLock::new() }
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER form.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.der);
        super::finish(context)
    }

    /// The subject as RFC 4514 writes it (`CN=ada,O=Example`, the most specific part first). `None` when the certificate
    /// cannot be read, which only an unverified one can be.
    pub fn subject(&self) -> Option<String> {
        self.parse().map(|certificate| distinguished_name(certificate.subject()))
    }

    /// The issuer, in the same form.
    pub fn issuer(&self) -> Option<String> {
        self.parse().map(|certificate| distinguished_name(certificate.issuer()))
    }

    /// The serial number in upper-case hexadecimal.
    pub fn serial(&self) -> Option<String> {
        self.parse().map(|certificate| hex(certificate.raw_serial()))
    }

    /// The names in `subjectAltName`, in its order.
    pub fn names(&self) -> Vec<ClientName> {
        let Some(certificate) = self.parse() else { return Vec::new() };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
        let names = extension.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(ClientName::Dns((*name).into())),
                GeneralName::RFC822Name(name) => Some(ClientName::Email((*name).into())),
                GeneralName::URI(name) => Some(ClientName::Uri((*name).into())),
                _ => None,
            })
            .collect()
    }

    /// What backends are told; a name that cannot be read is empty.
    pub(crate) fn told(&self) -> &Told {
        self.told.get_or_init(|| {
            let value = |text: Option<String>| {
                HeaderValue::from_str(&ascii(&text.unwrap_or_default()))
                    .unwrap_or_else(|_| HeaderValue::from_static(""))
            };
            Told {
                subject: value(self.subject()),
                issuer: value(self.issuer()),
                escaped_pem: value(Some(self.escaped_pem())),
            }
        })
    }

    fn escaped_pem(&self) -> String {
        let encoded = BASE64_STANDARD.encode(&self.der);
        let mut pem = b"-----BEGIN CERTIFICATE-----\n".to_vec();
        for line in encoded.as_bytes().chunks(PEM_LINE_CHARS) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
        let mut escaped = Vec::with_capacity(pem.len() * 5 / 4);
        escape_uri(&pem, &mut escaped);
        String::from_utf8(escaped).unwrap_or_default()
    }

    fn parse(&self) -> Option<X509Certificate<'_>> {
        X509Certificate::from_der(&self.der).ok().map(|(_, certificate)| certificate)
    }
}

/// One of the names by which a client certificate says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    Dns(Arc<str>),
    Email(Arc<str>),
    /// SPIFFE identities are of this kind.
    Uri(Arc<str>),
}

/// Lets every certificate pass whose key the client holds.
#[derive(Debug)]
struct AcceptsAny(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AcceptsAny {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, AuthorityError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(|error| AuthorityError::BadRevocationList(error.to_string().into()))?;
    if lists.is_empty() {
        return Err(AuthorityError::BadRevocationList("it holds no `BEGIN X509 CRL` block".into()));
    }
    Ok(lists)
}

fn digest_of(
    mode: ClientAuthMode,
    authorities: &[CertificateDer<'_>],
    lists: Option<&[CertificateRevocationListDer<'_>]>,
    intermediates_max: Option<usize>,
) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[match mode {
        ClientAuthMode::None => 0,
        ClientAuthMode::Request => 1,
        ClientAuthMode::Require => 2,
        ClientAuthMode::InsecureFallback => 3,
    }]);
    authorities.iter().for_each(|authority| super::update_with_bytes(&mut context, authority));
    if let Some(max) = intermediates_max {
        context.update(b"depth");
        context.update(&(max as u64).to_be_bytes());
    }
    for list in lists.into_iter().flatten() {
        context.update(b"list");
        super::update_with_bytes(&mut context, list);
    }
    super::finish(context)
}

fn distinguished_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let mut parts = name.iter_rdn().collect::<Vec<_>>();
    parts.reverse();
    let mut text = String::new();
    for part in parts {
        for (index, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index == 0 { ',' } else { '+' });
            }
            let kind = attribute.attr_type();
            match x509_parser::objects::oid2abbrev(kind, x509_parser::objects::oid_registry()) {
                Ok(abbreviation) => text.push_str(abbreviation),
                Err(_) => text.push_str(&kind.to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    text.push_str(&hex(attribute.as_slice()));
                }
            }
        }
    }
    text
}

/// RFC 4514 §2.4. Control characters are written in hexadecimal too, so that the text fits on a header line.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (index, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            control if control.is_control() => {
                for byte in control.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    text.push_str(&hex(&[byte]));
                }
            }
            other => text.push(other),
        }
    }
}

/// A name with each byte beyond ASCII in hexadecimal, as OpenSSL writes it, and with it nginx.
fn ascii(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            written.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                written.push('\\');
                written.push_str(&hex(&[byte]));
            }
        }
    }
    written
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

const PEM_LINE_CHARS: usize = 64;

#[cfg(test)]
mod tests;
