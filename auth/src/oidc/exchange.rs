//! Redeeming a code: what the token endpoint is asked, and how its answer is judged (OpenID Connect Core §3.1.3).

use std::future::Future;
use std::pin::Pin;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode};
use jiff::Timestamp;
use openidconnect::core::{CoreClient, CoreErrorResponseType, CoreIdToken, CoreIdTokenVerifier};
use openidconnect::{
    AccessToken, AccessTokenHash, AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, SignatureVerificationError, TokenResponse,
};
use serde_json::{Map, Value};

use super::flow::{Login, Pending, payload};
use super::{ClientAuth, Metadata, Provider, Settings};
use crate::bearer::LEEWAY_SECONDS;
use crate::identity::Identity;

pub use openidconnect::{HttpRequest, HttpResponse};

/// Sends one request to a provider. Redirects are not followed, and bodies are bounded.
pub type Http = dyn Fn(HttpRequest) -> HttpFuture + Send + Sync;
/// Its answer.
pub type HttpFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

/// [`Http`] as the library wants it. A type of its own, because the compiler cannot see that futures over a closure's
/// lifetime may move between threads.
struct Ask<'h>(&'h Http);

impl<'c> AsyncHttpClient<'c> for Ask<'_> {
    type Error = HttpError;
    type Future = HttpFuture;

    fn call(&'c self, request: HttpRequest) -> HttpFuture {
        (self.0)(request)
    }
}

/// Why a provider could not be asked; the words are for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(pub String);

/// Why a code was not redeemed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The provider did not answer, or not as it should: later it may.
    #[error("the provider does not answer: {0}")]
    Unavailable(String),
    /// The key that signed is not known: newer ones may hold it.
    #[error("the id token is signed with a key that is not known")]
    UnknownKey,
    /// The code is used up, too old, or not ours.
    #[error("the provider does not take the code: {0}")]
    Code(String),
    /// The settings do not agree with the client that is registered at the provider.
    #[error("the provider does not know this client, or its secret: {0}")]
    Client(String),
    #[error("the id token is not good: {0}")]
    Token(String),
    #[error("the id token is missing: the provider is no OpenID provider, or takes the scope `openid` away")]
    Missing,
}

/// A code that was redeemed.
#[derive(Debug)]
pub struct Redeemed {
    pub login: Login,
    /// With newer keys, where the known ones did not have the one that signed.
    pub metadata: Option<Metadata>,
}

/// Redeems the code of `pending` and says who logged in. A code can be redeemed once, so keys that are missing are fetched
/// on the way.
pub async fn exchange(
    provider: &Provider,
    metadata: &Metadata,
    pending: &Pending,
    http: &Http,
    now: Timestamp,
) -> Result<Redeemed, ExchangeError> {
    let settings = provider.settings();
    let configured = |error: &dyn std::fmt::Display| ExchangeError::Client(error.to_string());
    let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| configured(&error))?;
    let redirect = RedirectUrl::new(pending.flow.redirect_uri.clone()).map_err(|error| configured(&error))?;
    let mut client =
        CoreClient::new(ClientId::new(settings.client_id.clone()), issuer.clone(), metadata.jwks.clone())
            .set_auth_type(match settings.client_auth {
                ClientAuth::Basic => AuthType::BasicAuth,
                ClientAuth::Post => AuthType::RequestBody,
            })
            .set_redirect_uri(redirect)
            .set_token_uri(metadata.token.clone());
    if let Some(secret) = &settings.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.reveal().to_owned()));
    }
    let ask = Ask(http);
    let answer = client
        .exchange_code(AuthorizationCode::new(pending.code.reveal().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(pending.flow.verifier.clone()))
        .request_async(&ask)
        .await
        .map_err(refused)?;
    let token = answer.id_token().ok_or(ExchangeError::Missing)?;
    let verified = |metadata: &Metadata| {
        verify(settings, metadata, &issuer, token, answer.access_token(), &pending.flow.nonce, now)
    };
    let mut newer = None;
    match verified(metadata) {
        Err(ExchangeError::UnknownKey) => {
            let fetched = with_newer_keys(metadata, http).await?;
            verified(&fetched)?;
            newer = Some(fetched);
        }
        other => other?,
    }
    let mut claims = payload(&token.to_string()).ok_or(ExchangeError::Missing)?;
    if let Some(address) = metadata.userinfo.as_deref().filter(|_| lacks(&claims, settings)) {
        let more = userinfo(address, answer.access_token(), http).await?;
        merge(&mut claims, more)?;
    }
    let provider_session = claims.get("sid").and_then(Value::as_str).map(str::to_owned);
    let identity = Identity::from_claims(&claims, &settings.claims, &settings.extra_claims)
        .ok_or_else(|| ExchangeError::Token("it names no subject".to_owned()))?;
    Ok(Redeemed { login: Login { identity, provider_session }, metadata: newer })
}

