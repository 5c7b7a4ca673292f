//! The keys that sessions are sealed with, and sealing itself.
//!
//! Keys overlap: a new one opens cookies from the moment it is known, and seals only [`OVERLAP`] later, when every replica
//! has heard of it; an old one opens until no session can be left that it has sealed. Each purpose has a key of its own,
//! derived from the ring's, and what is sealed is bound to the purpose, the cookie's name, the place it is for and the
//! provider: it cannot be used as anything else, by anybody else, anywhere else.
//!
//! The cipher is AES-256-GCM-SIV (RFC 8452), with which random nonces are safe for as many cookies as there may ever be.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::later;

/// A new key opens for this long before it seals.
pub const OVERLAP: Duration = Duration::from_secs(600);
/// The age at which a key gets a successor.
pub const ROTATE_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a key opens after its successor began to seal: no session lives longer.
pub(super) const RETIRE_AFTER: Duration = Duration::from_secs(31 * 24 * 3600);
/// Keys in one ring.
pub(super) const KEYS_LEN_MAX: usize = 16;

/// What is sealed. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A login session.
    Session,
    /// A login under way.
    Flow,
    /// What one host of ours tells another through the browser.
    Ticket,
    /// The name of a session that a store holds.
    Handle,
    /// A session in a store.
    Stored,
}

/// What sealed text is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub purpose: Purpose,
    /// The cookie's name.
    pub name: &'a str,
    /// The host, or the domain, that it is for.
    pub scope: &'a str,
    /// The provider, with all that makes it the one it is ([`crate::oidc::Settings::key`]).
    pub provider: &'a str,
}

/// The keys of all replicas, newest first; never empty.
pub struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: [u8; ID_BYTES],
    created: Timestamp,
    secret: [u8; SECRET_BYTES],
    purposes: [RandomizedNonceKey; Purpose::ALL.len()],
}

/// Why a ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error(
        "the key ring is not the JSON that this version writes: {0}; remove it, and a new one is made (everyone logs in again)"
    )]
    Form(String),
    #[error("the key ring holds no key")]
    Empty,
    #[error("the key ring holds more than {KEYS_LEN_MAX} keys")]
    TooMany,
    #[error("the system gives no random bytes")]
    Random,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

impl Purpose {
    const ALL: [Purpose; 5] =
        [Purpose::Session, Purpose::Flow, Purpose::Ticket, Purpose::Handle, Purpose::Stored];

    fn label(self) -> &'static str {
        match self {
            Purpose::Session => "vestibule session v1",
            Purpose::Flow => "vestibule flow v1",
            Purpose::Ticket => "vestibule ticket v1",
            Purpose::Handle => "vestibule session handle v1",
            Purpose::Stored => "vestibule stored session v1",
        }
    }
}

impl KeyRing {
    /// A ring of one new key, which seals at once.
    pub fn new(now: Timestamp) -> Result<Self, KeyRingError> {
        Ok(KeyRing { keys: vec![Key::random(now)?] })
    }

