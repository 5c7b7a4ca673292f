//! The HTTP client of the control runtime: for identity providers, CAs, DNS hosts and the like, never for clients' requests.
//!
//! One connection for each request, a bound on the answer, a limit of time for all of it, and no redirects: an answer that
//! points elsewhere is an answer like any other, so that nobody can be led to addresses that were not configured.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::tls;
use crate::tls::upstream::{UpstreamTlsError, authority_verifier, system_verifier};
use crate::upstream::resolve::Resolver;

/// Bytes of an answer's body.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// For all of one request, resolution and handshake included, where nothing else is said.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches from servers that one set of authorities vouches for.
pub(crate) struct Fetcher {
    resolver: Resolver,
    timeout: Duration,
    /// Made when it is first needed: the system's authorities may be put in place while the process runs.
    tls: OnceLock<Arc<ClientConfig>>,
}

/// Where a request may go, and where it goes in truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Networks that look internal and may be reached all the same.
    pub(crate) allowed: Arc<[IpNet]>,
    /// Connects here whatever the address says; the name in the address is still the one that is asked for and verified.
    pub(crate) connect_to: Option<ConnectTo>,
}

/// Another door to a server: the Service of a provider whose public name leads through this very edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectTo {
    /// `http://` in front says that this door speaks without TLS.
    pub(crate) plain: bool,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is no http(s) address")]
    Address(Box<str>),
    #[error("{0}")]
    Resolve(Box<str>),
    #[error("no connection to {host}: {source}")]
    Connect { host: Box<str>, source: std::io::Error },
    #[error("no TLS with {host}: {source}")]
    Tls { host: Box<str>, source: std::io::Error },
    #[error(transparent)]
    Authorities(#[from] UpstreamTlsError),
    #[error("{host} does not speak HTTP: {source}")]
    Http { host: Box<str>, source: hyper::Error },
    #[error("the answer of {host} cannot be read, or is larger than {ANSWER_BYTES_MAX} bytes")]
    Body { host: Box<str> },
    #[error("{host} did not answer within {limit:?}")]
    Timeout { host: Box<str>, limit: Duration },
}

impl ConnectTo {
    /// Reads `host:port`, `http://host:port` or `https://host:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (plain, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => (false, text),
        };
        let (host, port) = rest.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let valid = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte));
        let port = port.parse().ok().filter(|port| *port != 0)?;
        valid.then(|| ConnectTo { plain, host: host.into(), port })
    }
}

impl Route {
    /// Wherever the operator says.
    pub(crate) fn anywhere(connect_to: Option<ConnectTo>) -> Self {
        let everything: Vec<IpNet> = ["0.0.0.0/0", "::/0"].iter().flat_map(|net| net.parse()).collect();
        Route { allowed: everything.into(), connect_to }
    }
}

impl Fetcher {
    pub(crate) fn new(control: Handle) -> Self {
        Fetcher { resolver: Resolver::new(control, Vec::new()), timeout: FETCH_TIMEOUT, tls: OnceLock::new() }
    }

    /// One that takes these authorities, in PEM, in the place of the system's.
    pub(crate) fn trusting(self, authorities: &[u8]) -> Result<Self, FetchError> {
        let config = client_config(authority_verifier(authorities)?);
        Ok(Fetcher { tls: OnceLock::from(config), ..self })
    }

    /// One that waits this long for the whole of an answer.
    pub(crate) fn patient(self, timeout: Duration) -> Self {
        Fetcher { timeout, ..self }
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn fetch(
        &self,
        request: Request<Vec<u8>>,
        route: &Route,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let host: Box<str> = request.uri().host().unwrap_or_default().into();
        match tokio::time::timeout(self.timeout, self.exchange(request, route)).await {
            Ok(answered) => answered,
            Err(_) => Err(FetchError::Timeout { host, limit: self.timeout }),
        }
    }

    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        route: &Route,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let destination = Destination::of(request.uri(), route)?;
        let addresses = self.addresses(&destination, route).await?;
        let stream = connect(&destination, &addresses).await?;
        if destination.plain {
            return send(stream, request, &destination).await;
        }
        let host = destination.name.clone();
        let name = ServerName::try_from(host.to_string()).map_err(|_| FetchError::Address(host.clone()))?;
        let connector = TlsConnector::from(self.tls()?);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|source| FetchError::Tls { host, source })?;
        send(stream, request, &destination).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, FetchError> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let config = system_client_config()?;
        Ok(self.tls.get_or_init(|| config).clone())
    }

    async fn addresses(&self, destination: &Destination, route: &Route) -> Result<Vec<IpAddr>, FetchError> {
        let resolved = self.resolver.resolve(&destination.host, &route.allowed).await;
        resolved.map_err(|error| FetchError::Resolve(error.to_string().into()))
    }
}

/// Where a connection goes.
struct Destination {
    /// As the address names it: for TLS and Host.
    name: Box<str>,
    authority: HeaderValue,
    /// Where it is looked for.
    host: Arc<str>,
    port: u16,
    plain: bool,
}

impl Destination {
    fn of(address: &Uri, route: &Route) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address(address.to_string().into());
        let secure = match address.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(wrong()),
        };
        let authority = address.authority().ok_or_else(wrong)?;
        let name = authority.host().trim_matches(['[', ']']);
        let header = authority.as_str().rsplit('@').next().unwrap_or_default();
        let authority_value = HeaderValue::from_str(header).map_err(|_| wrong())?;
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (host, port, plain) = match &route.connect_to {
            Some(door) => (door.host.clone(), door.port, door.plain || !secure),
            None => (Arc::from(name), port, !secure),
        };
        Ok(Destination { name: name.into(), authority: authority_value, host, port, plain })
    }
}

async fn connect(destination: &Destination, addresses: &[IpAddr]) -> Result<TcpStream, FetchError> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, destination.port)).await {
            Ok(stream) => {
                // Heads and bodies are small and each is waited for; without it an answer is late and not wrong.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(FetchError::Connect { host: destination.host.as_ref().into(), source: last })
}

async fn send<IO>(
    stream: IO,
    request: Request<Vec<u8>>,
    destination: &Destination,
) -> Result<Response<Vec<u8>>, FetchError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source: hyper::Error| FetchError::Http { host: destination.name.clone(), source };
    let (mut parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    // Who names a host means another than the address's.
    parts.headers.entry(HOST).or_insert_with(|| destination.authority.clone());
    parts.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("vestibule"));
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| FetchError::Body { host: destination.name.clone() })?;
        Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
    };
    // The connection moves while the exchange waits for it, and ends with it.
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(source) => Err(failed(source)),
        },
    }
}

/// Verifies against the system's authorities, which are read once for the process.
pub(crate) fn system_client_config() -> Result<Arc<ClientConfig>, FetchError> {
    Ok(client_config(system_verifier()?))
}

fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}

#[cfg(test)]
mod tests;
