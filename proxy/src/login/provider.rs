//! Live providers: what they are, and what is known of them now. They outlive configurations that do not change them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ::auth::bearer::{Expectations, Judge, KeyCache, Keys};
use ::auth::oidc::exchange::{HttpError, HttpFuture, HttpRequest};
use ::auth::oidc::{self, Metadata, discovery_address};
use arc_swap::ArcSwapOption;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use jiff::Timestamp;

use super::Logins;
use crate::fetch::{Fetcher, Route};
use crate::reject::Reject;

/// The live providers, by what they are. Whoever compiles keeps one.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    oidc: Mutex<Vec<Weak<OidcProvider>>>,
    issuers: Mutex<Vec<Weak<TokenIssuer>>>,
}

/// An OpenID provider, with what is known of it now.
pub struct OidcProvider {
    pub(crate) core: oidc::Provider,
    pub(crate) route: Route,
    metadata: Fetched<Metadata>,
    /// When it was last asked whether it is there, and whether it was.
    probed: Mutex<Option<(Timestamp, bool)>>,
    /// When it was last asked for newer tokens in vain.
    refresh_failed: Mutex<Option<Timestamp>>,
    /// The other ones, for callbacks that are theirs.
    siblings: Arc<Providers>,
}

/// An issuer of bearer tokens.
pub struct TokenIssuer {
    pub(crate) judge: Judge,
    route: Route,
    /// `None`: the issuer's discovery document says where the keys are.
    keys_address: Option<String>,
    keys: Fetched<Keys>,
}

/// Something that is fetched when it is needed, and kept.
struct Fetched<T> {
    current: ArcSwapOption<T>,
    cache: Mutex<KeyCache<T>>,
    /// One fetch at a time.
    flight: tokio::sync::Mutex<()>,
}

impl Providers {
    /// The provider that is this: the one that is there, or a new one.
    pub(crate) fn oidc(self: &Arc<Self>, settings: oidc::Settings, route: Route) -> Arc<OidcProvider> {
        let mut known = self.oidc.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|provider| provider.strong_count() > 0);
        let is_it =
            |provider: &Arc<OidcProvider>| *provider.core.settings() == settings && provider.route == route;
        if let Some(found) = known.iter().filter_map(Weak::upgrade).find(is_it) {
            return found;
        }
        let provider = Arc::new(OidcProvider {
            core: oidc::Provider::new(settings),
            route,
            metadata: Fetched::default(),
            probed: Mutex::new(None),
            refresh_failed: Mutex::new(None),
            siblings: Arc::clone(self),
        });
        known.push(Arc::downgrade(&provider));
        provider
    }

    /// The issuer that is this: the one that is there, or a new one.
    pub(crate) fn issuer(
        &self,
        expected: Expectations,
        keys_address: Option<String>,
        route: Route,
    ) -> Arc<TokenIssuer> {
        let mut known = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|issuer| issuer.strong_count() > 0);
        let is_it = |issuer: &Arc<TokenIssuer>| {
            *issuer.judge.expected() == expected
                && issuer.keys_address == keys_address
                && issuer.route == route
        };
        if let Some(found) = known.iter().filter_map(Weak::upgrade).find(is_it) {
            return found;
        }
        let issuer = Arc::new(TokenIssuer {
            judge: Judge::new(expected),
            route,
            keys_address,
            keys: Fetched::default(),
        });
        known.push(Arc::downgrade(&issuer));
        issuer
    }
}

impl OidcProvider {
    /// The provider itself and all others that are in use.
    pub(crate) fn everyone(self: &Arc<Self>) -> Vec<Arc<OidcProvider>> {
        let known = self.siblings.oidc.lock().unwrap_or_else(PoisonError::into_inner);
        let others = known.iter().filter_map(Weak::upgrade).filter(|other| !Arc::ptr_eq(other, self));
        std::iter::once(Arc::clone(self)).chain(others).collect()
    }

