//! Tunnels: what an exchange becomes after the upstream switched protocols (RFC 9110 §7.8).

use bytes::Bytes;

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
