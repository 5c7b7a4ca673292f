//! The page that a browser shows while something wakes, and the news that the page asks for.
//!
//! The page is whole in itself: no file, font or script comes from elsewhere. Without scripts it loads itself anew every few
//! seconds; with them it reads the news as they come, and goes on to the exact address when there is an answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use askama::Template;
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::watch;
use wake::machine::{self, GateRefusal, State};

use crate::message::{Body, BodyError, Response};
use crate::route::WeightedBackend;
use crate::settings::workloads::WakePage;
use crate::workload::gate::{Gate, View};

/// The waiting page, with the state as it is now.
pub(super) fn page(
    gate: &Gate,
    view: &View,
    host: Option<&str>,
    look: &WakePage,
    method: &Method,
    request_id: &str,
) -> Response {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let page = Page {
        title: gate.policy.title.as_deref().or(host).unwrap_or("The application"),
        words: look.words.as_deref().unwrap_or(WORDS),
        color: look.color.as_ref().map_or(COLOR, |color| color.as_str()),
        members: members(view),
        waited: view.since.map_or(0, |since| since.elapsed().as_secs()),
        usual: view.usual.map(|usual| usual.as_secs().max(1)),
        trouble: view.trouble.as_ref().map(|trouble| trouble.reason.words()),
        refresh: REFRESH_SECONDS,
        request_id,
        nonce: &nonce,
    };
    // A page that cannot be made is an empty one, which still loads itself anew.
    let text = page.render().unwrap_or_default();
    let mut headers = HeaderMap::with_capacity(12);
    let text_header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(RETRY_AFTER, HeaderValue::from(REFRESH_SECONDS));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    headers.insert(CONTENT_SECURITY_POLICY, text_header(&policy));
    headers.insert(REQUEST_ID, text_header(request_id));
    let mut response = Response::full(StatusCode::SERVICE_UNAVAILABLE, headers, text);
    if *method == Method::HEAD {
        let length = response.body.exact_length().unwrap_or(0);
        response.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        response.body = Body::Empty;
    }
    response
}

/// How far waking is: one answer, or news as they come where the asker takes an event stream. Wakes nobody.
pub(super) fn progress(gate: &Arc<Gate>, shares: &[WeightedBackend], headers: &HeaderMap) -> Response {
    let mut answer = HeaderMap::with_capacity(4);
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let wants_stream = headers.get_all(ACCEPT).iter().any(|accept| {
        accept.as_bytes().windows(EVENT_STREAM.len()).any(|part| part == EVENT_STREAM.as_bytes())
    });
    let teller = Teller { gate: Arc::clone(gate), shares: shares.into() };
    if !wants_stream {
        answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Response::full(StatusCode::OK, answer, teller.news().json());
    }
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    let events = Events { next: Some(Box::pin(next(teller, gate.watch(), None, Instant::now()))) };
    Response { status: StatusCode::OK, headers: answer, body: Body::Stream(Box::pin(events)), upgraded: None }
}

struct Teller {
    gate: Arc<Gate>,
    shares: Box<[WeightedBackend]>,
}

/// What the page is told. `state` is `waking`, `asleep`, `ready` or `failed`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct News {
    state: &'static str,
    members: Vec<Member>,
    waited: u64,
    usual: Option<u64>,
    trouble: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Member {
    name: Box<str>,
    /// `asleep`, `starting`, `ready` or `failed`.
    state: &'static str,
}

impl Teller {
    fn news(&self) -> News {
        let view = self.gate.view();
        let closed = self.gate.is_closed();
        let state = match &view.gate {
            _ if view.unmanaged.is_some() => "failed",
            Some(machine::Gate::Refused(_)) => "failed",
            None | Some(machine::Gate::Open)
                if !closed && (self.gate.is_proven(&self.shares) || self.gate.is_open()) =>
            {
                "ready"
            }
            None | Some(machine::Gate::Open | machine::Gate::Waking) => "waking",
            Some(machine::Gate::Asleep) => "asleep",
        };
        let trouble = match &view.gate {
            Some(machine::Gate::Refused(GateRefusal::Failed { .. })) => {
                Some("It could not be started. Somebody who looks after it has to see to that.".into())
            }
            Some(machine::Gate::Refused(GateRefusal::Scheduled { until })) => {
                Some(format!("By its schedule it sleeps until {until:.0}.").into())
            }
            _ => view.trouble.as_ref().map(|trouble| trouble.reason.words().into()),
        };
        News {
            state,
            members: members(&view),
            waited: view.since.map_or(0, |since| since.elapsed().as_secs()),
            usual: view.usual.map(|usual| usual.as_secs().max(1)),
            trouble,
        }
    }
}

impl News {
    fn json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn is_last(&self) -> bool {
        matches!(self.state, "ready" | "failed")
    }

    /// Whether somebody who has seen `other` learns something.
    fn differs(&self, other: &News) -> bool {
        News { waited: 0, ..self.clone() } != News { waited: 0, ..other.clone() }
    }
}

fn members(view: &View) -> Vec<Member> {
    let word = |state: &State| match state {
        State::Unknown | State::Awake | State::Quiet => "ready",
        State::Asleep => "asleep",
        State::Waking { .. } => "starting",
        State::Failed(_) => "failed",
    };
    view.members.iter().map(|(name, state)| Member { name: name.clone(), state: word(state) }).collect()
}

/// An event stream (HTML standard, server-sent events) that ends with the last of the news.
struct Events {
    next: Option<Step>,
}

type Step = Pin<Box<dyn Future<Output = (Bytes, Option<Rest>)>>>;
type Rest = (Teller, watch::Receiver<View>, Option<News>, Instant);

/// Waits for news that differ from the last; a line of silence after [`SILENCE_MAX`].
async fn next(
    teller: Teller,
    mut view: watch::Receiver<View>,
    told: Option<News>,
    began: Instant,
) -> (Bytes, Option<Rest>) {
    loop {
        view.mark_unchanged();
        let news = teller.news();
        if told.as_ref().is_none_or(|told| news.differs(told)) {
            let mut event = b"data: ".to_vec();
            event.extend_from_slice(&news.json());
            event.extend_from_slice(b"\n\n");
            let last = news.is_last();
            return (event.into(), (!last).then_some((teller, view, Some(news), began)));
        }
        if began.elapsed() > STREAM_MAX {
            return (Bytes::new(), None);
        }
        let waited = tokio::time::timeout(SILENCE_MAX, view.changed()).await;
        if waited.is_err() {
            return (Bytes::from_static(b":\n\n"), Some((teller, view, told, began)));
        }
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(step) = &mut self.next else { return Poll::Ready(None) };
        let Poll::Ready((bytes, rest)) = step.as_mut().poll(cx) else { return Poll::Pending };
        self.next =
            rest.map(|(teller, view, told, began)| -> Step { Box::pin(next(teller, view, told, began)) });
        if bytes.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }
}

#[derive(Template)]
#[template(path = "wake.html")]
struct Page<'a> {
    title: &'a str,
    words: &'a str,
    color: &'a str,
    members: Vec<Member>,
    /// Seconds.
    waited: u64,
    usual: Option<u64>,
    trouble: Option<&'a str>,
    refresh: u64,
    request_id: &'a str,
    nonce: &'a str,
}

const WORDS: &str = "It was asleep and is starting now. This page goes on by itself.";
const COLOR: &str = "#2f6fde";
const REFRESH_SECONDS: u64 = 5;
const EVENT_STREAM: &str = "text/event-stream";
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Without news a line says that the stream is alive: networks forget connections that are silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A stream ends after so long; the page begins another.
const STREAM_MAX: Duration = Duration::from_secs(300);
