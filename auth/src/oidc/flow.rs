//! One login, step by step.

mod auth_host;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jiff::Timestamp;
use openidconnect::url::Url;
use openidconnect::{Nonce, PkceCodeChallenge, PkceCodeVerifier};
use serde::{Deserialize, Serialize};

use super::{CALLBACK_PATH, Metadata, Provider, Visit, return_address};
use crate::identity::Identity;
use crate::secret::{Secret, same};
use crate::session::stored::{StoredError, Tokens, Write};
use crate::session::{
    Binding, CookieError, FlowCookie, KeyRing, KeyRingError, Purpose, Reading, Session, Transport, Worth,
};

use auth_host::Onward;
pub use auth_host::TICKET_SECONDS_MAX;

/// A redirect with cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub location: String,
    pub cookies: Vec<HeaderValue>,
    /// What the store has to hold before anybody is sent there.
    pub write: Option<Box<Write>>,
}

/// Whether people may be asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manner {
    /// The provider asks for whatever it needs.
    Asking,
    /// `prompt=none`: yes or no, at once, unseen.
    Silent,
}

/// Who logged in, as the provider said at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub identity: Identity,
    /// `sid`.
    pub provider_session: Option<String>,
    /// Nothing, where sessions are kept in cookies.
    pub tokens: Tokens,
}

/// A code that waits to be redeemed.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(super) code: Secret,
    pub(super) flow: Flow,
    id: String,
}

/// What became of a request to the callback.
#[derive(Debug)]
pub enum Callback {
    /// The code is to be redeemed, and then [`Provider::finish`] ends the login.
    Redeem(Box<Pending>),
    Go(Step),
    /// The silent attempt ended, and the provider wants to see the person: [`Provider::begin`] once more, asking.
    Ask {
        return_to: String,
        onward: Option<Onward>,
        cookies: Vec<HeaderValue>,
    },
    Failed {
        failure: Failure,
        cookies: Vec<HeaderValue>,
    },
}

/// Why a login did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another browser, cookies that are switched off, or a login that took too long.
    #[error("this login did not begin in this browser, or too long ago")]
    NoFlow,
    #[error("the answer comes from another issuer")]
    Issuer,
    #[error("the answer has neither a code nor an error")]
    Empty,
    /// What the provider says, as far as it is one of its known words.
    #[error("the provider says `{0}`")]
    Provider(&'static str),
}

/// Why a login cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("nothing is known of the provider yet")]
    Unknown,
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    #[error("the session does not fit into cookies: {0}")]
    Cookie(#[from] CookieError),
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// What a flow cookie holds.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Flow {
    /// [`Provider::key`] of the one that is asked.
    provider: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    return_to: String,
    pub(super) redirect_uri: String,
    manner: Manner,
    onward: Option<Onward>,
    expires: i64,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("manner", &self.manner).finish_non_exhaustive()
    }
}

/// The key of the provider ([`Provider::key`]) whose login a request to the callback belongs to, where several are in use.
pub fn flow_provider(ring: &KeyRing, visit: &Visit<'_>, query: &str) -> Option<String> {
    let cookie = FlowCookie::new(&parameter(query, "state")?, visit.transport)?;
    let plain = ring.open(&flow_binding(&cookie, visit), cookie.read(visit.headers)?)?;
    serde_json::from_slice::<Flow>(&plain).ok().map(|flow| flow.provider)
}

impl Provider {
    /// Whether logins of requests to this host take place on another one.
    pub fn is_elsewhere(&self, visit: &Visit<'_>) -> bool {
        let elsewhere = |auth: &String| !auth.eq_ignore_ascii_case(visit.authority);
        self.settings().auth_host.as_ref().is_some_and(elsewhere)
    }

