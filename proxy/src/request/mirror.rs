//! Copies of requests (HTTPRoute `RequestMirror`). Their answers are thrown away, and nothing about them reaches the client.
//!
//! A request without a body is copied as it is. A body is copied when its length is known and at most
//! [`BODY_BYTES_MAX`]: it is then read whole before the request goes on. Longer ones, and those of unknown length, are not
//! copied, because no body is held in memory without a bound.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method};
use http_body::Body as _;

use super::external::TemplateSubject;
use super::forward::Tries;
use super::target::{EncodedSlash, PathAndQuery};
use crate::message::{Body, Interim};
use crate::reject::Reject;
use crate::route::{Mirror, MirrorBody, Route};
use crate::upstream::balance::Prefers;
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
    /// What the variables of a mirror's target stand for.
    pub(super) subject: TemplateSubject<'a>,
}

/// Sends copies to the mirrors of `route` whose turn it is, and gives the body back for the request itself.
pub(super) async fn copy(
    worker: &Rc<Worker>,
    route: &Arc<Route>,
    original: Original<'_>,
    body: Body,
) -> Result<Body, Reject> {
    let is_turn = |mirror: &&Mirror| fastrand::u32(..mirror.denominator) < mirror.numerator;
    let fits = body.exact_length().is_some_and(|length| length <= BODY_BYTES_MAX);
    let mirrors: Vec<&Mirror> =
        route.mirrors.iter().filter(is_turn).filter(|mirror| fits || mirror.leaves_body_out()).collect();
    if mirrors.is_empty() {
        return Ok(body);
    }
    let wants_body = mirrors.iter().any(|mirror| !mirror.leaves_body_out());
    let (bytes, body) = if wants_body {
        let bytes = collect(body).await?;
        (bytes.clone(), Body::from(bytes))
    } else {
        (Bytes::new(), body)
    };
    for mirror in mirrors {
        let Some(Copy { target, headers, bytes }) = Copy::of(mirror, &original, &bytes) else { continue };
        let (worker, route, backend) = (Rc::clone(worker), Arc::clone(route), Arc::clone(&mirror.backend));
        let (method, scheme) = (original.method.clone(), original.scheme);
        tokio::task::spawn_local(async move {
            let outgoing = Outgoing {
                method: &method,
                target: &target,
                scheme,
                headers: &headers,
                forwarded: None,
                websocket: false,
            };
            let interim = Interim::default();
            let tries = Tries {
                worker: &worker,
                handling: &route,
                backend: &backend,
                outgoing,
                interim: &interim,
                prefers: Prefers::Any,
            };
            // Whether a copy arrives is nobody's business on this path; the endpoint's own failures show in its metrics.
            if let Some(mut answer) = tries.once(Body::from(bytes)).await {
                while let Some(Ok(_)) = next_frame(&mut answer.body).await {}
            }
        });
    }
    Ok(body)
}

/// What one mirror is sent.
struct Copy {
    target: Bytes,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Copy {
    /// `None` where the target that it asks for cannot be sent.
    fn of(mirror: &Mirror, original: &Original<'_>, bytes: &Bytes) -> Option<Copy> {
        let mut headers = original.headers.clone();
        let Some(asks) = &mirror.target else {
            return Some(Copy { target: original.target.clone(), headers, bytes: bytes.clone() });
        };
        let filled: Bytes = asks.target.fill(original.subject).into();
        let target = PathAndQuery::parse(&filled, EncodedSlash::Keep).ok()?.as_bytes().clone();
        headers.insert(HOST, asks.host.clone());
        match asks.body {
            MirrorBody::Copied => Some(Copy { target, headers, bytes: bytes.clone() }),
            MirrorBody::LeftOut => {
                for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
                    headers.remove(name);
                }
                Some(Copy { target, headers, bytes: Bytes::new() })
            }
        }
    }
}

impl Mirror {
    fn leaves_body_out(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.body == MirrorBody::LeftOut)
    }
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
