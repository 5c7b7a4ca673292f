//! Logging out: here, at the provider (RP-Initiated Logout 1.0), and because the provider says so (Back-Channel Logout 1.0).

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use openidconnect::url::Url;

use super::flow::Step;
use super::{Metadata, Provider, SIGNED_OUT_PATH, Visit, return_address};
use crate::bearer::{ALGORITHMS, Algorithm, Unverified, check_claims};
use crate::identity::Invalid;
use crate::session::{Marks, Session, later, stored};

/// Sessions and accounts that one [`Revocations`] remembers, for all providers; the oldest give way.
pub const REVOCATIONS_LEN_MAX: usize = 1_000;
/// A logout token is as old as this at the most.
const TOKEN_SECONDS_MAX: i64 = 300;
/// The one event that is meant (Back-Channel Logout §2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// [`Provider::key`].
    pub provider: String,
    pub ends: Ends,
    /// Every token counts once.
    pub token: String,
}

/// One session, or all of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ends {
    ProviderSession(String),
    Subject(String),
    /// What came of one login, on all hosts, where the provider has no name for its session.
    Login {
        subject: String,
        /// [`Session::began`], in seconds since the epoch.
        began: i64,
    },
}

/// Who is logged out although the browser still has a cookie. Ends with the sessions that it is about.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// By provider.
    ended: HashMap<String, OfProvider>,
    /// Over all providers.
    len: usize,
    /// Tokens that were seen.
    tokens: HashMap<String, Timestamp>,
    /// When the last logout was.
    newest: Option<Timestamp>,
}

/// What is ended: sessions that began until then are over. Apart, so that nothing has to be copied to look for it.
#[derive(Clone, Debug, Default)]
struct OfProvider {
    sessions: HashMap<String, Ended>,
    subjects: HashMap<String, Ended>,
    logins: HashMap<String, Vec<(i64, Ended)>>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Timestamp,
    until: Timestamp,
}

impl Provider {
    /// Logs out: the session goes, and the person is sent to the provider to end the one there, if it can do that; else to
    /// `return_to`.
    pub fn sign_out(&self, metadata: Option<&Metadata>, visit: &Visit<'_>, return_to: Option<&str>) -> Step {
        let cookies = self.cookies().clear(visit.headers, visit.transport);
        let after = return_to
            .map_or_else(|| SIGNED_OUT_PATH.to_owned(), |wanted| return_address(wanted, self, visit));
        let end_session = metadata.and_then(|metadata| Url::parse(metadata.end_session.as_ref()?).ok());
        let Some(mut address) = end_session else { return Step { location: after, cookies, write: None } };
        address
            .query_pairs_mut()
            .append_pair("client_id", &self.settings().client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}{SIGNED_OUT_PATH}", visit.origin()));
        // By it the provider knows whose session is meant, and need not ask. No cookie has room for it.
        if let Some(token) = visit.stored.and_then(|stored| stored.tokens.id.as_ref()) {
            address.query_pairs_mut().append_pair("id_token_hint", token.reveal());
        }
        Step { location: address.into(), cookies, write: None }
    }

    /// The sets of stored sessions that a logout ends ([`stored::Write::found_by`]).
    pub fn found_by(&self, ends: &Ends) -> Option<String> {
        let keys = stored::Keys { provider: self.key() };
        match ends {
            Ends::ProviderSession(id) => Some(keys.of_provider_session(id)),
            Ends::Subject(subject) => Some(keys.of_subject(subject)),
            // A session of the store has no copies.
            Ends::Login { .. } => None,
        }
    }

    /// What ends this session wherever there is a copy of it. `token` is one that was never used.
    pub fn revocation(&self, session: &Session, token: String) -> Revocation {
        let ends = match &session.provider_session {
            Some(id) => Ends::ProviderSession(id.clone()),
            None => {
                Ends::Login { subject: session.identity.subject.clone(), began: session.began.as_second() }
            }
        };
        Revocation { provider: self.key().to_owned(), ends, token }
    }

