//! Why a bench could not be run: one line for the person at the terminal.

use std::io;
use std::net::SocketAddr;

/// Why a bench could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("{program} cannot be started ({source}); {mend}")]
    Missing { program: String, mend: &'static str, source: io::Error },
    #[error("{program} did not answer with 200 on {address} within {seconds} s{output}")]
    NotReady { program: String, address: SocketAddr, seconds: u64, output: String },
    #[error("{program} ended by itself ({status}){output}")]
    Ended { program: String, status: std::process::ExitStatus, output: String },
    #[error("the load generator failed: {0}")]
    Load(String),
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("/proc/{0} does not read as expected")]
    Proc(String),
    #[error("the results could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Usage(String),
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    /// Names the action, in the infinitive: "read the file …".
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|source| Failure::Io { doing: action(), source })
    }
}
