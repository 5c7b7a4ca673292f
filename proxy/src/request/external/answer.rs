//! What an answer means: a yes with an identity, a no that the client is told, or nothing that could be believed.

use std::rc::Rc;

use ::auth::Identity;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::template::{Subject, escape};
use super::{External, IdentityNames, Signin, Success, may_tell};
use crate::message::{Body, Response};
use crate::reject::Reject;
use crate::request::identity::{Audience, audience_of};
use crate::request::sanitize::sanitize_response;

/// What a server's answer comes to.
pub(crate) enum Judgement {
    /// It may pass.
    Yes(Rc<Given>),
    /// Nobody, as far as the server knows: the next provider of the chain may know better.
    Unknown(Refused),
    /// The server's own answer goes to the client.
    No(Refused),
}

/// All that a yes brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) identity: Identity,
    /// For the application.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// For the browser, each a line of its own.
    pub(crate) cookies: Vec<HeaderValue>,
}

/// A no, with the cookies that came with it where a page of our own stands in for the server's.
pub(crate) struct Refused {
    pub(crate) answer: Result<Response, Reject>,
    pub(crate) cookies: Vec<HeaderValue>,
}

/// An answer whose body is here.
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// True for answers that can only be a yes, whose body nobody wants.
pub(super) fn is_success(external: &External, status: StatusCode) -> bool {
    match external.success {
        Success::Any2xx => status.is_success(),
        Success::Only200 => status == StatusCode::OK,
    }
}

/// What a yes brings, or a refusal where it names nobody.
pub(super) fn given(external: &External, headers: &HeaderMap) -> Result<Given, Reject> {
    for name in &external.require_headers {
        if headers.get(name).is_none_or(|value| value.is_empty()) {
            let words = format!(
                "the authentication server said yes without the header {name}: see requireHeaders of the provider"
            );
            return Err(Reject::Unidentified(words.into()));
        }
    }
    let told = headers.iter().filter(|(name, _)| is_told(external, name));
    Ok(Given {
        identity: identity(&external.identity, headers),
        headers: told.map(|(name, value)| (name.clone(), value.clone())).collect(),
        cookies: cookies(headers),
    })
}

/// What the client is told where the answer is no yes.
pub(super) fn no(
    external: &External,
    method: &Method,
    asked: &HeaderMap,
    subject: Subject<'_>,
    whole: Whole,
) -> Result<Judgement, Reject> {
    let audience = audience_of(method, asked);
    let cookies = cookies(&whole.headers);
    match whole.status {
        StatusCode::UNAUTHORIZED => {
            let place = (audience == Audience::Navigation)
                .then(|| signin(external, subject, &whole.headers))
                .flatten();
            let answer = match place {
                Some(location) => Ok(redirect(location, &cookies)),
                None if audience == Audience::Grpc || whole.body.is_empty() => {
                    let challenges = whole.headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
                    return Ok(Judgement::Unknown(Refused {
                        answer: Err(Reject::Unauthenticated(challenges)),
                        cookies,
                    }));
                }
                None => Ok(passed_on(method, whole)),
            };
            Ok(Judgement::Unknown(Refused { answer, cookies: Vec::new() }))
        }
        StatusCode::FORBIDDEN if audience == Audience::Grpc || whole.body.is_empty() => {
            Ok(Judgement::No(Refused { answer: Err(Reject::Forbidden(Box::default())), cookies }))
        }
        status if audience == Audience::Grpc && status.is_redirection() => {
            Ok(Judgement::Unknown(Refused { answer: Err(Reject::Unauthenticated(Vec::new())), cookies }))
        }
        status if status == StatusCode::FORBIDDEN || is_redirect(status) => {
            Ok(Judgement::No(Refused { answer: Ok(passed_on(method, whole)), cookies: Vec::new() }))
        }
        status => Err(Reject::AuthUnavailable(format!("the authentication server answered {status}").into())),
    }
}

/// Statuses by which a client is sent elsewhere. 304 is none of them: it would be about a page that nobody asked for.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_told(external: &External, name: &HeaderName) -> bool {
    external.response_headers.takes(name) && may_tell(name.as_str())
}

fn identity(names: &IdentityNames, headers: &HeaderMap) -> Identity {
    let text = |name: &Option<HeaderName>| {
        let value = headers.get(name.as_ref()?)?;
        let text = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let email = text(&names.email);
    let user = text(&names.user).or_else(|| email.clone()).unwrap_or_default();
    let separator = char::from(names.groups_separator);
    let groups = text(&names.groups).unwrap_or_default();
    let groups = groups.split(separator).map(str::trim).filter(|group| !group.is_empty());
    Identity {
        subject: user.clone(),
        user,
        name: text(&names.name),
        // The server is the one whom the operator trusts to know.
        email_verified: email.is_some(),
        email,
        groups: groups.collect(),
        claims: Default::default(),
    }
}

fn cookies(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(SET_COOKIE).iter().cloned().collect()
}

/// Where a person signs in: as configured, else where the answer itself says.
fn signin(external: &External, subject: Subject<'_>, answer: &HeaderMap) -> Option<HeaderValue> {
    match &external.signin {
        Some(signin) => signin_location(signin, subject),
        None => {
            let location = answer.get(LOCATION)?;
            let absolute =
                [&b"https://"[..], b"http://"].iter().any(|scheme| location.as_bytes().starts_with(scheme));
            absolute.then(|| location.clone())
        }
    }
}

fn signin_location(signin: &Signin, subject: Subject<'_>) -> Option<HeaderValue> {
    let mut location = signin.location.fill(subject);
    let query = memchr::memchr(b'?', &location).map(|mark| &location[mark + 1..]);
    let has_parameter = query.is_some_and(|query| {
        query.split(|byte| *byte == b'&').any(|pair| {
            pair.strip_prefix(signin.parameter.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        })
    });
    if !has_parameter {
        let join = match query {
            None => b'?',
            Some(_) => b'&',
        };
        location.push(join);
        location.extend_from_slice(signin.parameter.as_bytes());
        location.push(b'=');
        if !signin.is_path {
            escape(subject.target.scheme.as_str().as_bytes(), &mut location);
            escape(b"://", &mut location);
            escape(subject.host, &mut location);
        }
        escape(subject.target.path_and_query.as_bytes(), &mut location);
    }
    HeaderValue::from_maybe_shared(Bytes::from(location)).ok()
}

fn redirect(location: HeaderValue, cookies: &[HeaderValue]) -> Response {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie.clone());
    }
    Response { headers, ..Response::empty(StatusCode::FOUND) }
}

/// The server's answer as it is, cookies and all.
fn passed_on(method: &Method, whole: Whole) -> Response {
    let Whole { status, mut headers, body } = whole;
    sanitize_response(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let body = if *method == Method::HEAD { Body::Empty } else { Body::from(body) };
    Response { status, headers, body, upgraded: None }
}
