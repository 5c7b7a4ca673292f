//! What this crate needs of an HTTP client. The edge supplies it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;

/// A future on the heap, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends one request and reads the whole answer.
///
/// The client verifies certificates, follows no redirect, gives up after 30 seconds or so, and refuses answers of more
/// than a megabyte. Any status is an answer; an error means that there was none.
pub trait Http: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>>;
}

/// Why there was no answer; the words name the host and hold nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(pub String);

/// `Retry-After` as a moment: seconds from `now`, or a date (RFC 9110 §10.2.3). Nonsense is as if it were absent.
pub(crate) fn retry_after(headers: &http::HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return now.checked_add(Duration::from_secs(seconds.into())).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.max(now))
}

/// The client of one attempt, as instant-acme wants it. It keeps of the answers what instant-acme drops.
#[derive(Clone)]
pub(crate) struct Recorder {
    http: Arc<dyn Http>,
    now: crate::Clock,
    seen: Arc<Mutex<Seen>>,
}

/// What was in the answers so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Of the last answer that was an error.
    pub(crate) retry_after: Option<Timestamp>,
    /// The status of the last answer.
    pub(crate) status: Option<u16>,
    /// The last certificate chain, and where there are others (RFC 8555 §7.4.2).
    pub(crate) chain: Option<String>,
    pub(crate) alternates: Vec<String>,
    /// The last error said that no answer came.
    pub(crate) unreachable: Option<String>,
}

impl Recorder {
    pub(crate) fn new(http: Arc<dyn Http>, now: crate::Clock) -> Recorder {
        Recorder { http, now, seen: Arc::default() }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl instant_acme::HttpClient for Recorder {
    fn request(
        &self,
        request: Request<instant_acme::BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<instant_acme::BytesResponse, instant_acme::Error>> + Send>> {
        let recorder = self.clone();
        Box::pin(async move {
            let other = |error: HttpError| instant_acme::Error::Other(Box::new(error));
            let (parts, body) = request.into_parts();
            // The body is in memory already; reading it cannot fail.
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let answer = recorder.http.send(Request::from_parts(parts, body)).await;
            recorder.record(&answer);
            let (parts, body) = answer.map_err(other)?.into_parts();
            Ok(Response::from_parts(parts, Full::new(body)).into())
        })
    }
}

impl Recorder {
    fn record(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                seen.unreachable = Some(error.to_string());
                return;
            }
        };
        seen.unreachable = None;
        seen.status = Some(answer.status().as_u16());
        if !answer.status().is_success() {
            seen.retry_after = retry_after(answer.headers(), (self.now)());
        }
        let is_chain = |value: &http::HeaderValue| {
            value.to_str().is_ok_and(|text| text.starts_with("application/pem-certificate-chain"))
        };
        if answer.status().is_success() && answer.headers().get(CONTENT_TYPE).is_some_and(is_chain) {
            seen.chain = std::str::from_utf8(answer.body()).ok().map(str::to_owned);
            let links = answer.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok());
            seen.alternates = links.filter_map(alternate).take(ALTERNATES_MAX).collect();
        }
    }
}

/// The address in `<…>;rel="alternate"`.
fn alternate(link: &str) -> Option<String> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_alternate = parameters.split(';').any(|parameter| {
        parameter
            .trim()
            .strip_prefix("rel=")
            .is_some_and(|value| value.trim_matches('"').split(' ').any(|relation| relation == "alternate"))
    });
    is_alternate.then(|| address.to_owned())
}

/// Other chains that are looked at.
const ALTERNATES_MAX: usize = 8;

#[cfg(test)]
mod tests;
