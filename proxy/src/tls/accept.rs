//! Handshakes with clients.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use rustls::{AlertDescription, InvalidMessage, PeerIncompatible, ProtocolVersion};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;
pub use tokio_rustls::server::TlsStream;

use crate::route::host::Host;

use super::client_auth::{ClientAuth, ClientCertificate};
use super::{Alpn, ListenerTls};

/// What the handshake of one connection settled.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The host that the client asked for (SNI).
    pub server_name: Option<Host>,
    pub version: TlsVersion,
    /// `None`: the client does not know ALPN, or offered nothing; speak HTTP/1.
    pub alpn: Option<Alpn>,
    /// The certificate that the client showed, verified or not.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    /// True when there is a client certificate and an authority of the policy signed it.
    pub client_verified: bool,
    /// The policy that the handshake was done under; see [`ListenerTls::covers`].
    pub client_auth: Arc<ClientAuth>,
}

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    /// The name used in access logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        }
    }
}

/// Why there is no connection. The client was told already, as far as it can be told.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("no certificate for the name {}", server_name.as_deref().unwrap_or("(none)"))]
    UnknownName { server_name: Option<Arc<str>> },
    #[error("the handshake took too long")]
    Timeout,
    #[error("the client does not speak TLS; it was told to use https")]
    NotTls,
    #[error("the client showed no certificate")]
    ClientCertificateRequired,
    #[error("the client's certificate was refused: {0}")]
    BadClientCertificate(rustls::Error),
    #[error("the client's protocol versions are not TLS 1.2 or 1.3")]
    ProtocolVersion,
    #[error("the client ended the handshake: {0:?}")]
    RefusedByClient(AlertDescription),
    #[error("the connection was lost: {0}")]
    Io(io::Error),
    #[error(transparent)]
    Other(rustls::Error),
}

impl HandshakeError {
    /// A stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            HandshakeError::UnknownName { .. } => "unknown_name",
            HandshakeError::Timeout => "timeout",
            HandshakeError::NotTls => "not_tls",
            HandshakeError::ClientCertificateRequired => "client_certificate_required",
            HandshakeError::BadClientCertificate(_) => "bad_client_certificate",
            HandshakeError::ProtocolVersion => "protocol_version",
            HandshakeError::RefusedByClient(_) => "refused_by_client",
            HandshakeError::Io(_) => "connection_lost",
            HandshakeError::Other(_) => "other",
        }
    }
}

/// Does the handshake of one connection, until `deadline` at the latest.
///
/// On failure the client is told why (an alert, or an HTTP answer where it spoke plain HTTP) and the connection is closed.
/// The future is large while the handshake runs: box it where many tasks hold it.
pub async fn accept<IO>(
    io: IO,
    tls: &ListenerTls,
    deadline: Instant,
) -> Result<(TlsStream<IO>, TlsInfo), HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    accept_in_turns(io, tls, deadline, &Semaphore::const_new(1)).await
}

/// As [`accept`], but each step of the handshake waits for one of `turns` (see [`in_turns`]).
pub(crate) async fn accept_in_turns<IO>(
    mut io: IO,
    tls: &ListenerTls,
    deadline: Instant,
    turns: &Semaphore,
) -> Result<(TlsStream<IO>, TlsInfo), HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello = Hello::read(&mut io, deadline, None).await?;
    hello.finish(io, tls, deadline, turns).await
}

/// The first message of a client, read whole, before anything was answered.
pub(crate) struct Hello(Accepted);

impl Hello {
    /// Reads until the ClientHello is whole; `raw` gets every byte that was taken from `io`, which may be more than that.
    pub(crate) async fn read<IO>(
        io: &mut IO,
        deadline: Instant,
        raw: Option<&mut Vec<u8>>,
    ) -> Result<Hello, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let reading = timeout_at(deadline, read_client_hello(io, raw)).await;
        reading.map_err(|_| HandshakeError::Timeout)?.map(Hello)
    }

    /// The host that the client asks for (SNI).
    pub(crate) fn server_name(&self) -> Option<Host> {
        self.0.client_hello().server_name().and_then(super::parse_server_name)
    }

    /// Does the rest of the handshake over the same `io`, each step in one of `turns`.
    pub(crate) async fn finish<IO>(
        self,
        mut io: IO,
        tls: &ListenerTls,
        deadline: Instant,
        turns: &Semaphore,
    ) -> Result<(TlsStream<IO>, TlsInfo), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let server_name = self.server_name();
        if tls.certificate(server_name.as_ref()).is_none() {
            let server_name = self.0.client_hello().server_name().map(Arc::from);
            // RFC 6066 §3: a fatal alert, so that clients do not go on with a certificate that is not meant for them.
            let _ = timeout_at(deadline, close_with(&mut io, &UNRECOGNIZED_NAME_ALERT)).await;
            return Err(HandshakeError::UnknownName { server_name });
        }
        let policy = tls.policy(server_name.as_ref());
        let handshake = StartHandshake::from_parts(self.0, io).into_stream(policy.config.clone());
        let stream = timeout_at(deadline, in_turns(turns, handshake))
            .await
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(classify_io)?;
        let info = describe(&stream, server_name, &policy.client_auth);
        Ok((stream, info))
    }
}

