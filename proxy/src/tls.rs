//! TLS on the listening side: certificates by SNI, ALPN, client certificates, session tickets.

/// What one TLS listener shows and asks for.
#[derive(Debug)]
pub struct ListenerTls {}
