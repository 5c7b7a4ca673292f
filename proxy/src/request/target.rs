//! The target of a request: normalised once, so that what is matched, authorised and forwarded are the same bytes.
//!
//! One rule per form of writing; nothing below this module looks at the raw target again.
//!
//! | written | becomes | why |
//! |---|---|---|
//! | `%41`, `%7e` | `A`, `~` | unreserved characters mean the same either way (RFC 3986 §6.2.2.2) |
//! | `%c3%a9` | `%C3%A9` | hexadecimal digits are upper-cased (RFC 3986 §6.2.2.1) |
//! | `"` `<` `>` `[` `]` `^` `` ` `` `{` `\|` `}` | `%22` … | browsers send some of them bare; one form is kept |
//! | `/a/./b`, `/a/../b`, `/a/%2e%2e/b` | `/a/b`, `/b`, `/b` | RFC 3986 §5.2.4 |
//! | `//` | `/` | as nginx merges slashes |
//! | `..` above the root | 400 | an attack or a mistake, never a page |
//! | `%2F` | 400, or kept where the settings say so | upstreams disagree whether it separates |
//! | `\`, `%5C` | 400 | some upstreams take it for `/` |
//! | `%00`–`%1F`, `%7F` | 400 | cuts strings and splits lines in upstreams |
//! | `%C0%AF`, `%E0%80%AF` | 400 | overlong UTF-8 hides other characters |
//! | `..;x`, `.;x`, `;x` as a segment | 400 | servlet containers cut `;x` and then see `..`, `.` or nothing |
//! | `a;x`, `%23`, `%25`, `%3B`, `%3F` | kept | data |
//! | `%zz`, `%4`, `#`, bare controls, space, bytes above 126 | 400 | not a URI |
//!
//! The query is checked for bytes that no URI has, and otherwise kept as it came.

mod authority;
mod path;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::message::{Protocol, Request};
use crate::route::host::Host;

pub(crate) use authority::parse_authority;
pub use path::PathAndQuery;
pub use path::written_path;
pub(crate) use path::{DotSegments, normalise};

/// Longest request target in bytes, before and after normalisation: 414 above.
pub const TARGET_BYTES_MAX: usize = 16 << 10;

/// The normalised scheme, host and path of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the listener or a trusted proxy saw it; an absolute-form target cannot change it.
    pub scheme: Scheme,
    /// `None` only for HTTP/1.0 without Host.
    pub host: Option<Host>,
    /// The port as the client wrote it; `None` when it wrote none.
    pub port: Option<u16>,
    /// The normalised path with the query as it came; `*` for `OPTIONS *`.
    pub path_and_query: PathAndQuery,
}

/// The scheme the client used, as the listener (or a trusted proxy) saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// What is done with `%2F` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EncodedSlash {
    /// 400: an upstream that decodes it would see another path than the one that was matched.
    #[default]
    Refuse,
    /// Kept as data, for upstreams that need it (npm and GitLab names). Dot segments beside it are still refused.
    Keep,
}