/// Does a handshake, each step of it in a turn, so that of a flood of handshakes no more than there are turns are computed
/// before the connections that are open get their time. The turn ends with the step: a client that does not go on holds
/// none.
async fn in_turns<F: Future>(turns: &Semaphore, handshake: F) -> F::Output {
    let mut handshake = pin!(handshake);
    loop {
        let turn = turns.acquire().await;
        // Behind all that is ready to run.
        tokio::task::yield_now().await;
        let step = poll_fn(|context| Poll::Ready(handshake.as_mut().poll(context))).await;
        drop(turn);
        if let Poll::Ready(stream) = step {
            return stream;
        }
        // The poll above has arranged for this task to be woken.
        let mut woken = false;
        poll_fn(|_| if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Reads until the ClientHello is whole. rustls bounds its size (64 kB).
async fn read_client_hello<IO>(io: &mut IO, mut raw: Option<&mut Vec<u8>>) -> Result<Accepted, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut first = true;
    loop {
        buffer.clear();
        let length = io.read_buf(&mut buffer).await.map_err(HandshakeError::Io)?;
        if length == 0 {
            return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if std::mem::take(&mut first) && buffer[0] != HANDSHAKE_RECORD {
            answer_plain_http(io).await;
            return Err(HandshakeError::NotTls);
        }
        if let Some(raw) = &mut raw {
            raw.extend_from_slice(&buffer);
        }
        let mut unread = &buffer[..];
        while !unread.is_empty() {
            // Reading from memory fails for one reason only: rustls keeps no more of a message that does not end.
            acceptor.read_tls(&mut unread).map_err(|_| {
                HandshakeError::Other(rustls::Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge))
            })?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // Writing to a Vec cannot fail.
                let _ = alert.write_all(&mut bytes);
                close_with(io, &bytes).await;
                return Err(classify(error));
            }
        }
    }
}

/// Says what is wrong to a browser or a script that was sent to the TLS port with `http://`. Whatever else speaks first
/// with anything but a TLS record gets the same: it is readable to people at least.
async fn answer_plain_http<IO>(io: &mut IO)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    close_with(io, PLAIN_HTTP_ANSWER).await;
    // To close with bytes unread would reset the connection, and the client might never see the answer. Both bounds keep a
    // client that goes on sending from holding its place among the connections.
    let drain = async {
        let mut rest = Vec::with_capacity(READ_BYTES);
        for _ in 0..DRAIN_READS_MAX {
            rest.clear();
            if !matches!(io.read_buf(&mut rest).await, Ok(length) if length > 0) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_WAIT, drain).await;
}

/// The client may be gone already, and then there is no one to tell.
async fn close_with<IO>(io: &mut IO, bytes: &[u8])
where
    IO: AsyncWrite + Unpin,
{
    if io.write_all(bytes).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

fn describe<IO>(stream: &TlsStream<IO>, server_name: Option<Host>, client_auth: &Arc<ClientAuth>) -> TlsInfo {
    let connection = stream.get_ref().1;
    let chain = connection.peer_certificates().unwrap_or_default();
    TlsInfo {
        server_name,
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            // The configuration allows these two.
            _ => TlsVersion::Tls13,
        },
        alpn: connection.alpn_protocol().and_then(Alpn::parse),
        client_certificate: chain.first().map(|leaf| Arc::new(ClientCertificate::new(leaf))),
        client_verified: client_auth.verified(chain, UnixTime::now()),
        client_auth: client_auth.clone(),
    }
}

fn classify_io(error: io::Error) -> HandshakeError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => classify(error),
        Err(error) => HandshakeError::Io(error),
    }
}

fn classify(error: rustls::Error) -> HandshakeError {
    use PeerIncompatible::{
        ServerDoesNotSupportTls12Or13, SignatureAlgorithmsExtensionRequired,
        SupportedVersionsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled,
    };
    match error {
        rustls::Error::NoCertificatesPresented => HandshakeError::ClientCertificateRequired,
        rustls::Error::InvalidCertificate(_) => HandshakeError::BadClientCertificate(error),
        rustls::Error::PeerIncompatible(
            ServerDoesNotSupportTls12Or13
            // TLS 1.2 brought this extension; clients that leave it out are older.
            | SignatureAlgorithmsExtensionRequired
            | SupportedVersionsExtensionRequired
            | Tls12NotOffered
            | Tls12NotOfferedOrEnabled,
        )
        | rustls::Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            HandshakeError::ProtocolVersion
        }
        rustls::Error::AlertReceived(alert) => HandshakeError::RefusedByClient(alert),
        other => HandshakeError::Other(other),
    }
}

/// The content type of a handshake record, and with it the first byte of every TLS connection (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// Alert record, protocol version as every server writes it, length 2, fatal, unrecognized_name (RFC 8446 §6).
const UNRECOGNIZED_NAME_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 72\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS, and the request was plain HTTP: write https://.\n";
/// A ClientHello with a post-quantum key share has about 1,800 bytes.
const READ_BYTES: usize = 4096;
const DRAIN_READS_MAX: usize = 16;
const DRAIN_WAIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