    /// What is known now, without waiting.
    pub(crate) fn known(&self) -> Option<Arc<Metadata>> {
        self.metadata.current.load_full()
    }

    /// What is known of the provider; asks it where that is nothing, and in the background where it is old.
    pub(crate) async fn metadata(
        self: &Arc<Self>,
        logins: &Logins,
        now: Timestamp,
    ) -> Result<Arc<Metadata>, Reject> {
        let refresh = {
            let (this, fetcher) = (Arc::clone(self), Arc::clone(&logins.fetcher));
            async move { this.refresh(&fetcher, false, now).await }
        };
        match self.known() {
            Some(known) if !self.metadata.is_due(false, now) => Ok(known),
            Some(known) => {
                logins.in_background(refresh);
                Ok(known)
            }
            None => {
                logins.on_control(refresh).await?;
                self.known().ok_or_else(|| {
                    let name = &self.core.settings().name;
                    Reject::AuthUnavailable(format!("the provider `{name}` does not answer").into())
                })
            }
        }
    }

    /// Fetches document and keys, if that is due.
    pub(crate) async fn refresh(&self, fetcher: &Fetcher, unknown_key: bool, now: Timestamp) {
        let name = &self.core.settings().name;
        let fetched = self.metadata.refresh(unknown_key, now, self.fetch(fetcher)).await;
        if let Err(cause) = fetched {
            tracing::warn!(provider = %name, "the provider cannot be used now: {cause}");
        }
    }

    /// As routes name it.
    pub(crate) fn name(&self) -> &str {
        &self.core.settings().name
    }

    /// Whether it answers, as of at most two seconds ago. Before the first answer it does not.
    pub(crate) async fn is_reachable(self: &Arc<Self>, logins: &Logins, now: Timestamp) -> bool {
        let Some(known) = self.known() else { return self.metadata(logins, now).await.is_ok() };
        let last = *self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, answered)) = last
            && now.duration_since(at).as_secs() < PROBE_AFTER_SECONDS
        {
            return answered;
        }
        let (this, fetcher) = (Arc::clone(self), Arc::clone(&logins.fetcher));
        let probe = async move { get(&fetcher, known.jwks_address(), &this.route).await.is_ok() };
        let answers = logins.on_control(probe).await.unwrap_or(false);
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, answers));
        answers
    }

    /// Whether it is asked for newer tokens: not again where it did not answer a moment ago.
    pub(crate) fn may_refresh(&self, now: Timestamp) -> bool {
        let failed = *self.refresh_failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|at| now.duration_since(at).as_secs() >= REFRESH_AGAIN_SECONDS)
    }

    /// It was asked for newer tokens in vain.
    pub(crate) fn refresh_failed(&self, now: Timestamp) {
        *self.refresh_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Puts newer keys in force.
    pub(crate) fn learn(&self, metadata: Metadata, now: Timestamp) {
        self.metadata.learn(metadata, now);
    }

    async fn fetch(&self, fetcher: &Fetcher) -> Result<Metadata, String> {
        let settings = self.core.settings();
        let document = match discovery_address(settings) {
            Some(address) => Some(get(fetcher, &address, &self.route).await?),
            None => None,
        };
        let mut metadata =
            Metadata::parse(document.as_deref(), settings).map_err(|error| error.to_string())?;
        let keys = get(fetcher, metadata.jwks_address(), &self.route).await?;
        metadata.set_keys(&keys).map_err(|error| error.to_string())?;
        Ok(metadata)
    }

    /// How `auth` asks this provider.
    pub(crate) fn http(
        &self,
        fetcher: &Arc<Fetcher>,
    ) -> impl Fn(HttpRequest) -> HttpFuture + Send + Sync + 'static {
        let (fetcher, route) = (Arc::clone(fetcher), self.route.clone());
        move |request| {
            let (fetcher, route) = (Arc::clone(&fetcher), route.clone());
            Box::pin(async move {
                fetcher.fetch(request, &route).await.map_err(|error| HttpError(error.to_string()))
            })
        }
    }
}

