//! Passive health of one endpoint: one packed atomic, written only on failure or recovery.

use std::sync::atomic::AtomicU64;

/// Failures in a row and the moment until which the endpoint is left alone.
#[derive(Debug, Default)]
pub struct Health {
    #[expect(dead_code, reason = "read by the balancer")]
    packed: AtomicU64,
}
