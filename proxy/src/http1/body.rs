//! Bodies of messages: framed bytes to data and trailers, and back (RFC 9112 §6 and §7).
//!
//! A [`Decoder`] hands out slices of the read buffer and keeps nothing but its place in the grammar, so it gives the same
//! data however the bytes were cut on their way. An [`Encoder`] writes only what surrounds the data, so that the data
//! itself can go out without being copied.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, BodyLength, HEAD_FIELDS_MAX, Scan};

mod encoder;
mod trailers;

pub use encoder::{EncodeError, Encoder};
pub use trailers::is_trailer_allowed;
use trailers::read_trailers;

/// The bounds of what a chunked body may hold besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// All chunk extensions of one body together.
    pub extensions_bytes_max: usize,
    /// The trailer section with its empty line.
    pub trailers_bytes_max: usize,
    /// Field lines in the trailer section.
    pub trailer_fields_max: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        BodyLimits {
            extensions_bytes_max: EXTENSIONS_BYTES_MAX,
            trailers_bytes_max: TRAILERS_BYTES_MAX,
            trailer_fields_max: HEAD_FIELDS_MAX,
        }
    }
}

/// Finds the data in what a peer sends, and the end of it.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: BodyLimits,
}

/// One step of a [`Decoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Some of the body, never empty: a slice of the buffer.
    Data(Bytes),
    /// The trailers that may be passed on, never empty. Only [`Decoded::End`] follows.
    Trailers(HeaderMap),
    /// The buffer holds nothing more for this body yet.
    NeedMore,
    /// The body is over. What is left in the buffer belongs to the next message.
    End,
}

/// Where in the grammar the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum State {
    Exact(u64),
    UntilClose,
    /// Within a line before a chunk.
    Line(Line),
    Chunk {
        remaining: u64,
        extension_bytes: usize,
    },
    /// CRLF behind a chunk.
    ChunkEnd {
        carriage_return: bool,
        extension_bytes: usize,
    },
    Trailers(Scan),
    Done,
    Failed(FramingError),
}

/// The line before a chunk: `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug)]
struct Line {
    part: LinePart,
    digits: usize,
    size: u64,
    /// Bytes of extensions in this body so far.
    extension_bytes: usize,
}

/// The extension grammar is followed whole, without its optional spaces: what is skipped has to be certain to be an
/// extension, and nobody sends any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinePart {
    Size,
    NameStart,
    Name,
    ValueStart,
    Token,
    Quoted,
    QuotedPair,
    QuotedEnd,
    Feed,
}

/// Why a body can not be read on. The place of the next message is unknown, so the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingError {
    #[error("a chunk size is not one to sixteen hexadecimal digits")]
    ChunkSize,
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    #[error("the chunk extensions are too large")]
    ExtensionsTooLarge,
    #[error("the line before a chunk does not end in CRLF")]
    LineEnd,
    #[error("a chunk is not followed by CRLF")]
    ChunkEnd,
    #[error("the trailer section is malformed")]
    Trailers,
    #[error("the trailer section is too large")]
    TrailersTooLarge,
    #[error("the body ended before its announced end")]
    Premature,
}

impl FramingError {
    /// A stable label for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            FramingError::ChunkSize => "chunk_size_invalid",
            FramingError::ChunkExtension => "chunk_extension_invalid",
            FramingError::ExtensionsTooLarge => "chunk_extensions_too_large",
            FramingError::LineEnd => "chunk_line_end_invalid",
            FramingError::ChunkEnd => "chunk_end_invalid",
            FramingError::Trailers => "trailers_invalid",
            FramingError::TrailersTooLarge => "trailers_too_large",
            FramingError::Premature => "body_premature_end",
        }
    }
}

