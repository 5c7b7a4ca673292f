//! The paths under `/oauth2/` on hosts whose routes people log in to, named as OAuth2-Proxy names them.
//!
//! | path | what |
//! |---|---|
//! | `start` | begins a login; `rd` says where to go after it |
//! | `callback` | where the provider sends people back to |
//! | `sign_out` | ends the session here and at the provider; `rd` says where to go after it |
//! | `signed_out` | a page that says so |
//! | `userinfo` | who one is, as JSON; 401 without a session |
//! | `auth` | 202 or 401 for other proxies' sub-requests; `allowed_groups`, `allowed_emails`, `allowed_email_domains` |
//! | `backchannel-logout` | for the provider alone (Back-Channel Logout 1.0) |

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::auth::oidc::exchange::{ExchangeError, exchange};
use ::auth::oidc::logout::LogoutError;
use ::auth::oidc::{BeginError, Callback, Manner, Pending, Step, Visit, flow_provider, parameter};
use ::auth::session::stored::Stored;
use ::auth::session::{KeyRing, Reading, Session, Worth};
use ::auth::{HeaderPreset, HeaderRules, Identity, Policy};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::visit::{Asking, challenge, redirect};
use super::{Logins, OidcProvider, wall_clock};
use crate::message::{Request, Response};
use crate::reject::page::{self, Format, PageContext};
use crate::reject::words::Language;
use crate::reject::{Forbidden, Reject};
use crate::request::forwarded::RequestId;
use crate::request::target::Target;
use crate::worker::Worker;

/// Answers a request to one of the paths above.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    provider: &Arc<OidcProvider>,
    request: &mut Request,
    target: &Target,
    (authority, request_id): (&HeaderValue, &RequestId),
) -> Result<Response, Reject> {
    let logins = Arc::clone(&worker.shared.logins);
    let ring = logins.ring()?.clone();
    let ring = ring.ok_or(Reject::Internal)?;
    let path = String::from_utf8_lossy(target.path()).into_owned();
    let query = String::from_utf8_lossy(target.query().unwrap_or_default()).into_owned();
    let Some(name) = path.strip_prefix(::auth::oidc::PREFIX) else { return Err(Reject::RouteNotFound) };
    let body = std::mem::take(&mut request.body);
    let Ok(authority) = authority.to_str() else { return Err(Reject::RouteNotFound) };
    let asking = Asking { method: &request.method, headers: &request.headers, target, authority };
    let settings = worker.settings();
    let page = PageContext {
        format: Format::of(&request.headers),
        method: &request.method,
        request_id: request_id.as_str(),
        language: Language::of(&request.headers),
        contact: settings.contact.as_deref(),
    };
    let desk = Desk { logins: &logins, ring: &ring, provider, asking, query: &query, page };
    match (name, request.method.as_str()) {
        ("start", "GET" | "HEAD") => desk.start().await,
        ("callback", "GET" | "HEAD") => desk.callback().await,
        ("sign_out", "GET" | "HEAD" | "POST") => desk.sign_out().await,
        ("signed_out", "GET" | "HEAD") => Ok(page::signed_out(&desk.page, "/")),
        ("userinfo", "GET" | "HEAD") => desk.userinfo().await,
        ("auth", _) => desk.auth().await,
        ("backchannel-logout", "POST") => {
            let body = Limited::new(body, LOGOUT_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Reject::BodyTooLarge)?.to_bytes();
            desk.backchannel_logout(&String::from_utf8_lossy(&body)).await
        }
        ("start" | "callback" | "signed_out" | "userinfo", _) => Err(Reject::MethodNotAllowed("GET, HEAD")),
        ("sign_out", _) => Err(Reject::MethodNotAllowed("GET, HEAD, POST")),
        ("backchannel-logout", _) => Err(Reject::MethodNotAllowed("POST")),
        _ => Err(Reject::RouteNotFound),
    }
}

/// What every endpoint needs.
struct Desk<'a> {
    logins: &'a Arc<Logins>,
    ring: &'a KeyRing,
    /// The one of the route; others of the same edge may be meant.
    provider: &'a Arc<OidcProvider>,
    asking: Asking<'a>,
    query: &'a str,
    page: PageContext<'a>,
}

