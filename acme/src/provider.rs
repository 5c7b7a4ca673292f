//! Who hosts the DNS: writes a proof, and takes it away.
//!
//! A provider is one account. Several of one kind stand side by side, and a record's zone chooses among them.

pub mod aws;
pub mod cloudflare;
pub mod rfc2136;
pub mod route53;
pub mod webhook;

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::{BoxFuture, HttpError};

/// Writes TXT records. Both writes may be repeated with the same effect, and leave values of others alone.
///
/// Names are lower case and without the final dot; values are as the CA compares them, without quotes.
pub trait DnsProvider: Send + Sync {
    /// What messages call it, such as `Cloudflare`.
    fn kind(&self) -> &'static str;

    /// The zone of exactly this name, if the account has it.
    fn zone<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Zone>, ProviderError>>;

    /// Adds all values to the record in one change where the provider can, and returns when it has taken them.
    fn add<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Takes away these values and no others; what is not there is no failure.
    fn remove<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
}

/// A zone as its provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    /// What the provider calls it, where that differs from the name.
    pub id: String,
}

impl Zone {
    /// A zone of this name; `id` is what its provider calls it, and may be empty.
    pub(crate) fn new(name: &str, id: impl Into<String>) -> Zone {
        Zone { name: name.to_owned(), id: id.into() }
    }
}

/// Why a provider did not do it. The words hold nothing of the credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The key is wrong or may not do this.
    #[error("{0}")]
    Credentials(String),
    #[error("{0}")]
    Throttled(String),
    /// No answer, or one that says that the other side is out of order.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Refused(String),
}

impl From<HttpError> for ProviderError {
    fn from(error: HttpError) -> ProviderError {
        ProviderError::Unavailable(error.to_string())
    }
}

/// Keeps requests apart, for accounts that may ask only so often.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    /// The first wait after a refusal; each that follows is twice as long.
    refused_wait: Duration,
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(interval: Duration) -> Throttle {
        Throttle { interval, refused_wait: REFUSED_WAIT_MIN, next: Mutex::const_new(None) }
    }

    /// One that waits for nobody.
    #[cfg(test)]
    pub(crate) fn none() -> Throttle {
        Throttle { interval: Duration::ZERO, refused_wait: Duration::ZERO, next: Mutex::const_new(None) }
    }

    /// Returns when the next request may be sent. Those who wait are let through in the order in which they came.
    pub(crate) async fn pass(&self) {
        let mut next = self.next.lock().await;
        if let Some(moment) = *next {
            sleep_until(moment).await;
        }
        *next = Some(Instant::now() + self.interval);
    }

    /// Repeats what was throttled, waiting 0.4 s and then twice as long each time, up to 30 s, each with some jitter.
    pub(crate) async fn patiently<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        let mut wait = self.refused_wait;
        for _ in 1..ATTEMPTS_MAX {
            self.pass().await;
            match attempt().await {
                Err(ProviderError::Throttled(_)) => sleep(wait.mul_f64(0.75 + 0.5 * fastrand::f64())).await,
                done => return done,
            }
            wait = (wait * 2).min(REFUSED_WAIT_MAX);
        }
        self.pass().await;
        attempt().await
    }
}

/// An answer's body as text for a message: one line, and not much of it.
pub(crate) fn excerpt(answer: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(answer.body());
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut end = line.len().min(EXCERPT_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("status {}: {}", answer.status().as_u16(), &line[..end])
}

/// The zones that may hold `record`, the deepest first: itself and what it lies under, down to two labels.
pub fn candidates(record: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(record), |name| name.split_once('.').map(|(_, rest)| rest))
        .filter(|name| name.contains('.'))
        .take(CANDIDATES_MAX)
}

const ATTEMPTS_MAX: u32 = 7;
const REFUSED_WAIT_MIN: Duration = Duration::from_millis(400);
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(30);
const EXCERPT_BYTES_MAX: usize = 300;
/// A name has at most 127 labels (RFC 1035); nobody cuts zones that deep.
const CANDIDATES_MAX: usize = 20;

#[cfg(test)]
pub(crate) mod tests;
