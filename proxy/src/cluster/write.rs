//! Single objects: reading one as it is, and writing it back under the condition that nobody else has meanwhile.

use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::api::{self, Failure};

/// Why an object was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// Somebody else wrote it first (409): read it again.
    #[error("somebody else wrote it first")]
    Conflict,
    #[error("{0}")]
    Failed(Failure),
}

pub(super) async fn read(client: &Client, path: &str) -> Result<Value, WriteError> {
    exchange(client, Request::get(path).body(Body::empty())).await
}

pub(super) async fn create(client: &Client, path: &str, object: &Value) -> Result<Value, WriteError> {
    send(client, Method::POST, path, "application/json", object).await
}

/// Puts `object` in the place of what is there, which must be of the resource version that it names.
pub(super) async fn replace(client: &Client, path: &str, object: &Value) -> Result<Value, WriteError> {
    send(client, Method::PUT, path, "application/json", object).await
}

/// Lays `patch` over what is there (RFC 7396); a resource version in it must be that of what is there.
pub(super) async fn patch(client: &Client, path: &str, patch: &Value) -> Result<Value, WriteError> {
    send(client, Method::PATCH, path, "application/merge-patch+json", patch).await
}

/// Makes an object as a whole, or makes what is there like this (server-side apply, by a field manager of our own).
pub(super) async fn apply(client: &Client, path: &str, object: &Value) -> Result<Value, WriteError> {
    let path = format!("{path}?fieldManager=vestibule&force=true");
    send(client, Method::PATCH, &path, "application/apply-patch+yaml", object).await
}

pub(super) async fn delete(client: &Client, path: &str) -> Result<Value, WriteError> {
    exchange(client, Request::delete(path).body(Body::empty())).await
}

/// The path of one object, or of a part of it such as `status`.
pub(super) fn path(api_version: &str, plural: &str, namespace: &str, name: &str, part: &str) -> String {
    let root = if api_version.contains('/') { "apis" } else { "api" };
    let mut path = format!("/{root}/{api_version}/");
    if !namespace.is_empty() {
        path.push_str("namespaces/");
        api::encode(&mut path, namespace);
        path.push('/');
    }
    path.push_str(plural);
    for segment in [name, part].into_iter().filter(|segment| !segment.is_empty()) {
        path.push('/');
        api::encode(&mut path, segment);
    }
    path
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<Value, WriteError> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(http::header::CONTENT_TYPE, content_type);
    exchange(client, request.body(Body::from(body.to_string().into_bytes()))).await
}

async fn exchange(client: &Client, request: http::Result<Request<Body>>) -> Result<Value, WriteError> {
    let failed = |message: String| WriteError::Failed(Failure::Failed(message));
    let request = request.map_err(|error| failed(error.to_string()))?;
    let answer = timeout(EXCHANGE_TIMEOUT, async { api::whole(api::answer(client, request).await?).await });
    match answer.await {
        Err(_) => Err(failed(format!("no answer within {EXCHANGE_TIMEOUT:?}"))),
        Ok(Err(Failure::Missing)) => Err(WriteError::Missing),
        Ok(Err(Failure::Conflict)) => Err(WriteError::Conflict),
        Ok(Err(failure)) => Err(WriteError::Failed(failure)),
        Ok(Ok(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|_| failed("an answer that is no object".into()))
        }
    }
}

/// The longest that one answer is waited for: shorter than a leader may go without renewing.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(4);
