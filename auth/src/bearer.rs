//! `Authorization: Bearer` with a JSON Web Token: machines that call APIs (RFC 6750, RFC 7519, RFC 9068).
//!
//! The algorithm is never taken from the token: it must be in our list, and the key must be one for it. What was verified is
//! remembered until it expires, because a signature costs more than all else that happens to a request.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::identity::{ClaimNames, Identity, Invalid};

pub use jsonwebtoken::Algorithm;
pub use keys::{KEYS_LEN_MAX, KeyCache, Keys, KeysError, REFRESH_AFTER, RETRY_AFTER, Unverified};

/// A longer token is not looked at.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far clocks may differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 60;
/// Verified tokens that are remembered, of one issuer.
pub const VERIFIED_LEN_MAX: usize = 4096;

/// What a token must say to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    pub issuer: String,
    /// One of them must be in `aud`. Never empty: a token for somebody else is not for us.
    pub audiences: Vec<String>,
    /// Default: [`ALGORITHMS`].
    pub algorithms: Vec<Algorithm>,
    pub claims: ClaimNames,
    /// Claims that rules and headers name.
    pub extra_claims: Vec<String>,
}

/// All that are made with a key pair. A secret that is shared would let every application that knows it make tokens.
pub const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Known(Arc<Identity>),
    Invalid(Invalid),
    /// Its key is not among those that are known; newer ones may have it.
    UnknownKey,
}

/// The token of a request; `None` when there is none of this scheme.
pub fn token(headers: &HeaderMap) -> Option<Result<&str, Invalid>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    let (scheme, rest) = value.as_bytes().split_at_checked(b"bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let token = std::str::from_utf8(rest.trim_ascii()).ok();
    let fits = |token: &&str| !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    // With two of them, this edge and the application might believe different ones.
    let token = if values.next().is_some() { None } else { token.filter(fits) };
    Some(token.ok_or(Invalid::Malformed))
}

/// By the digest of the token: whose it is, and until when.
type VerifiedTokens = HashMap<[u8; 32], (Arc<Identity>, Timestamp)>;

/// Judges tokens of one issuer, for all workers of a process.
#[derive(Debug)]
pub struct Judge {
    expected: Expectations,
    verified: Mutex<VerifiedTokens>,
}

impl Judge {
    pub fn new(expected: Expectations) -> Self {
        Judge { expected, verified: Mutex::default() }
    }

    /// What this judge was made with.
    pub fn expected(&self) -> &Expectations {
        &self.expected
    }

    /// Verifies signature and claims against the issuer's `keys`.
    pub fn judge(&self, token: &str, keys: &Keys, now: Timestamp) -> Judgement {
        let tag: [u8; 32] = digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default();
        if let Some(identity) = self.recall(&tag, now) {
            return Judgement::Known(identity);
        }
        let claims = match keys.verify(token, &self.expected.algorithms) {
            Ok(claims) => claims,
            Err(Unverified::UnknownKey) => return Judgement::UnknownKey,
            Err(Unverified::Invalid(invalid)) => return Judgement::Invalid(invalid),
        };
        match self.accept(&claims, now) {
            Ok((identity, until)) => {
                let identity = Arc::new(identity);
                self.remember(tag, &identity, until, now);
                Judgement::Known(identity)
            }
            Err(invalid) => Judgement::Invalid(invalid),
        }
    }

    /// Forgets what was verified: a key that was withdrawn vouches for nothing any more.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn accept(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(Identity, Timestamp), Invalid> {
        let until = check_claims(claims, &self.expected.issuer, &self.expected.audiences, now)?;
        // A logout token is signed with the same keys and names the same audience (Back-Channel Logout §2.4).
        if claims.contains_key("events") {
            return Err(Invalid::Malformed);
        }
        let identity = Identity::from_claims(claims, &self.expected.claims, &self.expected.extra_claims);
        Ok((identity.ok_or(Invalid::Malformed)?, until))
    }

    fn recall(&self, tag: &[u8; 32], now: Timestamp) -> Option<Arc<Identity>> {
        let verified = self.lock();
        let (identity, until) = verified.get(tag)?;
        (now < *until).then(|| Arc::clone(identity))
    }

    fn remember(&self, tag: [u8; 32], identity: &Arc<Identity>, until: Timestamp, now: Timestamp) {
        let mut verified = self.lock();
        if verified.len() >= VERIFIED_LEN_MAX {
            verified.retain(|_, (_, until)| now < *until);
            if verified.len() >= VERIFIED_LEN_MAX {
                verified.clear();
            }
        }
        verified.insert(tag, (Arc::clone(identity), until));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VerifiedTokens> {
        self.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Issuer, audience and times of a token whose signature is good (RFC 7519 §4.1). Returns when it ends.
pub(crate) fn check_claims(
    claims: &Map<String, Value>,
    issuer: &str,
    audiences: &[String],
    now: Timestamp,
) -> Result<Timestamp, Invalid> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Invalid::Issuer);
    }
    let is_ours = |audience: &Value| {
        audience.as_str().is_some_and(|audience| audiences.iter().any(|ours| ours == audience))
    };
    let meant = match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !meant {
        return Err(Invalid::Audience);
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        // Whole seconds are enough; a fraction is cut.
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() && (0.0..1e11).contains(&seconds) => {
                Ok(Some(seconds as i64))
            }
            Some(_) | None => Err(Invalid::Malformed),
        },
    };
    let now = now.as_second();
    let expires = time("exp")?.ok_or(Invalid::Malformed)?.saturating_add(LEEWAY_SECONDS);
    if now >= expires {
        return Err(Invalid::Expired);
    }
    for begins in [time("nbf")?, time("iat")?].into_iter().flatten() {
        if now.saturating_add(LEEWAY_SECONDS) < begins {
            return Err(Invalid::NotYet);
        }
    }
    Timestamp::from_second(expires).map_err(|_| Invalid::Malformed)
}
