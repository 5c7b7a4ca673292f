//! The sockets of one worker: accepting connections within the bounds on their number.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Worker;
use crate::connection;
use crate::snapshot::Slot;

/// The pause after an accept that failed for want of descriptors or memory: long enough not to spin, short enough not to be
/// felt once there are some again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One bound address of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    pub(crate) slot: Slot,
    pub(crate) address: SocketAddr,
}

/// All sockets of a worker.
pub(super) struct Sockets {
    worker: Rc<Worker>,
    accepting: HashMap<Socket, JoinHandle<()>>,
}

impl Sockets {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Sockets { worker, accepting: HashMap::new() }
    }

    /// Accepts on `listener`, which is bound already and does not block.
    pub(super) fn open(&mut self, slot: Slot, address: SocketAddr, listener: std::net::TcpListener) {
        let socket = Socket { slot, address };
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let task = tokio::task::spawn_local(accept(Rc::clone(&self.worker), socket, listener));
                self.accepting.insert(socket, task);
            }
            Err(error) => tracing::error!(%address, %error, "a socket cannot be watched"),
        }
    }

    /// Stops accepting. Connections that are open stay.
    pub(super) fn close(&mut self, slot: Slot, address: SocketAddr) {
        if let Some(task) = self.accepting.remove(&Socket { slot, address }) {
            task.abort();
        }
    }
}

async fn accept(worker: Rc<Worker>, socket: Socket, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => admit(&worker, socket, stream, remote),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(address = %socket.address, %error, "connections cannot be accepted for the moment");
                worker.metrics.accept_failed();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// True for errors of a connection that went away while it waited; the next one is not concerned.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Serves a connection on a task of its own, or closes it at once when there are too many.
fn admit(worker: &Rc<Worker>, socket: Socket, stream: TcpStream, remote: SocketAddr) {
    let limits = &worker.settings().limits;
    let (total_max, per_address_max) = (limits.connections, limits.connections_per_address);
    let Some(admission) = Admission::new(worker, remote.ip(), total_max, per_address_max) else {
        worker.metrics.connection_refused();
        return;
    };
    // Small answers must not wait for an acknowledgement of the one before.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    worker.metrics.connection_opened();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        connection::serve(&worker, socket, stream, remote).await;
        drop(admission);
    });
}

/// Connections by client address, counted over all workers. Written when a connection opens or ends, never by a request.
#[derive(Debug, Default)]
pub(crate) struct ClientAddresses {
    // Clients choose the keys, so the hash is a keyed one.
    open: DashMap<IpAddr, usize>,
    total: AtomicUsize,
}

/// The place of one connection, given back on drop.
struct Admission {
    worker: Rc<Worker>,
    shared: Arc<super::Shared>,
    address: IpAddr,
}

impl Admission {
    fn new(worker: &Rc<Worker>, address: IpAddr, total_max: usize, per_address_max: usize) -> Option<Self> {
        let address = network_of(address);
        if !worker.shared.addresses.enter(address, total_max, per_address_max) {
            return None;
        }
        worker.connections.set(worker.connections.get() + 1);
        Some(Admission { worker: Rc::clone(worker), shared: Arc::clone(&worker.shared), address })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.addresses.leave(self.address);
        self.worker.connections.set(self.worker.connections.get() - 1);
        self.worker.metrics.connection_closed();
    }
}

impl ClientAddresses {
    /// Counts one more, or says no.
    fn enter(&self, address: IpAddr, total_max: usize, per_address_max: usize) -> bool {
        if self.total.fetch_add(1, Ordering::Relaxed) >= total_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let mut open = self.open.entry(address).or_insert(0);
        if *open >= per_address_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        *open += 1;
        true
    }

    fn leave(&self, address: IpAddr) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        if let dashmap::Entry::Occupied(mut open) = self.open.entry(address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// The network that one client is taken to be: an IPv4 address, or a /64 of IPv6, which is what a household gets.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        network_of(text.parse().expect("an address"))
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let clients = ClientAddresses::default();
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!((0..3).all(|_| clients.enter(a, 10, 3)));
        assert!(!clients.enter(a, 10, 3));
        assert!(clients.enter(b, 10, 3));
        clients.leave(a);
        assert!(clients.enter(a, 10, 3));
    }

    #[test]
    fn the_total_is_bounded_and_refusals_do_not_count() {
        let clients = ClientAddresses::default();
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!((0..5).all(|_| clients.enter(a, 5, 100)));
        assert!((0..5).all(|_| !clients.enter(b, 5, 100)));
        (0..5).for_each(|_| clients.leave(a));
        assert!(clients.open.is_empty());
        assert!((0..5).all(|_| clients.enter(b, 5, 100)));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::2"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }
}
