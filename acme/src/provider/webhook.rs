//! Any other DNS host: a program of the operator's that takes `present` and `cleanup` by HTTP, in the form that lego calls
//! `httpreq`.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use serde_json::json;

use super::{DnsProvider, ProviderError, Zone, excerpt};
use crate::http::{BoxFuture, Http};
use crate::secret::Secret;

/// One such program.
pub struct Webhook {
    endpoint: String,
    /// User name and password for basic authentication.
    login: Option<(String, Secret)>,
    http: Arc<dyn Http>,
}

impl Webhook {
    pub fn new(endpoint: &str, login: Option<(String, Secret)>, http: Arc<dyn Http>) -> Webhook {
        Webhook { endpoint: endpoint.trim_end_matches('/').to_owned(), login, http }
    }

    /// One request for each value, as the form has it.
    async fn post(&self, what: &str, record: &str, values: &[String]) -> Result<(), ProviderError> {
        for value in values {
            let body = json!({"fqdn": format!("{record}."), "value": value});
            let mut request = Request::post(format!("{}/{what}", self.endpoint));
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some((user, password)) = &self.login {
                let basic = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
                let basic = HeaderValue::try_from(format!("Basic {basic}"));
                let mut basic = basic.map_err(|error| ProviderError::Credentials(error.to_string()))?;
                basic.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, basic);
            }
            let request = request.body(Bytes::from(body.to_string()));
            let request =
                request.map_err(|error| ProviderError::Refused(format!("the endpoint: {error}")))?;
            let answer = self.http.send(request).await?;
            match answer.status().as_u16() {
                200..=299 => {}
                401 | 403 => return Err(ProviderError::Credentials(excerpt(&answer))),
                429 => return Err(ProviderError::Throttled(excerpt(&answer))),
                500.. => return Err(ProviderError::Unavailable(excerpt(&answer))),
                _ => return Err(ProviderError::Refused(excerpt(&answer))),
            }
        }
        Ok(())
    }
}

impl DnsProvider for Webhook {
    fn kind(&self) -> &'static str {
        "the webhook"
    }

    /// It finds the zone itself.
    fn zone<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Zone>, ProviderError>> {
        Box::pin(async move { Ok(Some(Zone::new(name, ""))) })
    }

    fn add<'a>(
        &'a self,
        _zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.post("present", record, values))
    }

    fn remove<'a>(
        &'a self,
        _zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.post("cleanup", record, values))
    }
}

#[cfg(test)]
mod tests;
