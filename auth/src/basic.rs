//! `Authorization: Basic` against an htpasswd file (RFC 7617).
//!
//! A password hash costs milliseconds, on purpose: [`Users::check`] must run on a thread where nothing waits for it, and few
//! at a time. What was verified once is remembered for a while ([`Verified`]), bound to the hash that it was verified
//! against, so that a changed password counts at once.

mod apr1;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use crate::identity::{Identity, Invalid};
use crate::secret::{Secret, same};
use crate::session::later;
use crate::texts::Texts;

/// Users in one file.
pub const USERS_LEN_MAX: usize = 100_000;
/// A password that is longer is wrong. Hashing is not for books.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// The highest cost of bcrypt that is taken: about two seconds.
pub const BCRYPT_COST_MAX: u32 = 15;
/// The most memory that one argon2 hash may ask for.
pub const ARGON2_KIB_MAX: u32 = 256 << 10;
/// The most passes of one argon2 hash.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Verified passwords that are remembered.
pub const VERIFIED_LEN_MAX: usize = 4096;
/// For how long.
pub const VERIFIED_FOR: Duration = Duration::from_secs(600);

/// Name and password as a request shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// Who there is, with a hash for each.
pub struct Users {
    users: HashMap<String, Hash>,
    /// Every user's groups.
    groups: Texts,
}

/// Why a file of users cannot be used. Lines count from 1; no hash is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    #[error("line {line}: not of the form user:hash")]
    Form { line: usize },
    #[error(
        "line {line}: the hash of {user} is neither bcrypt ($2y$), argon2 ($argon2id$) nor apr1 ($apr1$); make one with `htpasswd -B`"
    )]
    Kind { line: usize, user: String },
    #[error("line {line}: the hash of {user} is damaged")]
    Damaged { line: usize, user: String },
    #[error("line {line}: the hash of {user} costs more than a request may; make one with a lower cost")]
    Costly { line: usize, user: String },
    #[error("line {line}: {user} is there twice")]
    Twice { line: usize, user: String },
    #[error("there is no user in it, so nobody could enter")]
    Empty,
    #[error("there are more than {USERS_LEN_MAX} users in it")]
    TooMany,
}

#[derive(Clone, PartialEq, Eq)]
enum Hash {
    Bcrypt(String),
    Argon2(String),
    Apr1 { salt: String, digest: String },
}

