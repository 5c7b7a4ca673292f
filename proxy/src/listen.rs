//! Listening sockets: one per worker and address, so that the kernel spreads connections and no lock is shared.
//!
//! All sockets of an address form one `SO_REUSEPORT` group. Sockets that a parent process hands over (systemd's
//! `LISTEN_FDS`) are used instead where their address is the one wanted; the workers then share one queue.

pub mod proxy_protocol;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// The sockets of one address, ready for [`tokio::net::TcpListener::from_std`].
#[derive(Debug)]
pub struct ListenerSockets {
    /// The address in truth: where port 0 was wanted, the port that the system chose.
    pub address: SocketAddr,
    /// One per worker, non-blocking. What they accept has `TCP_NODELAY`.
    pub sockets: Vec<TcpListener>,
}

/// Why an address has no sockets: which address, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "address already in use: {address}: stop the process that has it, or choose another with --http or --https, or in \
         the settings"
    )]
    InUse { address: SocketAddr },
    #[error(
        "no permission to listen on {address}: choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE"
    )]
    NotPermitted { address: SocketAddr },
    #[error(
        "{address} is not an address of this machine: choose one that `ip address` shows, or 0.0.0.0 or [::] for all"
    )]
    NotLocal { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Binds `address` once for each worker.
///
/// An IPv6 address never takes IPv4 connections, so that `[::]` and `0.0.0.0` can both be bound on one port. Fails, too,
/// when a process of the same user listens there with `SO_REUSEPORT`, which the kernel alone would let pass: half of the
/// connections would go to the other process.
pub fn bind(
    address: SocketAddr,
    workers: NonZeroUsize,
    inherited: &mut Inherited,
) -> Result<ListenerSockets, BindError> {
    let failed = |source| BindError::new(address, source);
    if let Some(socket) = inherited.take(address) {
        return shared(socket, workers).map_err(failed);
    }
    if address.port() != 0 {
        open(address, false).map_err(failed)?;
    }
    let first = open(address, true).map_err(failed)?;
    first.listen(BACKLOG).map_err(failed)?;
    let first = TcpListener::from(first);
    let actual = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..workers.get() {
        let socket = open(actual, true).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        sockets.push(socket.into());
    }
    Ok(ListenerSockets { address: actual, sockets })
}

/// Binds `address` for datagrams once for each worker; the kernel keeps each client with one of them.
pub fn bind_udp(
    address: SocketAddr,
    workers: NonZeroUsize,
) -> Result<(SocketAddr, Vec<UdpSocket>), BindError> {
    let failed = |source| BindError::new(address, source);
    if address.port() != 0 {
        // Without sharing first, as with TCP: another process of the same user would take half of the clients.
        open_udp(address, false).map_err(failed)?;
    }
    let first = open_udp(address, true).map_err(failed)?;
    let actual = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..workers.get() {
        sockets.push(open_udp(actual, true).map_err(failed)?);
    }
    Ok((actual, sockets))
}

/// Sockets that the parent process opened and handed over (`LISTEN_FDS`, `LISTEN_PID`; sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedSocket>,
}

#[derive(Debug)]
struct InheritedSocket {
    socket: TcpListener,
    address: SocketAddr,
    /// An IPv6 socket that takes IPv4 connections too: what systemd makes of `ListenStream=443`.
    dual_stack: bool,
    used: bool,
}

impl Inherited {
    /// Takes what the environment names, and removes it from the environment. To be called once, before there are threads.
    /// Fails on a descriptor that is not a TCP listener: it was meant for something that would not happen.
    pub fn from_environment() -> io::Result<Inherited> {
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(descriptors.len());
        for index in 0..descriptors.len() {
            if let Some(socket) = descriptors.take_tcp_listener(index)? {
                sockets.push(socket);
            }
        }
        Inherited::new(sockets)
    }

    /// The same for sockets that are at hand.
    pub fn new(sockets: Vec<TcpListener>) -> io::Result<Inherited> {
        let described = sockets.into_iter().map(|socket| {
            let address = socket.local_addr()?;
            let dual_stack = address.is_ipv6() && !SockRef::from(&socket).only_v6()?;
            Ok(InheritedSocket { socket, address, dual_stack, used: false })
        });
        Ok(Inherited { sockets: described.collect::<io::Result<_>>()? })
    }

    /// Addresses of sockets that nothing asked for: connections to them would wait for ever.
    pub fn unused(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter(|inherited| !inherited.used).map(|inherited| inherited.address)
    }

    /// A socket for `address`: one bound to just that, or for `0.0.0.0` one on `[::]` that takes IPv4 too.
    fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let everywhere_ipv4 = address.ip() == IpAddr::from([0; 4]);
        let covers = |inherited: &InheritedSocket| {
            inherited.dual_stack
                && everywhere_ipv4
                && inherited.address.port() == address.port()
                && inherited.address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED)
        };
        let index = self
            .sockets
            .iter()
            .position(|inherited| inherited.address == address)
            .or_else(|| self.sockets.iter().position(covers))?;
        let inherited = &mut self.sockets[index];
        // The original stays, so that the other family, or a listener that comes back, can use it again.
        let socket = inherited.socket.try_clone().ok()?;
        inherited.used = true;
        Some(socket)
    }
}

/// Waits for the next connection. Goes on for ever: what fails is one connection, or passes.
///
/// An IPv4 client of a dual-stack socket is reported with its IPv4 address.
pub async fn accept(
    listener: &tokio::net::TcpListener,
    backoff: &mut AcceptBackoff,
    on_failure: impl Fn(),
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                backoff.succeeded();
                return (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()));
            }
            Err(error) => {
                if let Some(pause) = backoff.failed(&error) {
                    on_failure();
                    if pause == ACCEPT_PAUSE_MIN {
                        tracing::warn!(%error, "cannot accept connections; trying again until it passes");
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// Keeps an accept loop from spinning when descriptors or memory are out: the connection stays in the queue, so the socket
/// stays readable.
#[derive(Debug, Default)]
pub struct AcceptBackoff {
    failures: u32,
}

impl AcceptBackoff {
    /// How long to wait before the next try; `None`: at once, since only that one connection was lost.
    pub fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return None;
        }
        let pause = ACCEPT_PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(ACCEPT_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        Some(pause)
    }

    /// The next failure is the first of its row.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> BindError {
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { address },
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
            _ => BindError::Other { address, source },
        }
    }
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of the last process that are still in TIME_WAIT must not keep this one from starting.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    prepare(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn open_udp(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Sets what Linux hands on to the connections that the socket accepts, which saves calls for each of them.
fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // A tunnel or a quiet stream to a phone that vanished would stay for ever.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// An inherited socket is one queue; each worker gets a handle to it.
fn shared(socket: TcpListener, workers: NonZeroUsize) -> io::Result<ListenerSockets> {
    socket.set_nonblocking(true)?;
    prepare(&SockRef::from(&socket))?;
    let address = socket.local_addr()?;
    let mut sockets = Vec::with_capacity(workers.get());
    for _ in 1..workers.get() {
        sockets.push(socket.try_clone()?);
    }
    sockets.push(socket);
    Ok(ListenerSockets { address, sockets })
}

/// The system asks whether a client is still there after this much silence.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// Bytes that a client leaves unacknowledged for this long end its connection (Linux TCP_USER_TIMEOUT).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted, per socket; the kernel's `net.core.somaxconn` bounds it too.
pub const BACKLOG: i32 = 4096;
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
