//! Who is asking, whether they may enter, and what the application is told of it.
//!
//! A route without authentication never comes here. Otherwise the providers of its chain are asked in order; the first that
//! finds something to judge decides. What is judged is the normalised target, which is also what is matched and forwarded.

mod audience;
pub mod passwords;

use std::rc::Rc;
use std::sync::Arc;

use ::auth::basic::Credentials;
use ::auth::{Denied, Identity};
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::age::{Begun, Bound};
use super::external::{Asked, Given, Judgement, NamePattern, Refused, ask};
use super::forwarded::{ClientView, RequestId};
use super::target::Target;
use crate::connection::Client;
use crate::login::{self, Asking, Found, Going, OidcProvider};
use crate::message::{Request, Response};
use crate::reject::words::Language;
use crate::reject::{Forbidden, Reject};
use crate::route::Route;
use crate::route::auth::{Auth, Provider, ProviderKind, ToldBy};
use crate::worker::Worker;

pub(crate) use audience::{Audience, audience_of};
use passwords::Checked;

/// What there is to know of a request when it is asked who sends it.
pub(super) struct Subject<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) client: &'a Client,
    pub(super) view: &'a ClientView,
    pub(super) target: &'a Target,
    pub(super) route: &'a Route,
    /// The normalised Host.
    pub(super) host: &'a HeaderValue,
    pub(super) request_id: &'a RequestId,
}

/// How the question who is asking came out.
pub(super) enum Entry {
    /// The request goes on, and its headers say who asks.
    Open(Option<Box<Identity>>),
    /// This is the answer: a login, or what an authentication server says.
    Answered(Box<Response>),
}

/// What becomes of the answer whatever it will be, refusals included: it sets the cookies of an authentication server.
#[derive(Default)]
pub(super) struct Afterwards {
    cookies: Vec<HeaderValue>,
    /// Of the page, if it comes to one.
    pub(super) language: Language,
    /// How long the answer may go on, where that is bounded.
    pub(super) lasts: Option<Box<Bound>>,
}

impl Afterwards {
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        for cookie in self.cookies {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Finds out who sends `request` and whether they may; its headers then say so, and nothing else does.
pub(super) async fn identify(
    auth: &Auth,
    subject: Subject<'_>,
    request: &mut Request,
    afterwards: &mut Afterwards,
) -> Result<Entry, Reject> {
    auth.told_by.strip(&mut request.headers);
    afterwards.language = Language::of(&request.headers);
    if skips(auth, &subject, request) {
        return Ok(Entry::Open(opportunity(auth, &subject, request).await));
    }
    let mut refused = None;
    for provider in &auth.chain {
        match consult(provider, &subject, request).await? {
            Finding::Known(given) => {
                let identity = given.identity();
                if let Err(denied) = auth.policy.judge(identity) {
                    return Err(forbidden(Some(identity), &denied));
                }
                return Ok(enter(auth, given, request, afterwards));
            }
            Finding::Unknown(no) => refused = Some(stronger(refused, no)),
            Finding::No(no) => return refuse(no, afterwards),
        }
    }
    match refused {
        Some(no) => refuse(no, afterwards),
        None => Err(Reject::Unauthenticated(Vec::new())),
    }
}

/// What one provider found.
enum Finding<'p> {
    Known(Known<'p>),
    /// Nothing that this provider could judge, or nobody that it knows; the next one may.
    Unknown(Refused),
    No(Refused),
}

/// Someone whom a provider knows.
enum Known<'p> {
    External(Rc<Given>),
    Basic(Box<Identity>),
    /// With cookies for the answer, and the session where there is one.
    Own(Box<Identity>, Vec<HeaderValue>, Option<(Going, &'p Arc<OidcProvider>)>),
}

impl Known<'_> {
    fn identity(&self) -> &Identity {
        match self {
            Known::External(given) => &given.identity,
            Known::Own(identity, _, _) => identity,
            Known::Basic(identity) => identity,
        }
    }
}

async fn consult<'p>(
    provider: &'p Provider,
    subject: &Subject<'_>,
    request: &mut Request,
) -> Result<Finding<'p>, Reject> {
    let logins = &subject.worker.shared.logins;
    let asking = || {
        let authority = subject.host.to_str().map_err(|_| Reject::Internal)?;
        let (method, headers) = (&request.method, &request.headers);
        Ok::<_, Reject>(Asking { method, headers, target: subject.target, authority })
    };
    match &provider.kind {
        ProviderKind::Oidc(provider) => {
            Ok(Finding::of(login::login(logins, provider, asking()?).await?, Some(provider)))
        }
        ProviderKind::Jwt(issuer) => Ok(Finding::of(login::bearer(logins, issuer, asking()?).await?, None)),
        ProviderKind::External(external) => {
            let Subject { worker, client, view, target, route, host, request_id } = *subject;
            let Request { method, headers, body, .. } = request;
            let peer = &client.peer;
            let asked = Asked { worker, route, peer, view, target, method, headers, host, request_id };
            Ok(match ask(external, &asked, body).await? {
                Judgement::Yes(given) => Finding::Known(Known::External(given)),
                Judgement::Unknown(refused) => Finding::Unknown(refused),
                Judgement::No(refused) => Finding::No(refused),
            })
        }
        ProviderKind::Basic(basic) => {
            let challenge = || {
                let answer = Err(Reject::Unauthenticated(vec![basic.challenge.clone()]));
                Refused { answer, cookies: Vec::new() }
            };
            let credentials = match Credentials::of(&request.headers) {
                None => return Ok(Finding::Unknown(challenge())),
                Some(Err(_)) => return Ok(Finding::No(challenge())),
                Some(Ok(credentials)) => credentials,
            };
            Ok(match subject.worker.shared.passwords.check(&basic.users, credentials).await? {
                Checked::Good(identity) => Finding::Known(Known::Basic(identity)),
                Checked::Bad(_) => Finding::No(challenge()),
            })
        }
    }
}