impl Credentials {
    /// Reads `Authorization`; `None` when it is absent or of another scheme.
    pub fn of(headers: &HeaderMap) -> Option<Result<Self, Invalid>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next()?;
        let (scheme, rest) = value.as_bytes().split_at_checked(b"basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        // With two of them, this edge and the application might believe different ones.
        let read = if values.next().is_some() { None } else { Credentials::decode(rest) };
        Some(read.ok_or(Invalid::Malformed))
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        let bytes = LENIENT.decode(encoded.trim_ascii()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        let sane = !user.is_empty() && !text.bytes().any(|byte| byte.is_ascii_control());
        (sane && password.len() <= PASSWORD_BYTES_MAX)
            .then(|| Credentials { user: user.to_owned(), password: Secret::new(password) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Users {
    /// Reads an htpasswd file: `user:hash` lines, blank lines and `#` comments. `groups` are what every user of it is in.
    pub fn parse(text: &str, groups: Texts) -> Result<Self, HtpasswdError> {
        let mut users = HashMap::new();
        for (index, entry) in text.lines().enumerate() {
            let (line, entry) = (index + 1, entry.trim());
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let (user, hash) = entry
                .split_once(':')
                .filter(|(user, _)| !user.is_empty())
                .ok_or(HtpasswdError::Form { line })?;
            let hash = Hash::parse(hash, line, user)?;
            if users.len() == USERS_LEN_MAX {
                return Err(HtpasswdError::TooMany);
            }
            if users.insert(user.to_owned(), hash).is_some() {
                return Err(HtpasswdError::Twice { line, user: user.to_owned() });
            }
        }
        if users.is_empty() { Err(HtpasswdError::Empty) } else { Ok(Users { users, groups }) }
    }

    /// Whether this is the user's password. **Slow**: milliseconds to seconds of a processor.
    ///
    /// A user that is not there takes as long as one that is, so that names cannot be found out by the clock.
    pub fn check(&self, credentials: &Credentials) -> bool {
        let password = credentials.password.reveal();
        match self.users.get(&credentials.user) {
            Some(hash) => hash.check(password),
            None => {
                if let Some(hash) = self.users.values().next() {
                    let _ = hash.check(password);
                }
                false
            }
        }
    }

    /// Who these credentials belong to, once they are known to be good.
    pub fn identity(&self, credentials: &Credentials) -> Identity {
        Identity { groups: self.groups.clone(), ..Identity::named(&credentials.user) }
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.users == other.users && self.groups == other.groups
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({} users)", self.users.len())
    }
}

/// Passwords that were verified of late. For all workers of a process.
pub struct Verified {
    key: hmac::Key,
    until: Mutex<HashMap<[u8; 32], Timestamp>>,
}

impl Verified {
    /// An empty one. `None` when the system gives no random bytes.
    pub fn new() -> Option<Self> {
        // Of this process alone: what a dump of its memory shows is good for nothing elsewhere.
        let mut key = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        Some(Verified { key: hmac::Key::new(hmac::HMAC_SHA256, &key), until: Mutex::default() })
    }

    /// Whether these credentials were verified of late, against the hash that is in force now. Takes about a microsecond.
    pub fn recall(&self, users: &Users, credentials: &Credentials, now: Timestamp) -> bool {
        let Some(tag) = self.tag(users, credentials) else { return false };
        let until = self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.get(&tag).is_some_and(|until| now < *until)
    }

    /// Remembers that [`Users::check`] said yes.
    pub fn remember(&self, users: &Users, credentials: &Credentials, now: Timestamp) {
        let Some(tag) = self.tag(users, credentials) else { return };
        let mut until = self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if until.len() >= VERIFIED_LEN_MAX {
            until.retain(|_, until| now < *until);
            // Still full: all are asked for their password's hash once more.
            if until.len() >= VERIFIED_LEN_MAX {
                until.clear();
            }
        }
        until.insert(tag, later(now, VERIFIED_FOR));
    }

    fn tag(&self, users: &Users, credentials: &Credentials) -> Option<[u8; 32]> {
        let hash = users.users.get(&credentials.user)?;
        let mut context = hmac::Context::with_key(&self.key);
        let (kind, salt, digest) = hash.parts();
        for part in [kind, salt, digest, &credentials.user, credentials.password.reveal()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().try_into().ok()
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(…)")
    }
}

impl Hash {
    fn parse(hash: &str, line: usize, user: &str) -> Result<Self, HtpasswdError> {
        let damaged = || HtpasswdError::Damaged { line, user: user.to_owned() };
        let costly = || HtpasswdError::Costly { line, user: user.to_owned() };
        if ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) {
            let cost: u32 = hash.split('$').nth(2).and_then(|cost| cost.parse().ok()).ok_or_else(damaged)?;
            if cost > BCRYPT_COST_MAX {
                return Err(costly());
            }
            // $2y$ + two digits + $ + 22 of salt + 31 of hash.
            let tail = hash.get(7..).unwrap_or_default();
            let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
            if !(4..=31).contains(&cost) || hash.len() != 60 || !tail.bytes().all(alphabet) {
                return Err(damaged());
            }
            return Ok(Hash::Bcrypt(hash.to_owned()));
        }
        if hash.starts_with("$argon2") {
            let parsed = PasswordHash::new(hash).map_err(|_| damaged())?;
            let parameters = argon2::Params::try_from(&parsed).map_err(|_| damaged())?;
            if parsed.hash.is_none() || parsed.salt.is_none() {
                return Err(damaged());
            }
            if parameters.m_cost() > ARGON2_KIB_MAX || parameters.t_cost() > ARGON2_PASSES_MAX {
                return Err(costly());
            }
            return Ok(Hash::Argon2(hash.to_owned()));
        }
        if let Some(rest) = hash.strip_prefix("$apr1$") {
            let (salt, digest) = rest.split_once('$').ok_or_else(damaged)?;
            if salt.len() > 8 || digest.len() != 22 {
                return Err(damaged());
            }
            return Ok(Hash::Apr1 { salt: salt.to_owned(), digest: digest.to_owned() });
        }
        Err(HtpasswdError::Kind { line, user: user.to_owned() })
    }

    fn check(&self, password: &str) -> bool {
        match self {
            Hash::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Hash::Argon2(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Hash::Apr1 { salt, digest } => {
                same(apr1::digest(password.as_bytes(), salt.as_bytes()).as_bytes(), digest.as_bytes())
            }
        }
    }

    fn parts(&self) -> (&str, &str, &str) {
        match self {
            Hash::Bcrypt(hash) => ("bcrypt", "", hash),
            Hash::Argon2(hash) => ("argon2", "", hash),
            Hash::Apr1 { salt, digest } => ("apr1", salt, digest),
        }
    }
}

/// With or without padding: clients do both.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
