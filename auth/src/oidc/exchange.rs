//! Redeeming a code, and asking for newer tokens: what the token endpoint is asked, and how its answer is judged
//! (OpenID Connect Core §3.1.3, §12).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode};
use jiff::Timestamp;
use openidconnect::core::{CoreClient, CoreErrorResponseType, CoreIdToken, CoreIdTokenVerifier};
use openidconnect::{
    AccessToken, AccessTokenHash, AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, SignatureVerificationError,
    TokenResponse,
};
use serde_json::{Map, Value};

use super::flow::{Login, Pending, payload};
use super::{ACCESS_TOKEN, ClientAuth, ID_TOKEN, Keeping, Metadata, Provider, Settings};
use crate::bearer::LEEWAY_SECONDS;
use crate::identity::Identity;
use crate::secret::Secret;
use crate::session::stored::{Stored, Tokens};
use crate::session::{Session, later};

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
    let redirect = RedirectUrl::new(pending.flow.redirect_uri.clone()).map_err(|error| configured(&error))?;
    let client = client_of(settings, metadata)?.set_redirect_uri(redirect);
    let ask = Ask(http);
    let answer = client
        .exchange_code(AuthorizationCode::new(pending.code.reveal().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(pending.flow.verifier.clone()))
        .request_async(&ask)
        .await
        .map_err(refused)?;
    let token = answer.id_token().ok_or(ExchangeError::Missing)?;
    let access = answer.access_token();
    let nonce = Some(&*pending.flow.nonce);
    let newer = verify_with_newest(settings, metadata, (token, nonce), access, http, now).await?;
    let mut claims = payload(&token.to_string()).ok_or(ExchangeError::Missing)?;
    if let Some(address) = metadata.userinfo.as_deref().filter(|_| lacks(&claims, settings)) {
        let more = userinfo(address, access, http).await?;
        merge(&mut claims, more)?;
    }
    let provider_session = claims.get("sid").and_then(Value::as_str).map(str::to_owned);
    let mut identity = identity_of(&claims, settings)?;
    let given = Given {
        access: access.secret(),
        lifetime: answer.expires_in(),
        refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
        id: Some(Secret::new(token.to_string())),
    };
    let tokens = given.keep(settings.keeping, &mut identity, now);
    Ok(Redeemed { login: Login { identity, provider_session, tokens }, metadata: newer })
}

/// Asks for newer tokens in the name of a stored session, and says what becomes of it. The refresh token may be used up by
/// this, so that one asks for all, and writes what comes of it down at once.
pub async fn refresh(
    provider: &Provider,
    metadata: &Metadata,
    stored: &Stored,
    http: &Http,
    now: Timestamp,
) -> Result<Refreshed, ExchangeError> {
    let settings = provider.settings();
    let refresh = stored.tokens.refresh.as_ref().ok_or(ExchangeError::Missing)?;
    let client = client_of(settings, metadata)?;
    let ask = Ask(http);
    let refresh_token = RefreshToken::new(refresh.reveal().to_owned());
    let answer = client.exchange_refresh_token(&refresh_token).request_async(&ask).await.map_err(refused)?;
    let access = answer.access_token();
    let (mut newer, mut claims) = (None, None);
    if let Some(token) = answer.id_token() {
        newer = verify_with_newest(settings, metadata, (token, None), access, http, now).await?;
        claims = Some(payload(&token.to_string()).ok_or(ExchangeError::Missing)?);
    }
    let incomplete = claims.as_ref().is_none_or(|claims| lacks(claims, settings));
    if let Some(address) = metadata.userinfo.as_deref().filter(|_| incomplete) {
        let more = userinfo(address, access, http).await?;
        match &mut claims {
            Some(claims) => merge(claims, more)?,
            None => claims = Some(more),
        }
    }
    let before = &stored.session;
    let mut identity = match &claims {
        Some(claims) => identity_of(claims, settings)?,
        None => before.identity.clone(),
    };
    // OpenID Connect Core §12.2.
    if identity.subject != before.identity.subject {
        return Err(ExchangeError::Token("it speaks of another subject".to_owned()));
    }
    let given = Given {
        access: access.secret(),
        lifetime: answer.expires_in(),
        // A provider that gives no new one goes on taking the old one.
        refresh: answer
            .refresh_token()
            .map(|token| Secret::new(token.secret().clone()))
            .or_else(|| Some(refresh.clone())),
        id: answer.id_token().map(|token| Secret::new(token.to_string())).or(stored.tokens.id.clone()),
    };
    let tokens = given.keep(settings.keeping, &mut identity, now);
    let session = Session { identity, confirmed: now, seen: now, ..before.clone() };
    Ok(Refreshed { stored: Stored { id: stored.id, session, tokens }, metadata: newer })
}

