//! The store that replicas share (Redis or Valkey): one connection, with deadlines, made anew when it was lost.
//!
//! Rates are exchanged in the background ([`limits`]), and each replica counts by itself while the store is away. Sessions that
//! are kept there ([`sessions`]) are asked for by the requests that show them, which are refused meanwhile.

pub(crate) mod limits;
pub(crate) mod sessions;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisConnectionInfo, ScriptInvocation};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::settings::SharedStore as Settings;

/// One replica's way to the store.
pub(crate) struct SharedStore {
    settings: Settings,
    connected: Option<Connected>,
}

/// Why the store cannot be used at the moment. No password stands in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("`sharedStore.address` is no host and port: `{0}`")]
    Address(Box<str>),
    #[error("the password cannot be read: {0}")]
    Password(Box<str>),
    #[error("{address} cannot be reached: {source}")]
    Connect { address: Box<str>, source: std::io::Error },
    #[error("TLS cannot be had: {0}")]
    Tls(Box<str>),
    #[error("it did not answer within {} ms", ANSWER_TIMEOUT.as_millis())]
    Timeout,
    #[error("{0}")]
    Refused(Box<str>),
    #[error("the settings name no `sharedStore`")]
    Unnamed,
    #[error("it did not answer a moment ago")]
    Away,
    #[error("too many requests wait for it")]
    Busy,
}

/// A connection, and the task that moves its bytes.
struct Connected {
    connection: MultiplexedConnection,
    _driver: Driver,
}

/// A task that ends with its handle.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SharedStore {
    pub(crate) fn new(settings: Settings) -> Self {
        SharedStore { settings, connected: None }
    }

    /// Runs a script over the connection, which is made first where there is none. After any failure it is made anew the next
    /// time: nobody knows what a connection that failed would say next.
    pub(crate) async fn run<T: FromRedisValue>(
        &mut self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => Connected::make(&self.settings).await?,
        };
        let answer = script.invoke_async(&mut connected.connection);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => {
                self.connected = Some(connected);
                Ok(answer)
            }
            Ok(Err(error)) => Err(StoreError::Refused(error.to_string().into())),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

impl Connected {
    /// Connects and logs in, within [`CONNECT_TIMEOUT`].
    async fn make(settings: &Settings) -> Result<Connected, StoreError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Connected::connect(settings)).await {
            Ok(connected) => connected,
            Err(_) => Err(StoreError::Timeout),
        }
    }

    async fn connect(settings: &Settings) -> Result<Connected, StoreError> {
        let address = &settings.address;
        let (host, port) =
            settings.host_and_port().ok_or_else(|| StoreError::Address(address.as_ref().into()))?;
        let lost = |source| StoreError::Connect { address: address.as_ref().into(), source };
        let stream = TcpStream::connect((host, port)).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        if !settings.tls {
            return Connected::log_in(settings, stream).await;
        }
        let unusable = |error: &dyn std::fmt::Display| StoreError::Tls(error.to_string().into());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unusable(&error))?;
        let config = crate::fetch::system_client_config().map_err(|error| unusable(&error))?;
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|error| unusable(&error))?;
        Connected::log_in(settings, stream).await
    }

    async fn log_in(
        settings: &Settings,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connected, StoreError> {
        let mut info = RedisConnectionInfo::default().set_db(i64::from(settings.database));
        if let Some(username) = &settings.username {
            info = info.set_username(username.as_ref());
        }
        if let Some(source) = &settings.password {
            let bytes = source.read().map_err(|error| StoreError::Password(error.to_string().into()))?;
            let password =
                String::from_utf8(bytes).map_err(|_| StoreError::Password("it is no text".into()))?;
            info = info.set_password(password.trim_end_matches(['\r', '\n']));
        }
        let (sender, made) = oneshot::channel();
        let driver = Driver(tokio::spawn(async move {
            match MultiplexedConnection::new(&info, stream).await {
                // What moves its bytes borrows from `info`, so it runs here.
                Ok((connection, driver)) => {
                    if sender.send(Ok(connection)).is_ok() {
                        driver.await;
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        }));
        // Its errors quote what the server says, and the server does not repeat passwords.
        let refused = |words: String| StoreError::Refused(words.into());
        let made = made.await.map_err(|_| refused("the connection ended".into()))?;
        Ok(Connected { connection: made.map_err(|error| refused(error.to_string()))?, _driver: driver })
    }
}

/// To connect, TLS and log-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// One question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
