//! Logging out: here, at the provider (RP-Initiated Logout 1.0), and because the provider says so (Back-Channel Logout 1.0).

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use openidconnect::url::Url;

use super::flow::Step;
use super::{Metadata, Provider, SIGNED_OUT_PATH, Visit, return_address};
use crate::bearer::{ALGORITHMS, Algorithm, Unverified, check_claims};
use crate::identity::Invalid;
use crate::session::{Session, later};

/// Sessions and accounts that are logged out and remembered, for all providers.
pub const REVOCATIONS_LEN_MAX: usize = 100_000;
/// A logout token is as old as this at the most.
const TOKEN_SECONDS_MAX: i64 = 300;
/// The one event that is meant (Back-Channel Logout §2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout token ends.
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
}

/// Who is logged out although the browser still has a cookie. Ends with the sessions that it is about.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// By provider and what is ended: sessions that were confirmed until then are over.
    ended: HashMap<(String, Ends), Ended>,
    /// Tokens that were seen.
    tokens: HashMap<String, Timestamp>,
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
        let Some(mut address) = end_session else { return Step { location: after, cookies } };
        address
            .query_pairs_mut()
            .append_pair("client_id", &self.settings().client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}{SIGNED_OUT_PATH}", visit.origin()));
        Step { location: address.into(), cookies }
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

    /// Takes up a logout. `lifetime` is the longest that a session of this provider can live.
    pub fn add(
        &mut self,
        revocation: Revocation,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), LogoutError> {
        self.ended.retain(|_, ended| now < ended.until);
        self.tokens.retain(|_, until| now < *until);
        if self.tokens.contains_key(&revocation.token) {
            return Err(LogoutError::Seen);
        }
        make_room(&mut self.tokens, |until| *until);
        make_room(&mut self.ended, |ended| ended.until);
        self.tokens.insert(revocation.token, later(now, TOKEN_KEPT));
        let ended = Ended { at: now, until: later(now, lifetime) };
        self.ended.insert((revocation.provider, revocation.ends), ended);
        Ok(())
    }

    /// Whether `session` of this provider was ended.
    pub fn ends(&self, provider: &str, session: &Session) -> bool {
        if self.ended.is_empty() {
            return false;
        }
        let was_ended = |ends: Ends| {
            self.ended
                .get(&(provider.to_owned(), ends))
                .is_some_and(|ended| session.began.as_second() <= ended.at.as_second())
        };
        let by_session =
            session.provider_session.as_ref().is_some_and(|id| was_ended(Ends::ProviderSession(id.clone())));
        by_session || was_ended(Ends::Subject(session.identity.subject.clone()))
    }
}

/// Drops what ends first when there is no room.
fn make_room<K: Clone + Eq + std::hash::Hash, V>(
    entries: &mut HashMap<K, V>,
    until: impl Fn(&V) -> Timestamp,
) {
    if entries.len() < REVOCATIONS_LEN_MAX {
        return;
    }
    let first = entries.iter().min_by_key(|(_, value)| until(value)).map(|(key, _)| key.clone());
    if let Some(first) = first {
        entries.remove(&first);
    }
}

/// Longer than a token is good, whatever the clocks say.
const TOKEN_KEPT: Duration = Duration::from_secs(600);