    /// Sends a person to log in. `return_to` is judged here; `metadata` may be absent only where the login takes place
    /// elsewhere ([`Provider::is_elsewhere`]).
    pub fn begin(
        &self,
        ring: &KeyRing,
        metadata: Option<&Metadata>,
        visit: &Visit<'_>,
        return_to: &str,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Step, BeginError> {
        let return_to = return_address(return_to, self, visit);
        self.begin_for(ring, metadata, visit, Purposeful { return_to, manner, onward: None }, now)
    }

    /// Once more, asking, after [`Callback::Ask`].
    pub fn begin_again(
        &self,
        ring: &KeyRing,
        metadata: Option<&Metadata>,
        visit: &Visit<'_>,
        (return_to, onward): (String, Option<Onward>),
        now: Timestamp,
    ) -> Result<Step, BeginError> {
        self.begin_for(ring, metadata, visit, Purposeful { return_to, manner: Manner::Asking, onward }, now)
    }

    fn begin_for(
        &self,
        ring: &KeyRing,
        metadata: Option<&Metadata>,
        visit: &Visit<'_>,
        wanted: Purposeful,
        now: Timestamp,
    ) -> Result<Step, BeginError> {
        let id = FlowCookie::new_id(now)?;
        let elsewhere = self.settings().auth_host.as_ref().filter(|_| self.is_elsewhere(visit));
        let (verifier, nonce) = (new_verifier(), Nonce::new_random().secret().clone());
        let mut flow = Flow {
            provider: self.key().to_owned(),
            nonce,
            verifier: verifier.secret().clone(),
            return_to: wanted.return_to,
            redirect_uri: format!("{}{CALLBACK_PATH}", visit.origin()),
            manner: wanted.manner,
            onward: wanted.onward,
            expires: now.as_second() + i64::from(crate::session::FLOW_SECONDS),
        };
        let location = match elsewhere {
            Some(auth_host) => self.ask_auth_host(ring, auth_host, visit, (&id, flow.manner), now)?,
            None => self.ask_provider(metadata.ok_or(BeginError::Unknown)?, &flow, &id, &verifier),
        };
        if elsewhere.is_some() {
            // The flow proper has its own secrets, on the auth host.
            (flow.nonce, flow.verifier) = (String::new(), String::new());
        }
        let cookie = FlowCookie::new(&id, visit.transport).ok_or(BeginError::Unknown)?;
        let plain = serde_json::to_vec(&flow).unwrap_or_default();
        let sealed = ring.seal(&flow_binding(&cookie, visit), &plain, now)?;
        let mut cookies = cookie.write(&sealed, visit.headers, visit.transport);
        if flow.manner == Manner::Asking {
            // Whoever logs in now has no session until then, whatever was there (session fixation).
            cookies.extend(self.cookies().clear(visit.headers, visit.transport));
        }
        Ok(Step { location, cookies, write: None })
    }

    /// The authorization request (OpenID Connect Core §3.1.2.1, RFC 7636).
    fn ask_provider(
        &self,
        metadata: &Metadata,
        flow: &Flow,
        id: &str,
        verifier: &PkceCodeVerifier,
    ) -> String {
        let settings = self.settings();
        let mut address = metadata.authorization.url().clone();
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(verifier);
        let mut scope = String::from("openid");
        for wanted in &settings.scopes {
            scope.push(' ');
            scope.push_str(wanted);
        }
        {
            let mut query = address.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &settings.client_id)
                .append_pair("redirect_uri", &flow.redirect_uri)
                .append_pair("scope", &scope)
                .append_pair("state", id)
                .append_pair("nonce", &flow.nonce)
                .append_pair("code_challenge", challenge.as_str())
                .append_pair("code_challenge_method", challenge.method().as_str());
            for (name, value) in &settings.parameters {
                if name != "prompt" || flow.manner == Manner::Asking {
                    query.append_pair(name, value);
                }
            }
            if flow.manner == Manner::Silent {
                query.append_pair("prompt", "none");
            }
        }
        address.into()
    }

