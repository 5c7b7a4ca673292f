//! The cookies that sealed text travels in: names, attributes, parts.
//!
//! Over TLS a cookie that is for one host is called `__Host-…`, which browsers take from that host alone; one for a whole
//! domain is called `__Secure-…`. A value that is too long for one cookie is cut into `NAME`, `NAME.1`, …; the first says how
//! many there are, and every write deletes those that it does not set.

use std::fmt::Write;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::ring::{Binding, KeyRing, KeyRingError, Purpose};
use super::stored::{Handle, HandleReading};
use super::{Lifetimes, Session, Worth};
use crate::texts::Texts;

/// Bytes of one cookie with its name and attributes. Browsers take 4,096 (RFC 6265 §6.1).
pub const COOKIE_BYTES_MAX: usize = 3800;
/// Parts of one session.
pub const PARTS_MAX: usize = 4;
/// Logins under way in one browser; the oldest are dropped.
pub(super) const FLOWS_LEN_MAX: usize = 5;

/// How the request reached us. Each kind has cookies of its own, so that what was set in the clear counts nothing under TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// When browsers send a cookie along with requests that other sites cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// With navigations only. What every application can live with.
    #[default]
    Lax,
    /// Never; links from elsewhere arrive without a session.
    Strict,
    /// Always, under TLS: for applications in frames of other sites.
    None,
}

/// The session cookie of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// In the clear, and over TLS.
    names: [String; 2],
    provider: String,
    domain: Option<String>,
    same_site: SameSite,
}

/// What a request's cookies hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Absent,
    /// There is a cookie, and it is not ours, or not any more: as if there were none, and it is deleted.
    Unreadable,
    Session(Box<Session>, Worth),
}

/// Why a session cannot be put in cookies.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    #[error(
        "the session needs {bytes} bytes, and cookies hold {max}; the largest part of it is {largest}: let the provider send less of it, or keep sessions in the shared store"
    )]
    TooLarge { bytes: usize, max: usize, largest: String },
    #[error(transparent)]
    Ring(#[from] KeyRingError),
}

