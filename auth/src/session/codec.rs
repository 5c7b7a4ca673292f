//! A session as bytes, before it is sealed. Short, and read without trusting it: an older or newer version may have written
//! it.
//!
//! Version 1: a version byte, four times in seconds, a byte of flags, then texts with their lengths in front. Numbers are
//! LEB128.

use jiff::Timestamp;

use super::Session;
use crate::identity::Identity;
use crate::texts::Texts;

const VERSION: u8 = 1;

const EMAIL_VERIFIED: u8 = 1;
const HAS_NAME: u8 = 1 << 1;
const HAS_EMAIL: u8 = 1 << 2;
const HAS_PROVIDER_SESSION: u8 = 1 << 3;
const USER_IS_SUBJECT: u8 = 1 << 4;
const KNOWN_FLAGS: u8 = (1 << 5) - 1;

/// Groups, claims, and values of one claim. More than any header could carry.
pub(super) const LIST_LEN_MAX: u64 = 4096;

impl Session {
    /// Its bytes. Times lose what is less than a second.
    pub fn encode(&self) -> Vec<u8> {
        let identity = &self.identity;
        let mut out = vec![VERSION];
        for time in [self.began, self.confirmed, self.seen, self.expires] {
            number(u64::try_from(time.as_second()).unwrap_or_default(), &mut out);
        }
        let user_is_subject = identity.user == identity.subject;
        out.push(
            flag(EMAIL_VERIFIED, identity.email_verified)
                | flag(HAS_NAME, identity.name.is_some())
                | flag(HAS_EMAIL, identity.email.is_some())
                | flag(HAS_PROVIDER_SESSION, self.provider_session.is_some())
                | flag(USER_IS_SUBJECT, user_is_subject),
        );
        text(&identity.subject, &mut out);
        if !user_is_subject {
            text(&identity.user, &mut out);
        }
        for optional in [&identity.name, &identity.email, &self.provider_session].into_iter().flatten() {
            text(optional, &mut out);
        }
        texts(&identity.groups, &mut out);
        number(identity.claims.len() as u64, &mut out);
        for (name, values) in &identity.claims {
            text(name, &mut out);
            texts(values, &mut out);
        }
        out
    }

    /// Reads [`Session::encode`]'s bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Session> {
        let mut input = Input(bytes);
        if input.byte()? != VERSION {
            return None;
        }
        let [began, confirmed, seen, expires] = [input.time()?, input.time()?, input.time()?, input.time()?];
        let flags = input.byte()?;
        if flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let subject = input.text()?;
        let user = if has(USER_IS_SUBJECT) { subject.clone() } else { input.text()? };
        let name = if has(HAS_NAME) { Some(input.text()?) } else { None };
        let email = if has(HAS_EMAIL) { Some(input.text()?) } else { None };
        let provider_session = if has(HAS_PROVIDER_SESSION) { Some(input.text()?) } else { None };
        let groups = input.texts()?;
        let claims =
            (0..input.length()?).map(|_| Some((input.text()?, input.texts()?))).collect::<Option<_>>()?;
        if !input.0.is_empty() || subject.is_empty() {
            return None;
        }
        let email_verified = has(EMAIL_VERIFIED);
        let identity = Identity { subject, user, name, email, email_verified, groups, claims };
        Some(Session { identity, provider_session, began, confirmed, seen, expires })
    }
}

fn flag(flag: u8, set: bool) -> u8 {
    if set { flag } else { 0 }
}

pub(super) fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn texts(values: &Texts, out: &mut Vec<u8>) {
    number(values.len() as u64, out);
    for value in values.iter() {
        text(value, out);
    }
}

/// What is left to read.
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl<'b> Input<'b> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_second(i64::try_from(self.number()?).ok()?).ok()
    }

    pub(super) fn text(&mut self) -> Option<String> {
        self.borrowed().map(str::to_owned)
    }

    fn borrowed(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(bytes).ok()
    }

    fn length(&mut self) -> Option<u64> {
        self.number().filter(|length| *length <= LIST_LEN_MAX)
    }

    fn texts(&mut self) -> Option<Texts> {
        let length = self.length()? as usize;
        if length == 0 {
            return Some(Texts::default());
        }
        // No more room at once than there are bytes left: what is written is not believed before it was read.
        let left = self.0.len();
        let mut texts = Texts::with_capacity(left.min(length), left);
        for _ in 0..length {
            texts.push(self.borrowed()?);
        }
        Some(texts)
    }
}
