//! The host of a target: one spelling for one name.

use std::fmt;
use std::net::Ipv6Addr;

use smallvec::SmallVec;

use super::TargetError;

/// A host name or address: ASCII, lower case, no port, no trailing dot; IPv6 in brackets and in its shortest form.
///
/// Held in place, so that an ordinary name costs no allocation.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct HostName(SmallVec<[u8; HOST_BYTES_INLINE]>);

impl HostName {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so the empty string is never used.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `host` or `host:port` (RFC 3986 §3.2) without user information.
    ///
    /// Stricter than the grammar: letters, digits, `-`, `_` and `.` only, labels of 1 to 63 bytes, 253 in all, and a
    /// port from 1 to 65535 with at least one digit.
    pub fn parse_authority(raw: &[u8]) -> Result<(HostName, Option<u16>), TargetError> {
        parse_authority(raw)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<[u8]> for HostName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn parse_authority(raw: &[u8]) -> Result<(HostName, Option<u16>), TargetError> {
    if raw.len() > AUTHORITY_BYTES_MAX {
        return Err(TargetError::HostInvalid);
    }
    let (host, rest) = match raw.first() {
        Some(b'[') => {
            let end = memchr::memchr(b']', raw).ok_or(TargetError::HostInvalid)?;
            (parse_ipv6(&raw[1..end])?, &raw[end + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', raw).unwrap_or(raw.len());
            match parse_name(&raw[..end]) {
                // `user:password@host` is the one case that deserves a name of its own.
                Err(_) if raw.contains(&b'@') => return Err(TargetError::UserInformation),
                name => (name?, &raw[end..]),
            }
        }
    };
    match rest {
        [] => Ok((host, None)),
        [b':', digits @ ..] => Ok((host, Some(parse_port(digits, raw)?))),
        _ => Err(TargetError::HostInvalid),
    }
}

fn parse_name(raw: &[u8]) -> Result<HostName, TargetError> {
    let raw = raw.strip_suffix(b".").unwrap_or(raw);
    if raw.is_empty() || raw.len() > HOST_BYTES_MAX {
        return Err(TargetError::HostInvalid);
    }
    let mut name = SmallVec::with_capacity(raw.len());
    let mut label = 0;
    for byte in raw {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'A'..=b'Z' if label < LABEL_BYTES_MAX => label += 1,
            b'.' if label > 0 => label = 0,
            _ => return Err(TargetError::HostInvalid),
        }
        name.push(byte.to_ascii_lowercase());
    }
    if label == 0 { Err(TargetError::HostInvalid) } else { Ok(HostName(name)) }
}

fn parse_ipv6(raw: &[u8]) -> Result<HostName, TargetError> {
    let address: Ipv6Addr =
        std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok()).ok_or(TargetError::HostInvalid)?;
    Ok(HostName(SmallVec::from_slice(format!("[{address}]").as_bytes())))
}

fn parse_port(digits: &[u8], raw: &[u8]) -> Result<u16, TargetError> {
    if raw.contains(&b'@') {
        return Err(TargetError::UserInformation);
    }
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TargetError::HostInvalid);
    }
    let number = digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or(TargetError::HostInvalid)
}

/// Longest host name in bytes (RFC 1035 §2.3.4, without the root's dot).
const HOST_BYTES_MAX: usize = 253;
/// Longest label in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Host name, trailing dot, colon and five digits.
const AUTHORITY_BYTES_MAX: usize = HOST_BYTES_MAX + 7;
/// Names up to this length are held in place.
const HOST_BYTES_INLINE: usize = 40;
