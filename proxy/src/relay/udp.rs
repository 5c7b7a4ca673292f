//! Datagrams, passed on unread. Each client address has a socket of its own towards an endpoint, for as long as it speaks;
//! what comes back there goes to the client.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::session::Session;
use super::{Fault, Speech};
use crate::route::relay::{Relay, Relays};
use crate::snapshot::Slot;
use crate::upstream::balance::{Prefers, View, choose};
use crate::upstream::{Backend, Endpoint, EndpointAddress};
use crate::worker::Worker;

/// Passes on what comes in on `socket`, for the listener of this slot. Ends only by being dropped.
/// `count` says how many clients there are.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    slot: Rc<Cell<Slot>>,
    socket: UdpSocket,
    count: Rc<Cell<usize>>,
) {
    let scratch = RefCell::new(vec![0; DATAGRAM_BYTES_MAX]);
    let listener = Rc::new(Listener { socket, clients: RefCell::default(), count, scratch });
    let _clients = EndsClients(Rc::clone(&listener));
    // Only then is it known that a datagram can be sent without waiting.
    let _ = listener.socket.writable().await;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, client) = match listener.socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // What an earlier answer met on its way (ICMP); the socket is as good as before.
            Err(_) => {
                tokio::task::yield_now().await;
                continue;
            }
        };
        let known = listener.clients.borrow().get(&client).cloned();
        let upstream = match known {
            Some(upstream) => upstream,
            None => match open(&worker, &listener, slot.get(), client).await {
                Some(upstream) => upstream,
                None => continue,
            },
        };
        upstream.active_ms.set(worker.clock.now_ms());
        // A datagram that cannot be sent is lost, as datagrams are.
        if upstream.socket.try_send(&buffer[..length]).is_ok() {
            upstream.from_client.set(upstream.from_client.get() + length as u64);
        }
    }
}

struct Listener {
    socket: UdpSocket,
    // Clients choose the keys, so the hash is a keyed one.
    clients: RefCell<HashMap<SocketAddr, Rc<Upstream>>>,
    count: Rc<Cell<usize>>,
    /// Room for one datagram on its way to a client.
    scratch: RefCell<Vec<u8>>,
}

/// One client's way to an endpoint.
struct Upstream {
    socket: UdpSocket,
    /// When something was last sent either way.
    active_ms: Cell<u64>,
    from_client: Cell<u64>,
    /// Passes on what the endpoint says.
    answering: OnceCell<AbortHandle>,
}

/// Ends what goes on for clients when their socket is closed.
struct EndsClients(Rc<Listener>);

impl Drop for EndsClients {
    fn drop(&mut self) {
        for upstream in self.0.clients.borrow().values() {
            if let Some(answering) = upstream.answering.get() {
                answering.abort();
            }
        }
    }
}

/// One client, counted for as long as it is remembered.
struct Counted {
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    client: SocketAddr,
}