impl TokenIssuer {
    /// The keys that are known now.
    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.current.load_full()
    }

    /// Fetches the keys, if that is due.
    pub(crate) async fn refresh(&self, fetcher: &Fetcher, unknown_key: bool, now: Timestamp) {
        let issuer = &self.judge.expected().issuer;
        match self.keys.refresh(unknown_key, now, self.fetch(fetcher)).await {
            // What a key vouched for that is not there any more is judged anew.
            Ok(true) => self.judge.forget(),
            Ok(false) => {}
            Err(cause) => tracing::warn!(%issuer, "the issuer's keys cannot be had now: {cause}"),
        }
    }

    /// Whether keys that are there should be fetched again.
    pub(crate) fn is_due(&self, unknown_key: bool, now: Timestamp) -> bool {
        self.keys.is_due(unknown_key, now)
    }

    async fn fetch(&self, fetcher: &Fetcher) -> Result<Keys, String> {
        let issuer = &self.judge.expected().issuer;
        let address = match &self.keys_address {
            Some(address) => address.clone(),
            None => {
                let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let document: serde_json::Value =
                    serde_json::from_slice(&get(fetcher, &at, &self.route).await?)
                        .map_err(|_| format!("{at} is not JSON"))?;
                if document.get("issuer").and_then(serde_json::Value::as_str) != Some(issuer) {
                    return Err(format!("{at} is the document of another issuer"));
                }
                let address = document.get("jwks_uri").and_then(serde_json::Value::as_str);
                address.ok_or_else(|| format!("{at} names no `jwks_uri`"))?.to_owned()
            }
        };
        Keys::parse(&get(fetcher, &address, &self.route).await?)
            .map_err(|error| format!("{address}: {error}"))
    }
}

impl<T> Fetched<T> {
    fn is_due(&self, unknown_key: bool, now: Timestamp) -> bool {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).is_due(unknown_key, now)
    }

    /// True when there is something new. Whoever comes while a fetch is under way waits for that one.
    async fn refresh(
        &self,
        unknown_key: bool,
        now: Timestamp,
        fetch: impl Future<Output = Result<T, String>>,
    ) -> Result<bool, String> {
        let _flight = self.flight.lock().await;
        if !self.is_due(unknown_key, now) {
            return Ok(false);
        }
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).attempt(now);
        self.learn(fetch.await?, now);
        Ok(true)
    }

    fn learn(&self, fetched: T, now: Timestamp) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.learn(fetched, now);
        self.current.store(cache.keys().cloned());
    }
}

impl<T> Default for Fetched<T> {
    fn default() -> Self {
        Fetched {
            current: ArcSwapOption::empty(),
            cache: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        }
    }
}

async fn get(fetcher: &Fetcher, address: &str, route: &Route) -> Result<Vec<u8>, String> {
    let request = Request::get(address).header(ACCEPT, "application/json").body(Vec::new());
    let request = request.map_err(|_| format!("{address} is no address"))?;
    let answer = fetcher.fetch(request, route).await.map_err(|error| format!("{address}: {error}"))?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(format!("{address} answers {status}")),
    }
}

/// How long a provider that answered is taken for one that answers.
const PROBE_AFTER_SECONDS: i64 = 2;
/// Between two attempts to refresh sessions of a provider that does not answer.
const REFRESH_AGAIN_SECONDS: i64 = 5;

impl PartialEq for OidcProvider {
    fn eq(&self, other: &Self) -> bool {
        self.core.settings() == other.core.settings() && self.route == other.route
    }
}

impl Eq for OidcProvider {}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OidcProvider({})", self.core.settings().name)
    }
}

impl PartialEq for TokenIssuer {
    fn eq(&self, other: &Self) -> bool {
        self.judge.expected() == other.judge.expected()
            && self.keys_address == other.keys_address
            && self.route == other.route
    }
}

impl Eq for TokenIssuer {}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenIssuer({})", self.judge.expected().issuer)
    }
}
