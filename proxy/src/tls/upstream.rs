//! TLS towards backends.

mod alternative_names;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

use crate::upstream::{AlternativeName, BackendKey, BackendProtocol, BackendTls, Verify};

use self::alternative_names::ByAlternativeNames;
use super::authorities::{Authorities, AuthorityError};
use super::certificates::Certificate;

/// How one backend is spoken to over TLS. Shared by all workers; sessions are resumed.
pub struct UpstreamTls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
    protocol: BackendProtocol,
}

/// Why a backend's TLS cannot be used. Its share of traffic is refused, never sent in plain or unverified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamTlsError {
    #[error("the server name {0:?} is neither a host name nor an IP address")]
    ServerName(Arc<str>),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the CA bundle cannot be used: {0}")]
    Verifier(Arc<str>),
    #[error(
        "the system's certificate authorities cannot be read ({0}): install ca-certificates, or name a CA bundle"
    )]
    SystemAuthorities(Arc<str>),
}

/// Why there is no connection to an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Unknown authority, wrong name, expired: the endpoint is not who it should be.
    #[error("the backend's certificate was refused: {0}")]
    BadCertificate(rustls::Error),
    /// For example because it wants a client certificate.
    #[error("the backend ended the handshake: {0:?}")]
    RefusedByServer(AlertDescription),
    #[error("the backend did not agree on HTTP/2 (ALPN h2)")]
    NoHttp2,
    #[error("the connection was lost: {0}")]
    Io(io::Error),
    #[error(transparent)]
    Other(rustls::Error),
}

impl UpstreamTls {
    /// The verified (or, with [`Verify::Nothing`], at least encrypted) stream over a connected `io`. The caller bounds the time.
    pub async fn connect<IO>(&self, io: IO) -> Result<TlsStream<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.connector.connect(self.server_name.clone(), io).await.map_err(classify)?;
        match (self.protocol, stream.get_ref().1.alpn_protocol()) {
            (BackendProtocol::Http2, Some(b"h2")) | (BackendProtocol::Http1, _) => Ok(stream),
            (BackendProtocol::Http2, _) => Err(ConnectError::NoHttp2),
        }
    }

    fn new(
        wanted: &Wanted,
        verifier: Arc<dyn ServerCertVerifier>,
        client_certificate: Option<&Arc<Certificate>>,
    ) -> Result<UpstreamTls, UpstreamTlsError> {
        let server_name = ServerName::try_from(wanted.server_name.to_string())
            .map_err(|_| UpstreamTlsError::ServerName(wanted.server_name.clone()))?;
        let builder = ClientConfig::builder_with_provider(super::provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match client_certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                certificate.certified_key().clone(),
            ))),
        };
        config.alpn_protocols = vec![match wanted.protocol {
            BackendProtocol::Http1 => b"http/1.1".to_vec(),
            BackendProtocol::Http2 => b"h2".to_vec(),
        }];
        if !wanted.offers_alpn {
            config.alpn_protocols.clear();
        }
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let connector = TlsConnector::from(Arc::new(config));
        Ok(UpstreamTls { connector, server_name, protocol: wanted.protocol })
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// The [`UpstreamTls`] in use, by what they verify, so that backends keep their sessions over configuration changes and equal
/// ones share them. Held by whoever links configuration to live state.
#[derive(Debug, Default)]
pub struct UpstreamTlsCache {
    entries: Mutex<HashMap<Wanted, Weak<UpstreamTls>>>,
}

/// All that makes two connections differ in TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    server_name: Arc<str>,
    verify: Verify,
    alternative_names: Arc<[AlternativeName]>,
    offers_alpn: bool,
    protocol: BackendProtocol,
    client_certificate: Option<[u8; 32]>,
}

