//! `vestibule sample-app`: an upstream that answers what it saw, for trying things out and for the quick start.
//!
//! Every path is answered with JSON: method, path, headers, the peer's address, the length of the body. `/status/NNN` answers
//! that status, `/slow?ms=N` after a pause, `/events` with server-sent events, `/ws` echoes WebSocket messages.

mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::listen::{AcceptBackoff, accept};

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum SampleAppError {
    #[error("{address}: {source}; choose another address with --listen")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    System(std::io::Error),
}

/// Serves HTTP/1.1, and HTTP/2 with prior knowledge, until SIGTERM or SIGINT.
pub fn run(address: SocketAddr, name: &str) -> Result<(), SampleAppError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SampleAppError::System)?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.map_err(|source| SampleAppError::Bind { address, source })?;
        let mut terminate = signal(SignalKind::terminate()).map_err(SampleAppError::System)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(SampleAppError::System)?;
        tokio::select! {
            () = serve(listener, name.into()) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, name: std::sync::Arc<str>) {
    let mut backoff = AcceptBackoff::default();
    loop {
        let (stream, peer) = accept(&listener, &mut backoff, || {}).await;
        let name = name.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let name = name.clone();
                async move { Ok::<_, Infallible>(answer(request, peer, &name).await) }
            });
            // A client that goes away is nobody's concern.
            if speaks_http2(&stream).await {
                let mut connection = http2::Builder::new(TokioExecutor::new());
                let _ =
                    connection.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
            } else {
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            }
        });
    }
}

type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, peer: SocketAddr, name: &str) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    if path == "/ws" {
        return websocket::answer(request).map(full);
    }
    if path == "/events" {
        let mut response = Response::new(Events::new(name).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return response;
    }
    if path == "/slow" {
        let query = request.uri().query().unwrap_or_default();
        let milliseconds =
            query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(milliseconds).min(PAUSE_MAX)).await;
    }
    let status = path.strip_prefix("/status/").and_then(|status| status.parse().ok());
    let mut response = Response::new(full(describe(request, peer, name).await));
    *response.status_mut() =
        status.filter(|status: &StatusCode| status.as_u16() >= 200).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What was seen, as one line of JSON. The body is counted, not kept.
async fn describe(request: Request<Incoming>, peer: SocketAddr, name: &str) -> Bytes {
    let (parts, mut body) = request.into_parts();
    let mut body_bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        body_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    let seen = serde_json::json!({
        "app": name,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map_or("", |path| path.as_str()),
        "host": parts.headers.get(http::header::HOST).map(text_of).or(parts.uri.host().map(str::to_owned)),
        "protocol": format!("{:?}", parts.version),
        "peer": peer.ip().to_string(),
        "headers": headers(&parts.headers),
        "bodyBytes": body_bytes,
    });
    Bytes::from(format!("{seen}\n"))
}

fn headers(headers: &HeaderMap) -> serde_json::Map<String, serde_json::Value> {
    let joined = |name| headers.get_all(name).iter().map(text_of).collect::<Vec<_>>().join(", ");
    headers.keys().map(|name| (name.as_str().to_owned(), joined(name).into())).collect()
}

fn text_of(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn full(bytes: Bytes) -> AnswerBody {
    Full::new(bytes).boxed_unsync()
}

/// HTTP/2 begins with a line that no HTTP/1 request has (RFC 9113 §3.4).
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut first = [0; 4];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(length) if first[..length] != b"PRI "[..length] => return false,
            Ok(4) => return true,
            // The rest of the four bytes is on its way.
            Ok(_) => tokio::time::sleep(PEEK_PAUSE).await,
        }
    }
}

/// One event a second, [`EVENTS_MAX`] in all.
struct Events {
    name: String,
    sent: usize,
    clock: tokio::time::Interval,
}

impl Events {
    fn new(name: &str) -> Self {
        Events { name: name.to_owned(), sent: 0, clock: tokio::time::interval(EVENT_INTERVAL) }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == EVENTS_MAX {
            return Poll::Ready(None);
        }
        match self.clock.poll_tick(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.sent += 1;
                let event = format!("id: {}\ndata: tick from {}\n\n", self.sent, self.name);
                Poll::Ready(Some(Ok(Frame::data(event.into()))))
            }
        }
    }
}

const EVENTS_MAX: usize = 3600;
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(600);
const PEEK_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
