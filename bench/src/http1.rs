//! Just enough HTTP/1 to drive a proxy from both sides: where a message ends, and the messages that the benches send.
//!
//! Messages are small and fixed, so both sides wait for the whole of one. Whatever is not understood is an error: a proxy
//! that garbles a message must spoil the measurement, not pass through it.

use std::ops::Range;

/// A whole request at the front of the buffer that was given to [`request`].
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Bytes of head and body together.
    pub(crate) len: usize,
    /// Where the target stands in the buffer.
    pub(crate) target: Range<usize>,
    /// The sender wants the connection closed after the answer.
    pub(crate) close: bool,
}

/// A whole answer at the front of the buffer that was given to [`response`].
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    /// Bytes of head and body together.
    pub(crate) len: usize,
    /// The status code.
    pub(crate) status: u16,
    /// The sender closes the connection after this answer.
    pub(crate) close: bool,
}

/// The peer broke HTTP/1, or used a part of it that the benches never ask for.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the head does not parse: {0}")]
    Head(#[from] httparse::Error),
    #[error("the message has neither a length nor a chunked body")]
    Unframed,
    #[error("the Content-Length is not a number")]
    ContentLength,
    #[error("the chunked body does not parse")]
    Chunk,
    #[error("the message is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
}

/// The request at the front of `bytes`, or `None` while it is not whole.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<Request>, MessageError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(bytes)? else {
        return too_large(bytes);
    };
    let framing = Framing::of(head.headers)?;
    let Some(body_len) = framing.body_len(&bytes[head_len..], Unframed::Empty)? else {
        return too_large(bytes);
    };
    // The target stands behind the method and one blank: httparse takes no other form.
    let start = head.method.unwrap_or_default().len() + 1;
    let target = start..start + head.path.unwrap_or_default().len();
    Ok(Some(Request { len: head_len + body_len, target, close: framing.close }))
}

/// The answer at the front of `bytes`, or `None` while it is not whole.
pub(crate) fn response(bytes: &[u8]) -> Result<Option<Response>, MessageError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(bytes)? else {
        return too_large(bytes);
    };
    let framing = Framing::of(head.headers)?;
    let Some(body_len) = framing.body_len(&bytes[head_len..], Unframed::Refused)? else {
        return too_large(bytes);
    };
    let status = head.code.unwrap_or_default();
    Ok(Some(Response { len: head_len + body_len, status, close: framing.close }))
}

/// A GET of `target` on `host`.
pub(crate) fn get(host: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// A POST with a body of [`POST_BODY_BYTES`], announced by its length.
pub(crate) fn post(host: &str) -> Vec<u8> {
    let mut request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {POST_BODY_BYTES}\r\n\r\n"
    )
    .into_bytes();
    request.extend(std::iter::repeat_n(b'x', POST_BODY_BYTES));
    request
}

/// A POST with the same body in [`POST_CHUNKS`] chunks, to the path whose answer is chunked too.
pub(crate) fn post_chunked(host: &str) -> Vec<u8> {
    let mut request = format!(
        "POST {CHUNKED_PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let chunk_len = POST_BODY_BYTES / POST_CHUNKS;
    for _ in 0..POST_CHUNKS {
        request.extend(format!("{chunk_len:x}\r\n").into_bytes());
        request.extend(std::iter::repeat_n(b'x', chunk_len));
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// What the backend answers: 80 bytes in all.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nHello, visitor\n";

/// What the backend answers on [`CHUNKED_PATH`]: the same body in two chunks.
pub(crate) const ANSWER_CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Transfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n8\r\nvisitor\n\r\n0\r\n\r\n";

/// The path whose answer is chunked.
pub(crate) const CHUNKED_PATH: &str = "/chunked";

/// The body of a POST.
pub(crate) const POST_BODY_BYTES: usize = 1024;

/// The largest message that is waited for.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

const POST_CHUNKS: usize = 4;
const HEADERS_MAX: usize = 64;

/// How the body's end is found.
struct Framing {
    chunked: bool,
    content_len: Option<usize>,
    close: bool,
}

/// What a message is that names no length.
enum Unframed {
    /// It has no body: a request (RFC 9112 §6.3).
    Empty,
    /// It would last until the connection closes, which no measurement here wants.
    Refused,
}

impl Framing {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Framing, MessageError> {
        let mut framing = Framing { chunked: false, content_len: None, close: false };
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let digits = std::str::from_utf8(header.value).map_err(|_| MessageError::ContentLength)?;
                framing.content_len = Some(digits.parse().map_err(|_| MessageError::ContentLength)?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing.chunked = header.value.eq_ignore_ascii_case(b"chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                framing.close = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(framing)
    }

    /// Bytes of the body at the front of `rest`, or `None` while it is not whole.
    fn body_len(&self, rest: &[u8], unframed: Unframed) -> Result<Option<usize>, MessageError> {
        if self.chunked {
            return chunked_len(rest);
        }
        match (self.content_len, unframed) {
            (Some(len), _) if len > MESSAGE_BYTES_MAX => Err(MessageError::TooLarge),
            (Some(len), _) => Ok((rest.len() >= len).then_some(len)),
            (None, Unframed::Empty) => Ok(Some(0)),
            (None, Unframed::Refused) => Err(MessageError::Unframed),
        }
    }
}

/// Bytes from the first chunk's size to the end of the trailer section.
fn chunked_len(rest: &[u8]) -> Result<Option<usize>, MessageError> {
    let mut position = 0;
    loop {
        let status = httparse::parse_chunk_size(&rest[position..]).map_err(|_| MessageError::Chunk)?;
        let httparse::Status::Complete((line_len, chunk_len)) = status else {
            return Ok(None);
        };
        position += line_len;
        if chunk_len == 0 {
            // No message here has trailers: the section is one empty line.
            return match rest.get(position..position + 2) {
                Some(b"\r\n") => Ok(Some(position + 2)),
                Some(_) => Err(MessageError::Chunk),
                None => Ok(None),
            };
        }
        if chunk_len > MESSAGE_BYTES_MAX as u64 {
            return Err(MessageError::TooLarge);
        }
        position += chunk_len as usize;
        match rest.get(position..position + 2) {
            Some(b"\r\n") => position += 2,
            Some(_) => return Err(MessageError::Chunk),
            None => return Ok(None),
        }
    }
}

/// "Not whole yet", unless so much has come that it never will be.
fn too_large<T>(bytes: &[u8]) -> Result<Option<T>, MessageError> {
    if bytes.len() >= MESSAGE_BYTES_MAX { Err(MessageError::TooLarge) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
