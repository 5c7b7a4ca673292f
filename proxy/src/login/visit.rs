//! One request in front of one provider: who sends it, or what they are told.

use std::sync::Arc;
use std::time::Duration;

use ::auth::bearer::{self, Judgement};
use ::auth::oidc::{Manner, Step, Visit};
use ::auth::session::stored::Refresh;
use ::auth::session::{FlowCookie, Reading, Session, Transport, Worth};
use ::auth::{Identity, Invalid};
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use super::{Logins, OidcProvider, TokenIssuer, wall_clock};
use crate::message::Response;
use crate::reject::Reject;
use crate::request::identity::{Audience, audience_of};
use crate::request::target::{Scheme, Target};

/// What a provider found.
pub(crate) enum Found {
    /// This is who asks; the cookies go with the answer; and the session, where there is one.
    Known(Box<Identity>, Vec<HeaderValue>, Option<Going>),
    /// Nothing that this provider could judge; the next one may. Else this is the answer.
    Unknown(Result<Response, Reject>, Vec<HeaderValue>),
    /// What is shown is not good, and nobody else is asked.
    No(Reject),
}

/// A session that goes on, as far as what it begins has to know.
pub(crate) struct Going {
    /// How long it goes on if nothing is done about it.
    pub(crate) left: Duration,
    /// Two of the [`Marks`](::auth::session::Marks) that a logout finds it by; the third is the identity's.
    pub(crate) provider_session: Option<String>,
    pub(crate) began: Timestamp,
}

/// What a provider has to know of a request.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) target: &'a Target,
    /// The normalised Host, with its port.
    pub(crate) authority: &'a str,
}

impl<'a> Asking<'a> {
    pub(crate) fn visit(&self) -> Visit<'a> {
        Visit {
            transport: match self.target.scheme {
                Scheme::Http => Transport::Plain,
                Scheme::Https => Transport::Tls,
            },
            host: self.target.host_str(),
            authority: self.authority,
            headers: self.headers,
            stored: None,
        }
    }
}

/// Looks for a session, and begins a login where there is none and a person waits.
pub(crate) async fn login(
    logins: &Arc<Logins>,
    provider: &Arc<OidcProvider>,
    asking: Asking<'_>,
) -> Result<Found, Reject> {
    let now = wall_clock();
    let visit = asking.visit();
    let core = &provider.core;
    let ring = logins.ring()?;
    let Some(ring) = ring.as_deref() else { return Err(Reject::Internal) };
    let stored = logins.stored(provider, ring, &visit).await?;
    let visit = Visit { stored: stored.as_ref(), ..visit };
    let mut reading = match core.session(ring, &visit, now) {
        Reading::Session(session, _) if logins.revoked().ends(core.key(), session.marks()) => {
            Reading::Unreadable
        }
        reading => reading,
    };
    if let (Some(stored), Reading::Session(_, worth)) = (&stored, &reading) {
        match stored.refresh_due(*worth, now) {
            Refresh::No => {}
            Refresh::Soon => {
                logins.refresh_later(provider, stored.id);
                // What asks for the person is not needed where a token does.
                reading = Reading::Session(Box::new(stored.session.clone()), Worth::Live);
            }
            Refresh::First => {
                reading = match logins.refresh_first(provider, stored.id).await? {
                    Some(fresh) => Reading::Session(Box::new(fresh.session), Worth::Live),
                    None => Reading::Session(Box::new(stored.session.clone()), Worth::Expired),
                };
            }
        }
    }
    let navigates = audience_of(asking.method, asking.headers) == Audience::Navigation;
    let return_to = || String::from_utf8_lossy(asking.target.path_and_query.as_bytes()).into_owned();
    let manner = match reading {
        Reading::Session(session, Worth::Live) => {
            return Ok(known(*session, Vec::new(), now));
        }
        Reading::Session(mut session, Worth::Reseal) => {
            session.seen = now;
            // A session that cannot be sealed again is good until it would have ended.
            let (cookies, write) = core.keep(ring, &session, &visit, now).unwrap_or_default();
            logins.write_later(write);
            return Ok(known(*session, cookies, now));
        }
        Reading::Session(session, Worth::Renew) => {
            // Only while the provider answers, and not again where the last attempt has not come back: a session outlives
            // its provider's bad hours.
            let tried = FlowCookie::is_under_way(visit.headers, visit.transport, RENEW_AGAIN_SECONDS, now);
            let may = navigates && *asking.method == Method::GET && !tried;
            if may && can_renew(logins, provider, &visit).await {
                let known = provider.known();
                if let Ok(step) =
                    core.begin(ring, known.as_deref(), &visit, &return_to(), Manner::Silent, now)
                {
                    return Ok(Found::Unknown(Ok(redirect(step)), Vec::new()));
                }
            }
            return Ok(known(*session, Vec::new(), now));
        }
        Reading::Session(_, Worth::Expired) => Manner::Silent,
        Reading::Absent | Reading::Unreadable => Manner::Asking,
    };
    if !navigates {
        let gone = core.cookies().clear(visit.headers, visit.transport);
        return Ok(Found::Unknown(
            Err(Reject::Unauthenticated(vec![challenge(core.settings().name.as_str())])),
            gone,
        ));
    }
    let metadata = match core.is_elsewhere(&visit) {
        true => None,
        false => match provider.metadata(logins, now).await {
            Ok(metadata) => Some(metadata),
            Err(reject) => return Ok(Found::Unknown(Err(reject), Vec::new())),
        },
    };
    let step = core.begin(ring, metadata.as_deref(), &visit, &return_to(), manner, now);
    let step = step.map_err(|error| Reject::AuthUnavailable(error.to_string().into()))?;
    Ok(Found::Unknown(Ok(redirect(step)), Vec::new()))
}