impl Cookies {
    /// The cookie of a provider. `provider` is all that makes it the one it is: another one cannot read its sessions. With a
    /// `domain` the cookie is sent to every host below it.
    pub fn new(provider: &str, domain: Option<&str>, same_site: SameSite) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, provider.as_bytes());
        let mut name = String::from(SESSION_PREFIX);
        for byte in &digest.as_ref()[..4] {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let domain = domain.map(str::to_ascii_lowercase);
        let prefix = if domain.is_some() { "__Secure-" } else { "__Host-" };
        let secure = format!("{prefix}{name}");
        Cookies { names: [name, secure], provider: provider.to_owned(), domain, same_site }
    }

    /// The name, over TLS or in the clear.
    pub fn name(&self, transport: Transport) -> &str {
        &self.names[transport as usize]
    }

    /// True when these cookies reach `host`.
    pub fn reach(&self, host: &str) -> bool {
        match &self.domain {
            None => true,
            Some(domain) => {
                host == domain || host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
        }
    }

    /// Reads the session that a request for `host` carries.
    pub fn read(
        &self,
        ring: &KeyRing,
        headers: &HeaderMap,
        transport: Transport,
        host: &str,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Reading {
        let name = self.name(transport);
        let Some(first) = find(headers, name) else { return Reading::Absent };
        let opened = assemble(headers, name, first).and_then(|sealed| {
            Session::decode(&ring.open(&self.binding(Purpose::Session, name, host), sealed.as_str())?)
        });
        match opened {
            Some(session) => {
                let worth = session.worth(lifetimes, now);
                Reading::Session(Box::new(session), worth)
            }
            None => Reading::Unreadable,
        }
    }

    /// The `Set-Cookie` values that put `session` in the browser, and delete those parts in `headers` that it does not need.
    pub fn write(
        &self,
        ring: &KeyRing,
        session: &Session,
        headers: &HeaderMap,
        transport: Transport,
        host: &str,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, CookieError> {
        let binding = self.binding(Purpose::Session, self.name(transport), host);
        let sealed = ring.seal(&binding, &session.encode(), now)?;
        let seconds = session.expires.as_second() - now.as_second();
        let largest = || largest_part(session);
        self.set(&sealed, seconds, headers, transport, &largest)
    }

    /// The name of the session in the store that a request for `host` carries.
    pub(crate) fn read_handle(
        &self,
        ring: &KeyRing,
        headers: &HeaderMap,
        transport: Transport,
        host: &str,
    ) -> HandleReading {
        let name = self.name(transport);
        let Some(first) = find(headers, name) else { return HandleReading::Absent };
        let opened = assemble(headers, name, first).and_then(|sealed| {
            Handle::decode(&ring.open(&self.binding(Purpose::Handle, name, host), sealed.as_str())?)
        });
        opened.map_or(HandleReading::Unreadable, HandleReading::Handle)
    }

    /// [`Cookies::write`] for a session that a store holds: the browser has its name alone.
    pub(crate) fn write_handle(
        &self,
        ring: &KeyRing,
        handle: &Handle,
        headers: &HeaderMap,
        transport: Transport,
        host: &str,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, CookieError> {
        let binding = self.binding(Purpose::Handle, self.name(transport), host);
        let sealed = ring.seal(&binding, &handle.encode(), now)?;
        let seconds = handle.expires.as_second() - now.as_second();
        self.set(&sealed, seconds, headers, transport, &String::new)
    }

    fn set(
        &self,
        sealed: &str,
        seconds: i64,
        headers: &HeaderMap,
        transport: Transport,
        largest: &dyn Fn() -> String,
    ) -> Result<Vec<HeaderValue>, CookieError> {
        let name = self.name(transport);
        let attributes = self.attributes(transport, seconds);
        let room = COOKIE_BYTES_MAX - name.len() - ".0=1.".len() - attributes.len();
        let parts = sealed.len().div_ceil(room);
        if parts > PARTS_MAX {
            let (bytes, max) = (sealed.len(), room * PARTS_MAX);
            return Err(CookieError::TooLarge { bytes, max, largest: largest() });
        }
        let mut cookies = Vec::with_capacity(parts);
        for (index, part) in sealed.as_bytes().chunks(room).enumerate() {
            let part = String::from_utf8_lossy(part);
            let text = match index {
                0 => format!("{name}={parts}.{part}{attributes}"),
                _ => format!("{name}.{index}={part}{attributes}"),
            };
            cookies.extend(HeaderValue::from_maybe_shared(bytes::Bytes::from(text)));
        }
        self.delete_from(parts, headers, transport, &mut cookies);
        Ok(cookies)
    }

    /// The `Set-Cookie` values that take the session of `headers` from the browser. Empty when there is none.
    pub fn clear(&self, headers: &HeaderMap, transport: Transport) -> Vec<HeaderValue> {
        let mut cookies = Vec::new();
        self.delete_from(0, headers, transport, &mut cookies);
        cookies
    }

    /// Deletes the parts from `first` on that the request showed.
    fn delete_from(
        &self,
        first: usize,
        headers: &HeaderMap,
        transport: Transport,
        cookies: &mut Vec<HeaderValue>,
    ) {
        let name = self.name(transport);
        let attributes = self.attributes(transport, 0);
        for index in first..PARTS_MAX {
            let part: SmallVec<[u8; 64]> = match index {
                0 => name.bytes().collect(),
                _ => name.bytes().chain([b'.', b'0' + index as u8]).collect(),
            };
            if find_bytes(headers, &part).is_some() {
                let text = format!("{}={attributes}", String::from_utf8_lossy(&part));
                cookies.extend(HeaderValue::from_maybe_shared(bytes::Bytes::from(text)));
            }
        }
    }

    fn binding<'a>(&'a self, purpose: Purpose, name: &'a str, host: &'a str) -> Binding<'a> {
        let scope = self.domain.as_deref().unwrap_or(host);
        Binding { purpose, name, scope, provider: &self.provider }
    }

    fn attributes(&self, transport: Transport, seconds: i64) -> String {
        let mut text = format!("; Path=/; Max-Age={}; HttpOnly", seconds.max(0));
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        text.push_str(match (transport, self.same_site) {
            (Transport::Tls, SameSite::Lax) => "; Secure; SameSite=Lax",
            (Transport::Tls, SameSite::Strict) => "; Secure; SameSite=Strict",
            (Transport::Tls, SameSite::None) => "; Secure; SameSite=None",
            // Browsers refuse SameSite=None without Secure.
            (Transport::Plain, SameSite::Lax | SameSite::None) => "; SameSite=Lax",
            (Transport::Plain, SameSite::Strict) => "; SameSite=Strict",
        });
        text
    }
}

/// The cookie of one login under way. Each has its own name, so that logins in several tabs do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCookie {
    name: String,
}

impl FlowCookie {
    /// The cookie of the flow `id`; `None` when that is no id of ours.
    pub fn new(id: &str, transport: Transport) -> Option<Self> {
        let valid = id.len() == FLOW_ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let prefix = flow_prefix(transport);
        valid.then(|| FlowCookie { name: format!("{prefix}{id}") })
    }

