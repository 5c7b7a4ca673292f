//! Sessions in a store that all replicas share: for tokens that no cookie holds, for refresh tokens, and for logouts that
//! count at once wherever the store is asked.
//!
//! The browser has a [`Handle`], sealed as sessions in cookies are. Under the digest of its id the store holds the session,
//! sealed too: whoever reads the store learns nothing, and whoever writes to it can neither make a session nor put one in
//! the place of another. What is done with the store is said here ([`Write`], [`Keys`]) and done by the caller.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;

use super::codec::{Input, number, text};
use super::ring::{Binding, KeyRing, KeyRingError, Purpose};
use super::{Session, Worth};
use crate::secret::Secret;

/// Bytes of a session in the store, tokens included.
pub const STORED_BYTES_MAX: usize = 256 << 10;

/// The name of a session: random, so that knowing it is having it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId([u8; ID_BYTES]);

/// What the browser has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    pub id: SessionId,
    /// When the session ends, whatever happens.
    pub expires: Timestamp,
}

/// What a request's cookies hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleReading {
    Absent,
    /// There is a cookie, and it is not ours, or not any more.
    Unreadable,
    Handle(Handle),
}

/// A session as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub id: SessionId,
    pub session: Session,
    pub tokens: Tokens,
}

/// What the provider gave besides claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub refresh: Option<Secret>,
    /// The newest one: by it the provider knows whose session a logout ends.
    pub id: Option<Secret>,
    /// The access token ends then; `None` where no application is shown one.
    pub access_until: Option<Timestamp>,
    /// Time to ask for newer ones: before the access token ends.
    pub refresh_at: Option<Timestamp>,
}

/// One write to the store, of which all is done or nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// Where the session is.
    pub key: String,
    pub value: Vec<u8>,
    /// The store forgets it after this long.
    pub lifetime: Duration,
    /// Sets that the key is put in, to be found by a logout.
    pub found_by: Vec<String>,
    /// A session that this one takes the place of.
    pub replaces: Option<String>,
    pub manner: Manner,
}

/// Whether there is a session before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It begins.
    New,
    /// Only where it still is: a logout is not undone.
    Update,
}

/// How soon newer tokens are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Not yet, or there is nothing to ask with.
    No,
    /// While requests go on with what there is.
    Soon,
    /// What the application would be shown is over.
    First,
}

/// Where one provider's sessions are in the store.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// [`crate::oidc::Provider::key`].
    pub provider: &'a str,
}

impl SessionId {
    pub(crate) fn random() -> Result<Self, KeyRingError> {
        let mut id = [0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| KeyRingError::Random)?;
        Ok(SessionId(id))
    }

    /// Where the session is in the store. Nobody gets from there to the id.
    pub fn key(&self) -> String {
        hex("session:", &[&self.0])
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Write({}, {:?})", self.key, self.manner)
    }
}

impl Keys<'_> {
    /// The set of sessions that belong to one session at the provider (`sid`).
    pub fn of_provider_session(&self, id: &str) -> String {
        hex("sessions-of-sid:", &[self.provider.as_bytes(), id.as_bytes()])
    }

    /// The set of an account's sessions (`sub`).
    pub fn of_subject(&self, subject: &str) -> String {
        hex("sessions-of-sub:", &[self.provider.as_bytes(), subject.as_bytes()])
    }
}

impl Handle {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![HANDLE_VERSION];
        out.extend_from_slice(&self.id.0);
        number(u64::try_from(self.expires.as_second()).unwrap_or_default(), &mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Handle> {
        let mut input = Input(bytes);
        if input.byte()? != HANDLE_VERSION {
            return None;
        }
        let (id, rest) = input.0.split_at_checked(ID_BYTES)?;
        input.0 = rest;
        let handle = Handle { id: SessionId(id.try_into().ok()?), expires: input.time()? };
        input.0.is_empty().then_some(handle)
    }
}

impl Stored {
    /// What the browser is given for it.
    pub fn handle(&self) -> Handle {
        Handle { id: self.id, expires: self.session.expires }
    }

