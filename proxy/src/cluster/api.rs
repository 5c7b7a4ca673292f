//! Lists and watches of one kind, as an API server answers them: pages and lines in, objects of ours out.
//!
//! Objects are read straight from the bytes that came, so that what Vestibule does not use (managed fields, most statuses)
//! is never held. An object that cannot be read does not fail its neighbours: it becomes [`Broken`].

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::kept::Keep;
use crate::config::objects::Object;
use crate::config::problem::{Kind, ObjectRef};

/// What is asked for: one kind, everywhere or in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    /// `None`: all namespaces, and always for kinds that stand outside them.
    pub(super) namespace: Option<Arc<str>>,
}

/// An object as it was sent, or why it cannot be read.
pub(super) type Sent = Result<Object, Broken>;

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// `None` when it does not even say its name.
    pub(super) object: Option<ObjectRef>,
    /// Never a value of the object where that may be a secret.
    pub(super) message: Arc<str>,
}

/// A whole list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) objects: Vec<Sent>,
    /// The version to watch from.
    pub(super) version: String,
}

/// One change of a watch.
#[derive(Debug)]
pub(super) enum Event {
    Applied(Sent),
    Deleted(ObjectRef),
    /// Nothing but a newer version to watch from.
    Bookmark,
}

/// Why a list or a watch gave nothing, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The server does not have this kind, in any version that is read here.
    #[error("the API server does not have this kind")]
    Missing,
    #[error("{0}")]
    Forbidden(String),
    /// The version to go on from is no longer known (410): list again.
    #[error("the version is too old")]
    Gone,
    /// Somebody else wrote the object first (409).
    #[error("somebody else wrote it first")]
    Conflict,
    /// The server asks to wait (429, 503).
    #[error("the API server asks to wait {0:?}")]
    Busy(Duration),
    #[error("more than {ANSWER_BYTES_MAX} bytes in one answer")]
    TooLarge,
    #[error("{0}")]
    Failed(String),
}

impl Scope {
    /// All objects, in pages; each is also put into `keep`.
    pub(super) async fn list(
        &self,
        client: &Client,
        api_version: &str,
        mut keep: Option<&mut Keep>,
    ) -> Result<Listed, Failure> {
        if let Some(keep) = &mut keep {
            keep.begin();
        }
        let mut objects = Vec::new();
        let mut cursor = String::new();
        let mut limit = match self.kind {
            // Each of these may weigh a megabyte.
            Kind::Secret | Kind::ConfigMap => PAGE_OBJECTS_MAX / 10,
            _ => PAGE_OBJECTS_MAX,
        };
        loop {
            let mut query = format!("limit={limit}");
            if !cursor.is_empty() {
                query.push_str("&continue=");
                encode(&mut query, &cursor);
            }
            let request = self.request(api_version, &query)?;
            let page = timeout(LIST_TIMEOUT, async { whole(answer(client, request).await?).await });
            let page = match page.await {
                Ok(Err(Failure::TooLarge)) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                Ok(page) => page?,
                Err(_) => return Err(Failure::Failed(format!("no whole answer within {LIST_TIMEOUT:?}"))),
            };
            let page: Page<'_> = serde_json::from_slice(&page).map_err(|error| not_json(&error))?;
            for item in page.items.unwrap_or_default() {
                if let Some(keep) = &mut keep {
                    keep.put(item);
                }
                objects.push(read(self.kind, item));
            }
            match page.metadata.next {
                Some(next) if !next.is_empty() => cursor = next,
                _ => return Ok(Listed { objects, version: page.metadata.resource_version }),
            }
        }
    }

