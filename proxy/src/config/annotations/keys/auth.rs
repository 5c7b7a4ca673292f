//! Readers of the keys about authentication. Their errors follow "cannot be used:".

use std::sync::Arc;
use std::time::Duration;

use ::auth::{HeaderRules, Policy};
use http::{Method, StatusCode};

use super::{Key, Takes, also, guard, key, text};
use crate::config::annotations::keys::Setter;
use crate::config::values::{items, parse_seconds};
use crate::request::external::{CACHE_DURATION_MAX, Template};
use crate::route::auth::Satisfy;
use crate::settings::providers::Chain;

pub(super) const AUTH: Key = guard(text(
    "auth",
    Takes::Routes,
    "the name of a provider, a chain such as \"jwt, else dex\", or \"none\"",
    |a, value| Chain::parse(value).map(|chain| a.auth.chain = Some(chain)).map_err(|error| error.to_string()),
    "Who says who is asking: a provider of the settings or of the namespace; none opts out of the operator's default.",
));

pub(super) const AUTH_ALLOW: Key = guard(text(
    "auth-allow",
    Takes::Routes,
    "rules such as \"group:admins, email:*@example.com\"",
    |a, value| {
        Policy::parse(Some(value), None, None).map_err(|error| error.to_string())?;
        a.auth.allow = Some(value.into());
        Ok(())
    },
    "Who may enter, of those that the provider knows. Default: all of them.",
));

pub(super) const AUTH_DENY: Key = guard(text(
    "auth-deny",
    Takes::Routes,
    "rules such as \"group:interns, user:mallory\"",
    |a, value| {
        Policy::parse(None, Some(value), None).map_err(|error| error.to_string())?;
        a.auth.deny = Some(value.into());
        Ok(())
    },
    "Who may not enter; wins over auth-allow.",
));

pub(super) const AUTH_SKIP: Key = guard(text(
    "auth-skip",
    Takes::Routes,
    "paths such as \"GET /healthz, /public/*\"",
    |a, value| {
        Policy::parse(None, None, Some(value)).map_err(|error| error.to_string())?;
        a.auth.skip = Some(value.into());
        Ok(())
    },
    "Requests that need nobody, by method and normalised path; the query never counts.",
));

pub(super) const AUTH_HEADERS: Key = guard(text(
    "auth-headers",
    Takes::Routes,
    "\"oauth2-proxy\", \"forwarded\", \"authelia\", \"authentik\", or pairs such as \"X-User=email\"",
    |a, value| {
        HeaderRules::parse(value).map_err(|error| error.to_string())?;
        a.auth.headers = Some(value.into());
        Ok(())
    },
    "How the application is told who is asking.",
));

pub(super) const AUTH_STREAM_AGE: Key = guard(text(
    "auth-stream-age",
    Takes::Routes,
    "a time such as \"8h\"; \"0\" for none",
    |a, value| {
        a.auth.stream_age = Some(parse_seconds(value).ok_or("it is no time")?);
        Ok(())
    },
    "WebSockets, event streams and other answers end after this, and with the session that they began with, also by a logout. Default: none.",
));

pub(super) const AUTH_URL: Key = guard(text(
    "auth-url",
    Takes::Routes,
    "a URL such as \"http://authelia.auth.svc.cluster.local/api/authz/auth-request\"",
    |a, value| set_text(&mut a.auth.url, value, "it is no URL"),
    "A server that is asked about every request; a 2xx answer lets it pass.",
));

pub(super) const AUTH_METHOD: Key = guard(text(
    "auth-method",
    Takes::Routes,
    "a method such as \"GET\"",
    |a, value| {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let method = known.iter().find(|known| **known == value).ok_or("it is no method that is known")?;
        a.auth.method = Some(Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?);
        Ok(())
    },
    "The method of the question that auth-url is asked. Default: GET.",
));

pub(super) const AUTH_SIGNIN: Key = guard(text(
    "auth-signin",
    Takes::Routes,
    "a URL such as \"https://$host/oauth2/start?rd=$escaped_request_uri\"",
    |a, value| {
        crate::config::providers::check_signin(value)?;
        a.auth.signin = Some(value.into());
        Ok(())
    },
    "Where a browser is sent when the answer of auth-url is 401; others get 401.",
));

