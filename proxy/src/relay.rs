//! Connections and datagrams that are passed on unread: TCPRoute, TLSRoute and UDPRoute, on the same workers as HTTP.
//!
//! A connection gets a backend by weight and an endpoint as requests do; when the endpoint does not take the connection,
//! others are tried. From then on bytes are copied both ways. What cannot be served is closed, with a reason in the access
//! log: there is nobody to tell it to.

mod copy;
mod session;
pub(crate) mod udp;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::listen::proxy_protocol::{Addresses, Header, write_v2};
use crate::route::host::Host;
use crate::route::relay::{Relay, TlsRelays, TlsVerdict};
use crate::tls::accept::{HandshakeError, Hello, TlsInfo};
use crate::transport::{Rewound, Transport};
use crate::upstream::balance::{NoChoice, Prefers, View, choose};
use crate::upstream::connect::connect;
use crate::upstream::pool::InFlight;
use crate::worker::Worker;
use crate::worker::connections::{ConnectionId, SessionGuard};

use self::copy::Ending;
use self::session::Session;

/// What speaks on a relay, for the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Tcp,
    Tls,
    Udp,
}

/// Why a session ended otherwise than by the will of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A rule that guards the route cannot be enforced.
    Refused,
    /// No route takes the connection.
    NoRoute,
    /// The route's reference to a backend is invalid, or all its weights are zero.
    BackendInvalid,
    NoEndpoints,
    /// Every endpoint has as much under way as it may have.
    Overloaded,
    ConnectFailed,
    /// Silence for too long.
    Idle,
    /// One side broke the connection off.
    BrokenOff,
}

impl Fault {
    /// The word for logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Fault::Refused => "refused",
            Fault::NoRoute => "no_route",
            Fault::BackendInvalid => "backend_invalid",
            Fault::NoEndpoints => "no_endpoints",
            Fault::Overloaded => "overloaded",
            Fault::ConnectFailed => "connect_failed",
            Fault::Idle => "idle",
            Fault::BrokenOff => "broken_off",
        }
    }
}

impl Speech {
    /// The word for logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Speech::Tcp => "TCP",
            Speech::Tls => "TLS",
            Speech::Udp => "UDP",
        }
    }
}

/// A connection that is to be passed on.
pub(crate) struct Inbound {
    relay: Option<Arc<Relay>>,
    speech: Speech,
    server_name: Option<Host>,
    /// Bytes that were read already to find the way.
    ahead: Bytes,
    client: Transport,
    source: SocketAddr,
}

/// What a TLS connection turned out to be.
pub(crate) enum Told {
    /// HTTPS: the handshake is still to be done.
    Https(Box<Hello>, TcpStream),
    Relay(Box<Inbound>),
}

impl Inbound {
    /// A connection of a listener that passes on all of them.
    pub(crate) fn tcp(relay: Option<Arc<Relay>>, client: TcpStream, source: SocketAddr) -> Self {
        let client = Transport::Tcp(client);
        Inbound { relay, speech: Speech::Tcp, server_name: None, ahead: Bytes::new(), client, source }
    }

    /// Reads the ClientHello, within the bounds of every handshake, and goes by the name in it.
    pub(crate) async fn tls(
        worker: &Worker,
        relays: &TlsRelays,
        mut stream: TcpStream,
        source: SocketAddr,
        deadline: Instant,
    ) -> Result<Told, HandshakeError> {
        let mut raw = Vec::new();
        let hello = Hello::read(&mut stream, deadline, Some(&mut raw)).await?;
        let server_name = hello.server_name();
        let inbound = |relay: Option<&Arc<Relay>>, ahead, client| {
            let (relay, server_name) = (relay.cloned(), server_name.clone());
            Told::Relay(Box::new(Inbound { relay, speech: Speech::Tls, server_name, ahead, client, source }))
        };
        match relays.judge(server_name.as_ref()) {
            TlsVerdict::Https => Ok(Told::Https(Box::new(hello), stream)),
            TlsVerdict::Nobody => Ok(inbound(None, Bytes::new(), Transport::Tcp(stream))),
            TlsVerdict::Passthrough(relay) => Ok(inbound(Some(relay), raw.into(), Transport::Tcp(stream))),
            TlsVerdict::Terminate(relay, tls) => {
                let (stream, info): (_, TlsInfo) =
                    hello.finish(stream, tls, deadline, &worker.handshake_turns).await?;
                worker.metrics.handshake_done(&info);
                Ok(inbound(Some(relay), Bytes::new(), Transport::TlsServer(Box::new(stream))))
            }
        }
    }

