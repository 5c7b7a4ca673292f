//! Heads of requests and responses: bytes to values and back, with the framing of the body that follows.
//!
//! Reading never copies a field's value: each is a slice of the read buffer. The caller keeps one [`Scan`] beside the
//! buffer, so that a head that arrives byte by byte is looked at once. After an error the buffer is of no use any more
//! and the connection has to be closed: nobody can say where the next message would begin.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::message::{Protocol, UpgradeRequest};

mod fields;
mod scan;
mod write;

use fields::Fields;
pub use scan::Scan;
pub(super) use scan::Section;
pub(super) use write::write_field;
pub use write::{
    CONTINUE, DATE_BYTES, DateCache, Disposition, ResponseFraming, WriteError, write_informational_head,
    write_request_head, write_response_head,
};

/// The bounds of one head. A head that reaches past one is refused before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head: the first line, all fields, and the empty line that ends it.
    pub bytes_max: usize,
    /// Field lines. More than [`HEAD_FIELDS_CAP`] has no effect.
    pub fields_max: usize,
    /// The request target alone; of no meaning for a response.
    pub target_bytes_max: usize,
}

impl HeadLimits {
    /// What a client may send.
    pub const REQUEST: HeadLimits = HeadLimits {
        bytes_max: REQUEST_HEAD_BYTES_MAX,
        fields_max: HEAD_FIELDS_MAX,
        target_bytes_max: TARGET_BYTES_MAX,
    };

    /// What an upstream may send.
    pub const RESPONSE: HeadLimits = HeadLimits { bytes_max: RESPONSE_HEAD_BYTES_MAX, ..HeadLimits::REQUEST };
}

/// How long a body is, and how its end is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No byte follows the head. A `Content-Length: 0` reads as this too.
    None,
    /// So many bytes follow, never zero when read from a head.
    Exact(u64),
    /// Chunks follow, then perhaps trailers.
    Chunked,
    /// Everything until the peer closes; only in responses.
    UntilClose,
}

/// A request as far as its empty line.
///
/// `headers` holds every field as it came, the hop-by-hop ones too, because the next step acts on the tokens of
/// `Connection`; the writers leave those out.
#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    /// Exactly as received, in any of the four forms. Visible ASCII without `#`, and nothing else is promised.
    pub target: Bytes,
    pub protocol: Protocol,
    pub headers: HeaderMap,
    pub length: BodyLength,
    /// What the client is willing to do with the connection after this exchange.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body. Never true without a body or on HTTP/1.0.
    pub expect_continue: bool,
    pub upgrade: Option<UpgradeRequest>,
}

/// A response as far as its empty line. A status below 200 is an interim one: the next head follows at once.
#[derive(Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub protocol: Protocol,
    pub headers: HeaderMap,
    pub length: BodyLength,
    /// False also when the body ends with the connection, and when the head announces a body that it cannot have.
    pub keep_alive: bool,
    /// What the upstream switched to. A 101 with `None` here, or one that nobody asked for, is a broken upstream.
    pub upgraded: Option<UpgradeRequest>,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the status line is malformed")]
    StatusLine,
    #[error("the method is longer than {METHOD_BYTES_MAX} bytes")]
    MethodTooLong,
    #[error("the request target is empty or holds a byte that no target may hold")]
    Target,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the protocol version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    #[error("a line does not end in CRLF")]
    LineEnd,
    #[error("a field name is malformed")]
    FieldName,
    #[error("a field value is malformed")]
    FieldValue,
    #[error("the head is too large")]
    HeadTooLarge,
    #[error("the head has too many fields")]
    FieldsTooMany,
    #[error("the request has no Host")]
    HostMissing,
    #[error("the request has more than one Host")]
    HostDuplicate,
    #[error("the Host is malformed")]
    HostInvalid,
    #[error("Content-Length is not a decimal number")]
    ContentLengthInvalid,
    #[error("Content-Length is there more than once")]
    ContentLengthDuplicate,
    #[error("Transfer-Encoding is malformed, repeated, or does not end in one chunked")]
    TransferEncodingInvalid,
    #[error("Transfer-Encoding names a coding other than chunked")]
    TransferCodingUnknown,
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    TransferEncodingHttp10,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthConflict,
    #[error("an interim response announces a body")]
    InterimBody,
    #[error("an expectation other than 100-continue")]
    ExpectationUnknown,
}