pub(super) const AUTH_SIGNIN_PARAMETER: Key = guard(text(
    "auth-signin-redirect-param",
    Takes::Routes,
    "the name of a parameter",
    |a, value| {
        let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if value.is_empty() || !plain {
            return Err("it is no name of a parameter".into());
        }
        a.auth.signin_parameter = Some(value.into());
        Ok(())
    },
    "The parameter by which auth-signin gets the address that was asked for. Default: rd.",
));

pub(super) const AUTH_RESPONSE_HEADERS: Key = guard(text(
    "auth-response-headers",
    Takes::Routes,
    "header names such as \"Remote-User, Remote-Groups\"",
    |a, value| {
        let names: Vec<Arc<str>> = items(value).map(Arc::from).collect();
        crate::config::providers::check_told(&names)?;
        a.auth.response_headers = names;
        Ok(())
    },
    "Headers of the answer of auth-url that the application gets, in place of the client's own.",
));

pub(super) const AUTH_REQUEST_REDIRECT: Key = guard(text(
    "auth-request-redirect",
    Takes::Routes,
    "a URL or path, with variables perhaps",
    |a, value| template(value).map(|template| a.auth.redirect = Some(template)),
    "What auth-url is told in X-Auth-Request-Redirect. Default: path and query of the request.",
));

pub(super) const AUTH_PROXY_SET_HEADERS: Key = guard(text(
    "auth-proxy-set-headers",
    Takes::Routes,
    "the name of a ConfigMap, or namespace/name of its own namespace",
    |a, value| set_object(&mut a.auth.proxy_set_headers, value, "ConfigMap"),
    "A ConfigMap whose entries are set as headers of the question that auth-url is asked.",
));

pub(super) const AUTH_CACHE_KEY: Key = guard(text(
    "auth-cache-key",
    Takes::Routes,
    "variables such as \"$cookie_session$http_authorization\"",
    |a, value| template(value).map(|template| a.auth.cache_key = Some(template)),
    "Keeps answers of auth-url: requests to the same host and route with the same key get the same one.",
));

pub(super) const AUTH_CACHE_DURATION: Key = guard(text(
    "auth-cache-duration",
    Takes::Routes,
    "statuses and times such as \"200 202 5m\"",
    |a, value| cache_durations(value).map(|durations| a.auth.cache_durations = Some(durations)),
    "For how long which answers are kept; only those that let a request pass are. Default: 200 202 401 5m.",
));

pub(super) const AUTH_ALWAYS_SET_COOKIE: Key = key(
    "auth-always-set-cookie",
    Takes::Routes,
    Setter::Flag(|a| &mut a.auth.always_set_cookie),
    "Without effect: every cookie that the answer of auth-url sets reaches the browser, whatever the status.",
);

pub(super) const AUTH_KEEPALIVE: Key = also(
    text(
        "auth-keepalive",
        Takes::Routes,
        "a number",
        |_, _| Ok(()),
        "Without effect: connections to the server of auth-url are kept like all others.",
    ),
    &["auth-keepalive-requests", "auth-keepalive-timeout", "auth-keepalive-share-vars"],
);

pub(super) const AUTH_TYPE: Key = guard(text(
    "auth-type",
    Takes::Routes,
    "\"basic\"",
    |a, value| match value {
        "basic" => {
            a.auth.basic = Some(());
            Ok(())
        }
        "digest" => Err("digest is not supported: it needs passwords in the clear".into()),
        _ => Err("it is no kind that is known".into()),
    },
    "Asks for a name and a password of auth-secret.",
));

pub(super) const AUTH_SECRET: Key = guard(text(
    "auth-secret",
    Takes::Routes,
    "the name of a Secret, or namespace/name of its own namespace",
    |a, value| set_object(&mut a.auth.secret, value, "Secret"),
    "The Secret with the users of auth-type: lines of htpasswd in its key auth, or in users as Traefik has them.",
));