/// Newer tokens.
#[derive(Debug)]
pub struct Refreshed {
    pub stored: Stored,
    /// With newer keys, where the known ones did not have the one that signed.
    pub metadata: Option<Metadata>,
}

/// What a token endpoint gave.
struct Given<'a> {
    access: &'a str,
    lifetime: Option<Duration>,
    refresh: Option<Secret>,
    id: Option<Secret>,
}

impl Given<'_> {
    /// What sessions keep of it.
    fn keep(self, keeping: Keeping, identity: &mut Identity, now: Timestamp) -> Tokens {
        let Keeping::Store { access_token, id_token } = keeping else { return Tokens::default() };
        if access_token {
            identity.claims.insert(ACCESS_TOKEN.to_owned(), [self.access].into());
        }
        if let Some(id) = self.id.as_ref().filter(|_| id_token) {
            identity.claims.insert(ID_TOKEN.to_owned(), [id.reveal()].into());
        }
        let shown = self.lifetime.filter(|_| access_token || id_token);
        Tokens {
            refresh: self.refresh,
            id: self.id,
            access_until: shown.map(|lifetime| later(now, lifetime)),
            // While there is still time to try again.
            refresh_at: shown.map(|lifetime| later(now, lifetime.mul_f32(0.8))),
        }
    }
}

type Client =
    CoreClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet, EndpointNotSet>;

fn client_of(settings: &Settings, metadata: &Metadata) -> Result<Client, ExchangeError> {
    let client = CoreClient::new(
        ClientId::new(settings.client_id.clone()),
        issuer_of(settings)?,
        metadata.jwks.clone(),
    )
    .set_auth_type(match settings.client_auth {
        ClientAuth::Basic => AuthType::BasicAuth,
        ClientAuth::Post => AuthType::RequestBody,
    })
    .set_token_uri(metadata.token.clone());
    Ok(match &settings.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.reveal().to_owned())),
        None => client,
    })
}

fn issuer_of(settings: &Settings) -> Result<IssuerUrl, ExchangeError> {
    IssuerUrl::new(settings.issuer.clone()).map_err(|error| configured(&error))
}

fn configured(error: &dyn std::fmt::Display) -> ExchangeError {
    ExchangeError::Client(error.to_string())
}

fn identity_of(claims: &Map<String, Value>, settings: &Settings) -> Result<Identity, ExchangeError> {
    Identity::from_claims(claims, &settings.claims, &settings.extra_claims)
        .ok_or_else(|| ExchangeError::Token("it names no subject".to_owned()))
}

/// Verifies an id token, with keys that are fetched where the known ones do not have the one that signed: those are
/// returned. Without a nonce any is taken: there was no question that it answers.
async fn verify_with_newest(
    settings: &Settings,
    metadata: &Metadata,
    token: (&CoreIdToken, Option<&str>),
    access: &AccessToken,
    http: &Http,
    now: Timestamp,
) -> Result<Option<Metadata>, ExchangeError> {
    match verify(settings, metadata, token, access, now) {
        Err(ExchangeError::UnknownKey) => {
            let fetched = with_newer_keys(metadata, http).await?;
            verify(settings, &fetched, token, access, now)?;
            Ok(Some(fetched))
        }
        other => other.map(|()| None),
    }
}

/// Signature, algorithm, issuer, audience, times, nonce and `at_hash` (OpenID Connect Core §3.1.3.7).
fn verify(
    settings: &Settings,
    metadata: &Metadata,
    (token, nonce): (&CoreIdToken, Option<&str>),
    access: &AccessToken,
    now: Timestamp,
) -> Result<(), ExchangeError> {
    let issuer = issuer_of(settings)?;
    let client = ClientId::new(settings.client_id.clone());
    let verifier = match &settings.client_secret {
        Some(secret) => CoreIdTokenVerifier::new_confidential_client(
            client,
            ClientSecret::new(secret.reveal().to_owned()),
            issuer,
            metadata.jwks.clone(),
        ),
        None => CoreIdTokenVerifier::new_public_client(client, issuer, metadata.jwks.clone()),
    };
    let at = chrono::DateTime::from_timestamp(now.as_second() - LEEWAY_SECONDS, 0).unwrap_or_default();
    let verifier = verifier
        .set_allowed_algs(metadata.algorithms.iter().cloned())
        // Further audiences are the provider's business; `azp` below says whose token it is.
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(move || at);
    let claims = match nonce {
        Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.to_owned())),
        None => token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
    };
    let claims = claims.map_err(|error| match error {
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
            // RFC 6749 §5.2 has no such words; providers in trouble say them all the same.
            CoreErrorResponseType::Extension(word)
                if matches!(&**word, "server_error" | "temporarily_unavailable") =>
            {
                ExchangeError::Unavailable(word.clone())
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
