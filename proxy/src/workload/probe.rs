//! Finding out when what was woken takes connections.
//!
//! One task for each gate that somebody waits at, however many wait. It connects to the endpoints of the gate's backends as
//! the table of this process has them, and asks a path where the route names one: behind some meshes every connect succeeds.

use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use wake::machine::Event;

use super::gate::{Gate, Passage};
use crate::upstream::{Backend, EndpointAddress};

/// Probes until every backend of the gate is proven, or nobody waits any more. Each success is told to the machine.
pub(super) async fn run(gate: Weak<Gate>, events: mpsc::Sender<Event>) {
    let mut opened: Option<Instant> = None;
    loop {
        let Some(gate) = gate.upgrade() else { return };
        let mut all_proven = true;
        for backend in gate.backends() {
            if gate.has_proven(&backend) {
                continue;
            }
            if takes_connections(&backend, gate.policy.probe.as_deref()).await {
                gate.prove(&backend);
                gate.nudge();
            } else {
                all_proven = false;
            }
        }
        let any_proven = gate.backends().iter().any(|backend| gate.has_proven(backend));
        if any_proven && !gate.is_open() && !gate.is_opening() {
            // Again and again until the gate opens: the machine may not have heard yet that it was woken.
            let _ = events.try_send(Event::Serving(gate.id));
        }
        if gate.is_opening() {
            let since = *opened.get_or_insert_with(Instant::now);
            if all_proven || since.elapsed() > OPENING_MAX {
                gate.set(Passage::Open);
                gate.nudge();
            }
        } else {
            opened = None;
        }
        if gate.is_open() && (all_proven || gate.waiting() == 0) {
            return;
        }
        drop(gate);
        sleep(INTERVAL).await;
    }
}

/// Whether any endpoint of the backend answers now.
async fn takes_connections(backend: &Backend, path: Option<&str>) -> bool {
    let addresses: Vec<Option<SocketAddr>> = backend
        .endpoints()
        .iter()
        .take(ENDPOINTS_MAX)
        .map(|endpoint| match &endpoint.spec.address {
            EndpointAddress::Socket(address) => Some(*address),
            // Outside of this process's table; forwarding finds out.
            EndpointAddress::Name(..) => None,
        })
        .collect();
    for address in addresses {
        let Some(address) = address else { return true };
        let answers = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            match path {
                // TLS has a handshake of its own; to connect is enough there.
                Some(path) if backend.key.tls.is_none() => {
                    let authority = format!("{}.{}", backend.key.service, backend.key.namespace);
                    is_well(&mut stream, path, &authority).await.then_some(())
                }
                Some(_) | None => Some(()),
            }
        };
        if matches!(timeout(ANSWER_MAX, answers).await, Ok(Some(()))) {
            return true;
        }
    }
    false
}

/// Whether a GET of this path is answered with anything but a fault of the server.
async fn is_well(stream: &mut TcpStream, path: &str, authority: &str) -> bool {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: vestibule-probe\r\nConnection: close\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut head = [0; b"HTTP/1.1 200".len()];
    if stream.read_exact(&mut head).await.is_err() {
        return false;
    }
    head.starts_with(b"HTTP/1.") && matches!(head[9], b'1'..=b'4')
}

/// Between two rounds: what a request waits in vain at the most.
const INTERVAL: Duration = Duration::from_millis(5);
const ANSWER_MAX: Duration = Duration::from_millis(1000);
/// Endpoints of one backend that are tried in a round.
const ENDPOINTS_MAX: usize = 4;
/// A gate that is awake by all accounts opens after so long even if a backend of it takes no connection.
const OPENING_MAX: Duration = Duration::from_secs(10);
