//! The harness: an edge in this process on free ports, upstreams that follow a script, and clients that speak in bytes.
//!
//! Everything a test starts ends when its handle is dropped. Nothing waits for time to pass: [`wait::eventually`] polls a
//! condition with a deadline, and reads have one of their own.

pub mod acme;
pub mod api_server;
pub mod certificates;
pub mod chromium;
pub mod client;
pub mod cluster;
pub mod edge;
pub mod frames;
pub mod keycloak;
pub mod logins;
pub mod manifests;
pub mod message;
pub mod nginx;
pub mod openid;
pub mod ports;
pub mod process;
pub mod redis;
pub mod release;
pub mod replicas;
pub mod scenario;
pub mod streams;
pub mod upstream;
pub mod wait;
pub mod waking;

/// Prints a measured figure, past the capture of a test that passes.
pub fn tell(figure: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Nobody reads it where there is no stderr.
    let _ = writeln!(std::io::stderr(), "{figure}");
}
