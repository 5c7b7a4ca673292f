//! CA bundles: who may sign the certificates of clients and of backends.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use super::certificates::{CertificateError, PEM_BYTES_MAX, parse_chain};

/// The authorities of one bundle, in its order and ready for verifiers.
pub(super) struct Authorities {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) roots: RootCertStore,
}

/// Why a CA bundle cannot be used. Fail closed: what it guards must refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("the CA bundle is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the CA bundle is not PEM: {0}")]
    NotPem(Arc<str>),
    #[error(
        "the CA bundle holds no certificate: it must be PEM, with at least one `BEGIN CERTIFICATE` block"
    )]
    NoCertificate,
    #[error("certificate {position} of the CA bundle cannot be used as an authority: {reason}")]
    BadAuthority { position: usize, reason: Arc<str> },
    #[error("the revocation list cannot be used: {0}")]
    BadRevocationList(Arc<str>),
}

impl Authorities {
    /// Reads a bundle in PEM, of one certificate or more, none of which may be unusable.
    pub(super) fn from_pem(bundle: &[u8]) -> Result<Self, AuthorityError> {
        if bundle.len() > PEM_BYTES_MAX {
            return Err(AuthorityError::TooLarge);
        }
        let certificates = parse_chain(bundle).map_err(|error| match error {
            CertificateError::ChainNotPem(reason) => AuthorityError::NotPem(reason),
            _ => AuthorityError::NoCertificate,
        })?;
        let mut roots = RootCertStore::empty();
        for (index, authority) in certificates.iter().enumerate() {
            roots.add(authority.clone()).map_err(|error| AuthorityError::BadAuthority {
                position: index + 1,
                reason: error.to_string().into(),
            })?;
        }
        Ok(Authorities { certificates, roots })
    }
}