impl Decoder {
    /// A decoder for a body that was announced in this way.
    pub fn new(length: BodyLength, limits: BodyLimits) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Exact(0) => State::Done,
            BodyLength::Exact(length) => State::Exact(length),
            BodyLength::Chunked => State::Line(Line::new(0)),
            BodyLength::UntilClose => State::UntilClose,
        };
        Decoder { state, limits }
    }

    /// Takes the next piece from the front of `buffer`. After an error only the same error follows.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, FramingError> {
        let decoded = self.step(buffer);
        if let Err(error) = decoded {
            self.state = State::Failed(error);
        }
        decoded
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Decoded, FramingError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Decoded::End),
                State::Failed(error) => return Err(*error),
                _ if buffer.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buffer.split().freeze())),
                State::Exact(remaining) => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::Line(line) => {
                    let Some(size) = line.read(buffer, self.limits.extensions_bytes_max)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    let extension_bytes = line.extension_bytes;
                    self.state = match size {
                        0 => State::Trailers(Scan::default()),
                        _ => State::Chunk { remaining: size, extension_bytes },
                    };
                }
                State::Chunk { remaining, extension_bytes } => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state =
                            State::ChunkEnd { carriage_return: false, extension_bytes: *extension_bytes };
                    }
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd { carriage_return, extension_bytes } => {
                    let expected = if *carriage_return { b'\n' } else { b'\r' };
                    if buffer[0] != expected {
                        return Err(FramingError::ChunkEnd);
                    }
                    buffer.advance(1);
                    if *carriage_return {
                        self.state = State::Line(Line::new(*extension_bytes));
                    } else {
                        *carriage_return = true;
                    }
                }
                State::Trailers(scan) => {
                    let Some(trailers) = read_trailers(buffer, scan, &self.limits)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = State::Done;
                    if !trailers.is_empty() {
                        return Ok(Decoded::Trailers(trailers));
                    }
                }
            }
        }
    }

    /// Says what the peer's end of stream means at this place, after `decode` took all that had come: the legal end of
    /// the body, or a loss.
    pub fn on_eof(&mut self) -> Result<(), FramingError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(error) => Err(error),
            State::Exact(_)
            | State::Line(_)
            | State::Chunk { .. }
            | State::ChunkEnd { .. }
            | State::Trailers(_) => {
                self.state = State::Failed(FramingError::Premature);
                Err(FramingError::Premature)
            }
        }
    }

    /// True when the whole body was taken.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The bytes of data still to come, where the head told: what it costs to read on to the next message.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Exact(remaining) => Some(remaining),
            State::UntilClose
            | State::Failed(_)
            | State::Line(_)
            | State::Chunk { .. }
            | State::ChunkEnd { .. }
            | State::Trailers(_) => None,
        }
    }
}

impl Line {
    fn new(extension_bytes: usize) -> Self {
        Line { part: LinePart::Size, digits: 0, size: 0, extension_bytes }
    }

    /// Takes the line, or as much of it as there is. The size of the chunk comes with the line feed.
    ///
    /// Each byte is taken as it comes, so that a bad one is refused at once and none is looked at twice.
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        extensions_bytes_max: usize,
    ) -> Result<Option<u64>, FramingError> {
        for (index, byte) in buffer.iter().copied().enumerate() {
            if self.part == LinePart::Feed {
                if byte != b'\n' {
                    return Err(FramingError::LineEnd);
                }
                buffer.advance(index + 1);
                return Ok(Some(self.size));
            }
            if self.part == LinePart::Size {
                self.size_byte(byte)?;
            } else {
                self.part = extension_byte(self.part, byte).ok_or(FramingError::ChunkExtension)?;
            }
            if self.part != LinePart::Size && self.part != LinePart::Feed {
                self.extension_bytes += 1;
                if self.extension_bytes > extensions_bytes_max {
                    return Err(FramingError::ExtensionsTooLarge);
                }
            }
        }
        buffer.clear();
        Ok(None)
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), FramingError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => {
                self.part = LinePart::Feed;
                return Ok(());
            }
            b';' if self.digits > 0 => {
                self.part = LinePart::NameStart;
                return Ok(());
            }
            b'\n' => return Err(FramingError::LineEnd),
            _ => return Err(FramingError::ChunkSize),
        };
        if self.digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(FramingError::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }
}

/// One step within `*( ";" name [ "=" ( token / quoted-string ) ] )` and CR.
fn extension_byte(part: LinePart, byte: u8) -> Option<LinePart> {
    match (part, byte) {
        (LinePart::Name | LinePart::Token | LinePart::QuotedEnd, b'\r') => Some(LinePart::Feed),
        (LinePart::Name | LinePart::Token | LinePart::QuotedEnd, b';') => Some(LinePart::NameStart),
        (LinePart::Name, b'=') => Some(LinePart::ValueStart),
        (LinePart::NameStart | LinePart::Name, _) => head::is_token_byte(byte).then_some(LinePart::Name),
        (LinePart::ValueStart, b'"') => Some(LinePart::Quoted),
        (LinePart::ValueStart | LinePart::Token, _) => head::is_token_byte(byte).then_some(LinePart::Token),
        (LinePart::Quoted, b'"') => Some(LinePart::QuotedEnd),
        (LinePart::Quoted, b'\\') => Some(LinePart::QuotedPair),
        (LinePart::Quoted | LinePart::QuotedPair, b'\t' | 0x20..=0x7e | 0x80..=0xff) => {
            Some(LinePart::Quoted)
        }
        (LinePart::Quoted | LinePart::QuotedPair | LinePart::QuotedEnd, _) => None,
        (LinePart::Size | LinePart::Feed, _) => None,
    }
}

/// Up to `remaining` bytes from the front of a buffer that is not empty.
fn take(buffer: &mut BytesMut, remaining: &mut u64) -> Bytes {
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len());
    *remaining -= length as u64;
    buffer.split_to(length).freeze()
}

/// All chunk extensions of one body, in bytes.
pub const EXTENSIONS_BYTES_MAX: usize = 16 << 10;
/// The trailer section of one body, in bytes.
pub const TRAILERS_BYTES_MAX: usize = 16 << 10;
/// Hexadecimal digits of a chunk size: as many as a `u64` has, so that nothing can overflow.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;

#[cfg(test)]
mod tests;
