//! Just enough HTTP/1 to drive a proxy from both sides: where a message ends, and the messages that the benches send.
//!
//! Messages are fixed and mostly small, so both sides wait for the whole of one; only the body of a large upload is
//! counted as it comes. Whatever is not understood is an error: a proxy that garbles a message must spoil the measurement,
//! not pass through it.

use std::ops::Range;

/// A request at the front of the buffer that was given to [`request`].
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Bytes of head and body together; more than the buffer holds while the rest of an announced length is on its way.
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

/// The request at the front of `bytes`, or `None` while its head, or its chunked body, is not whole.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<Request>, MessageError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(bytes)? else {
        return too_large(bytes);
    };
    let framing = Framing::of(head.headers)?;
    let body_len = match framing {
        Framing { chunked: true, .. } => chunked_len(&bytes[head_len..])?,
        Framing { content_len, .. } => Some(content_len.unwrap_or(0)),
    };
    let Some(body_len) = body_len else {
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
    let Some(body_len) = framing.body_len(&bytes[head_len..])? else {
        return too_large(bytes);
    };
    let status = head.code.unwrap_or_default();
    Ok(Some(Response { len: head_len + body_len, status, close: framing.close }))
}

/// A GET of `target` on `host`.
pub(crate) fn get(host: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// A GET of the root on `host` that asks for the connection's end.
pub(crate) fn get_and_close(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n").into_bytes()
}

/// What the backend answers: 80 bytes in all.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nHello, visitor\n";

/// What the backend answers on [`CHUNKED_PATH`]: the same body in two chunks.
pub(crate) const ANSWER_CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Transfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n8\r\nvisitor\n\r\n0\r\n\r\n";

/// The path whose answer is chunked.
pub(crate) const CHUNKED_PATH: &str = "/chunked";

/// The largest message that is waited for.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

const HEADERS_MAX: usize = 64;

/// How the body's end is found.
struct Framing {
    chunked: bool,
    content_len: Option<usize>,
    close: bool,
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

    /// Bytes of an answer's body at the front of `rest`, or `None` while it is not whole. Without a length it would last
    /// until the connection closes, which no measurement here wants.
    fn body_len(&self, rest: &[u8]) -> Result<Option<usize>, MessageError> {
        if self.chunked {
            return chunked_len(rest);
        }
        match self.content_len {
            Some(len) if len > MESSAGE_BYTES_MAX => Err(MessageError::TooLarge),
            Some(len) => Ok((rest.len() >= len).then_some(len)),
            None => Err(MessageError::Unframed),
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
