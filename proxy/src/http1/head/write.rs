//! Heads from values to bytes. Framing and connection fields come from here alone, whatever the map holds.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::message::Protocol;

use super::fields::parse_decimal;
use super::{BodyLength, is_framing, is_target};

/// What becomes of the connection after this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    KeepAlive,
    Close,
    /// It becomes a WebSocket: asked for in a request, granted in a 101.
    Upgrade,
}

/// How one answer is delimited on a client's connection, decided before the first byte of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFraming {
    /// What the body's encoder has to be made with. `None`: nothing follows, and a body at hand has to be dropped.
    pub length: BodyLength,
    /// What really becomes of the connection: [`Disposition::Close`] when only that can end the body.
    pub disposition: Disposition,
    field: LengthField,
    protocol: Protocol,
}

/// What a head says about the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LengthField {
    Omitted,
    Exact(u64),
    Chunked,
    /// The length that a GET would have had: the map's own field if it is valid, else this one if it is known.
    OfRepresentation(Option<u64>),
}

impl ResponseFraming {
    /// Decides (RFC 9112 §6.3). `body_length` is the exact number of bytes if it is known; `wish` is what the connection
    /// should become if the framing lets it.
    pub fn plan(
        protocol: Protocol,
        method: &Method,
        status: StatusCode,
        body_length: Option<u64>,
        wish: Disposition,
    ) -> Self {
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        let mut disposition = match wish {
            // Only a 101 switches. A client that hears anything else may already have sent what is no HTTP.
            Disposition::Upgrade if status != StatusCode::SWITCHING_PROTOCOLS => Disposition::Close,
            Disposition::KeepAlive | Disposition::Close | Disposition::Upgrade => wish,
        };
        let (length, field) = if bodiless {
            (BodyLength::None, LengthField::Omitted)
        } else if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            // Zero is what a HEAD answer without a body at hand looks like, and says nothing about the GET.
            let known = body_length.filter(|length| *length > 0);
            (BodyLength::None, LengthField::OfRepresentation(known))
        } else {
            match body_length {
                Some(0) => (BodyLength::None, LengthField::Exact(0)),
                Some(length) => (BodyLength::Exact(length), LengthField::Exact(length)),
                None if protocol == Protocol::Http10 => {
                    disposition = Disposition::Close;
                    (BodyLength::UntilClose, LengthField::Omitted)
                }
                None => (BodyLength::Chunked, LengthField::Chunked),
            }
        };
        ResponseFraming { length, disposition, field, protocol }
    }
}

/// Why a request head was not written; nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the request target is empty or holds a byte that no target may hold")]
    Target,
    #[error("a request body cannot end with the connection")]
    UntilClose,
}

/// Appends a request head to `out`, always as HTTP/1.1.
///
/// Of `headers` everything is written but the connection and framing fields, then `more`, none of which may be one of these
/// or stand in `headers`. The target is checked once more, because
/// a rewrite made it, and a line break in it would be a second request.
pub fn write_request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &[u8],
    headers: &HeaderMap,
    more: &[(&HeaderName, &HeaderValue)],
    length: BodyLength,
    disposition: Disposition,
) -> Result<(), WriteError> {
    debug_assert!(more.iter().all(|(name, _)| !headers.contains_key(*name)));
    if !is_target(target) {
        return Err(WriteError::Target);
    }
    let field = match length {
        // RFC 9110 §8.6: a method that anticipates content says that there is none.
        BodyLength::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            LengthField::Exact(0)
        }
        BodyLength::None => LengthField::Omitted,
        BodyLength::Exact(length) => LengthField::Exact(length),
        BodyLength::Chunked => LengthField::Chunked,
        BodyLength::UntilClose => return Err(WriteError::UntilClose),
    };
    out.reserve(HEAD_BYTES_TYPICAL + target.len());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        if !is_framing(name) {
            write_field(out, name, value);
        }
    }
    for (name, value) in more {
        write_field(out, name, value);
    }
    write_length(out, field, headers);
    write_connection(out, disposition, Protocol::Http11);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a final response head to `out`, or a 101.
///
/// Of `headers` everything is written but the connection and framing fields; the `Content-Length` of an answer to HEAD
/// and of a 304 stays as it is. `date` is written unless `headers` has one (RFC 9110 §6.6.1).
pub fn write_response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: &ResponseFraming,
    date: &[u8; DATE_BYTES],
) {
    out.reserve(HEAD_BYTES_TYPICAL);
    write_status_line(out, status);
    let mut dated = false;
    for (name, value) in headers {
        if !is_framing(name) {
            dated |= *name == header::DATE;
            write_field(out, name, value);
        }
    }
    if !dated {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    write_length(out, framing.field, headers);
    write_connection(out, framing.disposition, framing.protocol);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim response (103 and its like; not 101). Only for clients that speak HTTP/1.1 (RFC 9110 §15.2).
pub fn write_informational_head(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    write_status_line(out, status);
    for (name, value) in headers {
        if !is_framing(name) {
            write_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The text of the `Date` field, made once a second.
#[derive(Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; DATE_BYTES],
}

impl Default for DateCache {
    fn default() -> Self {
        DateCache { second: 0, text: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }
}

impl DateCache {
    /// The text as of the last [`DateCache::text`].
    pub fn current(&self) -> &[u8; DATE_BYTES] {
        &self.text
    }

    /// `now` as an IMF-fixdate (RFC 9110 §5.6.7). A clock outside the years 1970 to 9999 shows the nearest of these.
    pub fn text(&mut self, now: SystemTime) -> &[u8; DATE_BYTES] {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(DATE_SECOND_MAX);
        if second != self.second {
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            // The form has a fixed width, so this never fails; if it did, the last second's text would stay.
            if write!(&mut self.text[..], "{date}").is_ok() {
                self.second = second;
            }
        }
        &self.text
    }
}

fn write_status_line(out: &mut Vec<u8>, status: StatusCode) {
    // Our own version, also towards an HTTP/1.0 client: it says what we can do, not what follows (RFC 9110 §6.2).
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    out.reserve(name.len() + value.len() + ": \r\n".len());
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, field: LengthField, headers: &HeaderMap) {
    let length = match field {
        LengthField::Omitted => return,
        LengthField::Chunked => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            return;
        }
        LengthField::Exact(length) => length,
        LengthField::OfRepresentation(known) => {
            let given = headers.get(header::CONTENT_LENGTH).and_then(|value| parse_decimal(value.as_bytes()));
            let Some(length) = given.or(known) else { return };
            length
        }
    };
    out.extend_from_slice(b"content-length: ");
    write_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn write_connection(out: &mut Vec<u8>, disposition: Disposition, protocol: Protocol) {
    match disposition {
        Disposition::KeepAlive if protocol == Protocol::Http10 => {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        Disposition::KeepAlive => {}
        Disposition::Close => out.extend_from_slice(b"connection: close\r\n"),
        Disposition::Upgrade => out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
    }
}

fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Interim answer to `Expect: 100-continue`, whole.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// An IMF-fixdate.
pub const DATE_BYTES: usize = 29;
/// Room that most heads fit in, asked for at once.
const HEAD_BYTES_TYPICAL: usize = 512;
/// The last second of the year 9999, which is the last that the form can show.
const DATE_SECOND_MAX: u64 = 253_402_300_799;