    /// Passes the connection on to its end.
    pub(crate) async fn serve(self, worker: &Rc<Worker>, connection: ConnectionId) {
        let _guard = SessionGuard::begin(worker, connection);
        let Inbound { relay, speech, server_name, ahead, client, source } = self;
        let mut session = Session::begin(worker, speech, source.ip(), server_name, relay.clone());
        let local = local_address(&client);
        let (mut upstream, _in_flight) = match dial(worker, relay.as_deref(), &mut session).await {
            Ok(upstream) => upstream,
            Err(fault) => {
                session.fault = Some(fault);
                reset(&client);
                return;
            }
        };
        if let Some(relay) = relay.as_deref().filter(|relay| relay.proxy_header) {
            let destination = local.unwrap_or(source);
            let mut header = Vec::new();
            write_v2(&header_for(source, destination), &mut header);
            if upstream.write_all(&header).await.is_err() {
                tracing::debug!(relay = %relay.origin, "the PROXY header could not be written");
                session.fault = Some(Fault::BrokenOff);
                return;
            }
        }
        let mut client = Rewound::new(ahead, client);
        let idle = worker.settings().relay.idle_timeout;
        let (copied, ending) = copy::both(&mut client, &mut upstream, &worker.clock, idle).await;
        session.copied = copied;
        session.fault = match ending {
            Ending::Complete => None,
            Ending::Idle => Some(Fault::Idle),
            Ending::Broken(error) => {
                tracing::debug!(%source, %error, "a relayed connection broke off");
                Some(Fault::BrokenOff)
            }
        };
    }
}

/// A connection to an endpoint of the relay's backend, and the count that it holds there.
async fn dial(
    worker: &Rc<Worker>,
    relay: Option<&Relay>,
    session: &mut Session,
) -> Result<(Transport, InFlight), Fault> {
    let relay = relay.ok_or(Fault::NoRoute)?;
    if relay.refusal.is_some() {
        return Err(Fault::Refused);
    }
    let backend = relay.pick().and_then(|share| share.backend.as_ref()).ok_or(Fault::BackendInvalid)?;
    session.backend = Some(Arc::clone(backend));
    let limit: Duration = worker.settings().upstream.connect_timeout;
    let mut tried: SmallVec<[u64; 4]> = SmallVec::new();
    loop {
        let now_ms = worker.clock.now_ms();
        let view = View { pools: &worker.pools, in_flight_max: u32::MAX, now_ms, prefers: Prefers::Any };
        let choice = choose(view, backend, &tried).map_err(|none| match none {
            NoChoice::NoEndpoints => Fault::NoEndpoints,
            NoChoice::Saturated => Fault::Overloaded,
        })?;
        session.endpoint = Some(Arc::clone(&choice.endpoint));
        let in_flight = choice.pool.enter();
        worker.metrics.connecting();
        match connect(worker, backend, &choice.endpoint, limit).await {
            Ok(transport) => {
                choice.endpoint.health.succeeded();
                return Ok((transport, in_flight));
            }
            Err(error) => {
                worker.metrics.connect_failed();
                tracing::debug!(endpoint = ?choice.endpoint.spec.address, %error, "a relay cannot connect");
                if choice.endpoint.health.failed(now_ms) {
                    worker.metrics.ejected();
                }
                tried.push(choice.endpoint.id);
                if tried.len() >= TRIES_MAX {
                    return Err(Fault::ConnectFailed);
                }
            }
        }
    }
}

/// Addresses of one family, as the header wants them; else the edge speaks for itself.
fn header_for(source: SocketAddr, destination: SocketAddr) -> Header {
    Header::Proxied(Addresses { source, destination })
}

fn local_address(client: &Transport) -> Option<SocketAddr> {
    match client {
        Transport::Tcp(stream) => stream.local_addr().ok(),
        Transport::TlsServer(stream) => stream.get_ref().0.local_addr().ok(),
        Transport::TlsClient(stream) => stream.get_ref().0.local_addr().ok(),
    }
}

/// Makes dropping a connection refuse it: the client sees a reset and not an end that could pass for an answer.
fn reset(client: &Transport) {
    if let Transport::Tcp(stream) = client {
        // The connection ends in any case.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

/// Endpoints that one connection is tried at.
const TRIES_MAX: usize = 3;
