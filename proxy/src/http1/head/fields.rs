//! The fields that decide framing and the fate of the connection, gathered while a head is read.

use crate::message::{Protocol, UpgradeRequest};

use super::{BodyLength, HeadError, is_token_byte};

/// What the fields seen so far say.
#[derive(Debug, Default)]
pub(super) struct Fields {
    content_length: Option<u64>,
    chunked: bool,
    hosts: usize,
    host_valid: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    websocket: bool,
    expect_continue: bool,
    expect_unknown: bool,
}

impl Fields {
    /// Takes note of one field; most are none of ours and cost one comparison of their length.
    pub(super) fn read(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.host_valid = is_host(value);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                self.expect_continue |= known;
                self.expect_unknown |= !known;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // Even two equal ones: RFC 9112 §6.3 allows to merge them, and each party that does not is an opening.
                if self.content_length.is_some() {
                    return Err(HeadError::ContentLengthDuplicate);
                }
                self.content_length = Some(parse_decimal(value).ok_or(HeadError::ContentLengthInvalid)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked {
                    return Err(HeadError::TransferEncodingInvalid);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(coding_error(value));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What the head announces: `None` when it says nothing.
    pub(super) fn length(&self, protocol: Protocol) -> Result<Option<BodyLength>, HeadError> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(HeadError::LengthConflict),
            (true, None) if protocol == Protocol::Http10 => Err(HeadError::TransferEncodingHttp10),
            (true, None) => Ok(Some(BodyLength::Chunked)),
            (false, Some(0)) => Ok(Some(BodyLength::None)),
            (false, Some(length)) => Ok(Some(BodyLength::Exact(length))),
            (false, None) => Ok(None),
        }
    }

    /// RFC 9112 §3.2: exactly one valid Host, which only HTTP/1.0 may leave out.
    pub(super) fn check_host(&self, protocol: Protocol) -> Result<(), HeadError> {
        match self.hosts {
            0 if protocol == Protocol::Http10 => Ok(()),
            0 => Err(HeadError::HostMissing),
            1 if self.host_valid => Ok(()),
            1 => Err(HeadError::HostInvalid),
            _ => Err(HeadError::HostDuplicate),
        }
    }

    /// RFC 9112 §9.3.
    pub(super) fn keep_alive(&self, protocol: Protocol) -> bool {
        !self.close && (self.keep_alive || protocol != Protocol::Http10)
    }

    /// RFC 9110 §10.1.1: one expectation is known, every other one fails.
    pub(super) fn expect_continue(&self) -> Result<bool, HeadError> {
        if self.expect_unknown { Err(HeadError::ExpectationUnknown) } else { Ok(self.expect_continue) }
    }

    /// RFC 9110 §7.8: `Upgrade` counts only when `Connection` names it.
    pub(super) fn upgrade(&self) -> Option<UpgradeRequest> {
        (self.connection_upgrade && self.websocket).then_some(UpgradeRequest::WebSocket)
    }
}

/// `1*DIGIT` that fits (RFC 9110 §8.6): no sign, no list, no space, no other base.
pub(super) fn parse_decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The elements of a list field, trimmed.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Tells a list that a server with more codings could take (501, RFC 9112 §6.1) from one that nobody could (400).
fn coding_error(value: &[u8]) -> HeadError {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let well_formed =
        tokens(value).all(|token| !token.is_empty() && token.iter().copied().all(is_token_byte));
    let ends_in_chunked = tokens(value).last().is_some_and(is_chunked);
    if well_formed && ends_in_chunked && tokens(value).filter(|token| is_chunked(token)).count() == 1 {
        HeadError::TransferCodingUnknown
    } else {
        HeadError::TransferEncodingInvalid
    }
}

/// True for `uri-host [ ":" port ]` (RFC 9110 §7.2) in the characters that a host on the web has: no user, no list, no
/// empty name, nothing percent-encoded.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(close) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (address, port) = (&rest[..close], &rest[close + 1..]);
            let address =
                str::from_utf8(address).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
            return address.is_some() && (port.is_empty() || is_port(port));
        }
        _ => match value.iter().position(|byte| *byte == b':') {
            Some(colon) => value.split_at(colon),
            None => (value, &[][..]),
        },
    };
    !host.is_empty()
        && host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && (port.is_empty() || is_port(port))
}

/// `":" port`, where the digits may be missing (RFC 3986 §3.2.3).
fn is_port(text: &[u8]) -> bool {
    match text {
        [b':'] => true,
        [b':', digits @ ..] => parse_decimal(digits).is_some_and(|port| port <= u64::from(u16::MAX)),
        _ => false,
    }
}
