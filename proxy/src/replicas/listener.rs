//! The port itself: takes calls, believes those of replicas, and answers. Everything that somebody else could make grow is
//! bounded before a MAC is looked at.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::seal::{HEADER, Refusal};
use super::{Replicas, wall_clock};
use crate::listen::{AcceptBackoff, accept};

/// What a call comes to: a status and JSON.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Reply { status: StatusCode::OK, body },
            Err(_) => Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    pub(super) fn status(status: StatusCode) -> Self {
        Reply { status, body: b"{}".to_vec() }
    }
}

/// Bounds on what may come before it is known from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at the same time; further ones wait to be accepted.
    pub(super) connections: usize,
    /// From the first byte to the end of the head.
    pub(super) head_timeout: Duration,
    /// A connection has one call, and so long for it.
    pub(super) connection_age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            connections: CONNECTIONS_MAX,
            head_timeout: HEAD_TIMEOUT,
            connection_age: CONNECTION_AGE_MAX,
        }
    }
}

/// Serves until the future is dropped.
pub(super) async fn serve(listener: TcpListener, replicas: Replicas, bounds: Bounds) {
    let mut backoff = AcceptBackoff::default();
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = accept(&listener, &mut backoff, || {}).await;
        let replicas = replicas.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let replicas = replicas.clone();
                async move { Ok::<_, Infallible>(take(&replicas, peer.ip(), request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.head_timeout)
                .max_buf_size(HEAD_BYTES_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever called tries again, if it matters.
            let _ = timeout(bounds.connection_age, connection).await;
            drop(place);
        });
    }
}

async fn take(replicas: &Replicas, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();
    let path = head.uri.path();
    let counters = replicas.counters();
    let (caller, nonce) = match replicas.seals().admit(path, seal(&head.headers), &body, wall_clock()) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            counters.count_refused(refusal);
            replicas.tell_of_refusal(peer, refusal);
            return match refusal {
                Refusal::NoKeys | Refusal::Full => plain(StatusCode::SERVICE_UNAVAILABLE),
                Refusal::Form | Refusal::UnknownKey | Refusal::Mac | Refusal::Time | Refusal::Replay => {
                    plain(StatusCode::UNAUTHORIZED)
                }
            };
        }
    };
    counters.count_taken();
    let Reply { status, body } = replicas.answer(path, caller, &body).await;
    let header = replicas.seals().answer(&nonce, status.as_u16(), &body, wall_clock());
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Some(header) = header.and_then(|header| header.parse().ok()) {
        response.headers_mut().insert(HEADER, header);
    }
    response
}

pub(super) fn seal(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(HEADER).iter();
    let one = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(one)
}

/// To somebody who is not known: no more than a number.
fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
const CONNECTIONS_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
