//! Trailers: which fields may come behind a body, and how they are read.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName};

use crate::http1::head::{self, HEAD_FIELDS_CAP, HeadError, HeadLimits, Scan, Section};

use super::{BodyLimits, FramingError};

/// True for a field that may come behind a body.
///
/// A recipient may merge trailers into the head that was already checked, so none is let through that frames, routes,
/// authenticates, controls or describes a message (RFC 9110 §6.5.1), tells who asks or where from, or could be read as such a name
/// by an application that takes `_` or `.` for `-`.
pub fn is_trailer_allowed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !TRAILERS_FORBIDDEN.contains(&name)
        && !TRAILER_PREFIXES_FORBIDDEN.iter().any(|prefix| name.starts_with(prefix))
}

/// The trailer section, without the fields that have no place in one; `None` until it is whole.
pub(super) fn read_trailers(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &BodyLimits,
) -> Result<Option<HeaderMap>, FramingError> {
    let limits = HeadLimits {
        bytes_max: limits.trailers_bytes_max,
        fields_max: limits.trailer_fields_max,
        target_bytes_max: 0,
    };
    let found = match scan.find(buffer, Section::Trailers, &limits) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(HeadError::HeadTooLarge | HeadError::FieldsTooMany) => {
            return Err(FramingError::TrailersTooLarge);
        }
        Err(_) => return Err(FramingError::Trailers),
    };
    let section = buffer.split_to(found.end).freeze();
    if section.len() == b"\r\n".len() {
        return Ok(Some(HeaderMap::new()));
    }
    let mut slots = [httparse::EMPTY_HEADER; HEAD_FIELDS_CAP];
    let lines = match httparse::parse_headers(&section, &mut slots) {
        Ok(httparse::Status::Complete((end, lines))) if end == section.len() => lines,
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(FramingError::Trailers),
        Err(httparse::Error::TooManyHeaders) => return Err(FramingError::TrailersTooLarge),
        Err(_) => return Err(FramingError::Trailers),
    };
    let headers = head::collect(&section, lines, lines.len(), is_trailer_allowed, |_, _| Ok(()));
    headers.map(Some).map_err(|_| FramingError::Trailers)
}

/// Fields that a message cannot learn behind its body.
const TRAILERS_FORBIDDEN: &[&str] = &[
    "age",
    "authorization",
    "cache-control",
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "fastly-client-ip",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "priority",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method-override",
    "x-real-ip",
    "x-request-id",
];

/// Families of such fields: conditions, cross-origin permissions, forwarding and identity.
const TRAILER_PREFIXES_FORBIDDEN: &[&str] = &[
    "access-control-",
    "if-",
    "proxy-",
    "remote-",
    "sec-",
    "ssl-client-",
    "x-auth-",
    "x-authentik-",
    "x-forwarded-",
    "x-original-",
    "x-ssl-",
];
