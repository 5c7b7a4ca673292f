//! TLS connections that resume a session: each does an abbreviated handshake and one request.
//!
//! The generators of the distribution do full handshakes only.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, Stream};

use crate::failure::{Doing, Failure};
use crate::window::{Counted, Meter};
use crate::workload::SECURE_HOST;
use crate::{http1, tls};

/// Some threads, each with one connection after the other, for `window`; one that does not resume is an error.
pub(crate) fn run(
    address: SocketAddr,
    root: &Path,
    window: Duration,
    meter: &mut Meter,
) -> Result<Counted, Failure> {
    let request = http1::get_and_close(SECURE_HOST);
    // Each has tickets of its own: a ticket is used once.
    let mut clients = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        let config = tls::client(root, "http/1.1")?;
        once(address, &config, &request).doing(|| format!("connect to {address}"))?;
        clients.push(config);
    }
    meter.start()?;
    let end = Instant::now() + window;
    let all: Vec<Counted> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            clients.iter().map(|config| scope.spawn(|| until(end, address, config, &request))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    meter.stop()?;
    if all.len() < THREADS {
        return Err(Failure::Load("a client broke off".into()));
    }
    let mut counted = Counted::default();
    for one in all {
        counted.answers += one.answers;
        counted.errors += one.errors;
        counted.error = counted.error.or(one.error);
    }
    Ok(counted)
}

fn until(end: Instant, address: SocketAddr, config: &Arc<ClientConfig>, request: &[u8]) -> Counted {
    let mut counted = Counted::default();
    while Instant::now() < end && counted.errors < ERRORS_MAX {
        match once(address, config, request) {
            Ok(HandshakeKind::Resumed) => counted.answers += 1,
            Ok(kind) => counted.failed(&format!("a handshake was {kind:?}")),
            Err(error) => counted.failed(&error.to_string()),
        }
    }
    counted
}

fn once(address: SocketAddr, config: &Arc<ClientConfig>, request: &[u8]) -> io::Result<HandshakeKind> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(config.clone(), tls::server_name());
    let mut session = session.map_err(io::Error::other)?;
    let mut stream = Stream::new(&mut session, &mut socket);
    stream.write_all(request)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Some programs end the connection without an alert.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => drop(other?),
    }
    match http1::response(&answer) {
        Ok(Some(http1::Response { status: 200, .. })) => {}
        other => return Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
    session.handshake_kind().ok_or_else(|| io::Error::other("there was no handshake"))
}

const PATIENCE: Duration = Duration::from_secs(10);
/// A program that refuses everything is not asked for ever.
const ERRORS_MAX: u64 = 100;
const THREADS: usize = 16;
