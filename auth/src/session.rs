//! Login sessions: what is remembered, how it is sealed, and in which cookies it travels.
//!
//! A session lives in the browser, sealed with a key that every replica has ([`KeyRing`]), so that any of them can read it;
//! or in a store that the replicas share, and the browser has its sealed name ([`stored`]). Nothing is stored here. Who may
//! enter is judged anew at each request and is not part of a session.

mod codec;
mod cookie;
mod ring;
pub mod stored;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::identity::Identity;

pub(crate) use cookie::FLOW_SECONDS_MAX as FLOW_SECONDS;
pub use cookie::{
    COOKIE_BYTES_MAX, CookieError, Cookies, FlowCookie, PARTS_MAX, Reading, SameSite, Transport,
    strip_cookies,
};
pub use ring::{Binding, KeyRing, KeyRingError, OVERLAP, Purpose, ROTATE_AFTER};

/// A login that succeeded, as the cookie remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub identity: Identity,
    /// The provider's name for its own session, which a back-channel logout names (`sid`).
    pub provider_session: Option<String>,
    /// When the login happened.
    pub began: Timestamp,
    /// When the provider last vouched for it.
    pub confirmed: Timestamp,
    /// When it was last sealed; what the idle lifetime counts from.
    pub seen: Timestamp,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From login to the end, however busy. Default: 24 h.
    pub session: Duration,
    /// Without a request. Default: none.
    pub idle: Option<Duration>,
    /// After this the provider is asked again, unseen, at the next navigation. Default: 1 h.
    pub renew: Option<Duration>,
}

/// What a session that could be opened is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Good.
    Live,
    /// Good, and to be sealed anew, or it would end although its owner is not idle.
    Reseal,
    /// Good for what runs in the background; a navigation asks the provider again.
    Renew,
    /// Over.
    Expired,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Lifetimes {
            session: Duration::from_secs(24 * 3600),
            idle: None,
            renew: Some(Duration::from_secs(3600)),
        }
    }
}

/// By what a logout finds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks<'s> {
    pub provider_session: Option<&'s str>,
    pub subject: &'s str,
    pub began: Timestamp,
}

impl Session {
    /// What a logout that ends it would name.
    pub fn marks(&self) -> Marks<'_> {
        Marks {
            provider_session: self.provider_session.as_deref(),
            subject: &self.identity.subject,
            began: self.began,
        }
    }

    /// A session that begins now.
    pub fn begin(
        identity: Identity,
        provider_session: Option<String>,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Self {
        Session {
            identity,
            provider_session,
            began: now,
            confirmed: now,
            seen: now,
            expires: later(now, lifetimes.session),
        }
    }

    /// What it is worth at `now`. Lifetimes that were shortened since the login count as they are today.
    pub fn worth(&self, lifetimes: &Lifetimes, now: Timestamp) -> Worth {
        if now >= self.expires || now >= later(self.began, lifetimes.session) {
            return Worth::Expired;
        }
        if lifetimes.idle.is_some_and(|idle| now >= later(self.seen, idle)) {
            return Worth::Expired;
        }
        if lifetimes.renew.is_some_and(|renew| now >= later(self.confirmed, renew)) {
            return Worth::Renew;
        }
        // An eighth of the time that is allowed: rarely enough, and in time.
        if lifetimes.idle.is_some_and(|idle| now >= later(self.seen, idle / 8)) {
            return Worth::Reseal;
        }
        Worth::Live
    }
}

pub(crate) fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}