impl HeadError {
    /// A stable label for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            HeadError::RequestLine => "request_line_invalid",
            HeadError::StatusLine => "status_line_invalid",
            HeadError::MethodTooLong => "method_too_long",
            HeadError::Target => "target_invalid",
            HeadError::TargetTooLong => "target_too_long",
            HeadError::Version => "version_unsupported",
            HeadError::LineEnd => "line_end_invalid",
            HeadError::FieldName => "field_name_invalid",
            HeadError::FieldValue => "field_value_invalid",
            HeadError::HeadTooLarge => "head_too_large",
            HeadError::FieldsTooMany => "fields_too_many",
            HeadError::HostMissing => "host_missing",
            HeadError::HostDuplicate => "host_duplicate",
            HeadError::HostInvalid => "host_invalid",
            HeadError::ContentLengthInvalid => "content_length_invalid",
            HeadError::ContentLengthDuplicate => "content_length_duplicate",
            HeadError::TransferEncodingInvalid => "transfer_encoding_invalid",
            HeadError::TransferCodingUnknown => "transfer_coding_unknown",
            HeadError::TransferEncodingHttp10 => "transfer_encoding_http10",
            HeadError::LengthConflict => "length_conflict",
            HeadError::InterimBody => "interim_body",
            HeadError::ExpectationUnknown => "expectation_unknown",
        }
    }

    /// The status that a *request* with this fault deserves (RFC 9112 §3, RFC 9110 §15). A response with any of these
    /// faults is a bad gateway, whatever the fault.
    pub fn status(self) -> StatusCode {
        match self {
            HeadError::RequestLine
            | HeadError::Target
            | HeadError::LineEnd
            | HeadError::FieldName
            | HeadError::FieldValue
            | HeadError::HostMissing
            | HeadError::HostDuplicate
            | HeadError::HostInvalid
            | HeadError::ContentLengthInvalid
            | HeadError::ContentLengthDuplicate
            | HeadError::TransferEncodingInvalid
            | HeadError::TransferEncodingHttp10
            | HeadError::LengthConflict => StatusCode::BAD_REQUEST,
            HeadError::TargetTooLong => StatusCode::URI_TOO_LONG,
            HeadError::ExpectationUnknown => StatusCode::EXPECTATION_FAILED,
            HeadError::HeadTooLarge | HeadError::FieldsTooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            HeadError::MethodTooLong | HeadError::TransferCodingUnknown => StatusCode::NOT_IMPLEMENTED,
            HeadError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            HeadError::StatusLine | HeadError::InterimBody => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Reads one request head from the front of `buffer`, or says with `None` that more bytes are needed.
///
/// On success the head is gone from `buffer` and `scan` is fresh for the next one; on `None` nothing was consumed, and the
/// same `scan` has to come with the longer buffer. One empty line before the request is skipped (RFC 9112 §2.2).
pub fn parse_request(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    // A first line may hold the longest method, the longest target, two spaces, the version and CRLF.
    let first_line_max = METHOD_BYTES_MAX + limits.target_bytes_max + "  HTTP/1.1\r\n".len();
    let section = Section::Request { first_line_max };
    let Some(found) = scan.find(buffer, section, limits)? else { return Ok(None) };
    buffer.advance(found.start);
    let head = buffer.split_to(found.end - found.start).freeze();

    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEAD_FIELDS_CAP];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&head, &mut slots) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        // The scan found the end, so whatever the parser misses is not a request.
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(HeadError::RequestLine),
        Err(error) => return Err(request_error(error, &head)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::RequestLine);
    };
    if method.len() > METHOD_BYTES_MAX {
        return Err(HeadError::MethodTooLong);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::RequestLine)?;
    let target = target.as_bytes();
    if target.len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong);
    }
    if !is_target(target) {
        return Err(HeadError::Target);
    }
    let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };

    let mut fields = Fields::default();
    let room = parsed.headers.len() + ADDED_FIELDS;
    let headers = collect(&head, parsed.headers, room, |_| true, |name, value| fields.read(name, value))?;
    fields.check_host(protocol)?;
    // Without a length a request has no body: it cannot end with the connection, or there would be no answer.
    let length = fields.length(protocol)?.unwrap_or(BodyLength::None);
    let has_body = length != BodyLength::None;
    let expect_continue = fields.expect_continue()? && protocol == Protocol::Http11 && has_body;
    let upgrade = (protocol == Protocol::Http11 && method == Method::GET && !has_body)
        .then(|| fields.upgrade())
        .flatten();
    Ok(Some(RequestHead {
        method,
        target: head.slice_ref(target),
        protocol,
        headers,
        length,
        keep_alive: fields.keep_alive(protocol),
        expect_continue,
        upgrade,
    }))
}

