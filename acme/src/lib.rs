//! Certificates by ACME: what to issue, how to prove it, when to renew. This crate knows neither the server nor the cluster.
//!
//! What decides is pure and has the time as an argument: `plan` (which certificates are wanted), `renewal` (what is next for
//! one of them), `ledger` (the CA's limits) and `failure` (when to try again). What acts stands around it.

mod ask;
pub mod chain;
pub mod dns;
pub mod failure;
pub mod http;
pub mod http01;
pub mod issuer;
pub mod ledger;
pub mod manager;
pub mod name;
mod order;
pub mod plan;
pub mod provider;
pub mod renewal;
pub mod secret;
pub mod state;
pub mod store;

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time to what runs for long. Tests set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a CA is told of who asks (RFC 8555 §6.1).
pub(crate) const USER_AGENT: &str = concat!("vestibule/", env!("CARGO_PKG_VERSION"));