    /// Opens what the store has under the key of `id`; `None` for anything that was not put there by [`Stored::write`].
    pub fn open(ring: &KeyRing, provider: &str, id: SessionId, value: Vec<u8>) -> Option<Stored> {
        if value.len() > STORED_BYTES_MAX {
            return None;
        }
        let key = id.key();
        let plain = ring.open_bytes(&binding(&key, provider), value)?;
        let mut input = Input(&plain);
        if input.byte()? != STORED_VERSION {
            return None;
        }
        let flags = input.byte()?;
        if flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let refresh = if has(HAS_REFRESH) { Some(Secret::new(input.text()?)) } else { None };
        let id_token = if has(HAS_ID) { Some(Secret::new(input.text()?)) } else { None };
        let access_until = if has(HAS_ACCESS_UNTIL) { Some(input.time()?) } else { None };
        let refresh_at = if has(HAS_REFRESH_AT) { Some(input.time()?) } else { None };
        let tokens = Tokens { refresh, id: id_token, access_until, refresh_at };
        Some(Stored { id, session: Session::decode(input.0)?, tokens })
    }

    /// The write that puts it in the store. Errors when it is larger than a store should hold.
    pub fn write(
        &self,
        ring: &KeyRing,
        provider: &str,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Write, StoredError> {
        let Tokens { refresh, id, access_until, refresh_at } = &self.tokens;
        let flag = |flag: u8, set: bool| if set { flag } else { 0 };
        let flags = flag(HAS_REFRESH, refresh.is_some())
            | flag(HAS_ID, id.is_some())
            | flag(HAS_ACCESS_UNTIL, access_until.is_some())
            | flag(HAS_REFRESH_AT, refresh_at.is_some());
        let mut plain = vec![STORED_VERSION, flags];
        for token in [refresh, id].into_iter().flatten() {
            text(token.reveal(), &mut plain);
        }
        for time in [access_until, refresh_at].into_iter().flatten() {
            number(u64::try_from(time.as_second()).unwrap_or_default(), &mut plain);
        }
        plain.extend_from_slice(&self.session.encode());
        let key = self.id.key();
        let value = ring.seal_bytes(&binding(&key, provider), &plain, now)?;
        if value.len() > STORED_BYTES_MAX {
            return Err(StoredError::TooLarge(value.len()));
        }
        let keys = Keys { provider };
        let sid = self.session.provider_session.as_deref().map(|id| keys.of_provider_session(id));
        let found_by = sid.into_iter().chain([keys.of_subject(&self.session.identity.subject)]).collect();
        let left = self.session.expires.as_second().saturating_sub(now.as_second());
        let lifetime = Duration::from_secs(u64::try_from(left).unwrap_or_default().max(1));
        Ok(Write { key, value, lifetime, found_by, replaces: None, manner })
    }

    /// How soon newer tokens are needed for a session that is worth this.
    pub fn refresh_due(&self, worth: Worth, now: Timestamp) -> Refresh {
        if self.tokens.refresh.is_none() || worth == Worth::Expired {
            return Refresh::No;
        }
        if self.tokens.access_until.is_some_and(|until| now >= until) {
            return Refresh::First;
        }
        if worth == Worth::Renew || self.tokens.refresh_at.is_some_and(|at| now >= at) {
            return Refresh::Soon;
        }
        Refresh::No
    }
}

/// Why a session cannot be put in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("the session needs {0} bytes, and the store is given {STORED_BYTES_MAX} at the most")]
    TooLarge(usize),
    #[error(transparent)]
    Ring(#[from] KeyRingError),
}

/// The key binds: what stands under another one does not open.
fn binding<'a>(key: &'a str, provider: &'a str) -> Binding<'a> {
    Binding { purpose: Purpose::Stored, name: key, scope: "", provider }
}

/// A SHA-256 of parts that cannot run into each other.
fn hex(prefix: &str, parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = prefix.to_owned();
    for byte in context.finish().as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

const ID_BYTES: usize = 32;
/// Neither can be taken for a session's.
const HANDLE_VERSION: u8 = 0x81;
const STORED_VERSION: u8 = 0x82;

const HAS_REFRESH: u8 = 1;
const HAS_ID: u8 = 1 << 1;
const HAS_ACCESS_UNTIL: u8 = 1 << 2;
const HAS_REFRESH_AT: u8 = 1 << 3;
const KNOWN_FLAGS: u8 = (1 << 4) - 1;

#[cfg(test)]
mod tests;
