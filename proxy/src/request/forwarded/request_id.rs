//! The id of a request: in the access log, on error pages, at the upstream.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

use crate::message::detach;

/// A name for one request: 32 lower-case hexadecimal digits of our own, or what a trusted proxy called it.
///
/// It is for finding things, not for guarding them: the digits are random but not secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new random id.
    pub fn random() -> RequestId {
        let mut digits = [0_u8; 32];
        write_hexadecimal(fastrand::u128(1..), &mut digits);
        // One allocation that every clone shares. Digits are always a header value.
        let value = HeaderValue::from_maybe_shared(Bytes::from_owner(digits));
        RequestId(value.unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }

    /// Takes an id from a trusted proxy: 1 to [`REQUEST_ID_BYTES_MAX`] letters, digits and `-_.:=+/@`. Else `None`.
    pub fn accept(value: &HeaderValue) -> Option<RequestId> {
        let bytes = value.as_bytes();
        let sane = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_' | b'.' | b':' | b'=' | b'+' | b'/' | b'@')
        };
        let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len());
        (fits && bytes.iter().all(sane)).then(|| RequestId(value.clone()))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Copies the id, so that it no longer keeps the buffer that it was read into.
    pub(crate) fn detach(&mut self) {
        detach(&mut self.0);
    }

    /// A `traceparent` of a new, unsampled trace; the trace id is this id where it has that form.
    pub(super) fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let id = self.0.as_bytes();
        let is_trace_id = id.len() == 32
            && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && id.iter().any(|byte| *byte != b'0');
        if is_trace_id {
            text[3..35].copy_from_slice(id);
        } else {
            write_hexadecimal(fastrand::u128(1..), &mut text[3..35]);
        }
        write_hexadecimal(u128::from(fastrand::u64(1..)), &mut text[36..52]);
        HeaderValue::from_maybe_shared(Bytes::from_owner(text))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the low digits of `number`, as many as `digits` has room for.
fn write_hexadecimal(mut number: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Longest id that is taken from a trusted proxy.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
