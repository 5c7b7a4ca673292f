//! A new connection to an endpoint.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::{Backend, Endpoint, EndpointAddress};
use crate::transport::Transport;
use crate::worker::Worker;

/// Probes start after this much silence.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// Bytes that stay unacknowledged for this long end the connection (Linux TCP_USER_TIMEOUT).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{address} did not accept the connection: {source}")]
    Refused { address: SocketAddr, source: io::Error },
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("the name {name} could not be resolved: {cause}")]
    Unresolved { name: Arc<str>, cause: String },
    /// An ExternalName that leads where tenants may not send the edge.
    #[error("the name {name} resolves to {address}, which externalName.allow does not permit")]
    Forbidden { name: Arc<str>, address: IpAddr },
    #[error("TLS with the upstream failed: {0}")]
    Tls(String),
}

/// Connects to `endpoint` within `limit`, TLS included where the backend wants it.
pub(crate) async fn connect(
    worker: &Worker,
    backend: &Backend,
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<Transport, ConnectError> {
    tokio::time::timeout(limit, open(worker, backend, endpoint))
        .await
        .map_err(|_| ConnectError::TimedOut(limit))?
}

async fn open(worker: &Worker, backend: &Backend, endpoint: &Endpoint) -> Result<Transport, ConnectError> {
    let stream = match &endpoint.spec.address {
        EndpointAddress::Socket(address) => dial(*address).await?,
        EndpointAddress::Name(name, port) => {
            let mut last = None;
            let allowed = &worker.settings().external_name.allow;
            for address in worker.shared.resolver.resolve(name, allowed).await? {
                match dial(SocketAddr::new(address, *port)).await {
                    Ok(stream) => return secure(backend, stream).await,
                    Err(error) => last = Some(error),
                }
            }
            return Err(last.unwrap_or_else(|| ConnectError::Unresolved {
                name: Arc::clone(name),
                cause: "it has no address".to_owned(),
            }));
        }
    };
    secure(backend, stream).await
}

async fn dial(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let refused = |source| ConnectError::Refused { address, source };
    let stream = TcpStream::connect(address).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER)).map_err(refused)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)).map_err(refused)?;
    Ok(stream)
}

async fn secure(backend: &Backend, stream: TcpStream) -> Result<Transport, ConnectError> {
    match backend.tls() {
        Ok(None) => Ok(Transport::Tcp(stream)),
        Ok(Some(tls)) => {
            let stream = tls.connect(stream).await.map_err(|error| ConnectError::Tls(error.to_string()))?;
            Ok(Transport::TlsClient(Box::new(stream)))
        }
        Err(error) => Err(ConnectError::Tls(error.to_string())),
    }
}