    /// Whether the server answers at all, with whatever it says to a list of one.
    pub(super) async fn probe(&self, client: &Client, api_version: &str) -> Result<(), Failure> {
        let request = self.request(api_version, "limit=1")?;
        match answer(client, request).await {
            Ok(_) | Err(Failure::Missing | Failure::Forbidden(_) | Failure::Gone) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The changes since `version`, until the server ends the watch.
    pub(super) async fn watch(
        &self,
        client: &Client,
        api_version: &str,
        version: &str,
    ) -> Result<Watch, Failure> {
        // Not all watches of all replicas end at the same time.
        let seconds = fastrand::u64(WATCH_SECONDS_MIN..=WATCH_SECONDS_MAX);
        let mut query =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion=");
        encode(&mut query, version);
        let request = self.request(api_version, &query)?;
        let answer = timeout(WATCH_HEAD_TIMEOUT, answer(client, request)).await;
        let answer =
            answer.map_err(|_| Failure::Failed(format!("no answer within {WATCH_HEAD_TIMEOUT:?}")))??;
        Ok(Watch {
            kind: self.kind,
            body: answer.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            version: version.to_owned(),
        })
    }

    fn request(&self, api_version: &str, query: &str) -> Result<Request<Body>, Failure> {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let mut path = format!("/{root}/{api_version}/");
        if let Some(namespace) = &self.namespace {
            path.push_str("namespaces/");
            encode(&mut path, namespace);
            path.push('/');
        }
        path.push_str(plural(self.kind));
        path.push('?');
        path.push_str(query);
        if self.kind == Kind::Secret {
            path.push_str("&fieldSelector=");
            encode(&mut path, SECRETS_READ);
        }
        Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| Failure::Failed(error.to_string()))
    }
}

/// A watch under way.
#[derive(Debug)]
pub(super) struct Watch {
    kind: Kind,
    body: Body,
    /// What came and is not yet a whole line.
    buffer: BytesMut,
    /// How far there is no line end in `buffer`.
    searched: usize,
    /// The version of the last event.
    version: String,
}

impl Watch {
    /// The version to go on from.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The next events, all that have come, which are also appended to `keep`; `None` when the server has ended the watch.
    pub(super) async fn next(&mut self, mut keep: Option<&mut Keep>) -> Result<Option<Vec<Event>>, Failure> {
        loop {
            let mut events = Vec::new();
            while let Some(line) = self.line() {
                if !line.iter().all(u8::is_ascii_whitespace) {
                    let event = self.event(&line)?;
                    match (&mut keep, &event) {
                        (Some(keep), Event::Applied(_) | Event::Deleted(_)) => keep.append(&line),
                        (Some(_), Event::Bookmark) | (None, _) => {}
                    }
                    events.push(event);
                }
            }
            if !events.is_empty() {
                return Ok(Some(events));
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(Failure::TooLarge);
            }
            // A server sends a bookmark each minute. Silence means that nobody is there any more.
            let frame = timeout(WATCH_SILENCE_MAX, self.body.frame()).await;
            match frame.map_err(|_| Failure::Failed(format!("silent for {WATCH_SILENCE_MAX:?}")))? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Failure::Failed(chain(&error))),
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            None => {
                self.searched = self.buffer.len();
                None
            }
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                Some(line)
            }
        }
    }

    fn event(&mut self, line: &[u8]) -> Result<Event, Failure> {
        let (event, version) = event(self.kind, line)?;
        if let Some(version) = version {
            self.version = version;
        }
        Ok(event)
    }
}

/// What one line of a watch says, and the version that it leads to.
pub(super) fn event(kind: Kind, line: &[u8]) -> Result<(Event, Option<String>), Failure> {
    let Line { event, object } = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
    if event == "ERROR" {
        let status: Status = serde_json::from_str(object.get()).unwrap_or_default();
        return Err(status.failure(None));
    }
    let head = head(object);
    let version = head.as_ref().and_then(|head| head.metadata.resource_version.clone());
    let event = match event {
        "BOOKMARK" => Event::Bookmark,
        "DELETED" => match head.and_then(|head| head.reference(kind)) {
            Some(reference) => Event::Deleted(reference),
            // Which one is gone is not known; a new list will say.
            None => return Err(Failure::Gone),
        },
        _ => Event::Applied(read(kind, object)),
    };
    Ok((event, version))
}