/// Why a target is refused. Every one is the client's fault: 400, but 414 for `TooLong` and 501 for `Connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
    #[error("CONNECT is not served here")]
    Connect,
    #[error("the request target has none of the forms of RFC 9112 §3.2")]
    Form,
    #[error("the request target contains a byte that no URI has")]
    Byte,
    #[error("the request target contains `#`")]
    Fragment,
    #[error("a `%` is not followed by two hexadecimal digits")]
    PercentEncoding,
    #[error("the path contains an encoded control character")]
    EncodedControl,
    #[error("the path contains an encoded slash")]
    EncodedSlash,
    #[error("the path contains a backslash")]
    Backslash,
    #[error("the path contains overlong UTF-8")]
    Overlong,
    #[error("the path leaves the root by `..`")]
    AboveRoot,
    #[error("a path segment is hidden behind `;`")]
    HiddenSegment,
    #[error("the path contains a dot segment where none may be")]
    DotSegment,
    #[error("the request has no Host")]
    HostMissing,
    #[error("the request has more than one Host")]
    HostRepeated,
    #[error("Host is not a valid host name with an optional port")]
    HostInvalid,
    #[error("the authority contains user information")]
    UserInformation,
    #[error("Host differs from the authority of the request target")]
    HostDiffers,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Target {
    /// Normalises the target of a request that arrived by `scheme`.
    ///
    /// Host may be absent on HTTP/1.0 only, and on HTTP/2 where `:authority` stands in for it (RFC 9113 §8.3.1).
    pub fn of(request: &Request, scheme: Scheme, encoded_slash: EncodedSlash) -> Result<Target, TargetError> {
        let host = single_host(&request.headers)?;
        if host.is_none()
            && request.authority.is_none()
            && request.protocol == Protocol::Http10
            && request.target.first() == Some(&b'/')
        {
            let path_and_query = PathAndQuery::parse(&request.target, encoded_slash)?;
            return Ok(Target { scheme, host: None, port: None, path_and_query });
        }
        let host = host.map(HeaderValue::as_bytes);
        Target::parse(
            &request.method,
            &request.target,
            request.authority.as_deref(),
            host,
            scheme,
            encoded_slash,
        )
    }

    /// Normalises a target from its parts; `authority` is HTTP/2's `:authority`, `host` the one Host field.
    pub fn parse(
        method: &Method,
        raw: &Bytes,
        authority: Option<&[u8]>,
        host: Option<&[u8]>,
        scheme: Scheme,
        encoded_slash: EncodedSlash,
    ) -> Result<Target, TargetError> {
        if raw.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        // Extended CONNECT (RFC 8441) has a path and exists on HTTP/2 only; plain CONNECT has an authority in its place.
        if *method == Method::CONNECT && (raw.first() != Some(&b'/') || authority.is_none()) {
            return Err(TargetError::Connect);
        }
        let (in_target, path) = match raw.first() {
            Some(b'/') => (None, raw.clone()),
            Some(b'*') if raw.len() == 1 && *method == Method::OPTIONS => (None, raw.clone()),
            Some(_) if authority.is_none() => split_absolute(method, raw)?,
            Some(_) | None => return Err(TargetError::Form),
        };
        let path_and_query = match path.as_ref() {
            b"*" => PathAndQuery::asterisk(),
            _ => PathAndQuery::parse(&path, encoded_slash)?,
        };
        // RFC 9112 §3.2 wants Host on HTTP/1.1 even beside an absolute target; only `:authority` replaces it.
        let host = match (authority, host) {
            (None, None) => return Err(TargetError::HostMissing),
            (Some(first), None) | (None, Some(first)) => parse_authority(first)?,
            (Some(first), Some(second)) => agreeing(first, second, scheme)?,
        };
        let (host, port) = match in_target {
            Some(written) => {
                let written = parse_authority(&written)?;
                if same_authority(&written, &host, scheme) {
                    host
                } else {
                    return Err(TargetError::HostDiffers);
                }
            }
            None => host,
        };
        Ok(Target { scheme, host: Some(host), port, path_and_query })
    }

    /// The normalised path: begins with `/`, without empty and dot segments; or `*`.
    pub fn path(&self) -> &[u8] {
        self.path_and_query.path()
    }

    /// What stands behind `?`, as it came; `Some` and empty for a bare `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.path_and_query.query()
    }

    /// True for `OPTIONS *`, which asks the server and no resource of it.
    pub fn is_asterisk(&self) -> bool {
        self.path() == b"*"
    }

    /// The host as text; empty where there is none.
    pub fn host_str(&self) -> &str {
        self.host.as_ref().map(Host::as_str).unwrap_or_default()
    }

    /// The port the client meant: the one it wrote, else the scheme's.
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The normalised Host for the upstream, with the port if the client wrote one.
    ///
    /// `original` is used again, without a copy, when it is in this form already.
    pub fn host_value(&self, original: Option<&HeaderValue>) -> HeaderValue {
        let host = self.host_str().as_bytes();
        match (original, self.port) {
            (Some(original), None) if original.as_bytes() == host => original.clone(),
            (Some(original), Some(port)) if is_host_with_port(original.as_bytes(), host, port) => {
                original.clone()
            }
            (_, None) => header_value(host),
            (_, Some(port)) => header_value(format!("{}:{port}", self.host_str()).as_bytes()),
        }
    }
}

/// The one Host field, if any. Two are refused even when they are equal (RFC 9112 §3.2).
fn single_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, TargetError> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() { Err(TargetError::HostRepeated) } else { Ok(first) }
}

/// Splits `http://host/path?query` into authority and `/path?query`; an empty path is `/`, or `*` for OPTIONS.
fn split_absolute(method: &Method, raw: &Bytes) -> Result<(Option<Bytes>, Bytes), TargetError> {
    let start = ["http://", "https://"]
        .iter()
        .find(|scheme| {
            raw.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes()))
        })
        .map(|scheme| scheme.len())
        .ok_or(TargetError::Form)?;
    let rest = raw.slice(start..);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = rest.slice(..end);
    let path = rest.slice(end..);
    let path = match path.first() {
        None if *method == Method::OPTIONS => Bytes::from_static(b"*"),
        None => Bytes::from_static(b"/"),
        Some(b'/') => path,
        Some(_) => [b"/", path.as_ref()].concat().into(),
    };
    Ok((Some(authority), path))
}

fn agreeing(authority: &[u8], host: &[u8], scheme: Scheme) -> Result<(Host, Option<u16>), TargetError> {
    let first = parse_authority(authority)?;
    if authority != host && !same_authority(&first, &parse_authority(host)?, scheme) {
        return Err(TargetError::HostDiffers);
    }
    Ok(first)
}

/// Two authorities agree when host and port mean the same: `a:443` is `a` on https.
fn same_authority(a: &(Host, Option<u16>), b: &(Host, Option<u16>), scheme: Scheme) -> bool {
    a.0 == b.0 && a.1.unwrap_or(scheme.default_port()) == b.1.unwrap_or(scheme.default_port())
}

fn is_host_with_port(value: &[u8], host: &[u8], port: u16) -> bool {
    value
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(b":"))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .is_some_and(|digits| !digits.starts_with('0') && digits.parse() == Ok(port))
}

fn header_value(bytes: &[u8]) -> HeaderValue {
    // A host name holds letters, digits and a few marks only, so this cannot fail; an empty Host is the harmless answer.
    HeaderValue::from_bytes(bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}
