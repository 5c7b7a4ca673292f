//! Origins that may ask across sites (Fetch standard), as annotations and HTTPRoute filters write them.

use bytes::Bytes;

use crate::route::OriginPattern;
use crate::route::host::Host;

/// `*`, `null`, or `scheme://host[:port]`, where the host may begin with `*.` for one or more labels.
pub(crate) fn parse_origin(text: &str) -> Result<OriginPattern, String> {
    let bad = || format!("`{text}` is no origin such as https://app.example.com");
    if text == "*" {
        return Ok(OriginPattern::Any);
    }
    if text == "null" {
        return Ok(OriginPattern::Exact(Bytes::from_static(b"null")));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let scheme_is_clean = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !scheme_is_clean {
        return Err(bad());
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = split_port(rest).ok_or_else(bad)?;
    // A browser leaves the default port out of an origin.
    let port = port.filter(|port| Some(*port) != default_port(&scheme));
    if let Some(parent) = host.strip_prefix("*.") {
        let parent = Host::parse(parent).map_err(|error| format!("`{text}`: {error}"))?;
        return Ok(OriginPattern::Wildcard {
            scheme: scheme.into(),
            suffix: format!(".{parent}").into(),
            port,
        });
    }
    let host = Host::parse(host).map_err(|error| format!("`{text}`: {error}"))?;
    let origin = match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Ok(OriginPattern::Exact(origin.into()))
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_address..].rfind(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let colon = after_address + colon;
            let port = authority[colon + 1..].parse::<u16>().ok().filter(|port| *port != 0)?;
            Some((&authority[..colon], Some(port)))
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
