//! Copies of requests (HTTPRoute `RequestMirror`). Their answers are thrown away, and nothing about them reaches the client.
//!
//! A request without a body is copied as it is. A body is copied when its length is known and at most
//! [`BODY_BYTES_MAX`]: it is then read whole before the request goes on. Longer ones, and those of unknown length, are not
//! copied, because no body is held in memory without a bound.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body::Body as _;

use super::forward::Tries;
use crate::message::{Body, Interim};
use crate::reject::Reject;
use crate::route::{Mirror, Route};
use crate::upstream::exchange::Outgoing;
use crate::worker::Worker;

/// The longest body that is copied.
pub(super) const BODY_BYTES_MAX: u64 = 64 << 10;

/// A request to be copied, as it goes to the route's own backend.
pub(super) struct Original<'a> {
    pub(super) method: &'a Method,
    pub(super) target: &'a Bytes,
    pub(super) scheme: &'static str,
    pub(super) headers: &'a HeaderMap,
}

/// Sends copies to the mirrors of `route` whose turn it is, and gives the body back for the request itself.
pub(super) async fn copy(
    worker: &Rc<Worker>,
    route: &Arc<Route>,
    original: Original<'_>,
    body: Body,
) -> Result<Body, Reject> {
    let is_turn = |mirror: &&Mirror| fastrand::u32(..mirror.denominator) < mirror.numerator;
    let mirrors: Vec<_> =
        route.mirrors.iter().filter(is_turn).map(|mirror| Arc::clone(&mirror.backend)).collect();
    if mirrors.is_empty() || body.exact_length().is_none_or(|length| length > BODY_BYTES_MAX) {
        return Ok(body);
    }
    let bytes = collect(body).await?;
    for backend in mirrors {
        let (worker, route, bytes) = (Rc::clone(worker), Arc::clone(route), bytes.clone());
        let (method, target) = (original.method.clone(), original.target.clone());
        let (headers, scheme) = (original.headers.clone(), original.scheme);
        tokio::task::spawn_local(async move {
            let outgoing =
                Outgoing { method: &method, target: &target, scheme, headers: &headers, websocket: false };
            let interim = Interim::default();
            let tries =
                Tries { worker: &worker, handling: &route, backend: &backend, outgoing, interim: &interim };
            // Whether a copy arrives is nobody's business on this path; the endpoint's own failures show in its metrics.
            if let Some(mut answer) = tries.once(Body::from(bytes)).await {
                while let Some(Ok(_)) = next_frame(&mut answer.body).await {}
            }
        });
    }
    Ok(Body::from(bytes))
}

async fn collect(mut body: Body) -> Result<Bytes, Reject> {
    let mut whole = BytesMut::new();
    while let Some(frame) = next_frame(&mut body).await {
        if let Ok(data) = frame.map_err(|error| Reject::from(&error))?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

async fn next_frame(body: &mut Body) -> Option<Result<http_body::Frame<Bytes>, crate::message::BodyError>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}