pub(super) const AUTH_SECRET_TYPE: Key = guard(text(
    "auth-secret-type",
    Takes::Routes,
    "\"auth-file\" or \"auth-map\"",
    |a, value| match value {
        "auth-file" | "auth-map" => {
            a.auth.secret_is_map = Some(value == "auth-map");
            Ok(())
        }
        _ => Err("it is no form that is known".into()),
    },
    "How auth-secret is written: lines in its key auth (auth-file), or each key a user (auth-map). Default: auth-file.",
));

pub(super) const AUTH_REALM: Key = guard(text(
    "auth-realm",
    Takes::Routes,
    "a few words",
    |a, value| {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if value.is_empty() || value.len() > REALM_BYTES_MAX || !value.bytes().all(plain) {
            return Err("it is empty, too long, or holds quotes or characters beyond ASCII".into());
        }
        a.auth.realm = Some(value.into());
        Ok(())
    },
    "What browsers show when they ask for the name and password of auth-type.",
));

pub(super) const SATISFY: Key = guard(text(
    "satisfy",
    Takes::Routes,
    "\"all\" or \"any\"",
    |a, value| {
        a.auth.satisfy = Some(match value {
            "all" => Satisfy::All,
            "any" => Satisfy::Any,
            _ => return Err("it is neither".into()),
        });
        Ok(())
    },
    "Whether an allowed address is enough (any), or a login is needed besides (all). Default: all.",
));

pub(super) const ENABLE_GLOBAL_AUTH: Key = guard(key(
    "enable-global-auth",
    Takes::Routes,
    Setter::Flag(|a| &mut a.auth.use_default),
    "Whether the operator's default provider holds where the object names none; false is auth: none. Default: true.",
));

fn set_text(field: &mut Option<Arc<str>>, value: &str, fault: &str) -> Result<(), String> {
    crate::config::providers::check_url(value).map_err(|error| format!("{fault}: {error}"))?;
    *field = Some(value.into());
    Ok(())
}

fn set_object(field: &mut Option<Arc<str>>, value: &str, kind: &str) -> Result<(), String> {
    let clean = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
    if value.is_empty() || !clean || value.matches('/').count() > 1 {
        return Err(format!("it is no name of a {kind}"));
    }
    *field = Some(value.into());
    Ok(())
}

fn template(value: &str) -> Result<Template, String> {
    if value.is_empty() {
        return Err("it is empty".into());
    }
    Template::parse(value).map_err(|error| error.to_string())
}

/// `200 202 401 5m, 204 30s`: statuses, then for how long.
fn cache_durations(value: &str) -> Result<Box<[(StatusCode, Duration)]>, String> {
    let mut durations = Vec::new();
    for item in items(value) {
        let mut words = item.split_ascii_whitespace().peekable();
        let mut codes = Vec::new();
        while let Some(word) = words.next() {
            if words.peek().is_some() {
                let code = word.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok());
                codes.push(code.ok_or_else(|| format!("`{word}` is no status"))?);
            } else {
                let duration = parse_seconds(word).filter(|duration| !duration.is_zero());
                let duration = duration.ok_or_else(|| format!("`{word}` is no time"))?;
                if duration > CACHE_DURATION_MAX {
                    return Err(format!("`{word}` is longer than {CACHE_DURATION_MAX:?}"));
                }
                // A time without statuses is for those that nginx takes then.
                let plain = [StatusCode::OK, StatusCode::ACCEPTED];
                let codes = if codes.is_empty() { &plain[..] } else { &codes };
                durations.extend(codes.iter().map(|code| (*code, duration)));
            }
        }
    }
    if durations.is_empty() { Err("it is empty".into()) } else { Ok(durations.into()) }
}

/// What is kept where `auth-cache-duration` says nothing.
pub(crate) fn cache_default() -> Box<[(StatusCode, Duration)]> {
    let duration = Duration::from_secs(300);
    [(StatusCode::OK, duration), (StatusCode::ACCEPTED, duration)].into()
}

/// Of the name of a realm.
const REALM_BYTES_MAX: usize = 120;
