//! Asking: one exchange with the server through the pools of this worker, within a deadline.

use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body as _;

use super::answer::{Judgement, Whole, given, is_success, no};
use super::question::{Question, WithBody};
use super::template::Subject;
use super::{ANSWER_BODY_BYTES_MAX, External};
use crate::message::{Body, Interim, Response};
use crate::reject::Reject;
use crate::request::forward::Tries;
use crate::request::forwarded::{ClientView, Peer, RequestId};
use crate::request::target::Target;
use crate::route::Route;
use crate::upstream::balance::Prefers;
use crate::upstream::exchange::Outgoing;
use crate::worker::Worker;

/// The request that is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) route: &'a Route,
    pub(crate) peer: &'a Peer,
    pub(crate) view: &'a ClientView,
    pub(crate) target: &'a Target,
    pub(crate) method: &'a Method,
    /// Cleaned.
    pub(crate) headers: &'a HeaderMap,
    /// The normalised Host.
    pub(crate) host: &'a HeaderValue,
    pub(crate) request_id: &'a RequestId,
}

impl Asked<'_> {
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            method: self.method,
            target: self.target,
            headers: self.headers,
            host: self.host.as_bytes(),
            address: self.view.address,
        }
    }
}

/// Asks the server. `body` is that of the request; what is read of it for the question is there again afterwards.
///
/// An error is a refusal of our own: the server cannot be asked, or says yes without saying who.
pub(crate) async fn ask(
    external: &External,
    asked: &Asked<'_>,
    body: &mut Body,
) -> Result<Judgement, Reject> {
    let worker = asked.worker;
    let cached = external.cache.as_ref().map(|rules| (rules, rules.key(asked.route, asked.subject())));
    if let Some((_, key)) = &cached
        && let Some(given) = worker.answers.borrow().find(key, worker.clock.now_ms())
    {
        return Ok(Judgement::Yes(given));
    }
    let copy = take_body(external, body).await?;
    let with_body = if copy.is_some() { WithBody::Yes } else { WithBody::No };
    let question = Question::new(external, asked, with_body)?;
    let answered = exchange(worker, external, asked, &question, copy.unwrap_or_default());
    let answer = tokio::time::timeout(external.deadline, answered).await.unwrap_or_else(|_| {
        Err(unavailable(&format!("the authentication server did not answer within {:?}", external.deadline)))
    })?;
    if !is_success(external, answer.status) {
        return no(external, asked.method, asked.headers, asked.subject(), answer);
    }
    let given = Rc::new(given(external, &answer.headers)?);
    if let Some((rules, key)) = cached
        && let Some(duration) = rules.duration(answer.status)
        && given.cookies.is_empty()
    {
        worker.answers.borrow_mut().keep(key, Rc::clone(&given), worker.clock.now_ms(), duration);
    }
    Ok(Judgement::Yes(given))
}

/// The request's body, where the server wants it; longer than it may be is refused.
async fn take_body(external: &External, body: &mut Body) -> Result<Option<Bytes>, Reject> {
    let max = external.body_bytes_max;
    if max == 0 || body.is_empty() {
        return Ok(None);
    }
    if body.exact_length().is_some_and(|length| length > max) {
        return Err(Reject::BodyTooLarge);
    }
    let mut taken = Body::limited(std::mem::take(body), max);
    let mut bytes = BytesMut::new();
    while let Some(frame) = next_frame(&mut taken).await {
        if let Ok(data) = frame.map_err(|error| Reject::from(&error))?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let bytes = bytes.freeze();
    *body = Body::from(bytes.clone());
    Ok(Some(bytes))
}

async fn exchange(
    worker: &Rc<Worker>,
    external: &External,
    asked: &Asked<'_>,
    question: &Question,
    body: Bytes,
) -> Result<Whole, Reject> {
    let outgoing = Outgoing {
        method: &question.method,
        target: &question.target,
        scheme: asked.target.scheme.as_str(),
        headers: &question.headers,
        forwarded: None,
        websocket: false,
    };
    let interim = Interim::default();
    let handling = &external.handling;
    let (backend, prefers) = (&external.backend, Prefers::Any);
    let tries = Tries { worker, handling, backend, outgoing, interim: &interim, prefers };
    let failed = |reject: Reject| {
        unavailable(&format!("the authentication server cannot be asked: {}", reject.reason()))
    };
    let response = tries.run(Body::from(body), None).await.map_err(failed)?;
    let success = is_success(external, response.status);
    let Response { status, headers, mut body, .. } = response;
    match collect(&mut body).await {
        Some(body) => Ok(Whole { status, headers, body }),
        // What a yes says beyond its head is nobody's business.
        None if success => Ok(Whole { status, headers, body: Bytes::new() }),
        None => Err(unavailable("the authentication server's answer broke off, or is too long")),
    }
}

/// The whole body; `None` when it is longer than [`ANSWER_BODY_BYTES_MAX`] or breaks off.
async fn collect(body: &mut Body) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = next_frame(body).await {
        if let Ok(data) = frame.ok()?.into_data() {
            if bytes.len() as u64 + data.len() as u64 > ANSWER_BODY_BYTES_MAX {
                return None;
            }
            bytes.extend_from_slice(&data);
        }
    }
    Some(bytes.freeze())
}

async fn next_frame(body: &mut Body) -> Option<Result<http_body::Frame<Bytes>, crate::message::BodyError>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn unavailable(words: &str) -> Reject {
    Reject::AuthUnavailable(words.into())
}
