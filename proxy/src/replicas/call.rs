//! Calling another replica: one connection for each call, and a limit of time for all of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::listener::seal;
use super::seal::HEADER;
use super::{Replicas, wall_clock};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("there are no keys to call with yet")]
    NoKeys,
    #[error("{address}: {cause}")]
    Unreachable { address: SocketAddr, cause: Box<str> },
    #[error("{address} did not answer within {limit:?}")]
    Timeout { address: SocketAddr, limit: Duration },
    #[error(
        "{address} does not believe that this is a replica: do the two have the same keys, and the same time?"
    )]
    Refused { address: SocketAddr },
    #[error("what answers at {address} is no replica of ours")]
    Stranger { address: SocketAddr },
    #[error("{address} answers {status}")]
    Status { address: SocketAddr, status: StatusCode },
}

/// Calls `path` of the replica at `address`.
pub(super) async fn call<T: DeserializeOwned>(
    replicas: &Replicas,
    address: SocketAddr,
    path: &str,
    body: &impl Serialize,
    limit: Duration,
) -> Result<T, CallError> {
    let answered = match timeout(limit, exchange(replicas, address, path, body)).await {
        Ok(answered) => answered,
        Err(_) => Err(CallError::Timeout { address, limit }),
    };
    if answered.is_err() {
        replicas.counters().count_failed();
    }
    let answer = answered?;
    serde_json::from_slice(&answer).map_err(|_| CallError::Stranger { address })
}

async fn exchange(
    replicas: &Replicas,
    address: SocketAddr,
    path: &str,
    body: &impl Serialize,
) -> Result<Bytes, CallError> {
    let unreachable =
        |cause: &dyn std::fmt::Display| CallError::Unreachable { address, cause: cause.to_string().into() };
    let body = Bytes::from(serde_json::to_vec(body).map_err(|error| unreachable(&error))?);
    let (header, nonce) =
        replicas.seals().call(path, replicas.incarnation(), &body, wall_clock()).ok_or(CallError::NoKeys)?;
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    let host = HeaderValue::from_str(&address.to_string()).map_err(|error| unreachable(&error))?;
    let request = Request::post(path)
        .header(HOST, host)
        .header(HEADER, header)
        .body(Full::new(body))
        .map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(&error))?;
    let exchange = async {
        let (head, body) =
            sender.send_request(request).await.map_err(|error| unreachable(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok((head, body.map_err(|error| unreachable(&error))?.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    let (head, body) = tokio::select! {
        biased;
        answered = &mut exchange => answered?,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await?,
            Err(error) => return Err(unreachable(&error)),
        },
    };
    if !replicas.seals().is_answer(seal(&head.headers), &nonce, head.status.as_u16(), &body) {
        return Err(match head.status {
            StatusCode::UNAUTHORIZED => CallError::Refused { address },
            _ => CallError::Stranger { address },
        });
    }
    match head.status {
        StatusCode::OK => Ok(body),
        status => Err(CallError::Status { address, status }),
    }
}

/// Of one answer; the longest names some ten thousand Gateways.
const ANSWER_BYTES_MAX: usize = 4 << 20;
