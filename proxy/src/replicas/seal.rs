//! What makes a call one of a replica's: a MAC with a key that only replicas have, over all that matters, once.
//!
//! A call carries one header, `vestibule-replica: 1 KEY TIME NONCE FROM MAC`, in hex save for the time (milliseconds since the
//! epoch). The MAC is HMAC-SHA256 over method, path, the fields before it, and the body. It is believed when
//! its time is within [`WINDOW`] of ours and its nonce was not seen before. The answer carries `vestibule-replica: 1 KEY MAC`,
//! over the nonce of the call, the status and the body, so that nobody else can answer.
//!
//! Nothing is encrypted: who must not read along is kept out by the network.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::{constant_time, hmac};
use http::HeaderName;
use jiff::Timestamp;

use super::key::{CallKeys, KeyId};

pub(super) const HEADER: HeaderName = HeaderName::from_static("vestibule-replica");
/// How far the clocks of two replicas may be apart.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Calls that are remembered, so that none counts twice.
pub(super) const SEEN_LEN_MAX: usize = 65_536;

/// Names a process for as long as it lives: 16 hex digits.
pub(crate) type Incarnation = Arc<str>;

/// A nonce, which ties an answer to its call.
pub(super) type Nonce = [u8; 16];

/// Why a call is not believed. Each has a word for the metrics; the caller hears nothing but 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This replica has no keys yet.
    NoKeys,
    /// No such header, or not in this form.
    Form,
    UnknownKey,
    Mac,
    /// Too old, or from the future.
    Time,
    /// It was taken before.
    Replay,
    /// There is no room to remember it.
    Full,
}

impl Refusal {
    pub(super) const ALL: [Refusal; 7] = [
        Refusal::NoKeys,
        Refusal::Form,
        Refusal::UnknownKey,
        Refusal::Mac,
        Refusal::Time,
        Refusal::Replay,
        Refusal::Full,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refusal::NoKeys => "no_keys",
            Refusal::Form => "form",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Mac => "mac",
            Refusal::Time => "time",
            Refusal::Replay => "replay",
            Refusal::Full => "full",
        }
    }
}

/// Seals calls and believes them.
pub(super) struct Seals {
    pub(super) keys: ArcSwapOption<CallKeys>,
    seen: Mutex<Seen>,
}

/// Nonces, oldest first.
#[derive(Default)]
struct Seen {
    nonces: HashSet<Nonce>,
    order: VecDeque<(Timestamp, Nonce)>,
}

impl Seals {
    pub(super) fn new() -> Self {
        Seals { keys: ArcSwapOption::empty(), seen: Mutex::default() }
    }

    /// The header for a call; `None` while there are no keys.
    pub(super) fn call(
        &self,
        path: &str,
        caller: &Incarnation,
        body: &[u8],
        now: Timestamp,
    ) -> Option<(String, Nonce)> {
        let keys = self.keys.load();
        let key = keys.as_ref()?.calling(now)?;
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let fields =
            format!("{VERSION} {} {} {} {caller}", hex(&key.id().0), now.as_millisecond(), hex(&nonce),);
        let mac = mac(key.mac(), &[CALL, path.as_bytes(), fields.as_bytes(), body]);
        Some((format!("{fields} {}", hex(mac.as_ref())), nonce))
    }

    /// Whether a call is one of a replica's, and not one that was taken before.
    pub(super) fn admit(
        &self,
        path: &str,
        header: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(Incarnation, Nonce), Refusal> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(Refusal::NoKeys)?;
        let (fields, given) = header.and_then(|header| header.rsplit_once(' ')).ok_or(Refusal::Form)?;
        let parts: Vec<&str> = fields.split(' ').collect();
        let [VERSION, id, time, nonce, from] = parts[..] else { return Err(Refusal::Form) };
        let id = unhex::<4>(id).ok_or(Refusal::Form)?;
        let given = unhex::<32>(given).ok_or(Refusal::Form)?;
        let nonce = unhex::<16>(nonce).ok_or(Refusal::Form)?;
        let time: i64 = time.parse().map_err(|_| Refusal::Form)?;
        if unhex::<8>(from).is_none() {
            return Err(Refusal::Form);
        }
        let key = keys.find(KeyId(id)).ok_or(Refusal::UnknownKey)?;
        let mac = mac(key.mac(), &[CALL, path.as_bytes(), fields.as_bytes(), body]);
        constant_time::verify_slices_are_equal(mac.as_ref(), &given).map_err(|_| Refusal::Mac)?;
        if now.as_millisecond().abs_diff(time) > WINDOW.as_millis() as u64 {
            return Err(Refusal::Time);
        }
        self.remember(nonce, now)?;
        Ok((from.into(), nonce))
    }

    /// The header for an answer; `None` while there are no keys.
    pub(super) fn answer(&self, nonce: &Nonce, status: u16, body: &[u8], now: Timestamp) -> Option<String> {
        let keys = self.keys.load();
        let key = keys.as_ref()?.calling(now)?;
        let mac = mac(key.mac(), &[ANSWER, nonce, &status.to_be_bytes(), body]);
        Some(format!("{VERSION} {} {}", hex(&key.id().0), hex(mac.as_ref())))
    }

    /// Whether a replica gave this answer to that call.
    pub(super) fn is_answer(&self, header: Option<&str>, nonce: &Nonce, status: u16, body: &[u8]) -> bool {
        let keys = self.keys.load();
        let parts: Vec<&str> = header.unwrap_or_default().split(' ').collect();
        let [VERSION, id, given] = parts[..] else { return false };
        let (Some(id), Some(given)) = (unhex::<4>(id), unhex::<32>(given)) else { return false };
        let Some(key) = keys.as_ref().and_then(|keys| keys.find(KeyId(id))) else { return false };
        let mac = mac(key.mac(), &[ANSWER, nonce, &status.to_be_bytes(), body]);
        constant_time::verify_slices_are_equal(mac.as_ref(), &given).is_ok()
    }

    fn remember(&self, nonce: Nonce, now: Timestamp) -> Result<(), Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A call is good from WINDOW before its time to WINDOW after it.
        while let Some((at, old)) = seen.order.front().copied() {
            if at.checked_add(2 * WINDOW).is_ok_and(|end| now <= end) {
                break;
            }
            seen.order.pop_front();
            seen.nonces.remove(&old);
        }
        if seen.nonces.contains(&nonce) {
            return Err(Refusal::Replay);
        }
        if seen.order.len() >= SEEN_LEN_MAX {
            return Err(Refusal::Full);
        }
        seen.nonces.insert(nonce);
        seen.order.push_back((now, nonce));
        Ok(())
    }
}

/// Over all parts, each with its length in front, so that none can be taken for a piece of another.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Lower-case hex of exactly this many bytes.
fn unhex<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; LENGTH];
    if text.len() != 2 * LENGTH {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

const VERSION: &str = "1";
const CALL: &[u8] = b"vestibule replica call: POST";
const ANSWER: &[u8] = b"vestibule replica answer";

#[cfg(test)]
mod tests;