    /// Judges a request to the callback. The order matters: first that the login began in this browser, then what the
    /// answer says, and the code is redeemed last.
    pub fn callback(
        &self,
        ring: &KeyRing,
        metadata: Option<&Metadata>,
        visit: &Visit<'_>,
        query: &str,
        now: Timestamp,
    ) -> Callback {
        let failed = |failure: Failure| Callback::Failed { failure, cookies: Vec::new() };
        let Some(id) = parameter(query, "state") else { return failed(Failure::NoFlow) };
        let Some(cookie) = FlowCookie::new(&id, visit.transport) else { return failed(Failure::NoFlow) };
        let cookies: Vec<HeaderValue> = cookie.clear(visit.transport).into_iter().collect();
        let flow = cookie.read(visit.headers).and_then(|sealed| {
            let flow: Flow =
                serde_json::from_slice(&ring.open(&flow_binding(&cookie, visit), sealed)?).ok()?;
            let ours = same(flow.provider.as_bytes(), self.key().as_bytes());
            (ours && now.as_second() < flow.expires).then_some(flow)
        });
        let Some(flow) = flow else {
            // A second tab, or the way back in the browser's history: who has a session has arrived.
            return match self.session(ring, visit, now) {
                Reading::Session(_, Worth::Live | Worth::Reseal | Worth::Renew) => {
                    Callback::Go(Step { location: "/".to_owned(), cookies, write: None })
                }
                Reading::Session(_, Worth::Expired) | Reading::Absent | Reading::Unreadable => {
                    Callback::Failed { failure: Failure::NoFlow, cookies }
                }
            };
        };
        if let Some(ticket) = parameter(query, "ticket") {
            return self.take_ticket(ring, visit, (&id, &flow), &ticket, cookies, now);
        }
        // RFC 9207 §2.4: a provider that always says who it is cannot have forgotten to.
        let is_issuer = match parameter(query, "iss") {
            Some(issuer) => issuer == self.settings().issuer,
            None => !metadata.is_some_and(|metadata| metadata.sends_issuer),
        };
        if !is_issuer {
            return Callback::Failed { failure: Failure::Issuer, cookies };
        }
        if let Some(error) = parameter(query, "error") {
            return self.refused(ring, visit, flow, &error, cookies, now);
        }
        match parameter(query, "code").filter(|code| !code.is_empty()) {
            Some(code) => Callback::Redeem(Box::new(Pending { code: Secret::new(code), flow, id })),
            None => Callback::Failed { failure: Failure::Empty, cookies },
        }
    }

    /// The provider said no (OpenID Connect Core §3.1.2.6).
    fn refused(
        &self,
        ring: &KeyRing,
        visit: &Visit<'_>,
        flow: Flow,
        error: &str,
        cookies: Vec<HeaderValue>,
        now: Timestamp,
    ) -> Callback {
        let word = KNOWN_ERRORS.into_iter().find(|known| *known == error).unwrap_or("an unknown error");
        if flow.manner == Manner::Silent {
            let passing = matches!(word, "temporarily_unavailable" | "server_error");
            // What is broken there ends no session here: it is good until its own end.
            if passing
                && flow.onward.is_none()
                && let Reading::Session(session, Worth::Renew) = self.session(ring, visit, now)
            {
                let kept = Session { confirmed: now, seen: now, ..*session };
                if let Ok((more, write)) = self.keep(ring, &kept, visit, now) {
                    let cookies = [cookies, more].concat();
                    return Callback::Go(Step { location: flow.return_to, cookies, write });
                }
            }
            return Callback::Ask { return_to: flow.return_to, onward: flow.onward, cookies };
        }
        Callback::Failed { failure: Failure::Provider(word), cookies }
    }

    /// Ends a login: the session begins, and the person goes to where they wanted.
    pub fn finish(
        &self,
        ring: &KeyRing,
        pending: &Pending,
        login: Login,
        visit: &Visit<'_>,
        now: Timestamp,
    ) -> Result<Step, BeginError> {
        let session = Session::begin(login.identity, login.provider_session, &self.settings().lifetimes, now);
        let begun = self.begin_session(ring, session, login.tokens, visit, now)?;
        let mut cookies = begun.cookies;
        cookies.extend(self.clear_flow(pending, visit.transport));
        let location = match &pending.flow.onward {
            Some(onward) => self.ticket(ring, begun.pass, onward, now)?.location,
            None => pending.flow.return_to.clone(),
        };
        Ok(Step { location, cookies, write: begun.write })
    }

    /// The cookie that ends a flow, whatever became of it.
    pub fn clear_flow(&self, pending: &Pending, transport: Transport) -> Option<HeaderValue> {
        FlowCookie::new(&pending.id, transport)?.clear(transport)
    }
}

/// What a login is for.
struct Purposeful {
    return_to: String,
    manner: Manner,
    onward: Option<Onward>,
}

/// The cookie's name holds the id, so that what was sealed for one flow opens for no other.
fn flow_binding<'a>(cookie: &'a FlowCookie, visit: &Visit<'a>) -> Binding<'a> {
    Binding { purpose: Purpose::Flow, name: cookie.name(), scope: visit.host, provider: "" }
}

fn new_verifier() -> PkceCodeVerifier {
    PkceCodeChallenge::new_random_sha256().1
}

/// The first value of a query's parameter.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    // Only the query counts here; the rest makes it an address that can be parsed.
    let url = Url::parse(&format!("http://query.invalid/?{query}")).ok()?;
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6. Others are not repeated: they are anybody's text.
const KNOWN_ERRORS: [&str; 12] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unmet_authentication_requirements",
    "unsupported_response_type",
];

/// The claims of a token whose signature was verified.
pub(super) fn payload(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
