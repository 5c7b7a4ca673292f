//! Readers of values that have a form of their own. Their errors follow "cannot be used:".

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::config::annotations::{Annotations, NextUpstream, WrittenProtocol};
use crate::config::values::{items, parse_flag, parse_header, parse_header_name};
use crate::route::host::{HostPattern, WildcardLabels};

pub(super) fn set_hsts(annotations: &mut Annotations, value: &str) -> Result<(), String> {
    let header = match parse_flag(value) {
        Some(false) => return Ok(()),
        Some(true) => "max-age=31536000".to_owned(),
        None => hsts(value)?,
    };
    annotations.hsts = Some(HeaderValue::from_str(&header).map_err(|_| "it is no header value")?);
    Ok(())
}

/// Strict-Transport-Security in its usual spelling (RFC 6797 §6.1).
pub(super) fn hsts(value: &str) -> Result<String, String> {
    let (mut age, mut subdomains, mut preload) = (None, "", "");
    for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let lower = part.to_ascii_lowercase();
        match lower.as_str() {
            "includesubdomains" => subdomains = "; includeSubDomains",
            "preload" => preload = "; preload",
            _ => {
                let seconds = lower
                    .strip_prefix("max-age=")
                    .and_then(|text| text.trim_matches('"').parse::<u64>().ok());
                age = Some(seconds.ok_or_else(|| format!("`{part}` is no part of it"))?);
            }
        }
    }
    let age = age.ok_or("max-age is missing")?;
    Ok(format!("max-age={age}{subdomains}{preload}"))
}

/// A URL to send people to: absolute http or https, or a path.
pub(super) fn location(value: &str) -> Result<HeaderValue, String> {
    let uri: http::Uri = value.parse().map_err(|_| "it is no URL".to_owned())?;
    let absolute =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if !absolute {
        return Err("it is no absolute http or https URL".into());
    }
    HeaderValue::from_str(value).map_err(|_| "it is no URL".into())
}

pub(super) fn redirect_code(value: &str) -> Result<StatusCode, String> {
    let code = value.parse::<u16>().ok().filter(|code| (300..=308).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("it is no redirect status".into())
}

pub(super) fn absolute_path(value: &str) -> Result<Arc<str>, String> {
    let clean = value.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if value.starts_with('/') && !value.starts_with("//") && clean {
        Ok(value.into())
    } else {
        Err("it is no path that begins with one `/` and holds no spaces".into())
    }
}

pub(super) fn set_aliases(annotations: &mut Annotations, value: &str) -> Result<(), String> {
    let aliases: Result<Vec<_>, _> = items(value)
        .map(|item| {
            HostPattern::parse(item, WildcardLabels::One).map_err(|error| format!("`{item}`: {error}"))
        })
        .collect();
    annotations.server_aliases = aliases?;
    Ok(())
}

pub(super) fn set_vhost(annotations: &mut Annotations, value: &str) -> Result<(), String> {
    if value.contains('$') {
        return Err("variables are not supported".into());
    }
    let authority: http::uri::Authority = value.parse().map_err(|_| "it is no host name")?;
    if authority.as_str().contains('@') {
        return Err("it is no host name".into());
    }
    annotations.upstream_vhost = Some(HeaderValue::from_str(value).map_err(|_| "it is no host name")?);
    Ok(())
}

pub(super) fn headers(value: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` has no colon"))?;
            parse_header(name, value)
        })
        .collect()
}

pub(super) fn header_names(value: &str) -> Result<(Vec<HeaderName>, bool), String> {
    if items(value).any(|item| item == "*") {
        return Ok((Vec::new(), true));
    }
    Ok((items(value).map(parse_cors_name).collect::<Result<_, _>>()?, false))
}

/// `Keep-Alive` stands in the default list of ingress-nginx, so names of the connection pass here.
pub(super) fn parse_cors_name(name: &str) -> Result<HeaderName, String> {
    parse_header_name(name).or_else(|error| HeaderName::from_bytes(name.as_bytes()).map_err(|_| error))
}

pub(super) fn set_next_upstream(annotations: &mut Annotations, value: &str) -> Result<(), String> {
    annotations.next_upstream = Some(NextUpstream::parse(value)?);
    Ok(())
}

impl NextUpstream {
    /// Reads the words of nginx's `proxy_next_upstream`.
    pub fn parse(value: &str) -> Result<NextUpstream, String> {
        parse_next_upstream(value)
    }
}

fn parse_next_upstream(value: &str) -> Result<NextUpstream, String> {
    let mut codes = Vec::new();
    for word in value.split_ascii_whitespace() {
        match word {
            "off" => {
                return Ok(NextUpstream::Off);
            }
            // What is repeated without being asked, as far as that is safe.
            "error" | "timeout" | "invalid_header" => {}
            // Never safe to repeat by itself; the rule about methods stays in force.
            "non_idempotent" => {
                return Err("non_idempotent is not supported, it repeats what must not be".into());
            }
            _ => {
                let code = word.strip_prefix("http_").and_then(|code| code.parse::<u16>().ok());
                let code = code.filter(|code| [403, 404, 429, 500, 502, 503, 504].contains(code));
                let code = code.and_then(|code| StatusCode::from_u16(code).ok());
                codes.push(code.ok_or_else(|| format!("`{word}` is not known"))?);
            }
        }
    }
    Ok(NextUpstream::On { codes })
}

pub(super) fn set_protocol(annotations: &mut Annotations, value: &str) -> Result<(), String> {
    annotations.backend_protocol = Some(match value.to_ascii_uppercase().as_str() {
        "HTTP" => WrittenProtocol::Http,
        "HTTPS" => WrittenProtocol::Https,
        "GRPC" => WrittenProtocol::Grpc,
        "GRPCS" => WrittenProtocol::Grpcs,
        "H2C" => WrittenProtocol::H2c,
        "AUTO_HTTP" => WrittenProtocol::AutoHttp,
        _ => return Err("it is no protocol that is known".into()),
    });
    Ok(())
}