/// Signature, algorithm, issuer, audience, times, nonce and `at_hash` (OpenID Connect Core §3.1.3.7).
fn verify(
    settings: &Settings,
    metadata: &Metadata,
    issuer: &IssuerUrl,
    token: &CoreIdToken,
    access: &AccessToken,
    nonce: &str,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let client = ClientId::new(settings.client_id.clone());
    let verifier = match &settings.client_secret {
        Some(secret) => CoreIdTokenVerifier::new_confidential_client(
            client,
            ClientSecret::new(secret.reveal().to_owned()),
            issuer.clone(),
            metadata.jwks.clone(),
        ),
        None => CoreIdTokenVerifier::new_public_client(client, issuer.clone(), metadata.jwks.clone()),
    };
    let at = chrono::DateTime::from_timestamp(now.as_second() - LEEWAY_SECONDS, 0).unwrap_or_default();
    let verifier = verifier
        .set_allowed_algs(metadata.algorithms.iter().cloned())
        // Further audiences are the provider's business; `azp` below says whose token it is.
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(move || at);
    let claims = token.claims(&verifier, &Nonce::new(nonce.to_owned())).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            ExchangeError::UnknownKey
        }
        other => ExchangeError::Token(other.to_string()),
    })?;
    if claims.audiences().len() > 1 || claims.authorized_party().is_some() {
        let ours = claims.authorized_party().is_some_and(|party| **party == settings.client_id);
        if !ours {
            return Err(ExchangeError::Token("it was made for another client (`azp`)".to_owned()));
        }
    }
    if claims.issue_time().timestamp() > now.as_second() + LEEWAY_SECONDS {
        return Err(ExchangeError::Token("it is from the future (`iat`)".to_owned()));
    }
    if let Some(expected) = claims.access_token_hash() {
        let wrong = |error: &dyn std::fmt::Display| ExchangeError::Token(error.to_string());
        let algorithm = token.signing_alg().map_err(|error| wrong(&error))?;
        let key = token.signing_key(&verifier).map_err(|error| wrong(&error))?;
        let actual = AccessTokenHash::from_token(access, algorithm, key).map_err(|error| wrong(&error))?;
        if actual != *expected {
            return Err(ExchangeError::Token(
                "the access token is not the one it belongs to (`at_hash`)".to_owned(),
            ));
        }
    }
    Ok(())
}

fn refused<E: std::error::Error>(
    error: RequestTokenError<E, openidconnect::StandardErrorResponse<CoreErrorResponseType>>,
) -> ExchangeError {
    match error {
        RequestTokenError::ServerResponse(answer) => match answer.error() {
            CoreErrorResponseType::InvalidClient | CoreErrorResponseType::UnauthorizedClient => {
                ExchangeError::Client(answer.error().to_string())
            }
            error => ExchangeError::Code(error.to_string()),
        },
        RequestTokenError::Request(error) => ExchangeError::Unavailable(error.to_string()),
        // The answer may hold tokens, so it is not repeated.
        RequestTokenError::Parse(error, _) => {
            ExchangeError::Unavailable(format!("the token endpoint answers something else: {error}"))
        }
        RequestTokenError::Other(error) => ExchangeError::Unavailable(error),
    }
}

/// Whether the id token leaves out something that rules or headers could need. Some providers say it only at `userinfo`.
fn lacks(claims: &Map<String, Value>, settings: &Settings) -> bool {
    let names = &settings.claims;
    let wanted = [&names.user, &names.email, &names.groups].into_iter().chain(&settings.extra_claims);
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    wanted.into_iter().any(|name| !claims.contains_key(name) && !claims.contains_key(&first(name)))
}

async fn with_newer_keys(metadata: &Metadata, http: &Http) -> Result<Metadata, ExchangeError> {
    let unavailable = |what: String| ExchangeError::Unavailable(format!("the set of keys: {what}"));
    let request = Request::get(metadata.jwks_address()).header(ACCEPT, "application/json").body(Vec::new());
    let request = request.map_err(|error| unavailable(error.to_string()))?;
    let answer = http(request).await.map_err(|error| unavailable(error.to_string()))?;
    if answer.status() != StatusCode::OK {
        return Err(unavailable(format!("it answers {}", answer.status())));
    }
    let mut newer = metadata.clone();
    newer.set_keys(answer.body()).map_err(|error| unavailable(error.to_string()))?;
    Ok(newer)
}

async fn userinfo(
    address: &str,
    access: &AccessToken,
    http: &Http,
) -> Result<Map<String, Value>, ExchangeError> {
    let unavailable = |what: String| ExchangeError::Unavailable(format!("userinfo: {what}"));
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", access.secret()))
        .map_err(|_| unavailable("the access token cannot be sent".to_owned()))?;
    authorization.set_sensitive(true);
    let request = Request::get(address)
        .header(AUTHORIZATION, authorization)
        .header(ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|error| unavailable(error.to_string()))?;
    let answer = http(request).await.map_err(|error| unavailable(error.to_string()))?;
    if answer.status() != StatusCode::OK {
        return Err(unavailable(format!("it answers {}", answer.status())));
    }
    serde_json::from_slice(answer.body()).map_err(|_| unavailable("it answers no JSON object".to_owned()))
}

/// Adds what the id token does not say. What it says wins: it is signed.
fn merge(claims: &mut Map<String, Value>, more: Map<String, Value>) -> Result<(), ExchangeError> {
    // OpenID Connect Core §5.3.2: another subject's answer must not be used.
    if more.get("sub") != claims.get("sub") {
        return Err(ExchangeError::Token("userinfo speaks of another subject".to_owned()));
    }
    // A verdict on an address belongs to the address that it stands beside.
    let has_email = claims.contains_key("email");
    for (name, value) in more {
        if name == "email_verified" && has_email {
            continue;
        }
        claims.entry(name).or_insert(value);
    }
    Ok(())
}
