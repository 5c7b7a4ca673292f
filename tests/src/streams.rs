//! HTTP/2 as the `h2` crate speaks it: a client for the edge, and an upstream behind it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::wait::DEADLINE;

/// One HTTP/2 connection to the edge.
pub struct Streams {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

/// A stream whose answer is still to come.
pub struct Pending {
    pub answer: ResponseFuture,
    pub upload: SendStream<Bytes>,
}

/// Whether more follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Here,
    Later,
}

/// An answer to its end.
#[derive(Debug)]
pub struct Whole {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Streams {
    /// HTTP/2 in plain, known in advance.
    pub fn connect(edge: SocketAddr) -> Self {
        let runtime = runtime();
        let send = runtime.block_on(async { open(dial(edge).await).await });
        Streams { runtime, send }
    }

    /// HTTP/2 in TLS; the configuration must offer `h2`.
    pub fn connect_tls(edge: SocketAddr, config: Arc<rustls::ClientConfig>, name: &str) -> Self {
        let runtime = runtime();
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let send = runtime.block_on(async {
            let stream = dial(edge).await;
            let connector = tokio_rustls::TlsConnector::from(config);
            open(connector.connect(name, stream).await.expect("a handshake")).await
        });
        Streams { runtime, send }
    }

    /// Starts a request; without `body_follows` it ends with its head.
    pub fn start(&mut self, request: Request<()>, body_follows: bool) -> Result<Pending, h2::Error> {
        self.runtime.block_on(within(async {
            let mut send = self.send.clone().ready().await?;
            let (answer, upload) = send.send_request(request, !body_follows)?;
            Ok(Pending { answer, upload })
        }))
    }

    /// Asks for a WebSocket by extended CONNECT, or for another protocol, once the edge has said that it takes these (RFC 8441).
    pub fn connect_to(&mut self, protocol: &str, authority: &str, path: &str) -> Result<Pending, h2::Error> {
        let send = self.send.clone();
        self.drive_until(|| send.is_extended_connect_protocol_enabled());
        let mut request = request("CONNECT", authority, path);
        request.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        self.start(request, true)
    }

    /// The head of an answer, and its body.
    pub fn head(&self, answer: ResponseFuture) -> Result<Response<RecvStream>, h2::Error> {
        self.runtime.block_on(within(answer))
    }

    /// Sends a body of `length` bytes, never more at a time than the edge takes, and ends it.
    pub fn upload(
        &self,
        upload: &mut SendStream<Bytes>,
        length: usize,
        piece: usize,
    ) -> Result<(), h2::Error> {
        self.runtime.block_on(async {
            let mut rest = length;
            while rest > 0 {
                upload.reserve_capacity(piece.min(rest));
                let capacity = within(std::future::poll_fn(|cx| upload.poll_capacity(cx))).await;
                let capacity = capacity.unwrap_or(Ok(0))?.min(rest);
                rest -= capacity;
                upload.send_data(Bytes::from(vec![b'x'; capacity]), rest == 0)?;
            }
            Ok(())
        })
    }

    /// Sends these bytes, which have to fit in the window.
    pub fn send(&self, upload: &mut SendStream<Bytes>, bytes: &[u8], ends: End) -> Result<(), h2::Error> {
        upload.send_data(Bytes::copy_from_slice(bytes), ends == End::Here)?;
        // The connection has to be given a turn.
        self.runtime.block_on(async { tokio::task::yield_now().await });
        Ok(())
    }

    /// The next piece of a body; empty at its end.
    pub fn data(&self, body: &mut RecvStream) -> Result<Bytes, h2::Error> {
        self.runtime.block_on(within(async {
            let data = body.data().await.unwrap_or(Ok(Bytes::new()))?;
            let _ = body.flow_control().release_capacity(data.len());
            Ok(data)
        }))
    }

    /// An answer to its end.
    pub fn finish(&self, pending: Pending) -> Result<Whole, h2::Error> {
        let (head, mut receive) = self.head(pending.answer)?.into_parts();
        let mut body = Vec::new();
        loop {
            let data = self.data(&mut receive)?;
            if data.is_empty() {
                break;
            }
            body.extend_from_slice(&data);
        }
        let trailers = self.trailers(&mut receive)?;
        Ok(Whole { status: head.status, headers: head.headers, body, trailers })
    }

    /// The trailers after a body that was read to its end.
    pub fn trailers(&self, body: &mut RecvStream) -> Result<HeaderMap, h2::Error> {
        Ok(self.runtime.block_on(within(body.trailers()))?.unwrap_or_default())
    }

    /// Lets the connection work until `condition` holds.
    pub fn drive_until(&self, condition: impl Fn() -> bool) {
        self.runtime.block_on(within(async {
            while !condition() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }));
    }

    /// One GET to its end.
    pub fn get(&mut self, authority: &str, path: &str) -> Result<Whole, h2::Error> {
        let pending = self.start(get(authority, path), false)?;
        self.finish(pending)
    }
}

/// A GET; the scheme is `https`, as it makes no difference to where it goes.
pub fn get(authority: &str, path: &str) -> Request<()> {
    request("GET", authority, path)
}

pub fn request(method: &str, authority: &str, path: &str) -> Request<()> {
    let uri = format!("https://{authority}{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a request")
}

/// What an [`Http2Upstream`] does with one stream.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An upstream that speaks HTTP/2 in plain.
pub struct Http2Upstream {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<http::request::Parts>>>,
    connections: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Http2Upstream {
    pub fn start(
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> Task + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (stop, stopped) = oneshot::channel();
        let (seen, counted, handle) = (Arc::clone(&requests), Arc::clone(&connections), Arc::new(handle));
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a socket");
                let accepting = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let (seen, handle) = (Arc::clone(&seen), Arc::clone(&handle));
                        tokio::spawn(async move {
                            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                            while let Some(Ok((request, respond))) = connection.accept().await {
                                let (parts, body) = request.into_parts();
                                seen.lock().expect("a list").push(parts.clone());
                                tokio::spawn(handle(Request::from_parts(parts, body), respond));
                            }
                        });
                    }
                };
                tokio::select! { () = accepting => {}, _ = stopped => {} }
            });
        });
        Http2Upstream { address, requests, connections, stop: Some(stop), thread: Some(thread) }
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<http::request::Parts> {
        self.requests.lock().expect("a list").clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn dial(edge: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(edge).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(stream).await.expect("a preface");
    tokio::spawn(async move {
        // Each stream learns of an error by itself.
        let _ = connection.await;
    });
    send
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("the edge answers in time")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
