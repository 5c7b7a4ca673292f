//! Backends that prove another name than the one they are asked for by SNI (BackendTLSPolicy `subjectAltNames`).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::route::host::{Host, HostPattern, WildcardLabels};
use crate::upstream::AlternativeName;

/// Verifies the chain, and that the certificate carries at least one of the names.
#[derive(Debug)]
pub(super) struct ByAlternativeNames {
    authorities: Authorities,
    names: Arc<[AlternativeName]>,
}

#[derive(Debug)]
enum Authorities {
    /// Can verify a chain only together with a host name.
    System(Arc<dyn ServerCertVerifier>),
    Own(Arc<RootCertStore>),
}

impl ByAlternativeNames {
    /// Of the names only whole host names can be met.
    pub(super) fn system(verifier: Arc<dyn ServerCertVerifier>, names: Arc<[AlternativeName]>) -> Self {
        ByAlternativeNames { authorities: Authorities::System(verifier), names }
    }

    pub(super) fn authority(roots: Arc<RootCertStore>, names: Arc<[AlternativeName]>) -> Self {
        ByAlternativeNames { authorities: Authorities::Own(roots), names }
    }
}

impl ServerCertVerifier for ByAlternativeNames {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.authorities {
            Authorities::System(verifier) => {
                let mut last = CertificateError::NotValidForName.into();
                for name in self.names.iter() {
                    let AlternativeName::Host(HostPattern::Exact(host)) = name else { continue };
                    let Ok(host) = ServerName::try_from(&**host) else { continue };
                    match verifier.verify_server_cert(end_entity, intermediates, &host, ocsp_response, now) {
                        Ok(verified) => return Ok(verified),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Authorities::Own(roots) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                let algorithms = super::super::provider().signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
                if carries_one(end_entity, &self.names) {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(CertificateError::NotValidForName.into())
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &super::super::provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &super::super::provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::super::provider().signature_verification_algorithms.supported_schemes()
    }
}

fn carries_one(certificate: &CertificateDer<'_>, names: &[AlternativeName]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
    extension.value.general_names.iter().any(|carried| match carried {
        GeneralName::DNSName(carried) => names.iter().any(|name| match name {
            AlternativeName::Host(wanted) => meets(wanted, carried),
            AlternativeName::Uri(_) => false,
        }),
        GeneralName::URI(carried) => names.iter().any(|name| match name {
            AlternativeName::Uri(wanted) => **wanted == **carried,
            AlternativeName::Host(_) => false,
        }),
        _ => false,
    })
}

/// A carried wildcard stands for one label (RFC 9525 §6.3), and so does one that is asked for.
fn meets(wanted: &HostPattern, carried: &str) -> bool {
    let Ok(pattern) = HostPattern::parse(carried, WildcardLabels::One) else { return false };
    match (wanted, &pattern) {
        (HostPattern::Exact(host), _) => Host::parse(&**host).is_ok_and(|host| pattern.matches(&host)),
        (HostPattern::Wildcard { .. }, HostPattern::Exact(host)) => {
            Host::parse(&**host).is_ok_and(|host| wanted.matches(&host))
        }
        (HostPattern::Wildcard { .. }, _) => *wanted == pattern,
        (HostPattern::Any, _) => false,
    }
}
