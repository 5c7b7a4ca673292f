//! The keys by which replicas know each other.
//!
//! Keys overlap, as those of sessions do: a new one is believed from the moment it is known, and used only [`OVERLAP`] later,
//! when every replica has heard of it; an old one is believed for [`OVERLAP`] after the last replica has left it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::login::ring::{replace_file, write_new_file};

/// A new key is believed for this long before it is used.
pub(crate) const OVERLAP: Duration = Duration::from_secs(600);
/// The age at which a key gets a successor.
const ROTATE_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// Keys in one ring.
const KEYS_LEN_MAX: usize = 8;

/// The keys of all replicas, newest first; never empty.
pub(crate) struct CallKeys {
    keys: Vec<CallKey>,
}

/// One key, which cannot be printed.
pub(crate) struct CallKey {
    id: KeyId,
    created: Timestamp,
    secret: [u8; SECRET_BYTES],
    mac: hmac::Key,
}

/// Names a key, without saying anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(super) [u8; 4]);

/// Why keys cannot be used. Nothing of what stands there is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("these are no keys that this version writes: {0}; remove them, and new ones are made")]
    Form(String),
    #[error("there is no key; remove what is there, and one is made")]
    Empty,
    #[error("there are more than {KEYS_LEN_MAX} keys; remove them, and new ones are made")]
    TooMany,
    #[error("the system gives no random bytes")]
    Random,
    #[error("{0}")]
    File(std::io::Error),
}

impl CallKeys {
    /// One key, which is new and used at once.
    pub(crate) fn new(now: Timestamp) -> Result<Self, KeysError> {
        Ok(CallKeys { keys: vec![CallKey::random(now)?] })
    }

    /// Reads what [`CallKeys::to_text`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, KeysError> {
        // The text of a parser may quote what it read.
        let form = |what: &str| KeysError::Form(what.to_owned());
        let stored: Stored = serde_json::from_str(text)
            .map_err(|error| form(&format!("line {} column {}", error.line(), error.column())))?;
        if stored.version != VERSION {
            return Err(form("their version is unknown"));
        }
        if stored.keys.len() > KEYS_LEN_MAX {
            return Err(KeysError::TooMany);
        }
        let mut keys = Vec::with_capacity(stored.keys.len());
        for key in stored.keys {
            let id = URL_SAFE_NO_PAD.decode(&key.id).ok().and_then(|id| id.try_into().ok());
            let secret = URL_SAFE_NO_PAD.decode(&key.secret).ok().and_then(|secret| secret.try_into().ok());
            let (Some(id), Some(secret)) = (id, secret) else {
                return Err(form("a key has not its length"));
            };
            keys.push(CallKey::new(KeyId(id), key.created, secret));
        }
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        keys.sort_by_key(|key| std::cmp::Reverse(key.created));
        Ok(CallKeys { keys })
    }

    /// The form in which they are stored. It is as secret as the keys.
    pub(crate) fn to_text(&self) -> String {
        let keys = self.keys.iter().map(|key| StoredKey {
            id: URL_SAFE_NO_PAD.encode(key.id.0),
            created: key.created,
            secret: URL_SAFE_NO_PAD.encode(key.secret),
        });
        // Nothing in it can fail to serialise.
        serde_json::to_string(&Stored { version: VERSION, keys: keys.collect() }).unwrap_or_default()
    }

    /// Reads the keys in `file`, makes them if there are none, and rotates them when their time has come. Other replicas may
    /// do the same with the same file: whoever comes late takes what is there.
    pub(crate) fn from_file(file: &Path, now: Timestamp) -> Result<Self, KeysError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let keys = CallKeys::new(now)?;
                match write_new_file(file, &keys.to_text()) {
                    Ok(()) => return Ok(keys),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        std::fs::read_to_string(file).map_err(KeysError::File)?
                    }
                    Err(error) => return Err(KeysError::File(error)),
                }
            }
            Err(error) => return Err(KeysError::File(error)),
        };
        let keys = CallKeys::parse(&text)?;
        match keys.rotated(now)? {
            Some(rotated) => {
                replace_file(file, &rotated.to_text()).map_err(KeysError::File)?;
                Ok(rotated)
            }
            None => Ok(keys),
        }
    }

    /// The keys that should take the place of these: with a new one when the newest is old, without those that nobody uses
    /// any more. `None` while there is nothing to do.
    pub(crate) fn rotated(&self, now: Timestamp) -> Result<Option<CallKeys>, KeysError> {
        let newest = self.keys.first().ok_or(KeysError::Empty)?;
        let due = now >= later(newest.created, ROTATE_AFTER);
        // The keys come newest first, so a key's successor stands before it.
        let is_needed = |index: usize| {
            let successor = index.checked_sub(1).and_then(|before| self.keys.get(before));
            successor.is_none_or(|next| now < later(next.created, 2 * OVERLAP))
        };
        if !due && (0..self.keys.len()).all(is_needed) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        if due {
            keys.push(CallKey::random(now)?);
        }
        for (index, key) in self.keys.iter().enumerate() {
            if is_needed(index) && keys.len() < KEYS_LEN_MAX {
                keys.push(CallKey::new(key.id, key.created, key.secret));
            }
        }
        Ok(Some(CallKeys { keys }))
    }

    /// The key to call with.
    pub(super) fn calling(&self, now: Timestamp) -> Option<&CallKey> {
        let is_known = |key: &&CallKey| now >= later(key.created, OVERLAP);
        self.keys.iter().find(is_known).or(self.keys.last())
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&CallKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl CallKey {
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn mac(&self) -> &hmac::Key {
        &self.mac
    }

    fn random(created: Timestamp) -> Result<Self, KeysError> {
        let (mut id, mut secret) = ([0; 4], [0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut id).map_err(|_| KeysError::Random)?;
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| KeysError::Random)?;
        Ok(CallKey::new(KeyId(id), created, secret))
    }

    fn new(id: KeyId, created: Timestamp, secret: [u8; SECRET_BYTES]) -> Self {
        CallKey { id, created, secret, mac: hmac::Key::new(hmac::HMAC_SHA256, &secret) }
    }
}

impl fmt::Debug for CallKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallKeys({} keys)", self.keys.len())
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    id: String,
    created: Timestamp,
    secret: String,
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Of the stored form.
const VERSION: u32 = 1;
const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests;
