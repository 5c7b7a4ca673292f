//! What a trusted proxy says of its client.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    FORWARDED_HOPS_MAX, TrustedProxies, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT,
    X_FORWARDED_PROTO, X_REAL_IP,
};
use crate::request::target::{Scheme, parse_authority};

/// The statements of one request's headers; what does not parse was not said.
pub(super) struct Said {
    pub(super) scheme: Option<Scheme>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<HeaderValue>,
    /// From the nearest hop outwards, up to the first that is not an address.
    nodes: Vec<IpAddr>,
}

impl Said {
    /// Reads X-Forwarded-*, or Forwarded if there are none of them.
    ///
    /// A proxy that writes one family passes the other one on as the client wrote it, so they are never mixed.
    pub(super) fn by(headers: &HeaderMap) -> Said {
        let legacy =
            [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_REAL_IP].iter().any(|name| headers.contains_key(*name));
        if legacy { Said::legacy(headers) } else { Said::standard(headers) }
    }

    /// The hops from the nearest to the client: trusted ones, then the first that is not trusted. When all are trusted,
    /// the farthest is the client.
    pub(super) fn hops(&self, trusted: &TrustedProxies) -> Vec<IpAddr> {
        let mut hops = Vec::new();
        for address in &self.nodes {
            hops.push(*address);
            if trusted.judge(*address) == super::PeerTrust::Untrusted {
                break;
            }
        }
        hops
    }

    fn legacy(headers: &HeaderMap) -> Said {
        let nodes: Vec<IpAddr> = elements_from_right(headers, &X_FORWARDED_FOR)
            .take(FORWARDED_HOPS_MAX)
            .map_while(parse_node)
            .collect();
        let nodes = match headers.contains_key(&X_FORWARDED_FOR) {
            true => nodes,
            false => single_address(headers, &X_REAL_IP).into_iter().collect(),
        };
        // Where a proxy appended instead of replacing, its own word is the last.
        Said {
            scheme: elements_from_right(headers, &X_FORWARDED_PROTO).next().and_then(parse_scheme),
            port: elements_from_right(headers, &X_FORWARDED_PORT).next().and_then(parse_port),
            host: elements_from_right(headers, &X_FORWARDED_HOST).next().and_then(parse_host),
            nodes,
        }
    }

    fn standard(headers: &HeaderMap) -> Said {
        let mut said = Said { scheme: None, port: None, host: None, nodes: Vec::new() };
        let mut unbroken = true;
        for (index, element) in elements_from_right(headers, &FORWARDED).take(FORWARDED_HOPS_MAX).enumerate()
        {
            let mut node = None;
            for pair in element.split(|byte| *byte == b';') {
                let Some(equals) = memchr::memchr(b'=', pair) else { continue };
                let value = unquoted(pair[equals + 1..].trim_ascii());
                match pair[..equals].trim_ascii().to_ascii_lowercase().as_slice() {
                    b"for" => node = parse_node(value),
                    // The nearest proxy is the one that is trusted to know these.
                    b"proto" if index == 0 => said.scheme = parse_scheme(value),
                    b"host" if index == 0 => said.host = parse_host(value),
                    _ => {}
                }
            }
            unbroken &= node.is_some();
            match node {
                Some(address) if unbroken => said.nodes.push(address),
                Some(_) | None => {}
            }
        }
        said
    }
}

/// One address in a field that holds nothing else.
pub(super) fn single_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_node(first.as_bytes().trim_ascii())
}

/// True for a version 00 `traceparent`, or a later one that begins like it (W3C Trace Context §3.2).
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some((head, rest)) = value.split_at_checked(55) else { return false };
    let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..]);
    let nonzero = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
    let tail = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let hex = is_hex(version) && is_hex(trace) && is_hex(parent) && is_hex(flags);
    dashes && hex && nonzero(trace) && nonzero(parent) && tail
}

/// The elements of a list field, over all its lines, the last one first. Commas within quotes are not known here: none
/// of the values that are read holds one.
fn elements_from_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii))
        .filter(|element| !element.is_empty())
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port =
                port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
            is_port.then(|| address.parse().ok().map(IpAddr::V6))??
        }
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => IpAddr::V4(text.parse::<std::net::SocketAddrV4>().ok().map(|socket| *socket.ip())?),
        },
    };
    Some(address.to_canonical())
}

/// `ws` and `wss` are what Traefik says of WebSocket requests.
fn parse_scheme(value: &[u8]) -> Option<Scheme> {
    if value.eq_ignore_ascii_case(b"https") || value.eq_ignore_ascii_case(b"wss") {
        Some(Scheme::Https)
    } else if value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}

fn parse_port(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(value).ok()?.parse().ok().filter(|port| *port != 0)
}

/// A valid host with an optional port, as it was written.
fn parse_host(value: &[u8]) -> Option<HeaderValue> {
    parse_authority(value).ok()?;
    HeaderValue::from_bytes(value).ok()
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}