/// Reads one response head from the front of `buffer`, or says with `None` that more bytes are needed.
///
/// `request_method` is the method of the request that this answers; it decides whether a body follows. The contract with
/// `buffer` and `scan` is that of [`parse_request`], but nothing may stand before the status line. The reason phrase is
/// not kept. Surplus bytes in `buffer` after the end of the message are the caller's to notice.
pub fn parse_response(
    buffer: &mut BytesMut,
    scan: &mut Scan,
    request_method: &Method,
    limits: &HeadLimits,
) -> Result<Option<ResponseHead>, HeadError> {
    let Some(found) = scan.find(buffer, Section::Response, limits)? else { return Ok(None) };
    let head = buffer.split_to(found.end).freeze();

    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; HEAD_FIELDS_CAP];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &head, &mut slots) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) => return Err(HeadError::StatusLine),
        Err(error) => return Err(field_error(error).unwrap_or(HeadError::StatusLine)),
    }
    let (Some(version), Some(code)) = (parsed.version, parsed.code) else {
        return Err(HeadError::StatusLine);
    };
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::StatusLine)?;
    let protocol = if version == 0 { Protocol::Http10 } else { Protocol::Http11 };

    let mut fields = Fields::default();
    let headers = collect(
        &head,
        parsed.headers,
        parsed.headers.len(),
        |_| true,
        |name, value| fields.read(name, value),
    )?;
    let announced = fields.length(protocol)?;
    let mut keep_alive = fields.keep_alive(protocol);
    // The order of the cases is that of RFC 9112 §6.3.
    let length = if status == StatusCode::SWITCHING_PROTOCOLS {
        keep_alive = false;
        BodyLength::None
    } else if status.is_informational() {
        if announced.is_some_and(|length| length != BodyLength::None) {
            return Err(HeadError::InterimBody);
        }
        BodyLength::None
    } else if *request_method == Method::CONNECT && status.is_success() {
        keep_alive = false;
        BodyLength::None
    } else if status == StatusCode::NO_CONTENT {
        // An upstream that announces a body here may send it too, and it would be read as the next answer.
        keep_alive &= announced.is_none_or(|length| length == BodyLength::None);
        BodyLength::None
    } else if *request_method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        BodyLength::None
    } else {
        announced.unwrap_or(BodyLength::UntilClose)
    };
    keep_alive &= length != BodyLength::UntilClose;
    let upgraded = (status == StatusCode::SWITCHING_PROTOCOLS).then(|| fields.upgrade()).flatten();
    Ok(Some(ResponseHead { status, protocol, headers, length, keep_alive, upgraded }))
}

