//! An issuer's public keys (RFC 7517), and when to fetch them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::identity::Invalid;
use crate::session::later;

/// Keys of one issuer.
pub const KEYS_LEN_MAX: usize = 64;
/// Keys this old are fetched again, so that withdrawn ones go.
pub const REFRESH_AFTER: Duration = Duration::from_secs(3600);
/// The least time between two fetches, whoever asks: a flood of tokens with unknown keys costs the issuer nothing.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The keys that an issuer publishes.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the set of keys is not JSON as RFC 7517 has it")]
    Form,
    #[error("the set holds more than {KEYS_LEN_MAX} keys")]
    TooMany,
    #[error("the set holds no key that this version can use")]
    Empty,
}

/// Why a token was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    UnknownKey,
    Invalid(Invalid),
}

impl Keys {
    /// Reads a set. Keys of kinds that are not known, or that are for encryption, are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeysError> {
        let set: Value = serde_json::from_slice(bytes).map_err(|_| KeysError::Form)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(KeysError::Form)?;
        if listed.len() > KEYS_LEN_MAX {
            return Err(KeysError::TooMany);
        }
        let keys: Vec<Key> = listed.iter().filter_map(Key::parse).collect();
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Keys { keys }) }
    }

    /// A key that both sides share, for issuers that sign with the client's secret. It stands alone: where a secret signs,
    /// no public key does, and the other way round.
    pub fn shared(secret: &[u8]) -> Self {
        let algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        Keys { keys: vec![Key { id: None, algorithms, key: DecodingKey::from_secret(secret) }] }
    }

    /// The claims of `token`, if one of these keys signed it with one of `algorithms`. Times and audience are not judged here.
    pub fn verify(&self, token: &str, algorithms: &[Algorithm]) -> Result<Map<String, Value>, Unverified> {
        let invalid = |invalid: Invalid| Err(Unverified::Invalid(invalid));
        // An algorithm that is not known (`none`) fails here as well.
        let Ok(header) = jsonwebtoken::decode_header(token) else { return invalid(Invalid::Malformed) };
        if !algorithms.contains(&header.alg) {
            return invalid(Invalid::Signature);
        }
        let fits = |key: &&Key| {
            key.algorithms.contains(&header.alg)
                && match (&header.kid, &key.id) {
                    (Some(wanted), Some(id)) => wanted == id,
                    (Some(_), None) | (None, Some(_)) | (None, None) => true,
                }
        };
        let mut candidates = self.keys.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err(Unverified::UnknownKey);
        }
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let verified = candidates
            .find_map(|key| jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation).ok());
        verified.map(|token| token.claims).ok_or(Unverified::Invalid(Invalid::Signature))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id.as_deref().unwrap_or("-"))).finish()
    }
}

impl Key {
    fn parse(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &RSA,
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
            // A shared secret in a published set is a mistake, and must not verify anything.
            _ => return None,
        };
        let named = value.get("alg").and_then(Value::as_str);
        let algorithms: Vec<Algorithm> = possible
            .iter()
            .copied()
            .filter(|algorithm| named.is_none_or(|named| format!("{algorithm:?}") == named))
            .collect();
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let usable = !algorithms.is_empty() && key.family() != AlgorithmFamily::Hmac;
        usable.then(|| Key { id: jwk.common.key_id.clone(), algorithms, key })
    }
}

/// What is known of an issuer's keys, and when more is to be learnt. The last good set is kept whatever happens.
///
/// `T` is the set itself, or what contains it.
#[derive(Clone, Debug)]
pub struct KeyCache<T = Keys> {
    keys: Option<Arc<T>>,
    fetched: Option<Timestamp>,
    attempted: Option<Timestamp>,
}

impl<T> Default for KeyCache<T> {
    fn default() -> Self {
        KeyCache { keys: None, fetched: None, attempted: None }
    }
}

impl<T> KeyCache<T> {
    /// The last good set.
    pub fn keys(&self) -> Option<&Arc<T>> {
        self.keys.as_ref()
    }

    /// Whether to fetch the set now, because it is not there or old, or because `unknown_key` was shown.
    pub fn is_due(&self, unknown_key: bool, now: Timestamp) -> bool {
        let rested = |pause: Duration| self.attempted.is_none_or(|last| now >= later(last, pause));
        match (&self.keys, self.fetched) {
            (Some(_), Some(fetched)) => {
                (unknown_key || now >= later(fetched, REFRESH_AFTER)) && rested(RETRY_AFTER)
            }
            (_, _) => rested(FIRST_RETRY_AFTER),
        }
    }

    /// A fetch begins.
    pub fn attempt(&mut self, now: Timestamp) {
        self.attempted = Some(now);
    }

    /// A fetch ended well.
    pub fn learn(&mut self, keys: T, now: Timestamp) {
        self.keys = Some(Arc::new(keys));
        self.fetched = Some(now);
    }
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// While there is no set at all, people wait for it.
const FIRST_RETRY_AFTER: Duration = Duration::from_secs(2);
