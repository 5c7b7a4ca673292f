//! Providers that this edge is itself: logins and bearer tokens.

use std::sync::Arc;
use std::time::Duration;

use ::auth::bearer::{ALGORITHMS, Expectations};
use ::auth::identity::ClaimNames;
use ::auth::oidc::{self, ACCESS_TOKEN, ClientAuth, Endpoints, ID_TOKEN, Keeping, PREFIX};
use ::auth::session::{Lifetimes, SameSite};

use super::{Home, OwnPath, OwnTarget, Usable};
use crate::config::lower::Scope;
use crate::fetch::{ConnectTo, Route};
use crate::route::PathPattern;
use crate::route::auth::{Provider, ProviderKind};
use crate::settings::providers::{
    ClaimNames as WrittenClaims, ClientAuth as WrittenClientAuth, CookieSameSite, JwtProvider, KeptToken,
    OidcProvider, OidcSession, SessionPlace,
};

/// Login with an OpenID provider. Errors are for a sentence that begins with the provider.
pub(super) fn oidc(
    scope: &mut Scope<'_>,
    name: &Arc<str>,
    written: &OidcProvider,
    home: &Home,
) -> Result<Usable, String> {
    check_address("issuer", &written.issuer)?;
    let client_secret = match &written.client_secret {
        Some(source) => {
            let value = scope.secret_value(source, home, name)?;
            let text = std::str::from_utf8(value.expose())
                .map_err(|_| "has a client secret that is not in UTF-8")?;
            // Files and Secrets that people make end in a line end.
            Some(::auth::Secret::new(text.trim_end_matches(['\r', '\n'])))
        }
        None => None,
    };
    let session = &written.session;
    if session.lifetime > LIFETIME_MAX || session.lifetime.is_zero() {
        return Err(format!("has a `session.lifetime` that is not between 1s and {LIFETIME_MAX:?}"));
    }
    let some = |duration: Duration| (!duration.is_zero()).then_some(duration);
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let endpoints = &written.endpoints;
    if matches!(home, Home::Namespace(_)) && (session.cookie_domain.is_some() || written.auth_host.is_some())
    {
        return Err("has `cookieDomain` or `authHost`, which only the operator's providers may: they reach other hosts".into());
    }
    if session.cookie_domain.as_deref().is_some_and(|domain| !is_host(domain) || !domain.contains('.')) {
        return Err("has a `cookieDomain` that is no domain".into());
    }
    if written.auth_host.as_deref().is_some_and(|host| !is_host(host.split(':').next().unwrap_or_default())) {
        return Err("has an `authHost` that is neither `host` nor `host:port`".into());
    }
    let settings = oidc::Settings {
        name: name.to_string(),
        issuer: written.issuer.to_string(),
        client_id: written.client_id.to_string(),
        client_secret,
        client_auth: match written.client_auth {
            WrittenClientAuth::Basic => ClientAuth::Basic,
            WrittenClientAuth::Post => ClientAuth::Post,
        },
        scopes: match &written.scopes {
            Some(scopes) => {
                scopes.iter().filter(|scope| ***scope != *"openid").map(ToString::to_string).collect()
            }
            None => vec!["profile".into(), "email".into()],
        },
        endpoints: Endpoints {
            authorization: text(&endpoints.authorization),
            token: text(&endpoints.token),
            jwks: text(&endpoints.jwks),
            userinfo: text(&endpoints.userinfo),
            end_session: text(&endpoints.end_session),
        },
        parameters: written
            .parameters
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        claims: claims(&written.claims),
        extra_claims: texts(&written.keep_claims),
        lifetimes: Lifetimes {
            session: session.lifetime,
            idle: some(session.idle),
            renew: some(session.renew_after),
        },
        same_site: match session.same_site {
            CookieSameSite::Lax => SameSite::Lax,
            CookieSameSite::Strict => SameSite::Strict,
            CookieSameSite::None => SameSite::None,
        },
        cookie_domain: session
            .cookie_domain
            .as_ref()
            .map(|domain| domain.trim_start_matches('.').to_ascii_lowercase()),
        auth_host: written.auth_host.as_ref().map(|host| host.to_ascii_lowercase()),
        keeping: keeping(scope, session, home)?,
    };
    if let Some(reserved) = settings.parameters.keys().find(|name| RESERVED.contains(&name.as_str())) {
        return Err(format!("has the parameter `{reserved}`, which is set by the login itself: remove it"));
    }
    let mut extra = settings.extra_claims.clone();
    if let Keeping::Store { access_token, id_token } = settings.keeping {
        extra.extend(access_token.then(|| ACCESS_TOKEN.to_owned()));
        extra.extend(id_token.then(|| ID_TOKEN.to_owned()));
    }
    let provider = scope.providers.oidc(settings, route(scope, written.connect_to.as_deref(), home)?);
    let path = PathPattern::Prefix(PREFIX.trim_end_matches('/').into());
    let own_paths = vec![OwnPath { path, to: OwnTarget::Login(provider.clone()) }];
    Ok(usable(name, ProviderKind::Oidc(provider), own_paths, extra))
}