    /// Reads what [`KeyRing::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        // The text of a parser may quote what it read.
        let form = |what: &str| KeyRingError::Form(what.to_owned());
        let stored: Stored = serde_json::from_str(text)
            .map_err(|error| form(&format!("line {} column {}", error.line(), error.column())))?;
        if stored.version != VERSION {
            return Err(form("its version is unknown"));
        }
        if stored.keys.len() > KEYS_LEN_MAX {
            return Err(KeyRingError::TooMany);
        }
        let mut keys = Vec::with_capacity(stored.keys.len());
        for key in stored.keys {
            let id = URL_SAFE_NO_PAD.decode(&key.id).ok().and_then(|id| id.try_into().ok());
            let secret = URL_SAFE_NO_PAD.decode(&key.secret).ok().and_then(|secret| secret.try_into().ok());
            let (Some(id), Some(secret)) = (id, secret) else {
                return Err(form("a key has not its length"));
            };
            keys.push(Key::new(id, key.created, secret)?);
        }
        if keys.is_empty() {
            return Err(KeyRingError::Empty);
        }
        keys.sort_by_key(|key| std::cmp::Reverse(key.created));
        Ok(KeyRing { keys })
    }

    /// The form in which it is stored. It is as secret as the keys.
    pub fn to_text(&self) -> String {
        let keys = self.keys.iter().map(|key| StoredKey {
            id: URL_SAFE_NO_PAD.encode(key.id),
            created: key.created,
            secret: URL_SAFE_NO_PAD.encode(key.secret),
        });
        // Nothing in it can fail to serialise.
        serde_json::to_string(&Stored { version: VERSION, keys: keys.collect() }).unwrap_or_default()
    }

    /// The ring that should take this one's place: with a new key when the newest is old, without those that nothing can
    /// need any more. `None` while there is nothing to do.
    pub fn rotated(&self, now: Timestamp) -> Result<Option<KeyRing>, KeyRingError> {
        let newest = self.keys.first().ok_or(KeyRingError::Empty)?;
        let due = now >= later(newest.created, ROTATE_AFTER);
        // The keys come newest first, so a key's successor stands before it.
        let successor = |index: usize| index.checked_sub(1).and_then(|before| self.keys.get(before));
        let is_needed = |index: usize| {
            successor(index).is_none_or(|next| now < later(later(next.created, OVERLAP), RETIRE_AFTER))
        };
        if !due && (0..self.keys.len()).all(is_needed) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        if due {
            keys.push(Key::random(now)?);
        }
        for (index, key) in self.keys.iter().enumerate() {
            if is_needed(index) && keys.len() < KEYS_LEN_MAX {
                keys.push(Key::new(key.id, key.created, key.secret)?);
            }
        }
        Ok(Some(KeyRing { keys }))
    }

    /// The same ring with one more key, now: for when a key may have become known.
    pub fn with_new_key(&self, now: Timestamp) -> Result<KeyRing, KeyRingError> {
        let mut keys = vec![Key::random(now)?];
        for key in self.keys.iter().take(KEYS_LEN_MAX - 1) {
            keys.push(Key::new(key.id, key.created, key.secret)?);
        }
        Ok(KeyRing { keys })
    }

    /// Seals `plain`. The text is safe in a cookie and in an address.
    pub fn seal(&self, binding: &Binding<'_>, plain: &[u8], now: Timestamp) -> Result<String, KeyRingError> {
        Ok(URL_SAFE_NO_PAD.encode(self.seal_bytes(binding, plain, now)?))
    }

    /// Opens what [`KeyRing::seal`] sealed with the same binding; `None` for anything else, whatever it is.
    pub fn open(&self, binding: &Binding<'_>, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > SEALED_BYTES_MAX {
            return None;
        }
        self.open_bytes(binding, URL_SAFE_NO_PAD.decode(sealed).ok()?)
    }

    /// [`KeyRing::seal`] for what need not be text.
    pub(super) fn seal_bytes(
        &self,
        binding: &Binding<'_>,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, KeyRingError> {
        let ready = |key: &&Key| now >= later(key.created, OVERLAP);
        let key = self.keys.iter().find(ready).or(self.keys.last()).ok_or(KeyRingError::Empty)?;
        let mut sealed = plain.to_vec();
        let nonce = key.purposes[binding.purpose as usize]
            .seal_in_place_append_tag(Aad::from(binding.bytes()), &mut sealed)
            .map_err(|_| KeyRingError::Random)?;
        let mut whole = Vec::with_capacity(OVERHEAD_BYTES + plain.len());
        whole.push(VERSION_BYTE);
        whole.extend_from_slice(&key.id);
        whole.extend_from_slice(nonce.as_ref());
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// Opens what [`KeyRing::seal_bytes`] sealed with the same binding.
    pub(super) fn open_bytes(&self, binding: &Binding<'_>, mut whole: Vec<u8>) -> Option<Vec<u8>> {
        if whole.len() < OVERHEAD_BYTES || whole[0] != VERSION_BYTE {
            return None;
        }
        let key = self.keys.iter().find(|key| key.id == whole[1..1 + ID_BYTES])?;
        let nonce = Nonce::try_assume_unique_for_key(&whole[1 + ID_BYTES..PREFIX_BYTES]).ok()?;
        let opened = key.purposes[binding.purpose as usize]
            .open_in_place(nonce, Aad::from(binding.bytes()), &mut whole[PREFIX_BYTES..])
            .ok()?
            .len();
        whole.truncate(PREFIX_BYTES + opened);
        whole.drain(..PREFIX_BYTES);
        Some(whole)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

impl Key {
    fn random(created: Timestamp) -> Result<Self, KeyRingError> {
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| KeyRingError::Random)?;
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| KeyRingError::Random)?;
        Key::new(id, created, secret)
    }

    fn new(id: [u8; ID_BYTES], created: Timestamp, secret: [u8; SECRET_BYTES]) -> Result<Self, KeyRingError> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"vestibule key ring").extract(&secret);
        let derive = |purpose: Purpose| -> Option<RandomizedNonceKey> {
            let mut key = [0; SECRET_BYTES];
            root.expand(&[purpose.label().as_bytes()], Length).ok()?.fill(&mut key).ok()?;
            RandomizedNonceKey::new(&AES_256_GCM_SIV, &key).ok()
        };
        let purposes: Option<Vec<RandomizedNonceKey>> = Purpose::ALL.into_iter().map(derive).collect();
        let purposes = purposes.and_then(|keys| keys.try_into().ok());
        let purposes = purposes.ok_or_else(|| KeyRingError::Form("a key cannot be derived".to_owned()))?;
        Ok(Key { id, created, secret, purposes })
    }
}

/// How many bytes are derived.
struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        SECRET_BYTES
    }
}

impl Binding<'_> {
    /// Unambiguous: every part but the last has its length in front.
    fn bytes(&self) -> SmallVec<[u8; 192]> {
        let mut bytes = SmallVec::new();
        bytes.push(VERSION_BYTE);
        for part in [self.purpose.label(), self.name, self.scope] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(self.provider.as_bytes());
        bytes
    }
}

/// Of the stored form.
const VERSION: u32 = 1;
/// Of the sealed form.
const VERSION_BYTE: u8 = 1;
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const PREFIX_BYTES: usize = 1 + ID_BYTES + NONCE_BYTES;
const OVERHEAD_BYTES: usize = PREFIX_BYTES + TAG_BYTES;
/// Longest sealed text that is looked at.
const SEALED_BYTES_MAX: usize = 16 << 10;