impl Counted {
    fn new(worker: &Rc<Worker>, listener: &Rc<Listener>, client: SocketAddr) -> Self {
        listener.count.set(listener.count.get() + 1);
        worker.shared.datagram_clients.fetch_add(1, Ordering::Relaxed);
        Counted { worker: Rc::clone(worker), listener: Rc::clone(listener), client }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.listener.clients.borrow_mut().remove(&self.client);
        self.listener.count.set(self.listener.count.get() - 1);
        self.worker.shared.datagram_clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Finds an endpoint for a client that is new, or says no.
async fn open(
    worker: &Rc<Worker>,
    listener: &Rc<Listener>,
    slot: Slot,
    client: SocketAddr,
) -> Option<Rc<Upstream>> {
    let current = worker.current();
    let settings = &current.settings.relay;
    let share = settings.udp_clients.div_ceil(worker.shared.workers.get());
    if listener.clients.borrow().len() >= share {
        worker.metrics.connection_refused();
        return None;
    }
    let relay = match current.served(slot).map(|served| &served.listener.relays) {
        Some(Some(Relays::Udp(relay))) => relay.clone(),
        Some(Some(Relays::Tcp(_) | Relays::Tls(_)) | None) | None => None,
    };
    let mut session = Session::begin(worker, Speech::Udp, client.ip().to_canonical(), None, relay.clone());
    let socket = match reach(worker, relay.as_deref(), &mut session).await {
        Ok(socket) => socket,
        Err(fault) => {
            session.fault = Some(fault);
            return None;
        }
    };
    session.fault = None;
    let active_ms = Cell::new(worker.clock.now_ms());
    let upstream =
        Rc::new(Upstream { socket, active_ms, from_client: Cell::new(0), answering: OnceCell::new() });
    listener.clients.borrow_mut().insert(client, Rc::clone(&upstream));
    let counted = Counted::new(worker, listener, client);
    let answering = tokio::task::spawn_local(answer(counted, Rc::clone(&upstream), session));
    let _ = upstream.answering.set(answering.abort_handle());
    Some(upstream)
}

/// A socket that is connected to an endpoint of the relay's backend.
async fn reach(
    worker: &Rc<Worker>,
    relay: Option<&Relay>,
    session: &mut Session,
) -> Result<UdpSocket, Fault> {
    let relay = relay.ok_or(Fault::NoRoute)?;
    if relay.refusal.is_some() {
        return Err(Fault::Refused);
    }
    let backend: &Arc<Backend> =
        relay.pick().and_then(|share| share.backend.as_ref()).ok_or(Fault::BackendInvalid)?;
    session.backend = Some(Arc::clone(backend));
    let view = View {
        pools: &worker.pools,
        in_flight_max: u32::MAX,
        now_ms: worker.clock.now_ms(),
        prefers: Prefers::Any,
    };
    let choice = choose(view, backend, &[]).map_err(|_| Fault::NoEndpoints)?;
    session.endpoint = Some(Arc::clone(&choice.endpoint));
    let address = address_of(worker, &choice.endpoint).await.ok_or(Fault::ConnectFailed)?;
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|_| Fault::Overloaded)?;
    socket.connect(address).await.map_err(|_| Fault::ConnectFailed)?;
    // As with the listener: else the first datagram would be lost.
    socket.writable().await.map_err(|_| Fault::ConnectFailed)?;
    Ok(socket)
}

async fn address_of(worker: &Rc<Worker>, endpoint: &Endpoint) -> Option<SocketAddr> {
    match &endpoint.spec.address {
        EndpointAddress::Socket(address) => Some(*address),
        EndpointAddress::Name(name, port) => {
            let settings = worker.settings();
            let addresses = worker.shared.resolver.resolve(name, &settings.external_name.allow).await.ok()?;
            addresses.into_iter().next().map(|address| SocketAddr::new(address, *port))
        }
    }
}

/// Passes on what the endpoint says, until both are silent for too long.
async fn answer(counted: Counted, upstream: Rc<Upstream>, mut session: Session) {
    let Counted { worker, listener, client } = &counted;
    let idle = worker.settings().relay.udp_idle_timeout;
    let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let watch = worker.clock.watch();
    loop {
        let silent_ms = worker.clock.now_ms().saturating_sub(upstream.active_ms.get());
        if silent_ms >= idle_ms {
            break;
        }
        // The client may have spoken meanwhile; then the deadline is a later one.
        let rest = std::time::Duration::from_millis(idle_ms - silent_ms);
        match watch.within(&worker.clock, rest, upstream.socket.readable()).await {
            Err(_) => continue,
            Ok(Err(_)) => break,
            Ok(Ok(())) => {}
        }
        let mut buffer = listener.scratch.borrow_mut();
        match upstream.socket.try_recv(&mut buffer) {
            Ok(length) => {
                upstream.active_ms.set(worker.clock.now_ms());
                if listener.socket.try_send_to(&buffer[..length], *client).is_ok() {
                    session.copied.to_client += length as u64;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Nobody listens there; the client's next datagram finds another endpoint.
            Err(_) => {
                session.fault = Some(Fault::ConnectFailed);
                break;
            }
        }
    }
    session.copied.from_client = upstream.from_client.get();
}

/// The longest datagram that IP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;