/// Where sessions are kept.
fn keeping(scope: &Scope<'_>, session: &OidcSession, home: &Home) -> Result<Keeping, String> {
    let keeps = |token: KeptToken| session.keep_tokens.contains(&token);
    match (session.store, home) {
        (SessionPlace::Cookie, _) if !session.keep_tokens.is_empty() => {
            Err("has `session.keepTokens`, for which cookies are too small: set `session.store: shared`".into())
        }
        (SessionPlace::Cookie, _) => Ok(Keeping::Cookie),
        (SessionPlace::Shared, Home::Namespace(_)) => {
            Err("has `session.store: shared`, which only the operator's providers may: the store is the operator's".into())
        }
        (SessionPlace::Shared, Home::Operator) if scope.settings.shared_store.is_none() => {
            Err("has `session.store: shared`, and the settings name no `sharedStore`".into())
        }
        (SessionPlace::Shared, Home::Operator) => {
            Ok(Keeping::Store { access_token: keeps(KeptToken::Access), id_token: keeps(KeptToken::Id) })
        }
    }
}

/// Bearer tokens.
pub(super) fn jwt(
    scope: &mut Scope<'_>,
    name: &Arc<str>,
    written: &JwtProvider,
    home: &Home,
) -> Result<Usable, String> {
    if let Some(address) = &written.jwks_url {
        check_address("jwksUrl", address)?;
    } else {
        check_address("issuer", &written.issuer)?;
    }
    if written.audiences.is_empty() || written.audiences.iter().any(|audience| audience.is_empty()) {
        return Err("has no `audiences`, or an empty one: a token for anybody would do".into());
    }
    let mut algorithms = Vec::new();
    for wanted in &written.algorithms {
        let known = ALGORITHMS.into_iter().find(|known| format!("{known:?}") == **wanted);
        algorithms.push(
            known.ok_or_else(|| {
                format!("takes the algorithm `{wanted}`, which is not one of {ALGORITHMS:?}")
            })?,
        );
    }
    if algorithms.is_empty() {
        algorithms.extend(ALGORITHMS);
    }
    let extra_claims = texts(&written.keep_claims);
    let expected = Expectations {
        issuer: written.issuer.to_string(),
        audiences: texts(&written.audiences),
        algorithms,
        claims: claims(&written.claims),
        extra_claims: extra_claims.clone(),
    };
    let route = route(scope, written.connect_to.as_deref(), home)?;
    let issuer = scope.providers.issuer(expected, written.jwks_url.as_deref().map(str::to_owned), route);
    Ok(usable(name, ProviderKind::Jwt(issuer), Vec::new(), extra_claims))
}

fn usable(name: &Arc<str>, kind: ProviderKind, own_paths: Vec<OwnPath>, claims: Vec<String>) -> Usable {
    let provider = Arc::new(Provider { name: name.clone(), kind });
    Usable { provider, told_by: Vec::new(), own_paths, claims: Some(claims) }
}

/// The operator's providers are wherever the operator says; a tenant's are not inside.
fn route(scope: &Scope<'_>, connect_to: Option<&str>, home: &Home) -> Result<Route, String> {
    let connect_to = match connect_to {
        Some(text) => {
            let wrong =
                || format!("has a `connectTo` that is neither `host:port` nor `http://host:port`: {text}");
            Some(ConnectTo::parse(text).ok_or_else(wrong)?)
        }
        None => None,
    };
    Ok(match home {
        Home::Operator => Route::anywhere(connect_to),
        Home::Namespace(_) => {
            Route { allowed: scope.settings.external_name.allow.clone().into(), connect_to }
        }
    })
}

fn claims(written: &WrittenClaims) -> ClaimNames {
    let usual = ClaimNames::default();
    let or = |written: &Option<Arc<str>>, usual: String| written.as_deref().map_or(usual, str::to_owned);
    ClaimNames {
        user: or(&written.user, usual.user),
        email: or(&written.email, usual.email),
        groups: or(&written.groups, usual.groups),
        trust_email: written.trust_email,
    }
}

fn texts(written: &[Arc<str>]) -> Vec<String> {
    written.iter().map(ToString::to_string).collect()
}

fn check_address(key: &str, address: &str) -> Result<(), String> {
    let parsed = address.parse::<http::Uri>();
    let good = parsed.is_ok_and(|address| {
        matches!(address.scheme_str(), Some("https" | "http"))
            && address.host().is_some_and(|host| !host.is_empty())
    });
    if good { Ok(()) } else { Err(format!("has an `{key}` that is no http(s) address: {address}")) }
}

fn is_host(text: &str) -> bool {
    let text = text.trim_start_matches('.');
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

/// No key of the ring is kept for longer than that.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// What a login sets itself (OpenID Connect Core §3.1.2.1, RFC 7636).
const RESERVED: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "response_mode",
    "response_type",
    "state",
];
