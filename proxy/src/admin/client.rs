//! Asking a running process, over its admin listener: the other end of [`super::api`], for the command line.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{address}: {source}; is `vestibule serve` running, and is this its admin address?")]
    Unreachable { address: String, source: std::io::Error },
    #[error("{address}: what answers there is no Vestibule admin listener")]
    NotAdmin { address: String },
    /// The listener's own words.
    #[error("{message}")]
    Refused { status: u16, message: String },
}

/// Gets one JSON answer. `path` is sent as it is, so it must be encoded.
pub fn ask<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, AskError> {
    let name = address.to_string();
    let unreachable = |source| AskError::Unreachable { address: name.clone(), source };
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(unreachable)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    exchange(stream, &name, "GET", path)
}

/// The same by the admin socket; `POST` is a command.
pub fn ask_socket<T: DeserializeOwned>(socket: &Path, method: &str, path: &str) -> Result<T, AskError> {
    let name = socket.display().to_string();
    let unreachable = |source| AskError::Unreachable { address: name.clone(), source };
    let stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    exchange(stream, &name, method, path)
}

fn exchange<T: DeserializeOwned>(
    mut stream: impl Read + Write,
    address: &str,
    method: &str,
    path: &str,
) -> Result<T, AskError> {
    let unreachable = |source| AskError::Unreachable { address: address.to_owned(), source };
    let not_admin = || AskError::NotAdmin { address: address.to_owned() };
    // A path of the file system is no name of a host.
    let host = if address.contains('/') { "localhost" } else { address };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(unreachable)?;
    let (status, body) = split(&answer).ok_or_else(not_admin)?;
    if status != 200 {
        let message = String::from_utf8_lossy(body).trim().escape_debug().to_string();
        return Err(AskError::Refused { status, message });
    }
    serde_json::from_slice(body).map_err(|_| not_admin())
}

/// Encodes a value for a query.
pub fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            // A `String` takes whatever is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Status and body. The admin listener sends whole bodies and closes.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    answer.starts_with(b"HTTP/1.1 ").then_some((status, &answer[end + 4..]))
}

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 64 << 20;