    /// Judges a logout token (Back-Channel Logout §2.6).
    pub fn logout_token(
        &self,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Revocation, LogoutError> {
        let invalid = LogoutError::Invalid;
        let settings = self.settings();
        let shared = || {
            let secret = settings.client_secret.as_ref()?;
            let signs =
                metadata.algorithms.iter().any(|algorithm| format!("{algorithm:?}").starts_with("Hmac"));
            signs.then(|| crate::bearer::Keys::shared(secret.reveal().as_bytes()))
        };
        let symmetric = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        let verified = match (metadata.keys(), shared()) {
            (Some(keys), _) => keys.verify(token, &ALGORITHMS),
            (None, Some(shared)) => shared.verify(token, &symmetric),
            (None, None) => Err(Unverified::UnknownKey),
        };
        let claims = verified.map_err(|error| match error {
            Unverified::UnknownKey => LogoutError::UnknownKey,
            Unverified::Invalid(reason) => invalid(reason),
        })?;
        check_claims(&claims, &settings.issuer, std::slice::from_ref(&settings.client_id), now)
            .map_err(invalid)?;
        let issued = claims.get("iat").and_then(serde_json::Value::as_i64);
        if issued.is_none_or(|issued| now.as_second() - issued > TOKEN_SECONDS_MAX) {
            return Err(invalid(Invalid::Expired));
        }
        let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        let is_event =
            claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(|event| event.is_object());
        // With a nonce it would be an id token that somebody passes off as this one.
        if !is_event || claims.contains_key("nonce") {
            return Err(invalid(Invalid::Malformed));
        }
        let ends = match (text("sid"), text("sub")) {
            (Some(session), _) => Ends::ProviderSession(session),
            (None, Some(subject)) => Ends::Subject(subject),
            (None, None) => return Err(invalid(Invalid::Malformed)),
        };
        let token = text("jti").filter(|token| !token.is_empty()).ok_or(invalid(Invalid::Malformed))?;
        Ok(Revocation { provider: self.key().to_owned(), ends, token })
    }
}

/// Why a logout token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    #[error("the key that signed it is not known")]
    UnknownKey,
    #[error("{0}")]
    Invalid(Invalid),
    #[error("it was seen before")]
    Seen,
}

impl Revocations {
    /// True when nobody is logged out, which is nearly always.
    pub fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    /// Takes up a logout that happened at `now`. `lifetime` is the longest that a session of this provider can live.
    pub fn add(
        &mut self,
        revocation: Revocation,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), LogoutError> {
        self.retain(|ended| now < ended.until);
        self.tokens.retain(|_, until| now < *until);
        if self.tokens.contains_key(&revocation.token) {
            return Err(LogoutError::Seen);
        }
        make_room(&mut self.tokens);
        if self.len >= REVOCATIONS_LEN_MAX {
            let all = self.ended.values().flat_map(OfProvider::all);
            let first = all.map(|ended| ended.until).min().unwrap_or(now);
            let mut gone = false;
            self.retain(|ended| {
                let goes = !gone && ended.until == first;
                gone |= goes;
                !goes
            });
        }
        self.tokens.insert(revocation.token, later(now, TOKEN_KEPT));
        let ended = Ended { at: now, until: later(now, lifetime) };
        let known = self.ended.entry(revocation.provider).or_default();
        match revocation.ends {
            Ends::ProviderSession(id) => drop(known.sessions.insert(id, ended)),
            Ends::Subject(subject) => drop(known.subjects.insert(subject, ended)),
            Ends::Login { subject, began } => {
                let logins = known.logins.entry(subject).or_default();
                logins.retain(|(other, _)| *other != began);
                logins.push((began, ended));
            }
        }
        self.len = self.ended.values().map(OfProvider::len).sum();
        self.newest = self.newest.max(Some(now));
        Ok(())
    }

    /// Whether the session of this provider with these marks was ended.
    pub fn ends(&self, provider: &str, Marks { provider_session, subject, began }: Marks<'_>) -> bool {
        let Some(known) = self.ended.get(provider) else { return false };
        let began = began.as_second();
        let covers = |ended: &Ended| began <= ended.at.as_second();
        provider_session.and_then(|id| known.sessions.get(id)).is_some_and(covers)
            || known.subjects.get(subject).is_some_and(covers)
            || known.logins.get(subject).is_some_and(|logins| logins.iter().any(|(login, _)| *login == began))
    }

    /// When a login that has just succeeded counts as begun: after every logout so far, although times are kept in seconds.
    pub fn begin(&self, now: Timestamp) -> Timestamp {
        match self.newest {
            Some(newest) if newest.as_second() >= now.as_second() => later(newest, Duration::from_secs(1)),
            Some(_) | None => now,
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&Ended) -> bool) {
        for known in self.ended.values_mut() {
            known.sessions.retain(|_, ended| keep(ended));
            known.subjects.retain(|_, ended| keep(ended));
            known.logins.retain(|_, logins| {
                logins.retain(|(_, ended)| keep(ended));
                !logins.is_empty()
            });
        }
        self.ended.retain(|_, known| known.len() > 0);
        self.len = self.ended.values().map(OfProvider::len).sum();
    }
}

impl OfProvider {
    fn len(&self) -> usize {
        self.sessions.len() + self.subjects.len() + self.logins.values().map(Vec::len).sum::<usize>()
    }

    fn all(&self) -> impl Iterator<Item = &Ended> {
        let logins = self.logins.values().flatten().map(|(_, ended)| ended);
        self.sessions.values().chain(self.subjects.values()).chain(logins)
    }
}

/// Drops the token that is kept for the shortest time when there is no room.
fn make_room(tokens: &mut HashMap<String, Timestamp>) {
    if tokens.len() < REVOCATIONS_LEN_MAX {
        return;
    }
    let first = tokens.iter().min_by_key(|(_, until)| **until).map(|(token, _)| token.clone());
    if let Some(first) = first {
        tokens.remove(&first);
    }
}

/// Longer than a token is good, whatever the clocks say.
const TOKEN_KEPT: Duration = Duration::from_secs(600);
