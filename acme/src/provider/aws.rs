//! Who we are to AWS: signatures (Signature Version 4), and keys that last an hour.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::{ProviderError, excerpt};
use crate::Clock;
use crate::http::Http;
use crate::secret::Secret;

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Keys(Keys),
    /// A token of the cluster is traded for keys (IAM roles for service accounts). The file is read each time.
    WebIdentity {
        role: String,
        token_file: PathBuf,
    },
}

/// A pair of keys, perhaps with the token of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: Secret,
    pub session: Option<Secret>,
}

/// A role to take on with the keys of the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRole {
    pub role: String,
    pub external_id: Option<String>,
}

/// Keys that are valid, renewed five minutes before they run out.
pub struct Credentials {
    pub identity: Identity,
    pub assume: Option<AssumeRole>,
    pub region: String,
    /// Base address of STS, such as `https://sts.eu-central-1.amazonaws.com`.
    pub sts: String,
    pub http: Arc<dyn Http>,
    pub clock: Clock,
    cached: Mutex<Option<(Keys, Timestamp)>>,
}

impl Credentials {
    /// Without `sts` the regional address of AWS is used.
    pub fn new(
        identity: Identity,
        assume: Option<AssumeRole>,
        region: &str,
        sts: Option<String>,
        http: Arc<dyn Http>,
        clock: Clock,
    ) -> Credentials {
        let sts = sts.unwrap_or_else(|| format!("https://sts.{region}.{}", domain(region)));
        Credentials {
            identity,
            assume,
            region: region.to_owned(),
            sts,
            http,
            clock,
            cached: Mutex::const_new(None),
        }
    }

    /// Keys to sign with now.
    pub(crate) async fn keys(&self) -> Result<Keys, ProviderError> {
        let mut cached = self.cached.lock().await;
        let now = (self.clock)();
        if let Some((keys, expires)) = &*cached
            && *expires > now + RENEW_BEFORE
        {
            return Ok(keys.clone());
        }
        let (keys, expires) = match &self.identity {
            Identity::Keys(keys) => (keys.clone(), Timestamp::MAX),
            Identity::WebIdentity { role, token_file } => self.web_identity(role, token_file).await?,
        };
        let (keys, expires) = match &self.assume {
            None => (keys, expires),
            Some(assume) => self.assume(assume, &keys).await?,
        };
        *cached = Some((keys.clone(), expires));
        Ok(keys)
    }

    async fn web_identity(&self, role: &str, file: &PathBuf) -> Result<(Keys, Timestamp), ProviderError> {
        let token = std::fs::read_to_string(file).map_err(|error| {
            ProviderError::Credentials(format!("the token file {} cannot be read: {error}", file.display()))
        })?;
        let form = encode_pairs(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", role),
            ("RoleSessionName", SESSION_NAME),
            ("Version", STS_VERSION),
            ("WebIdentityToken", token.trim()),
        ]);
        self.ask_sts(form, None).await
    }

    async fn assume(&self, assume: &AssumeRole, keys: &Keys) -> Result<(Keys, Timestamp), ProviderError> {
        let mut pairs =
            vec![("Action", "AssumeRole"), ("RoleArn", &assume.role), ("RoleSessionName", SESSION_NAME)];
        pairs.extend(assume.external_id.as_deref().map(|id| ("ExternalId", id)));
        pairs.push(("Version", STS_VERSION));
        self.ask_sts(encode_pairs(&pairs), Some(keys)).await
    }

    async fn ask_sts(&self, form: String, keys: Option<&Keys>) -> Result<(Keys, Timestamp), ProviderError> {
        let request = Request::post(format!("{}/", self.sts.trim_end_matches('/')))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form));
        let mut request =
            request.map_err(|error| ProviderError::Refused(format!("the address of STS: {error}")))?;
        if let Some(keys) = keys {
            sign(&mut request, keys, &self.region, "sts", (self.clock)())?;
        }
        let answer = self.http.send(request).await?;
        let status = answer.status();
        if status.is_success() {
            return parse_keys(&answer)
                .ok_or_else(|| ProviderError::Unavailable("STS answered without credentials".to_owned()));
        }
        let words = format!("STS: {}", error_text(&answer));
        Err(if status.is_server_error() {
            ProviderError::Unavailable(words)
        } else {
            ProviderError::Credentials(words)
        })
    }
}

/// Signs a request (AWS General Reference, "Signature Version 4"): the headers Host and X-Amz-* and the body count.
/// The query must be encoded strictly and sorted; [`encode_pairs`] makes such a one.
pub(crate) fn sign(
    request: &mut Request<Bytes>,
    keys: &Keys,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), ProviderError> {
    let bad =
        |what: &str| ProviderError::Credentials(format!("{what} holds characters that no header may have"));
    let moment = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &moment[..8];
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let mut signed = vec![("host", host), ("x-amz-date", moment.clone())];
    if let Some(session) = &keys.session {
        signed.push(("x-amz-security-token", session.expose().to_owned()));
    }
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let uri = request.uri();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method(),
        uri.path(),
        uri.query().unwrap_or_default(),
        sha256(request.body())
    );
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = mac(format!("AWS4{}", keys.secret.expose()).as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &text).as_ref());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    for (name, value) in signed.into_iter().skip(1) {
        let mut value = HeaderValue::try_from(value).map_err(|_| bad("the session token"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::HeaderName::from_static(name), value);
    }
    let mut authorization = HeaderValue::try_from(authorization).map_err(|_| bad("the access key id"))?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, authorization);
    Ok(())
}

/// `a=1&b=2`, everything but letters, digits and `-._~` encoded. The pairs come sorted.
pub(crate) fn encode_pairs(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode(&mut text, name);
        text.push('=');
        encode(&mut text, value);
    }
    text
}

/// `amazonaws.com`, and what stands for it elsewhere.
pub(crate) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// `Code: Message` of an XML error, else the body.
pub(crate) fn error_text(answer: &http::Response<Bytes>) -> String {
    let body = String::from_utf8_lossy(answer.body());
    let parsed = roxmltree::Document::parse(&body).ok();
    let find = |name: &str| parsed.as_ref().and_then(|document| find_text(document, name).map(str::to_owned));
    match (find("Code"), find("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => excerpt(answer),
    }
}

/// The text of the first element of this name, whatever its namespace.
pub(crate) fn find_text<'d>(document: &'d roxmltree::Document<'_>, name: &str) -> Option<&'d str> {
    document.descendants().find(|node| node.tag_name().name() == name)?.text()
}

fn parse_keys(answer: &http::Response<Bytes>) -> Option<(Keys, Timestamp)> {
    let body = std::str::from_utf8(answer.body()).ok()?;
    let document = roxmltree::Document::parse(body).ok()?;
    let keys = Keys {
        id: find_text(&document, "AccessKeyId")?.to_owned(),
        secret: Secret::new(find_text(&document, "SecretAccessKey")?),
        session: find_text(&document, "SessionToken").map(Secret::new),
    };
    Some((keys, find_text(&document, "Expiration")?.parse().ok()?))
}

fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(byte.into());
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SESSION_NAME: &str = "vestibule";
const STS_VERSION: &str = "2011-06-15";
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// Five requests a second are allowed for an account.
pub(crate) const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
