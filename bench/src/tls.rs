//! The certificate that every program serves, and a client that leaves no choice of parameters.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::failure::{Doing, Failure};
use crate::workload::SECURE_HOST;

/// A self-signed P-256 certificate for [`SECURE_HOST`] and its key, both as PEM.
pub(crate) fn certificate() -> Result<(String, String), Failure> {
    let certified = rcgen::generate_simple_self_signed([SECURE_HOST.to_owned()])?;
    Ok((certified.cert.pem(), certified.signing_key.serialize_pem()))
}

/// A client of `protocol` that trusts the certificate in the PEM file `root` and offers one version, one group and one
/// cipher, so that every program under test does the same arithmetic.
pub(crate) fn client(root: &Path, protocol: &str) -> Result<Arc<ClientConfig>, Failure> {
    let certificate = CertificateDer::from_pem_file(root)
        .map_err(|error| std::io::Error::other(error.to_string()))
        .doing(|| format!("read {}", root.display()))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    Ok(Arc::new(config))
}

/// The name that the client asks for.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(SECURE_HOST).expect("the constant is a DNS name")
}
