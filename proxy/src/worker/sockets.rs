//! The sockets of one worker: accepting connections within the bounds on their number.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::Worker;
use super::clock::TICK;
use super::connections::{ConnectionId, Kind};
use crate::connection;
use crate::limit::network_of;
use crate::listen::{AcceptBackoff, accept};
use crate::relay::udp;
use crate::snapshot::Slot;

/// One bound address of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    pub(crate) slot: Slot,
    pub(crate) address: SocketAddr,
}

/// All sockets of a worker.
pub(super) struct Sockets {
    worker: Rc<Worker>,
    accepting: HashMap<Socket, Accepting>,
    /// Sockets for datagrams of listeners that are gone, while their clients go on.
    closing: HashMap<SocketAddr, AbortHandle>,
}

struct Accepting {
    task: JoinHandle<()>,
    /// The listener that connections accepted from now on belong to.
    slot: Rc<Cell<Slot>>,
    /// Of a socket for datagrams: how many clients it has.
    clients: Option<Rc<Cell<usize>>>,
}

impl Sockets {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Sockets { worker, accepting: HashMap::new(), closing: HashMap::new() }
    }

    /// Accepts on `listener`, which is bound already and does not block.
    pub(super) fn open(&mut self, socket: Socket, listener: std::net::TcpListener) {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let slot = Rc::new(Cell::new(socket.slot));
                let accepting =
                    accept_all(Rc::clone(&self.worker), socket.address, Rc::clone(&slot), listener);
                let task = tokio::task::spawn_local(accepting);
                self.accepting.insert(socket, Accepting { task, slot, clients: None });
            }
            Err(error) => tracing::error!(address = %socket.address, %error, "a socket cannot be watched"),
        }
    }

    /// Takes the datagrams of `listener`, which is bound already and does not block.
    pub(super) fn open_udp(&mut self, socket: Socket, listener: std::net::UdpSocket) {
        match UdpSocket::from_std(listener) {
            Ok(listener) => {
                let slot = Rc::new(Cell::new(socket.slot));
                let clients = Rc::new(Cell::new(0));
                let serving =
                    udp::serve(Rc::clone(&self.worker), Rc::clone(&slot), listener, Rc::clone(&clients));
                let task = tokio::task::spawn_local(serving);
                // The address has one owner: what was left of the one before would take some of its datagrams.
                if let Some(closing) = self.closing.remove(&socket.address) {
                    closing.abort();
                }
                self.accepting.insert(socket, Accepting { task, slot, clients: Some(clients) });
            }
            Err(error) => tracing::error!(address = %socket.address, %error, "a socket cannot be watched"),
        }
    }

    /// Lets another listener have the socket.
    pub(super) fn move_to(&mut self, socket: Socket, slot: Slot) {
        if let Some(accepting) = self.accepting.remove(&socket) {
            accepting.slot.set(slot);
            self.accepting.insert(Socket { slot, ..socket }, accepting);
        }
    }

    /// Stops accepting. What is open stays for as long as a drain lasts.
    pub(super) fn close(&mut self, socket: Socket) {
        let Some(accepting) = self.accepting.remove(&socket) else { return };
        let Some(clients) = accepting.clients.filter(|clients| clients.get() > 0) else {
            return accepting.task.abort();
        };
        let (worker, begun) = (Rc::clone(&self.worker), Instant::now());
        let closing = tokio::task::spawn_local(async move {
            let _serving = AbortOnDrop(accepting.task);
            while clients.get() > 0 && begun.elapsed() < worker.settings().drain_sessions() {
                tokio::time::sleep(TICK).await;
            }
        });
        self.closing.retain(|_, closing| !closing.is_finished());
        self.closing.insert(socket.address, closing.abort_handle());
    }

    /// Stops accepting for good what is of this kind. Clients of UDP are sessions. Returns how many of them there were.
    pub(super) fn stop(&mut self, kind: Kind) -> usize {
        let mut cut = 0;
        self.accepting.retain(|_, accepting| {
            let clients = accepting.clients.as_ref();
            let ends = clients.is_some() == (kind == Kind::Sessions);
            if ends {
                cut += clients.map_or(0, |clients| clients.get());
                accepting.task.abort();
            }
            !ends
        });
        cut
    }
}

async fn accept_all(worker: Rc<Worker>, address: SocketAddr, slot: Rc<Cell<Slot>>, listener: TcpListener) {
    let mut backoff = AcceptBackoff::default();
    loop {
        let (stream, remote) = accept(&listener, &mut backoff, || worker.metrics.accept_failed()).await;
        admit(&worker, Socket { slot: slot.get(), address }, stream, remote);
    }
}

/// Serves a connection on a task of its own, or closes it at once when there are too many.
fn admit(worker: &Rc<Worker>, socket: Socket, stream: TcpStream, remote: SocketAddr) {
    let admission =
        if worker.refuses_connections() { None } else { Admission::new(worker, socket.slot, remote.ip()) };
    let Some(admission) = admission else {
        worker.metrics.connection_refused();
        return;
    };
    worker.metrics.connection_opened();
    let id = admission.id;
    let serving = connection::serve(Rc::clone(worker), (socket, id), stream, remote, admission);
    worker.connections.insert(id, socket.slot, tokio::task::spawn_local(serving).abort_handle());
}

/// Ends a task with whoever waits for it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
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
    id: ConnectionId,
}

impl Admission {
    fn new(worker: &Rc<Worker>, slot: Slot, address: IpAddr) -> Option<Self> {
        let current = worker.current();
        let limits = &current.settings.limits;
        let total_max = limits.connections;
        // Behind a load balancer all clients have its address; the bound would be theirs together.
        let speaks_for_others = current.served(slot).is_some_and(|served| served.speaks_for_others(address))
            || limits.shared_networks.iter().any(|network| network.contains(&address.to_canonical()))
            || worker.shared.networks.hold(address);
        let per_address_max = if speaks_for_others { total_max } else { limits.connections_per_address };
        let address = network_of(address);
        if !worker.shared.addresses.enter(address, total_max, per_address_max) {
            return None;
        }
        let id = worker.connections.next_id();
        Some(Admission { worker: Rc::clone(worker), shared: Arc::clone(&worker.shared), address, id })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.addresses.leave(self.address);
        self.worker.connections.remove(self.id);
        self.worker.metrics.connection_closed();
    }
}

impl ClientAddresses {
    /// Connections open on all workers.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

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
