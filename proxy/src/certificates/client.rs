//! The HTTP client of everything that speaks to CAs and DNS providers.

use std::sync::Arc;
use std::time::Duration;

use acme::http::{BoxFuture, Http, HttpError};
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Verifies servers by the system's authorities, or by those that it is given. Follows no redirect, keeps no connection:
/// an order is a dozen requests, and months apart.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the system's certificate authorities cannot be read: {0}")]
    Authorities(String),
    #[error("there is no certificate in PEM")]
    NoCertificate,
}

impl Client {
    /// `authorities` is PEM; `None` means those of the system.
    pub fn new(authorities: Option<&[u8]>) -> Result<Client, ClientError> {
        use rustls_platform_verifier::BuilderVerifierExt;
        let failed = |error: &dyn std::fmt::Display| ClientError::Authorities(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let tls = match authorities {
            None => builder.with_platform_verifier().map_err(|error| failed(&error))?.with_no_client_auth(),
            Some(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
                if roots.is_empty() {
                    return Err(ClientError::NoCertificate);
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Client { tls: Arc::new(tls) })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']).to_owned();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the URL begins neither with https:// nor with http://".to_owned()),
        };
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
        // Heads and bodies are small and each is waited for.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let request = request_in_origin_form(request, &uri)?;
        if !is_tls {
            return send(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        send(TokioIo::new(stream), request).await
    }
}

impl Http for Client {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        let client = self.clone();
        Box::pin(async move {
            // Neither path nor query: they may hold what is not for a log.
            let place = request.uri().authority().map(|authority| authority.to_string()).unwrap_or_default();
            match timeout(EXCHANGE_TIMEOUT, client.exchange(request)).await {
                Ok(answer) => answer.map_err(|error| HttpError(format!("{place}: {error}"))),
                Err(_) => {
                    let seconds = EXCHANGE_TIMEOUT.as_secs();
                    Err(HttpError(format!("{place}: no answer within {seconds} s")))
                }
            }
        })
    }
}

/// What goes to an origin server has a path and a Host (RFC 9112 §3.2.1).
fn request_in_origin_form(request: Request<Bytes>, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = header::HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    parts.headers.insert(header::HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| "the URL's path cannot be sent".to_owned())?;
    Ok(Request::from_parts(parts, Full::new(body)))
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    // It ends with the exchange: the sender is dropped.
    let connection = tokio::spawn(connection);
    let answer = async {
        let (parts, body) =
            sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer breaks off or is too long: {error}"))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}

const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 20;