    /// A new id. Later ones sort behind earlier ones.
    pub fn new_id(now: Timestamp) -> Result<String, KeyRingError> {
        let mut random = [0_u8; 12];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyRingError::Random)?;
        let mut id = format!("{:08x}", now.as_second() as u32);
        for byte in random {
            let _ = write!(id, "{byte:02x}");
        }
        Ok(id)
    }

    /// Whether a login began in this browser within the last `seconds`, and has not come back.
    pub fn is_under_way(headers: &HeaderMap, transport: Transport, seconds: i64, now: Timestamp) -> bool {
        let prefix = flow_prefix(transport);
        pairs(headers).filter_map(|(name, _)| std::str::from_utf8(name).ok()?.strip_prefix(prefix)).any(
            |id| {
                let began = id.get(..8).and_then(|time| u32::from_str_radix(time, 16).ok());
                began.is_some_and(|began| (0..seconds).contains(&(now.as_second() - i64::from(began))))
            },
        )
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value in a request.
    pub fn read<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        find(headers, &self.name)
    }

    /// The `Set-Cookie` values that begin this flow and end the oldest ones over [`FLOWS_LEN_MAX`].
    pub fn write(&self, sealed: &str, headers: &HeaderMap, transport: Transport) -> Vec<HeaderValue> {
        let attributes = flow_attributes(transport, FLOW_SECONDS_MAX);
        let mut cookies = Vec::new();
        let text = format!("{}={sealed}{attributes}", self.name);
        cookies.extend(HeaderValue::from_maybe_shared(bytes::Bytes::from(text)));
        let prefix = flow_prefix(transport);
        let mut others: Vec<&str> = pairs(headers)
            .filter_map(|(name, _)| std::str::from_utf8(name).ok())
            .filter(|name| {
                name.strip_prefix(prefix).is_some_and(|id| FlowCookie::new(id, transport).is_some())
            })
            .collect();
        others.sort_unstable();
        others.dedup();
        let over = (others.len() + 1).saturating_sub(FLOWS_LEN_MAX);
        cookies.extend(others.into_iter().take(over).filter_map(|name| delete(name, transport)));
        cookies
    }

    /// The `Set-Cookie` value that ends this flow.
    pub fn clear(&self, transport: Transport) -> Option<HeaderValue> {
        delete(&self.name, transport)
    }
}

/// Removes every cookie of ours from a request: they are for the edge and for nobody behind it.
pub fn strip_cookies(headers: &mut HeaderMap) {
    // Both names have these two letters, and few other cookies have: they are found many times faster than pairs.
    let ours = |value: &HeaderValue| {
        memchr::memmem::find(value.as_bytes(), b"vb").is_some()
            && split(value.as_bytes()).any(|(name, _)| is_ours(name))
    };
    if !headers.get_all(COOKIE).iter().any(ours) {
        return;
    }
    let kept: SmallVec<[HeaderValue; 2]> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let mut kept: SmallVec<[u8; 512]> = SmallVec::new();
            for pair in value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
                if is_ours(name) || pair.is_empty() {
                    continue;
                }
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
            if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept).ok() }
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

fn delete(name: &str, transport: Transport) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}={}", flow_attributes(transport, 0))).ok()
}

fn flow_attributes(transport: Transport, seconds: u32) -> String {
    // The provider's answer is a navigation from another site: Strict would lose the cookie.
    let secure = match transport {
        Transport::Plain => "",
        Transport::Tls => "; Secure",
    };
    format!("; Path=/; Max-Age={seconds}; HttpOnly{secure}; SameSite=Lax")
}

fn flow_prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => FLOW_PREFIX,
        Transport::Tls => "__Host-vbf_",
    }
}

fn is_ours(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"__Host-").or(name.strip_prefix(b"__Secure-")).unwrap_or(name);
    name.starts_with(SESSION_PREFIX.as_bytes()) || name.starts_with(FLOW_PREFIX.as_bytes())
}

/// A whole sealed text: borrowed where it is in one cookie, as nearly all are.
enum Sealed<'h> {
    One(&'h str),
    Joined(String),
}

impl Sealed<'_> {
    fn as_str(&self) -> &str {
        match self {
            Sealed::One(text) => text,
            Sealed::Joined(text) => text,
        }
    }
}

/// Puts the parts together, of which `first` says how many there are.
fn assemble<'h>(headers: &'h HeaderMap, name: &str, first: &'h str) -> Option<Sealed<'h>> {
    let (count, start) = first.split_once('.')?;
    let count: usize = count.parse().ok()?;
    match count {
        1 => Some(Sealed::One(start)),
        2..=PARTS_MAX => {
            let mut joined = start.to_owned();
            for index in 1..count {
                joined.push_str(find(headers, &format!("{name}.{index}"))?);
            }
            Some(Sealed::Joined(joined))
        }
        _ => None,
    }
}

fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    find_bytes(headers, name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
}

fn find_bytes<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    pairs(headers).find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).iter().flat_map(|value| split(value.as_bytes()))
}

/// The pairs of one Cookie field (RFC 6265 §5.4).
fn split(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

/// What an operator should make smaller.
fn largest_part(session: &Session) -> String {
    let identity = &session.identity;
    let size = |values: &Texts| values.bytes_len() + values.len();
    let groups = (size(&identity.groups), "the groups".to_owned());
    let claims = identity.claims.iter().map(|(name, values)| (size(values), format!("the claim {name}")));
    claims.chain([groups]).max().map(|(_, name)| name).unwrap_or_default()
}

/// Session cookies, behind the prefix that browsers know.
const SESSION_PREFIX: &str = "vb_";
const FLOW_PREFIX: &str = "vbf_";
/// Eight digits of time, 24 of chance.
const FLOW_ID_LEN: usize = 32;
/// A login may take ten minutes.
pub(crate) const FLOW_SECONDS_MAX: u32 = 600;
