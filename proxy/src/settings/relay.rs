//! Bounds on what is passed on unread.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::units;

/// Connections and datagrams that are passed on unread (TCPRoute, TLSRoute, UDPRoute).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Relay {
    /// A connection is closed when neither side sends a byte for so long; `0` waits for ever. Default: 1h. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle_timeout: Duration,
    /// A client of UDP is forgotten when neither side sends a datagram for so long. Default: 60s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub udp_idle_timeout: Duration,
    /// Clients of UDP that are remembered at a time, over all listeners; the datagrams of more are dropped. Default: 20000.
    /// (new connections)
    pub udp_clients: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Relay {
            idle_timeout: Duration::from_secs(60 * 60),
            udp_idle_timeout: Duration::from_secs(60),
            udp_clients: 20_000,
        }
    }
}