fn known(session: Session, cookies: Vec<HeaderValue>, now: Timestamp) -> Found {
    let Session { identity, provider_session, began, expires, .. } = session;
    let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    Found::Known(Box::new(identity), cookies, Some(Going { left, provider_session, began }))
}

/// Whether the provider would answer a browser now, as far as can be told: control asks it, at most once a minute.
async fn can_renew(logins: &Logins, provider: &Arc<OidcProvider>, visit: &Visit<'_>) -> bool {
    provider.core.is_elsewhere(visit) || provider.is_reachable(logins, wall_clock()).await
}

/// Judges a bearer token.
pub(crate) async fn bearer(
    logins: &Logins,
    issuer: &Arc<TokenIssuer>,
    asking: Asking<'_>,
) -> Result<Found, Reject> {
    let token = match bearer::token(asking.headers) {
        None => return Ok(Found::Unknown(Err(Reject::Unauthenticated(vec![BEARER])), Vec::new())),
        Some(Err(_)) => return Ok(Found::No(Reject::Unauthenticated(vec![BEARER_INVALID]))),
        Some(Ok(token)) => token,
    };
    let now = wall_clock();
    let refresh = |unknown_key: bool| {
        let (issuer, fetcher) = (Arc::clone(issuer), Arc::clone(&logins.fetcher));
        async move { issuer.refresh(&fetcher, unknown_key, now).await }
    };
    let mut judged = issuer.keys().map(|keys| issuer.judge.judge(token, &keys, now));
    match &judged {
        None => {
            logins.on_control(refresh(false)).await?;
            judged = issuer.keys().map(|keys| issuer.judge.judge(token, &keys, now));
        }
        Some(Judgement::UnknownKey) if issuer.is_due(true, now) => {
            logins.on_control(refresh(true)).await?;
            judged = issuer.keys().map(|keys| issuer.judge.judge(token, &keys, now));
        }
        Some(_) if issuer.is_due(false, now) => logins.in_background(refresh(false)),
        Some(_) => {}
    }
    Ok(match judged {
        Some(Judgement::Known(identity)) => {
            Found::Known(Box::new(Identity::clone(&identity)), Vec::new(), None)
        }
        // A token of another issuer is for the next provider of the chain.
        Some(Judgement::Invalid(Invalid::Issuer)) => {
            Found::Unknown(Err(Reject::Unauthenticated(vec![BEARER_INVALID])), Vec::new())
        }
        Some(Judgement::Invalid(_) | Judgement::UnknownKey) => {
            Found::No(Reject::Unauthenticated(vec![BEARER_INVALID]))
        }
        None => {
            let issuer = &issuer.judge.expected().issuer;
            return Err(Reject::AuthUnavailable(format!("the keys of {issuer} cannot be had").into()));
        }
    })
}

/// Who asks, where a session says so and nothing else is wanted: on paths that need nobody.
pub(crate) async fn glance(logins: &Logins, provider: &OidcProvider, asking: Asking<'_>) -> Option<Identity> {
    let core = &provider.core;
    let ring = logins.ring().ok()?;
    let (ring, visit) = (ring.as_deref()?, asking.visit());
    let stored = logins.stored(provider, ring, &visit).await.ok()?;
    match core.session(ring, &Visit { stored: stored.as_ref(), ..visit }, wall_clock()) {
        Reading::Session(session, Worth::Live | Worth::Reseal | Worth::Renew) => {
            (!logins.revoked().ends(core.key(), session.marks())).then_some(session.identity)
        }
        Reading::Session(_, Worth::Expired) | Reading::Absent | Reading::Unreadable => None,
    }
}

/// A redirect that nobody keeps.
pub(crate) fn redirect(step: Step) -> Response {
    let mut response = Response::empty(StatusCode::FOUND);
    let headers = &mut response.headers;
    // Every part of it was made or judged by `auth`; what could not be sent leads home.
    let location = HeaderValue::from_str(&step.location).unwrap_or(HeaderValue::from_static("/"));
    for cookie in step.cookies {
        headers.append(SET_COOKIE, cookie);
    }
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A 401 needs a challenge (RFC 9110 §11.6.1); programs cannot log in by forms, so they are told of tokens.
pub(crate) fn challenge(provider: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("Bearer realm=\"{provider}\"")).unwrap_or(BEARER)
}

/// Between two attempts to renew a session of one browser.
const RENEW_AGAIN_SECONDS: i64 = 60;
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
/// RFC 6750 §3.1.
const BEARER_INVALID: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");