/// The answer to a request, when it is a good one.
pub(super) async fn answer(client: &Client, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let answer = client.send(request).await.map_err(|error| Failure::Failed(chain(&error)))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let code = answer.status();
    let after = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let text = whole(answer).await.unwrap_or_default();
    let mut status: Status = serde_json::from_slice(&text).unwrap_or_default();
    status.code = code.as_u16();
    Err(status.failure(after))
}

pub(super) async fn whole(answer: Response<Body>) -> Result<Bytes, Failure> {
    let mut body = answer.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Failed(chain(&error)))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(Failure::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.freeze())
}

fn read(kind: Kind, raw: &RawValue) -> Sent {
    Object::deserialize(kind, &mut serde_json::Deserializer::from_str(raw.get())).map_err(|error| Broken {
        object: head(raw).and_then(|head| head.reference(kind)),
        message: match kind {
            // The error may quote what it does not like.
            Kind::Secret => "cannot be read as a Secret".into(),
            _ => format!("cannot be read: {error}").into(),
        },
    })
}

fn head(raw: &RawValue) -> Option<Head> {
    serde_json::from_str(raw.get()).ok()
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::Failed(format!(
        "an answer that is no {} of Kubernetes",
        match error.classify() {
            serde_json::error::Category::Eof => "whole object",
            _ => "object",
        }
    ))
}

/// An error with its causes, which is where the useful words are.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            // Into a String nothing can fail.
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

/// Escapes what may not stand in a query (RFC 3986 §2.3).
pub(super) fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

/// The name in paths.
pub(super) fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress => "ingresses",
        Kind::IngressClass => "ingressclasses",
        Kind::GatewayClass => "gatewayclasses",
        Kind::Gateway => "gateways",
        Kind::HTTPRoute => "httproutes",
        Kind::GRPCRoute => "grpcroutes",
        Kind::TLSRoute => "tlsroutes",
        Kind::TCPRoute => "tcproutes",
        Kind::UDPRoute => "udproutes",
        Kind::ListenerSet => "listenersets",
        Kind::BackendTLSPolicy => "backendtlspolicies",
        Kind::ReferenceGrant => "referencegrants",
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices",
        Kind::Secret => "secrets",
        Kind::ConfigMap => "configmaps",
        Kind::Namespace => "namespaces",
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    event: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What every object says of itself, however odd the rest is.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata {
    name: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
    resource_version: Option<String>,
}

impl Head {
    fn reference(self, kind: Kind) -> Option<ObjectRef> {
        let namespace = self.metadata.namespace.unwrap_or_default();
        Some(ObjectRef { kind, namespace, name: self.metadata.name? })
    }
}

/// `metav1.Status`: how the server says no.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

impl Status {
    fn failure(self, after: Option<Duration>) -> Failure {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match code {
            StatusCode::NOT_FOUND => Failure::Missing,
            StatusCode::FORBIDDEN => Failure::Forbidden(self.message),
            StatusCode::GONE => Failure::Gone,
            StatusCode::CONFLICT => Failure::Conflict,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if after.is_some() => {
                Failure::Busy(after.unwrap_or_default())
            }
            _ if self.message.is_empty() => Failure::Failed(format!("it answers {code}")),
            _ => Failure::Failed(format!("it answers {code}: {}", self.message)),
        }
    }
}

/// Objects in one page of a list.
pub(super) const PAGE_OBJECTS_MAX: usize = 500;
/// Bytes of a page, and of one event of a watch.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
const WATCH_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(90);
const WATCH_SECONDS_MIN: u64 = 240;
const WATCH_SECONDS_MAX: u64 = 300;
/// Helm keeps its releases in Secrets, and old clusters a token for each service account: many, large, never used here.
const SECRETS_READ: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

#[cfg(test)]
mod tests;