impl Desk<'_> {
    async fn start(&self) -> Result<Response, Reject> {
        // A script that began a login would overwrite the one that a person has begun.
        let by_script = self.asking.headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate");
        if by_script {
            return Err(Reject::Unauthenticated(vec![challenge(&self.provider.core.settings().name)]));
        }
        let now = wall_clock();
        if let Some(sealed) = parameter(self.query, "request") {
            for provider in self.provider.everyone() {
                if provider.core.is_elsewhere(&self.asking.visit()) {
                    continue;
                }
                let stored = self.stored(&provider).await?;
                let visit = self.visit(stored.as_ref());
                // Asked only where nothing is known: the request may be another provider's.
                let metadata = provider.known();
                match provider.core.take_request(self.ring, metadata.as_deref(), &visit, &sealed, now) {
                    None => {}
                    Some(Ok(step)) => return self.go(step).await,
                    Some(Err(BeginError::Unknown)) => {
                        let metadata = provider.metadata(self.logins, now).await?;
                        let step =
                            provider.core.take_request(self.ring, Some(&metadata), &visit, &sealed, now);
                        let step = step.ok_or(Reject::RouteNotFound)?.map_err(unavailable)?;
                        return self.go(step).await;
                    }
                    Some(Err(error)) => return Err(unavailable(error)),
                }
            }
            return Ok(self.failed(&"the request to log in is too old, or not ours", Vec::new()));
        }
        let header = self.asking.headers.get("x-auth-request-redirect").and_then(|value| value.to_str().ok());
        let wanted =
            parameter(self.query, "rd").or(header.map(str::to_owned)).unwrap_or_else(|| "/".to_owned());
        self.begin(self.provider, &wanted).await
    }

    async fn begin(&self, provider: &Arc<OidcProvider>, return_to: &str) -> Result<Response, Reject> {
        let (now, visit) = (wall_clock(), self.asking.visit());
        let metadata = match provider.core.is_elsewhere(&visit) {
            true => None,
            false => Some(provider.metadata(self.logins, now).await?),
        };
        let step =
            provider.core.begin(self.ring, metadata.as_deref(), &visit, return_to, Manner::Asking, now);
        Ok(redirect(step.map_err(unavailable)?))
    }

    async fn callback(&self) -> Result<Response, Reject> {
        let now = wall_clock();
        let key = flow_provider(self.ring, &self.asking.visit(), self.query);
        let meant =
            key.and_then(|key| self.provider.everyone().into_iter().find(|one| *one.core.key() == *key));
        let provider = meant.as_ref().unwrap_or(self.provider);
        let metadata = provider.known();
        let stored = self.stored(provider).await?;
        let visit = self.visit(stored.as_ref());
        match provider.core.callback(self.ring, metadata.as_deref(), &visit, self.query, now) {
            Callback::Go(step) => self.go(step).await,
            Callback::Redeem(pending) => self.redeem(provider, &visit, pending).await,
            Callback::Ask { return_to, onward, cookies } => {
                let metadata = match provider.core.is_elsewhere(&visit) {
                    true => None,
                    false => Some(provider.metadata(self.logins, now).await?),
                };
                let step = provider.core.begin_again(
                    self.ring,
                    metadata.as_deref(),
                    &visit,
                    (return_to, onward),
                    now,
                );
                let mut step = step.map_err(unavailable)?;
                step.cookies.extend(cookies);
                Ok(redirect(step))
            }
            Callback::Failed { failure, cookies } => Ok(self.failed(&failure, cookies)),
        }
    }

    async fn redeem(
        &self,
        provider: &Arc<OidcProvider>,
        visit: &Visit<'_>,
        pending: Box<Pending>,
    ) -> Result<Response, Reject> {
        let now = wall_clock();
        let metadata = provider.metadata(self.logins, now).await?;
        let job = {
            let (provider, pending) = (Arc::clone(provider), pending.clone());
            let http = provider.http(&self.logins.fetcher);
            async move { exchange(&provider.core, &metadata, &pending, &http, now).await }
        };
        let cleared = provider.core.clear_flow(&pending, visit.transport).into_iter().collect();
        let redeemed = match self.logins.on_control(job).await? {
            Ok(redeemed) => redeemed,
            Err(error) => {
                let name = &provider.core.settings().name;
                tracing::warn!(provider = %name, "a login failed: {error}");
                return match error {
                    ExchangeError::Unavailable(_) | ExchangeError::UnknownKey => {
                        Err(Reject::AuthUnavailable(format!("the provider `{name}`: {error}").into()))
                    }
                    ExchangeError::Code(_)
                    | ExchangeError::Client(_)
                    | ExchangeError::Token(_)
                    | ExchangeError::Missing => Ok(self.failed(&error, cleared)),
                };
            }
        };
        if let Some(newer) = redeemed.metadata {
            provider.learn(newer, now);
        }
        let now = self.logins.revoked().begin(now);
        let step =
            provider.core.finish(self.ring, &pending, redeemed.login, visit, now).map_err(unavailable)?;
        self.go(step).await
    }

    /// The page of a login that failed. It is no refusal of the route's, and its cookies must go.
    fn failed(&self, why: &dyn std::fmt::Display, cookies: Vec<HeaderValue>) -> Response {
        let mut response = page::not_signed_in(&self.page, why.to_string(), ::auth::oidc::START_PATH);
        for cookie in cookies {
            response.headers.append(SET_COOKIE, cookie);
        }
        response
    }

    async fn sign_out(&self) -> Result<Response, Reject> {
        let headers = self.asking.headers;
        // A picture on another site must not log anybody out.
        if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
            && headers.get("sec-fetch-user").is_none()
        {
            return Ok(page::not_signed_out(&self.page, SIGN_OUT_PATH));
        }
        let now = wall_clock();
        let wanted = parameter(self.query, "rd");
        // Where several providers are in use, it ends at the one that there is a session of.
        let everyone = self.provider.everyone();
        let mut meant = None;
        for provider in &everyone {
            let stored = self.stored(provider).await?;
            let reading = provider.core.session(self.ring, &self.visit(stored.as_ref()), now);
            if let Reading::Session(session, _) = reading {
                self.end_everywhere(provider, &session, stored.as_ref()).await?;
                meant.get_or_insert((provider, stored));
            }
        }
        let (meant, stored) = meant.unwrap_or((self.provider, None));
        let metadata = meant.metadata(self.logins, now).await.ok();
        let visit = self.visit(stored.as_ref());
        let mut step = meant.core.sign_out(metadata.as_deref(), &visit, wanted.as_deref());
        for other in everyone.iter().filter(|other| !Arc::ptr_eq(other, meant)) {
            step.cookies.extend(other.core.cookies().clear(visit.headers, visit.transport));
        }
        Ok(redirect(step))
    }

    /// Ends a session wherever there is a copy of it: in the store, on other hosts, in other hands, at other replicas.
    async fn end_everywhere(
        &self,
        provider: &Arc<OidcProvider>,
        session: &Session,
        stored: Option<&Stored>,
    ) -> Result<(), Reject> {
        if let Some(stored) = stored {
            self.logins.end_stored(stored).await?;
        }
        let mut token = [0; 16];
        let is_known = self.logins.revoked().ends(provider.core.key(), session.marks());
        if is_known || aws_lc_rs::rand::fill(&mut token).is_err() {
            return Ok(());
        }
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let revocation = provider.core.revocation(session, token);
        let now = wall_clock();
        // A session that begins in this very second is none of those that are meant, save for this one.
        let at = session.began.max(now.checked_sub(A_SECOND).unwrap_or(now));
        let (logins, provider) = (Arc::clone(self.logins), Arc::clone(provider));
        let revoke = async move { logins.log_out(&provider, revocation, at) };
        // The cookie goes in any case.
        let _ = self.logins.on_control(revoke).await;
        Ok(())
    }

    /// What the store has for this request, of a provider whose sessions are there.
    async fn stored(&self, provider: &OidcProvider) -> Result<Option<Stored>, Reject> {
        self.logins.stored(provider, self.ring, &self.asking.visit()).await
    }

    fn visit<'v>(&'v self, stored: Option<&'v Stored>) -> Visit<'v> {
        Visit { stored, ..self.asking.visit() }
    }

    /// Sends people on, when the store has what has to be there by then.
    async fn go(&self, mut step: Step) -> Result<Response, Reject> {
        self.logins.write(step.write.take()).await?;
        Ok(redirect(step))
    }

    /// The session of whichever provider there is one of.
    async fn session(&self) -> Result<Option<Identity>, Reject> {
        let now = wall_clock();
        for provider in self.provider.everyone() {
            let stored = self.stored(&provider).await?;
            match provider.core.session(self.ring, &self.visit(stored.as_ref()), now) {
                Reading::Session(session, Worth::Live | Worth::Reseal | Worth::Renew) => {
                    if !self.logins.revoked().ends(provider.core.key(), session.marks()) {
                        return Ok(Some(session.identity));
                    }
                }
                Reading::Session(_, Worth::Expired) | Reading::Absent | Reading::Unreadable => {}
            }
        }
        Ok(None)
    }

    fn unknown(&self) -> Reject {
        Reject::Unauthenticated(vec![challenge(&self.provider.core.settings().name)])
    }

    async fn userinfo(&self) -> Result<Response, Reject> {
        let identity = self.session().await?.ok_or_else(|| self.unknown())?;
        let body = serde_json::json!({
            "user": identity.subject,
            "email": identity.email,
            "groups": identity.groups,
            "preferredUsername": identity.user,
        });
        Ok(answer(StatusCode::OK, "application/json", body.to_string()))
    }

    async fn auth(&self) -> Result<Response, Reject> {
        let identity = self.session().await?.ok_or_else(|| self.unknown())?;
        // Within one rule any value is enough; all rules must be met.
        for (name, kind) in RULES {
            let Some(values) = parameter(self.query, name) else { continue };
            let rules: Vec<String> =
                values.split(',').map(|value| format!("{kind}:{}", value.trim())).collect();
            let policy = Policy::parse(Some(&rules.join(",")), None, None);
            let judged = policy.map_err(|_| None).and_then(|policy| policy.judge(&identity).map_err(Some));
            if let Err(denied) = judged {
                return Err(Reject::Forbidden(Box::new(Forbidden { who: None, denied })));
            }
        }
        let mut response = answer(StatusCode::ACCEPTED, "text/plain", String::new());
        HeaderRules::from(HeaderPreset::OAuth2Proxy).apply(Some(&identity), &mut response.headers);
        Ok(response)
    }

    async fn backchannel_logout(&self, body: &str) -> Result<Response, Reject> {
        let now = wall_clock();
        let token = parameter(body, "logout_token").unwrap_or_default();
        let mut last = LogoutError::UnknownKey;
        for provider in self.provider.everyone() {
            let metadata = provider.metadata(self.logins, now).await?;
            let mut judged = provider.core.logout_token(&metadata, &token, now);
            if judged == Err(LogoutError::UnknownKey) {
                let (one, fetcher) = (Arc::clone(&provider), Arc::clone(&self.logins.fetcher));
                self.logins.on_control(async move { one.refresh(&fetcher, true, now).await }).await?;
                let metadata = provider.metadata(self.logins, now).await?;
                judged = provider.core.logout_token(&metadata, &token, now);
            }
            let revoked = match judged {
                Ok(revocation) => {
                    let (logins, provider) = (Arc::clone(self.logins), Arc::clone(&provider));
                    let revoke = async move { logins.log_out(&provider, revocation, now) };
                    self.logins.on_control(revoke).await?
                }
                Err(error) => Err(error),
            };
            match revoked {
                Ok(()) => return Ok(answer(StatusCode::OK, "text/plain", String::new())),
                Err(error) => last = error,
            }
        }
        tracing::warn!(provider = %self.provider.core.settings().name, "a logout token is refused: {last}");
        let words = serde_json::json!({"error": "invalid_request", "error_description": last.to_string()});
        Ok(answer(StatusCode::BAD_REQUEST, "application/json", words.to_string()))
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::full(status, headers, body)
}

fn unavailable(error: BeginError) -> Reject {
    Reject::AuthUnavailable(error.to_string().into())
}

const SIGN_OUT_PATH: &str = "/oauth2/sign_out";
const A_SECOND: Duration = Duration::from_secs(1);
/// Of a logout token with its form.
const LOGOUT_BYTES_MAX: usize = 16 << 10;
/// Parameters of `auth` and the rules that they are.
const RULES: [(&str, &str); 3] =
    [("allowed_groups", "group"), ("allowed_emails", "email"), ("allowed_email_domains", "domain")];
