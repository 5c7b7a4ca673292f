//! Session tickets whose keys every replica derives for itself (RFC 8446 §4.6.1, RFC 5077).
//!
//! A key is HKDF(secret, epoch, listener, digest of its client-certificate policies): replicas that share the secret take
//! each other's tickets without talking, and a ticket means nothing on another listener or after a policy changed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use rustls::server::ProducesTickets;

use crate::route::table::ListenerKey;

/// What ticket keys are derived from: the same on every replica of a cluster, random in a process that stands alone.
#[derive(Clone)]
pub struct TicketSecret(Arc<[u8; SECRET_BYTES]>);

impl TicketSecret {
    pub fn new(secret: [u8; SECRET_BYTES]) -> TicketSecret {
        TicketSecret(Arc::new(secret))
    }

    /// A secret that lives as long as the process: tickets from before a restart are full handshakes after it.
    pub fn random() -> TicketSecret {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).expect("the system gives random bytes");
        TicketSecret::new(secret)
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret")
    }
}

/// The ticket keys of one listener: seals with the current epoch's, opens with the previous, current and next epoch's
/// (another replica's clock may be ahead).
pub(super) struct TicketKeys {
    /// HKDF's pseudo-random key; the epoch is added when a key is derived.
    derive: hkdf::Prk,
    /// Listener and policies.
    context: Vec<u8>,
    window: ArcSwap<Window>,
}

/// The keys in use around one epoch.
struct Window {
    epoch: u64,
    /// Previous, current, next.
    keys: [Option<Key>; 3],
}

struct Key {
    /// Says which key sealed a ticket without trying them all; derived like the key, so it tells nothing about it.
    name: [u8; KEY_NAME_BYTES],
    key: RandomizedNonceKey,
}

impl TicketKeys {
    pub(super) fn new(secret: &TicketSecret, listener: &ListenerKey, policy_digest: &[u8; 32]) -> TicketKeys {
        let mut context = Vec::new();
        let mut add = |bytes: &[u8]| {
            context.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            context.extend_from_slice(bytes);
        };
        match listener {
            ListenerKey::Class { class, tls } => {
                add(b"class");
                add(class.as_bytes());
                add(&[u8::from(*tls)]);
            }
            ListenerKey::Gateway { namespace, name, port }
            | ListenerKey::Datagrams { namespace, name, port } => {
                add(b"gateway");
                add(namespace.as_bytes());
                add(name.as_bytes());
                add(&port.to_be_bytes());
            }
        }
        add(policy_digest);
        let derive = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&*secret.0);
        let window = ArcSwap::from_pointee(Window { epoch: 0, keys: [None, None, None] });
        TicketKeys { derive, context, window }
    }

    /// A ticket for `state`: key name, nonce, sealed state, tag.
    fn seal(&self, state: &[u8], now: Duration) -> Option<Vec<u8>> {
        let window = self.window(now);
        let key = window.keys[1].as_ref()?;
        let mut sealed = Vec::with_capacity(state.len() + TAG_BYTES);
        sealed.extend_from_slice(state);
        let nonce = key.key.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(KEY_NAME_BYTES + NONCE_BYTES + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    /// What was sealed, or `None` for anything that was not sealed by a key of the window.
    fn open(&self, ticket: &[u8], now: Duration) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<KEY_NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let window = self.window(now);
        let key = window.keys.iter().flatten().find(|key| key.name == *name)?;
        let mut state = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.key.open_in_place(nonce, Aad::from(key.name), &mut state).ok()?.len();
        state.truncate(length);
        Some(state)
    }

    fn window(&self, now: Duration) -> Arc<Window> {
        let epoch = now.as_secs() / EPOCH.as_secs();
        let window = self.window.load();
        if window.epoch == epoch && window.keys[1].is_some() {
            return arc_swap::Guard::into_inner(window);
        }
        // Two workers may do this at once; what they derive is the same.
        let keys = [epoch.wrapping_sub(1), epoch, epoch.wrapping_add(1)].map(|epoch| self.key(epoch));
        let window = Arc::new(Window { epoch, keys });
        self.window.store(window.clone());
        window
    }

    fn key(&self, epoch: u64) -> Option<Key> {
        let info = [&epoch.to_be_bytes()[..], &self.context];
        let mut bytes = [0; KEY_NAME_BYTES + KEY_BYTES];
        self.derive.expand(&info, Length(KEY_NAME_BYTES + KEY_BYTES)).ok()?.fill(&mut bytes).ok()?;
        let (name, key) = bytes.split_first_chunk::<KEY_NAME_BYTES>()?;
        Some(Key { name: *name, key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key).ok()? })
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // A ticket sealed in the last second of its epoch is opened for one epoch more.
        EPOCH.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, clock()?)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, clock()?)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

/// How many bytes to derive.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Since 1970; `None` with a clock before that, which makes full handshakes and nothing worse.
#[expect(clippy::disallowed_methods, reason = "rustls asks for tickets without saying what time it is")]
fn clock() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

/// How long a key seals.
pub const EPOCH: Duration = Duration::from_secs(6 * 3600);
/// The length of a [`TicketSecret`].
pub const SECRET_BYTES: usize = 32;
/// Our own tickets are a few hundred bytes; longer ones were not made here.
pub const TICKET_BYTES_MAX: usize = 4096;

/// Versions the format: tickets of another version do not open.
const SALT: &[u8] = b"vestibule session tickets 1";
const KEY_NAME_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests;
