//! Tunnels: what an exchange becomes after the upstream switched protocols.

/// The upstream half of a tunnel.
pub struct Upgraded {}