impl<'p> Finding<'p> {
    /// `provider` is that of sessions.
    fn of(found: Found, provider: Option<&'p Arc<OidcProvider>>) -> Self {
        match found {
            Found::Known(identity, cookies, going) => {
                Finding::Known(Known::Own(identity, cookies, going.zip(provider)))
            }
            Found::Unknown(answer, cookies) => Finding::Unknown(Refused { answer, cookies }),
            Found::No(reject) => Finding::No(Refused { answer: Err(reject), cookies: Vec::new() }),
        }
    }
}

/// Where nobody has to be known, a session that is there still says who asks.
async fn opportunity(auth: &Auth, subject: &Subject<'_>, request: &mut Request) -> Option<Box<Identity>> {
    let rules = auth.headers.as_ref()?;
    let Request { method, headers, .. } = request;
    let authority = subject.host.to_str().ok()?;
    let logins = &subject.worker.shared.logins;
    for provider in &auth.chain {
        let ProviderKind::Oidc(provider) = &provider.kind else { continue };
        let asking = Asking { method, headers, target: subject.target, authority };
        if let Some(identity) = login::glance(logins, provider, asking).await {
            rules.apply(Some(&identity), headers);
            return Some(Box::new(identity));
        }
    }
    None
}

/// Requests that need nobody, by the rules of the route.
fn skips(auth: &Auth, subject: &Subject<'_>, request: &Request) -> bool {
    // A normalised path is ASCII.
    std::str::from_utf8(subject.target.path()).is_ok_and(|path| auth.policy.skips(&request.method, path))
}

/// Lets the request in: its headers say who asks.
fn enter(auth: &Auth, mut known: Known<'_>, request: &mut Request, afterwards: &mut Afterwards) -> Entry {
    let headers = &mut request.headers;
    if let Some(limit) = auth.stream_age {
        let session = match &mut known {
            Known::Own(identity, _, session) => session.take().map(|(going, provider)| {
                let (subject, provider) = (identity.subject.clone(), Arc::clone(provider));
                Begun { going, subject, provider }
            }),
            Known::External(_) | Known::Basic(_) => None,
        };
        afterwards.lasts = Some(Box::new(Bound { limit, session }));
    }
    match known {
        Known::Own(identity, cookies, _) => {
            if let Some(rules) = &auth.headers {
                rules.apply(Some(&identity), headers);
            }
            afterwards.cookies.extend(cookies);
            Entry::Open(Some(identity))
        }
        Known::External(given) => {
            tell(headers, &given.headers);
            if let Some(rules) = &auth.headers {
                rules.apply(Some(&given.identity), headers);
            }
            let (identity, cookies) = match Rc::try_unwrap(given) {
                Ok(given) => (given.identity, given.cookies),
                Err(kept) => (kept.identity.clone(), kept.cookies.clone()),
            };
            afterwards.cookies.extend(cookies);
            Entry::Open(Some(Box::new(identity)))
        }
        Known::Basic(identity) => {
            // The password was for the edge; the application is told who it is.
            headers.remove(AUTHORIZATION);
            if let Some(rules) = &auth.headers {
                rules.apply(Some(&identity), headers);
            }
            Entry::Open(Some(identity))
        }
    }
}

/// Puts headers in the place of whatever an application could take for them.
fn tell(headers: &mut HeaderMap, told: &[(HeaderName, HeaderValue)]) {
    if told.is_empty() {
        return;
    }
    let names: SmallVec<[NamePattern; 8]> =
        told.iter().map(|(name, _)| NamePattern::Exact(name.clone())).collect();
    ToldBy::new(&names).strip(headers);
    for (name, value) in told {
        headers.append(name, value.clone());
    }
}

/// Of two providers that know nobody the one with an answer of its own speaks, and every challenge is shown.
fn stronger(earlier: Option<Refused>, later: Refused) -> Refused {
    let Some(earlier) = earlier else { return later };
    let cookies = [earlier.cookies, later.cookies].concat();
    let answer = match (earlier.answer, later.answer) {
        (Err(Reject::Unauthenticated(mut challenges)), Err(Reject::Unauthenticated(more))) => {
            challenges.extend(more);
            Err(Reject::Unauthenticated(challenges))
        }
        (Err(_), later) => later,
        (Ok(earlier), _) => Ok(earlier),
    };
    Refused { answer, cookies }
}

fn refuse(refused: Refused, afterwards: &mut Afterwards) -> Result<Entry, Reject> {
    afterwards.cookies.extend(refused.cookies);
    refused.answer.map(|answer| Entry::Answered(Box::new(answer)))
}

/// The refusal of someone who is known, in words for them.
fn forbidden(identity: Option<&Identity>, denied: &Denied) -> Reject {
    let who = identity.map(|identity| match (&identity.name, &identity.email) {
        (_, Some(email)) => email.clone(),
        (Some(name), None) => name.clone(),
        (None, None) => identity.user.clone(),
    });
    let who = who.filter(|who| !who.is_empty()).map(|who| who.chars().take(WHO_CHARS_MAX).collect());
    Reject::Forbidden(Box::new(Forbidden { who, denied: Some(denied.clone()) }))
}

/// Of a name on a page.
const WHO_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;