/// Parsed field lines as a map of slices of `head`, with room for so many fields: each is shown to `see`, and those that
/// `keep` wants are kept.
pub(super) fn collect(
    head: &Bytes,
    lines: &[httparse::Header<'_>],
    room: usize,
    keep: impl Fn(&HeaderName) -> bool,
    mut see: impl FnMut(&[u8], &[u8]) -> Result<(), HeadError>,
) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(room);
    for line in lines {
        see(line.name.as_bytes(), line.value)?;
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| HeadError::FieldName)?;
        if !keep(&name) {
            continue;
        }
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(|_| HeadError::FieldValue)?;
        headers.try_append(name, value).map_err(|_| HeadError::FieldsTooMany)?;
    }
    Ok(headers)
}

/// The fault in a field line, when that is what the parser stumbled over.
fn field_error(error: httparse::Error) -> Option<HeadError> {
    match error {
        httparse::Error::HeaderName => Some(HeadError::FieldName),
        httparse::Error::HeaderValue => Some(HeadError::FieldValue),
        httparse::Error::NewLine => Some(HeadError::LineEnd),
        httparse::Error::TooManyHeaders => Some(HeadError::FieldsTooMany),
        httparse::Error::Version => Some(HeadError::Version),
        httparse::Error::Status | httparse::Error::Token => None,
    }
}

/// Says what is wrong with a request that the parser refused. Only the way of the unhappy comes here, so it may look twice.
fn request_error(error: httparse::Error, head: &[u8]) -> HeadError {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match error {
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::TooManyHeaders
        | httparse::Error::Status => field_error(error).unwrap_or(HeadError::RequestLine),
        httparse::Error::Version | httparse::Error::Token | httparse::Error::NewLine => {
            let mut words = line.split(|byte| *byte == b' ');
            let (method, target, version, rest) = (words.next(), words.next(), words.next(), words.next());
            let method = method.unwrap_or_default();
            if method.is_empty() || !method.iter().copied().all(is_token_byte) {
                return HeadError::RequestLine;
            }
            match (target, version, rest) {
                (Some(target), _, None) if !target.is_empty() && !is_target(target) => HeadError::Target,
                // `GET /` alone is HTTP/0.9.
                (Some(target), None, None) if !target.is_empty() => HeadError::Version,
                (Some(_), Some(version), None) if is_foreign_version(version) => HeadError::Version,
                _ => HeadError::RequestLine,
            }
        }
    }
}

/// True for a well-formed `HTTP-version` (RFC 9112 §2.3) that is not one of ours.
fn is_foreign_version(version: &[u8]) -> bool {
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1'))
        }
        _ => false,
    }
}

/// True when every byte may stand in a request target: visible ASCII without `#`, for a fragment is never sent
/// (RFC 9112 §3.2). What the target means is decided where it is normalised.
fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#')
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// True for fields that belong to one connection or to the framing of one message. Only the writers emit them.
fn is_framing(name: &HeaderName) -> bool {
    match name.as_str().len() {
        7 => *name == header::UPGRADE,
        10 => *name == header::CONNECTION || name.as_str() == "keep-alive",
        14 => *name == header::CONTENT_LENGTH || name.as_str() == "http2-settings",
        16 => name.as_str() == "proxy-connection",
        17 => *name == header::TRANSFER_ENCODING,
        _ => false,
    }
}

/// The head of a request, in bytes.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 << 10;
/// The head of a response, in bytes.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;
/// The field lines of one head.
pub const HEAD_FIELDS_MAX: usize = 100;
/// What [`HeadLimits::fields_max`] can be raised to: the size of the parser's table on the stack.
pub const HEAD_FIELDS_CAP: usize = 256;
/// The request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 16 << 10;
/// What the edge adds to most requests, so that their maps do not have to grow: X-Request-ID. X-Forwarded-* stand beside them.
const ADDED_FIELDS: usize = 1;
/// The longest method that is not refused out of hand; the longest registered one has 17 bytes.
pub const METHOD_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests;
