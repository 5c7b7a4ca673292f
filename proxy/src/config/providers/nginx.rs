//! Providers that an object defines by its own keys, as ingress-nginx has them: `auth-url` with its companions.

use std::sync::Arc;

use ::auth::Texts;
use http::{HeaderValue, Method};

use super::external::{set_header, signin_of, told_names, url_backend};
use super::url::ServerUrl;
use super::{Home, Usable, basic};
use crate::config::annotations::AuthWords;
use crate::config::certs::{SEALED, is_sealed};
use crate::config::lower::Scope;
use crate::config::objects::core::SecretBytes;
use crate::request::external::{
    CacheRules, External, IdentityNames, QuestionMethod, QuestionTarget, Selection, Success, Template,
};
use crate::route::Handling;
use crate::route::auth::{Provider, ProviderKind};
use crate::settings::providers::EXTERNAL_TIMEOUT;

/// The key at fault, and the words for people.
type Fault = (&'static str, String);

/// The provider that the keys of an object define, if they do.
pub(super) fn provider(scope: &mut Scope<'_>, words: &AuthWords) -> Result<Option<Usable>, Fault> {
    if words.basic.is_some() {
        if words.url.is_some() {
            return Err((
                "auth-type",
                "`auth-type` and `auth-url` together are not supported: write one of the two".into(),
            ));
        }
        return users(scope, words).map(Some);
    }
    let needs_type = [("auth-secret", words.secret.is_some()), ("auth-realm", words.realm.is_some())];
    if let Some((key, _)) = needs_type.into_iter().find(|(_, written)| *written) {
        return Err((key, format!("`{key}` has no effect without `auth-type: basic`: write both, or none")));
    }
    let Some(url) = &words.url else {
        return match companion(words) {
            Some(key) => Err((key, format!("`{key}` has no effect without `auth-url`: write both, or none"))),
            None => Ok(None),
        };
    };
    let parsed =
        ServerUrl::parse(url).map_err(|error| ("auth-url", format!("`auth-url` cannot be used: {error}")))?;
    let home = Home::Namespace(scope.source.namespace.clone());
    let backend = url_backend(scope, &parsed, &home)
        .map_err(|error| ("auth-url", format!("the server of `auth-url` {error}")))?;
    let host = HeaderValue::from_str(&parsed.host_header())
        .map_err(|_| ("auth-url", "`auth-url` has a host that is no header value".to_owned()))?;
    let told_by = told_names(words.response_headers.iter().map(|name| &**name), "auth-response-headers")
        .map_err(|error| ("auth-response-headers", format!("the object {error}")))?;
    let signin = words.signin.as_deref();
    let signin = signin.map(|text| signin_of(text, words.signin_parameter.as_deref())).transpose();
    let external = External {
        backend,
        handling: Handling::default(),
        deadline: EXTERNAL_TIMEOUT,
        method: QuestionMethod::Fixed(words.method.clone().unwrap_or(Method::GET)),
        target: QuestionTarget::Fixed(parsed.target),
        host: Some(host),
        request_headers: Selection::All,
        set_headers: set_headers(scope, words)?,
        redirect: words.redirect.clone(),
        body_bytes_max: 0,
        success: Success::Any2xx,
        response_headers: Selection::Only(told_by.clone()),
        require_headers: Vec::new(),
        identity: identity_names(words),
        signin: signin.map_err(|error| ("auth-signin", format!("the object {error}")))?,
        cache: cache(words)?,
    };
    let provider = Provider { name: "auth-url".into(), kind: ProviderKind::External(Box::new(external)) };
    Ok(Some(Usable {
        provider: Arc::new(provider),
        told_by,
        own_paths: Vec::new(),
        claims: Some(Vec::new()),
    }))
}

/// Users of a Secret of the object's own namespace (`auth-type: basic`).
fn users(scope: &mut Scope<'_>, words: &AuthWords) -> Result<Usable, Fault> {
    let fault = |message: String| ("auth-secret", message);
    let own = scope.source.namespace.clone();
    let written = words.secret.clone();
    let written =
        written.ok_or_else(|| ("auth-type", "`auth-type: basic` needs `auth-secret`".to_owned()))?;
    let (namespace, name) = written.split_once('/').unwrap_or((&own, &written));
    if *namespace != *own {
        let message = format!(
            "`auth-secret` names a Secret of the namespace {namespace}; it must be of its own, {own}"
        );
        return Err(fault(message));
    }
    let secret = scope.secret(&own, &name.into());
    let secret = secret.ok_or_else(|| fault(format!("there is no Secret {own}/{name} for `auth-secret`")))?;
    if is_sealed(secret) {
        return Err(fault(format!("`auth-secret` names the Secret {own}/{name}, but {SEALED}")));
    }
    let text = if words.secret_is_map == Some(true) {
        let lines = secret
            .data
            .iter()
            .map(|(user, hash)| [user.as_bytes(), b":", hash.expose().trim_ascii(), b"\n"].concat());
        SecretBytes::from(lines.collect::<Vec<_>>().concat().as_slice())
    } else {
        // Traefik's basicAuth reads the same lines from another key.
        let text = secret.data.get("auth").or_else(|| secret.data.get("users")).cloned();
        text.ok_or_else(|| fault(format!("the Secret {own}/{name} for `auth-secret` has no key `auth`")))?
    };
    let realm = words.realm.as_deref().unwrap_or("Authentication Required");
    let basic = basic::basic(&text, Texts::default(), realm)
        .map_err(|error| fault(format!("the Secret {own}/{name} for `auth-secret` {error}")))?;
    Ok(Usable::telling_by_headers("auth-type".into(), ProviderKind::Basic(basic)))
}

/// A key that means something only beside `auth-url`.
fn companion(words: &AuthWords) -> Option<&'static str> {
    let keys = [
        ("auth-signin", words.signin.is_some()),
        ("auth-method", words.method.is_some()),
        ("auth-response-headers", !words.response_headers.is_empty()),
        ("auth-proxy-set-headers", words.proxy_set_headers.is_some()),
    ];
    keys.into_iter().find(|(_, written)| *written).map(|(key, _)| key)
}

