//! The authority of a target: a host and perhaps a port.

use super::TargetError;
use crate::route::host::Host;

/// Reads `host` or `host:port` (RFC 3986 §3.2) without user information; the port is 1 to 65535 and not empty.
pub(crate) fn parse_authority(raw: &[u8]) -> Result<(Host, Option<u16>), TargetError> {
    if raw.len() > AUTHORITY_BYTES_MAX {
        return Err(TargetError::HostInvalid);
    }
    // `user:password@host` is the one mistake that deserves a name of its own.
    if memchr::memchr(b'@', raw).is_some() {
        return Err(TargetError::UserInformation);
    }
    let host_end = match raw.first() {
        Some(b'[') => memchr::memchr(b']', raw).ok_or(TargetError::HostInvalid)? + 1,
        _ => memchr::memchr(b':', raw).unwrap_or(raw.len()),
    };
    let (host, rest) = raw.split_at(host_end);
    let host = Host::parse(host).map_err(|_| TargetError::HostInvalid)?;
    match rest {
        [] => Ok((host, None)),
        [b':', digits @ ..] => Ok((host, Some(parse_port(digits)?))),
        _ => Err(TargetError::HostInvalid),
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, TargetError> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TargetError::HostInvalid);
    }
    let number = digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or(TargetError::HostInvalid)
}

/// A host name of 253 bytes, trailing dot, colon and five digits.
const AUTHORITY_BYTES_MAX: usize = 260;
