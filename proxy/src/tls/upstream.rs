//! TLS towards backends.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

use crate::upstream::{BackendKey, BackendProtocol, BackendTls, Verify};

use super::certificates::{Certificate, PEM_BYTES_MAX, parse_chain};

/// How one backend is spoken to over TLS. Shared by all workers; sessions are resumed.
pub struct UpstreamTls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

/// Why a backend's TLS cannot be used. Its share of traffic is refused, never sent in plain or unverified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamTlsError {
    #[error("the server name {0:?} is neither a host name nor an IP address")]
    ServerName(Arc<str>),
    #[error("the CA bundle is larger than {PEM_BYTES_MAX} bytes")]
    AuthorityTooLarge,
    #[error("the CA bundle cannot be used: {0}")]
    Authority(Arc<str>),
    #[error(
        "the system's certificate authorities cannot be read ({0}): install ca-certificates, or name a CA bundle"
    )]
    SystemAuthorities(Arc<str>),
}