/// The entries of the ConfigMap that `auth-proxy-set-headers` names.
fn set_headers(scope: &mut Scope<'_>, words: &AuthWords) -> Result<Vec<(http::HeaderName, Template)>, Fault> {
    let Some(written) = words.proxy_set_headers.as_deref() else { return Ok(Vec::new()) };
    let fault = |message: String| ("auth-proxy-set-headers", message);
    let own = scope.source.namespace.clone();
    let (namespace, name) = written.split_once('/').unwrap_or((&own, written));
    if *namespace != *own {
        return Err(fault(format!(
            "`auth-proxy-set-headers` names a ConfigMap of the namespace {namespace}; it must be of its own, {own}"
        )));
    }
    let map = scope.config_map(&own, &name.into()).ok_or_else(|| {
        fault(format!("`auth-proxy-set-headers` names the ConfigMap {own}/{name}, which does not exist"))
    })?;
    let read = |(name, value)| {
        set_header(name, value)
            .map_err(|error| fault(format!("the ConfigMap {own}/{} {error}", map.metadata.name)))
    };
    map.data.iter().map(read).collect()
}

/// What `auth-allow` can be told from: the names that the known servers use, where they are copied.
fn identity_names(words: &AuthWords) -> IdentityNames {
    let listed = |names: &[&'static str]| {
        let is_listed =
            |name: &&&'static str| words.response_headers.iter().any(|own| own.eq_ignore_ascii_case(name));
        names.iter().find(is_listed).map(|name| http::HeaderName::from_static(name))
    };
    let groups = listed(&["x-auth-request-groups", "remote-groups", "x-authentik-groups"]);
    let is_authentik = groups.as_ref().is_some_and(|name| name == "x-authentik-groups");
    IdentityNames {
        user: listed(&["x-auth-request-user", "remote-user", "x-authentik-username"]),
        email: listed(&["x-auth-request-email", "remote-email", "x-authentik-email"]),
        name: listed(&["remote-name", "x-authentik-name"]),
        groups,
        groups_separator: if is_authentik { b'|' } else { b',' },
    }
}

fn cache(words: &AuthWords) -> Result<Option<CacheRules>, Fault> {
    match (&words.cache_key, &words.cache_durations) {
        (Some(key), durations) => {
            let durations = durations.clone().unwrap_or_else(crate::config::annotations::auth_cache_default);
            Ok(Some(CacheRules { key: key.clone(), durations }))
        }
        (None, Some(_) | None) => Ok(None),
    }
}
