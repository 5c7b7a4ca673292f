//! Small texts that several objects write: switches, sizes, durations, networks, header lines.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::settings::units::Bytes;

/// `true` or `false` in any of the spellings that ingress-nginx takes (Go's `strconv.ParseBool`), and `on` or `off`.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "True" | "TRUE" | "on" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" | "off" => Some(false),
        _ => None,
    }
}

/// Bytes, with or without a unit, as everywhere else.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    Bytes::parse(text.trim()).map(|bytes| bytes.0)
}

/// A Gateway API duration (GEP-2257): one to four of `10h`, `5m`, `30s`, `500ms` in a row, at most five digits each.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for parts in 0.. {
        if rest.is_empty() {
            return (parts > 0).then_some(total);
        }
        if parts == 4 {
            return None;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let (part, length) = if unit.starts_with("ms") {
            (Duration::from_millis(number), 2)
        } else {
            let seconds = match unit.bytes().next()? {
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return None,
            };
            (Duration::from_secs(number * seconds), 1)
        };
        total += part;
        rest = &unit[length..];
    }
    None
}

/// Seconds as a plain number, as ingress-nginx has them, or a duration with units.
pub(crate) fn parse_seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text),
    }
}

/// The items of a comma list without the spaces around them; empty ones are left out.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A comma list of networks (`10.0.0.0/8`) and addresses. One bad entry makes the list bad, and so does an empty list:
/// it would mean everybody to the one reader and nobody to the other.
pub(crate) fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for item in items(text) {
        let network = match item.parse::<IpNet>() {
            Ok(network) => network.trunc(),
            Err(_) => match item.parse::<IpAddr>() {
                Ok(address) => IpNet::from(address),
                Err(_) => {
                    return Err(format!("`{item}` is neither a network such as 10.0.0.0/8 nor an address"));
                }
            },
        };
        networks.push(network);
    }
    match networks.len() {
        0 => Err("the list is empty".into()),
        1..=NETWORKS_MAX => Ok(networks),
        count => Err(format!("the list has {count} networks, at most {NETWORKS_MAX} are taken")),
    }
}

/// A header that a route may set: a valid name that does not belong to the connection or the framing, and a valid value.
pub(crate) fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = parse_header_name(name)?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("the value of `{name}` holds a character that no header may hold"))?;
    Ok((name, value))
}

/// A header name that a route may change.
pub(crate) fn parse_header_name(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.trim().as_bytes());
    let parsed = parsed.map_err(|_| format!("`{}` is no header name", name.trim().escape_debug()))?;
    if FRAMING_HEADERS.contains(&parsed.as_str()) {
        return Err(format!("`{parsed}` belongs to the connection and cannot be changed by a route"));
    }
    Ok(parsed)
}

/// Networks in one list.
pub(crate) const NETWORKS_MAX: usize = 4096;

/// What the two ends of a connection agree on between themselves (RFC 9110 §7.6.1), and what frames a message.
const FRAMING_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

#[cfg(test)]
mod tests;
