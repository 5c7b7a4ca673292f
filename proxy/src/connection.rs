//! One client connection: who is at the other end, what it speaks, and handing it to that protocol.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::http1::connection as http1;
use crate::http1::head::HeadLimits;
use crate::http2;
use crate::listen::proxy_protocol::{self, Header};
use crate::relay::{Inbound, Told};
use crate::request::forwarded::Peer;
use crate::request::target::Scheme;
use crate::route::relay::Relays;
use crate::snapshot::{Current, Served, Slot};
use crate::tls::Alpn;
use crate::tls::accept::{HandshakeError, TlsInfo, accept_in_turns};
use crate::transport::{Rewound, Transport};
use crate::worker::Worker;
use crate::worker::connections::ConnectionId;
use crate::worker::sockets::Socket;

/// What was learnt about a connection when it was made; shared by all its requests.
pub(crate) struct Client {
    /// Says which listener of the current snapshot serves the requests.
    pub(crate) slot: Slot,
    pub(crate) id: ConnectionId,
    pub(crate) peer: Peer,
    pub(crate) tls: Option<TlsInfo>,
    pub(crate) head_limits: HeadLimits,
    accepted_ms: u64,
    /// The forwarding headers of this untrusted peer were reported already.
    pub(crate) reported: Cell<bool>,
}

impl Client {
    /// It was agreed on in the handshake.
    fn speaks_http2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.alpn == Some(Alpn::Http2))
    }

    /// Old enough to be closed gracefully after the next answer.
    pub(crate) fn is_old(&self, worker: &Worker) -> bool {
        let age_max = worker.settings().timeouts.connection_age.as_millis() as u64;
        worker.clock.now_ms().saturating_sub(self.accepted_ms) > age_max
    }
}

/// Serves one accepted connection to its end, and drops `place` then.
pub(crate) fn serve<P>(
    worker: Rc<Worker>,
    (socket, id): (Socket, ConnectionId),
    stream: TcpStream,
    remote: SocketAddr,
    place: P,
) -> impl Future<Output = ()> {
    // Boxed: a handshake needs much room for a short time, and this future lives as long as the connection. It is no `async
    // fn` for the same reason: one keeps room for all that it was given.
    let setting_up = Box::pin(set_up(Rc::clone(&worker), socket, id, stream, remote));
    async move {
        serve_ready(&worker, setting_up.await).await;
        drop(place);
    }
}

/// Nothing that is made here stays in this future: it is part of every connection.
async fn serve_ready(worker: &Rc<Worker>, ready: Option<Ready>) {
    let (ahead, client, transport) = match ready {
        None => return,
        Some(Ready::Relay(id, inbound)) => return Box::pin(inbound.serve(worker, id)).await,
        Some(Ready::Http(client, transport)) if client.speaks_http2() => (Bytes::new(), client, transport),
        Some(Ready::Http(client, transport)) => match http1::serve(worker, &client, transport).await {
            http1::End::Closed => return,
            http1::End::Http2(ahead, transport) => (ahead, client, transport),
        },
    };
    Box::pin(http2::serve(worker, &client, Rewound::new(ahead, transport))).await;
}

/// A connection of which is known what it is for.
enum Ready {
    Http(Rc<Client>, Transport),
    Relay(ConnectionId, Box<Inbound>),
}

/// The PROXY header where one is due, then the TLS handshake where the listener asks for it.
async fn set_up(
    worker: Rc<Worker>,
    socket: Socket,
    id: ConnectionId,
    mut stream: TcpStream,
    remote: SocketAddr,
) -> Option<Ready> {
    let current = worker.current();
    let served = current.served(socket.slot)?;
    let deadline = tokio::time::Instant::now() + current.settings.timeouts.handshake;
    let mut source = remote;
    if !served.proxy_protocol.is_empty() {
        source = tokio::time::timeout_at(deadline, read_proxy_header(&mut stream, served, remote))
            .await
            .ok()??;
    }
    let mut hello = None;
    let failed = |error: &HandshakeError| {
        worker.metrics.handshake_failed(error);
        report(error, remote);
    };
    match &served.listener.relays {
        None => {}
        Some(Relays::Tcp(relay)) => {
            let inbound = Inbound::tcp(relay.clone(), stream, source);
            return Some(Ready::Relay(id, Box::new(inbound)));
        }
        Some(Relays::Udp(_)) => return None,
        Some(Relays::Tls(relays)) => match Inbound::tls(&worker, relays, stream, source, deadline).await {
            Ok(Told::Relay(inbound)) => return Some(Ready::Relay(id, inbound)),
            Ok(Told::Https(read, back)) => {
                hello = Some(read);
                stream = back;
            }
            Err(error) => {
                failed(&error);
                return None;
            }
        },
    }
    let (scheme, tls, transport) = match &served.listener.tls {
        None => (Scheme::Http, None, Transport::Tcp(stream)),
        Some(listener_tls) => {
            let turns = &worker.handshake_turns;
            let accepted = match hello {
                Some(hello) => hello.finish(stream, listener_tls, deadline, turns).await,
                None => accept_in_turns(stream, listener_tls, deadline, turns).await,
            };
            match accepted {
                Ok((stream, info)) => {
                    worker.metrics.handshake_done(&info);
                    (Scheme::Https, Some(info), Transport::TlsServer(Box::new(stream)))
                }
                Err(error) => {
                    failed(&error);
                    return None;
                }
            }
        }
    };
    let client = Client {
        slot: socket.slot,
        id,
        peer: Peer::new(source, scheme, public_port(&current, socket, scheme), &served.trusted),
        tls,
        head_limits: HeadLimits {
            bytes_max: current.settings.limits.header_bytes.as_usize(),
            fields_max: current.settings.limits.headers,
            target_bytes_max: current.settings.limits.target_bytes.as_usize(),
        },
        accepted_ms: worker.clock.now_ms(),
        reported: Cell::new(false),
    };
    Some(Ready::Http(Rc::new(client), transport))
}

/// The client's address as the load balancer in front names it. `None`: the connection is not to be served.
async fn read_proxy_header(
    stream: &mut TcpStream,
    served: &Served,
    remote: SocketAddr,
) -> Option<SocketAddr> {
    let address = remote.ip().to_canonical();
    if !served.proxy_protocol.iter().any(|network| network.contains(&address)) {
        tracing::debug!(%remote, "refused: this listener takes connections from PROXY protocol senders only");
        return None;
    }
    match proxy_protocol::read(stream).await {
        Ok(Header::Proxied(addresses)) => Some(addresses.source),
        Ok(Header::Local) => Some(remote),
        Err(error) => {
            tracing::debug!(%remote, %error, "refused");
            None
        }
    }
}

/// The port as clients know it. Behind a Service that is not the port that is bound, but the one the listener is named by.
fn public_port(current: &Current, socket: Socket, scheme: Scheme) -> u16 {
    use crate::route::table::ListenerKey;
    match current.served(socket.slot).map(|served| &served.listener.key) {
        Some(ListenerKey::Gateway { port, .. } | ListenerKey::Datagrams { port, .. }) => *port,
        Some(ListenerKey::Class { .. }) if socket.address.port() != 0 => socket.address.port(),
        Some(ListenerKey::Class { .. }) | None => scheme.default_port(),
    }
}

fn report(error: &HandshakeError, remote: SocketAddr) {
    // Scanners make most of these; the metric tells when it is not them.
    tracing::debug!(%remote, reason = error.reason(), "a TLS handshake failed: {error}");
}
