//! The question: built anew from what is known, never the client's request with parts taken out.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, RANGE, TRAILER,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::ask::Asked;
use super::template::Subject;
use super::{External, QuestionMethod, QuestionTarget, Selection};
use crate::reject::Reject;
use crate::request::forwarded::{Forwarded, ForwardedRules, set_request_id};
use crate::request::sanitize::is_hop_by_hop;
use crate::request::target::{EncodedSlash, PathAndQuery};

/// Method, target and headers of a question.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) target: Bytes,
    pub(super) headers: HeaderMap,
}

/// Whether a body goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithBody {
    Yes,
    No,
}

impl Question {
    pub(super) fn new(external: &External, asked: &Asked<'_>, body: WithBody) -> Result<Self, Reject> {
        let subject = asked.subject();
        let method = match &external.method {
            QuestionMethod::Fixed(method) => method.clone(),
            QuestionMethod::Preserve => asked.method.clone(),
        };
        let mut headers = HeaderMap::with_capacity(24);
        for (name, value) in asked.headers {
            if concerns_request(name, body) && external.request_headers.takes(name) {
                headers.append(name, value.clone());
            }
        }
        Forwarded::of(asked.peer, asked.view, asked.host).insert_into(&mut headers);
        let rules = ForwardedRules::default();
        set_request_id(&mut headers, asked.view, asked.host, asked.request_id, rules);
        describe(&mut headers, external, asked, subject);
        for (name, template) in &external.set_headers {
            let value = value(template.fill(subject)).ok_or(Reject::BadHead("a header of the question"))?;
            headers.insert(name, value);
        }
        headers.insert(HOST, external.host.clone().unwrap_or_else(|| asked.host.clone()));
        Ok(Question { method, target: target(external, asked, subject)?, headers })
    }
}

/// Says which request is asked about, in the words of Traefik, Caddy, nginx and OAuth2-Proxy.
fn describe(headers: &mut HeaderMap, external: &External, asked: &Asked<'_>, subject: Subject<'_>) {
    let target = asked.target;
    // What was matched is what is judged: a proxy in front may name another host, but that one found no route.
    headers.insert(X_FORWARDED_HOST, asked.host.clone());
    if let Ok(method) = HeaderValue::from_str(asked.method.as_str()) {
        headers.insert(X_FORWARDED_METHOD, method.clone());
        headers.insert(X_ORIGINAL_METHOD, method);
    }
    let uri = target.path_and_query.as_bytes().clone();
    let mut url = Vec::with_capacity(16 + subject.host.len() + uri.len());
    url.extend_from_slice(target.scheme.as_str().as_bytes());
    url.extend_from_slice(b"://");
    url.extend_from_slice(subject.host);
    url.extend_from_slice(&uri);
    if let Some(url) = value(url) {
        headers.insert(X_ORIGINAL_URL, url);
    }
    if let Ok(uri) = HeaderValue::from_maybe_shared(uri) {
        headers.insert(X_FORWARDED_URI, uri.clone());
        headers.insert(X_ORIGINAL_URI, uri.clone());
        let redirect = external.redirect.as_ref().and_then(|template| value(template.fill(subject)));
        headers.insert(X_AUTH_REQUEST_REDIRECT, redirect.unwrap_or(uri));
    }
    headers.insert(X_SCHEME, HeaderValue::from_static(target.scheme.as_str()));
}

/// Path and query of the question, in the one form that every request leaves in.
fn target(external: &External, asked: &Asked<'_>, subject: Subject<'_>) -> Result<Bytes, Reject> {
    let written: Bytes = match &external.target {
        QuestionTarget::Fixed(template) => template.fill(subject).into(),
        QuestionTarget::Before(prefix) => {
            [prefix.as_bytes(), asked.target.path_and_query.as_bytes()].concat().into()
        }
    };
    let target = PathAndQuery::parse(&written, EncodedSlash::Keep)?;
    Ok(target.as_bytes().clone())
}

/// True for headers that speak of the request itself and not of a body, a connection, a cache or a part of the answer.
fn concerns_request(name: &HeaderName, body: WithBody) -> bool {
    let text = name.as_str();
    match *name {
        HOST | CONTENT_LENGTH | EXPECT | UPGRADE | TRAILER | RANGE | ACCEPT_ENCODING => false,
        CONTENT_TYPE | CONTENT_ENCODING => body == WithBody::Yes,
        _ => {
            !is_hop_by_hop(text)
                && !text.starts_with("if-")
                && !text.starts_with("content-")
                && !text.starts_with("sec-websocket-")
        }
    }
}

/// The headers that the known authentication servers look at.
pub(crate) fn usual_request_headers() -> Selection {
    use super::NamePattern;
    let exact = USUAL_REQUEST_HEADERS.into_iter().map(NamePattern::Exact);
    Selection::Only(exact.chain([NamePattern::Prefix("sec-fetch-".into())]).collect())
}

fn value(bytes: Vec<u8>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok()
}

const USUAL_REQUEST_HEADERS: [HeaderName; 8] = [
    COOKIE,
    http::header::AUTHORIZATION,
    http::header::USER_AGENT,
    http::header::ACCEPT,
    http::header::ACCEPT_LANGUAGE,
    http::header::ORIGIN,
    http::header::REFERER,
    HeaderName::from_static("x-requested-with"),
];
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_AUTH_REQUEST_REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