impl UpstreamTlsCache {
    /// The TLS of a backend; `Ok(None)` for one that is spoken to in plain. Kept as long as someone holds it.
    ///
    /// May read the system's certificate authorities from disk, so not for the path of a request.
    pub fn upstream(
        &self,
        key: &BackendKey,
        client_certificate: Option<&Arc<Certificate>>,
    ) -> Result<Option<Arc<UpstreamTls>>, UpstreamTlsError> {
        let Some(BackendTls { server_name, verify, alternative_names, offers_alpn, .. }) = key.tls.as_deref()
        else {
            return Ok(None);
        };
        let server_name =
            server_name.clone().unwrap_or_else(|| format!("{}.{}.svc", key.service, key.namespace).into());
        let wanted = Wanted {
            server_name,
            verify: verify.clone(),
            alternative_names: alternative_names.clone(),
            offers_alpn: *offers_alpn,
            protocol: key.protocol,
            client_certificate: client_certificate.map(|certificate| *certificate.digest()),
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = entries.get(&wanted).and_then(Weak::upgrade) {
            return Ok(Some(upstream));
        }
        let upstream =
            Arc::new(UpstreamTls::new(&wanted, verifier(verify, alternative_names)?, client_certificate)?);
        entries.retain(|_, entry| entry.strong_count() > 0);
        entries.insert(wanted, Arc::downgrade(&upstream));
        Ok(Some(upstream))
    }
}

fn verifier(
    verify: &Verify,
    names: &Arc<[AlternativeName]>,
) -> Result<Arc<dyn ServerCertVerifier>, UpstreamTlsError> {
    let named = !names.is_empty();
    match verify {
        Verify::System if named => {
            Ok(Arc::new(ByAlternativeNames::system(system_verifier()?, names.clone())))
        }
        Verify::System => system_verifier(),
        Verify::Authority(bundle) if named => Ok(Arc::new(ByAlternativeNames::authority(
            Arc::new(Authorities::from_pem(bundle)?.roots),
            names.clone(),
        ))),
        Verify::Authority(bundle) => authority_verifier(bundle),
        Verify::Nothing => Ok(Arc::new(AcceptsAny)),
    }
}

/// One for the whole process: the system's authorities are a few hundred kilobytes.
pub(crate) fn system_verifier() -> Result<Arc<dyn ServerCertVerifier>, UpstreamTlsError> {
    static SYSTEM: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(verifier) = SYSTEM.get() {
        return Ok(verifier.clone());
    }
    // A failure is not kept: the operator may put the bundle in place while the process runs.
    let verifier = rustls_platform_verifier::Verifier::new(super::provider().clone())
        .map_err(|error| UpstreamTlsError::SystemAuthorities(error.to_string().into()))?;
    Ok(SYSTEM.get_or_init(|| Arc::new(verifier)).clone())
}

/// Takes these authorities, in PEM, and no others.
pub(crate) fn authority_verifier(bundle: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, UpstreamTlsError> {
    let Authorities { roots, .. } = Authorities::from_pem(bundle)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider().clone())
        .build()
        .map_err(|error| UpstreamTlsError::Verifier(error.to_string().into()))?;
    Ok(verifier)
}

/// Encrypts without knowing to whom. The handshake's signature is checked all the same, so that a recorded certificate
/// without its key is not enough.
#[derive(Debug)]
struct AcceptsAny;

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &super::provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &super::provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::provider().signature_verification_algorithms.supported_schemes()
    }
}

fn classify(error: io::Error) -> ConnectError {
    match error.downcast::<rustls::Error>() {
        Ok(error @ rustls::Error::InvalidCertificate(_)) => ConnectError::BadCertificate(error),
        Ok(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => ConnectError::NoHttp2,
        Ok(rustls::Error::AlertReceived(alert)) => ConnectError::RefusedByServer(alert),
        Ok(error) => ConnectError::Other(error),
        Err(error) => ConnectError::Io(error),
    }
}

/// Per backend: its one server name needs few, and each worker takes one to open a connection.
const SESSIONS_MAX: usize = 16;

#[cfg(test)]
mod tests;
