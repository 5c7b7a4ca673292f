//! Cloudflare (API v4). Every value is a record of its own there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws::encode_pairs;
use super::{DnsProvider, ProviderError, Throttle, Zone, excerpt};
use crate::http::{BoxFuture, Http};
use crate::secret::Secret;

/// One token of Cloudflare, which may edit the DNS of its zones and, unless a zone is named, read them.
pub struct Cloudflare {
    token: Secret,
    /// Base address, such as `https://api.cloudflare.com/client/v4`.
    endpoint: String,
    /// The zone to use whatever its name says, for tokens that may not list zones.
    zone_id: Option<String>,
    http: Arc<dyn Http>,
    throttle: Throttle,
}

#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
    #[serde(default)]
    result: Value,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    message: String,
}

impl Cloudflare {
    pub fn new(
        token: Secret,
        endpoint: Option<String>,
        zone_id: Option<String>,
        http: Arc<dyn Http>,
    ) -> Cloudflare {
        let endpoint = endpoint.unwrap_or_else(|| "https://api.cloudflare.com/client/v4".to_owned());
        Cloudflare { token, endpoint, zone_id, http, throttle: Throttle::new(REQUEST_INTERVAL) }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CallError> {
        let done = self.throttle.patiently(|| async {
            match self.send_once(method.clone(), path, body.as_ref()).await {
                Err(CallError::Throttled(words)) => Err(ProviderError::Throttled(words)),
                done => Ok(done),
            }
        });
        done.await.unwrap_or_else(|error| Err(CallError::Other(error)))
    }

    async fn send_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CallError> {
        let other = |error| CallError::Other(error);
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", self.token.expose().trim())).map_err(|_| {
                other(ProviderError::Credentials(
                    "the token holds characters that no header may have".to_owned(),
                ))
            })?;
        bearer.set_sensitive(true);
        let uri = format!("{}/{path}", self.endpoint.trim_end_matches('/'));
        let request = Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, bearer);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request
            .body(body)
            .map_err(|error| other(ProviderError::Refused(format!("the endpoint: {error}"))))?;
        let answer = self.http.send(request).await.map_err(|error| other(error.into()))?;
        let status = answer.status().as_u16();
        let Ok(envelope) = serde_json::from_slice::<Envelope>(answer.body()) else {
            return Err(match status {
                429 => CallError::Throttled(excerpt(&answer)),
                _ => other(ProviderError::Unavailable(excerpt(&answer))),
            });
        };
        if envelope.success {
            return Ok(envelope.result);
        }
        let codes = envelope.errors.iter().map(|error| error.code).collect();
        let words = envelope.errors.iter().map(|error| format!("{} (code {})", error.message, error.code));
        let words = words.collect::<Vec<_>>().join("; ");
        Err(match status {
            429 => CallError::Throttled(words),
            401 | 403 => other(ProviderError::Credentials(words)),
            500.. => other(ProviderError::Unavailable(words)),
            _ => CallError::Api { codes, words },
        })
    }

    async fn records(&self, zone: &Zone, record: &str) -> Result<Vec<(String, String)>, ProviderError> {
        let query = encode_pairs(&[("name", record), ("per_page", "100"), ("type", "TXT")]);
        let found = self.send(Method::GET, &format!("zones/{}/dns_records?{query}", zone.id), None).await?;
        let records = found.as_array().into_iter().flatten().filter_map(|record| {
            let text = |key: &str| Some(record.get(key)?.as_str()?.to_owned());
            Some((text("id")?, text("content")?))
        });
        Ok(records.collect())
    }
}

/// As [`ProviderError`], with the codes that decide whether it is one.
enum CallError {
    Throttled(String),
    Api { codes: Vec<u64>, words: String },
    Other(ProviderError),
}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> ProviderError {
        match error {
            CallError::Throttled(words) => ProviderError::Throttled(words),
            CallError::Api { words, .. } => ProviderError::Refused(words),
            CallError::Other(error) => error,
        }
    }
}

impl DnsProvider for Cloudflare {
    fn kind(&self) -> &'static str {
        "Cloudflare"
    }

    fn zone<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Zone>, ProviderError>> {
        Box::pin(async move {
            if let Some(id) = &self.zone_id {
                return Ok(Some(Zone::new(name, id)));
            }
            // While a zone is moved there are several of its name, and only the active one is served.
            let query = encode_pairs(&[("name", name), ("per_page", "50"), ("status", "active")]);
            let found = self.send(Method::GET, &format!("zones?{query}"), None).await?;
            let zone =
                found.as_array().into_iter().flatten().find(|zone| zone["name"].as_str() == Some(name));
            Ok(zone.and_then(|zone| zone["id"].as_str()).map(|id| Zone::new(name, id)))
        })
    }

    fn add<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            for value in values {
                let body =
                    json!({"type": "TXT", "name": record, "content": format!("\"{value}\""), "ttl": TTL});
                match self.send(Method::POST, &format!("zones/{}/dns_records", zone.id), Some(body)).await {
                    Err(CallError::Api { codes, .. }) if codes.iter().any(|code| EXISTS.contains(code)) => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => {}
                }
            }
            Ok(())
        })
    }

    fn remove<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            for (id, content) in self.records(zone, record).await? {
                // It comes back with quotes or without.
                if !values.iter().any(|value| value == content.trim_matches('"')) {
                    continue;
                }
                match self.send(Method::DELETE, &format!("zones/{}/dns_records/{id}", zone.id), None).await {
                    Err(CallError::Api { codes, .. }) if codes.contains(&GONE) => {}
                    Err(error) => return Err(error.into()),
                    Ok(_) => {}
                }
            }
            Ok(())
        })
    }
}

/// Seconds that others may keep a value; the least that Cloudflare takes.
const TTL: u32 = 60;
/// An identical record is there.
const EXISTS: [u64; 2] = [81057, 81058];
const GONE: u64 = 81044;
/// 1200 requests in five minutes are allowed.
const REQUEST_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
