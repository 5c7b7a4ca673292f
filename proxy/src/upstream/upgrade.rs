//! Tunnels: what an exchange becomes after the upstream switched protocols (RFC 9110 §7.8).

use base64::Engine as _;
use bytes::Bytes;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

use super::pool::InFlight;
use crate::transport::{Rewound, Transport};

/// The upstream half of a tunnel: made only from a 101 that answered a request to upgrade.
pub struct Upgraded {
    pub(crate) stream: Rewound,
    /// Keeps the endpoint's count of requests until the tunnel ends.
    pub(crate) in_flight: InFlight,
}

impl Upgraded {
    pub(super) fn new(ahead: Bytes, transport: Transport, in_flight: InFlight) -> Self {
        Upgraded { stream: Rewound::new(ahead, transport), in_flight }
    }
}

/// The proof that the server understood the handshake (RFC 6455 §4.2.2).
pub(crate) fn accept_for(key: &HeaderValue) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::from_str(&base64::engine::general_purpose::STANDARD.encode(context.finish()))
}
