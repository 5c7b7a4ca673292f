//! The path of a target: one spelling for one resource.

use bytes::Bytes;

use super::{EncodedSlash, TARGET_BYTES_MAX, TargetError};

/// A normalised path with its query, in one buffer that can be sent upstream as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathAndQuery {
    whole: Bytes,
    path_length: usize,
}

/// What becomes of `.` and `..` segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DotSegments {
    /// RFC 3986 §5.2.4, but `..` above the root is refused.
    Resolve,
    /// Refused: the output of a rewrite must not leave what its route meant.
    Refuse,
}

impl PathAndQuery {
    /// Normalises an origin-form target (`/path?query`). What is normal already is a view of `raw`.
    pub fn parse(raw: &Bytes, encoded_slash: EncodedSlash) -> Result<Self, TargetError> {
        normalise(raw, DotSegments::Resolve, encoded_slash)
    }

    /// `OPTIONS *`.
    pub(super) fn asterisk() -> Self {
        PathAndQuery { whole: Bytes::from_static(b"*"), path_length: 1 }
    }

    pub fn path(&self) -> &[u8] {
        &self.whole[..self.path_length]
    }

    /// What stands behind `?`; `Some` and empty for a bare `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.whole.get(self.path_length + 1..)
    }

    /// Path, and `?` with the query if there is one: the request target for the upstream.
    pub fn as_bytes(&self) -> &Bytes {
        &self.whole
    }

    /// Copies what is a view of the raw target, so that it no longer keeps what that was read into.
    pub(crate) fn detach(&mut self) {
        self.whole = Bytes::copy_from_slice(&self.whole);
    }

    /// As text; a normalised target is ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.whole).unwrap_or_default()
    }
}

/// The normal form of a path that people write in a manifest, so that it can equal the path of a request.
///
/// It has no query: `?` and `#` stand for themselves, as do spaces and characters beyond ASCII. What no request can have
/// is refused, and so are dot segments, which no normalised path holds.
pub fn written_path(text: &str) -> Result<String, TargetError> {
    let mut raw = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' | b'?' | b'#' | 0x80.. => push_encoded(byte, &mut raw),
            _ => raw.push(byte),
        }
    }
    let normal = normalise(&raw.into(), DotSegments::Refuse, EncodedSlash::Keep)?;
    Ok(normal.as_str().to_owned())
}

/// Normalises `/path?query`; see the table at the top of `target`.
pub(crate) fn normalise(
    raw: &Bytes,
    dots: DotSegments,
    encoded_slash: EncodedSlash,
) -> Result<PathAndQuery, TargetError> {
    if raw.len() > TARGET_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    if raw.first() != Some(&b'/') {
        return Err(TargetError::Form);
    }
    let (path_length, normal) = scan(raw)?;
    check_query(&raw[path_length..])?;
    if normal {
        return Ok(PathAndQuery { whole: raw.clone(), path_length });
    }
    let mut whole = Vec::with_capacity(raw.len() + 16);
    rebuild(&raw[..path_length], dots, encoded_slash, &mut whole)?;
    let normal_length = whole.len();
    whole.extend_from_slice(&raw[path_length..]);
    if whole.len() > TARGET_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    Ok(PathAndQuery { whole: whole.into(), path_length: normal_length })
}

/// The length of the path, and whether it is normal as it stands.
fn scan(raw: &[u8]) -> Result<(usize, bool), TargetError> {
    let mut normal = true;
    for (index, byte) in raw.iter().enumerate() {
        match CLASS[usize::from(*byte)] {
            Class::Plain => {}
            Class::Slash => normal &= !is_segment_suspect(&raw[index + 1..]),
            Class::Percent | Class::Encode => normal = false,
            Class::Question => return Ok((index, normal)),
            Class::Backslash => return Err(TargetError::Backslash),
            Class::Hash => return Err(TargetError::Fragment),
            Class::Refused => return Err(TargetError::Byte),
        }
    }
    Ok((raw.len(), normal))
}

/// True when a segment that begins here is empty before a slash, a dot segment, or begins with `;`. May be wrong in one
/// direction only: what it calls suspect is looked at byte by byte.
fn is_segment_suspect(rest: &[u8]) -> bool {
    match rest {
        [b'/' | b';', ..] => true,
        [b'.', rest @ ..] => matches!(rest, [] | [b'.' | b'/' | b'?' | b';' | b'%', ..]),
        _ => false,
    }
}

fn rebuild(
    path: &[u8],
    dots: DotSegments,
    encoded_slash: EncodedSlash,
    out: &mut Vec<u8>,
) -> Result<(), TargetError> {
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let start = out.len();
        out.push(b'/');
        push_segment(segment, encoded_slash, out)?;
        let length = out.len() - start;
        match &out[start + 1..] {
            // An empty segment inside is a doubled slash; at the end it is the trailing slash, kept once.
            b"" if !last => out.truncate(start),
            b"" => {}
            b"." | b".." if dots == DotSegments::Refuse => return Err(TargetError::DotSegment),
            b"." => out.truncate(if last { start + 1 } else { start }),
            b".." => {
                let parent = memchr::memrchr(b'/', &out[..start]).ok_or(TargetError::AboveRoot)?;
                out.truncate(if last { parent + 1 } else { parent });
            }
            normal if length > 1 => check_hidden(normal)?,
            _ => {}
        }
    }
    Ok(())
}

/// Writes one segment with its percent-encoding normalised.
fn push_segment(segment: &[u8], encoded_slash: EncodedSlash, out: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match CLASS[usize::from(*byte)] {
            Class::Percent => {
                let decoded = decode(tail)?;
                rest = &tail[2..];
                match decoded {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(decoded),
                    0..=0x1F | 0x7F => return Err(TargetError::EncodedControl),
                    b'\\' => return Err(TargetError::Backslash),
                    b'/' if encoded_slash == EncodedSlash::Refuse => return Err(TargetError::EncodedSlash),
                    _ if is_overlong(decoded, rest) => return Err(TargetError::Overlong),
                    _ => push_encoded(decoded, out),
                }
            }
            Class::Encode => push_encoded(*byte, out),
            Class::Plain | Class::Slash => out.push(*byte),
            // `scan` ended or refused at these.
            Class::Question | Class::Backslash | Class::Hash | Class::Refused => {
                return Err(TargetError::Byte);
            }
        }
    }
    Ok(())
}

/// Refuses what an upstream that decodes `%2F`, or cuts `;parameters`, would take for an empty or dot segment.
fn check_hidden(segment: &[u8]) -> Result<(), TargetError> {
    let mut rest = segment;
    let mut parts = 0;
    loop {
        let slash = memchr::memmem::find(rest, b"%2F");
        let part = &rest[..slash.unwrap_or(rest.len())];
        let name_end = memchr::memchr(b';', part)
            .into_iter()
            .chain(memchr::memmem::find(part, b"%3B"))
            .min()
            .unwrap_or(part.len());
        let hidden = match &part[..name_end] {
            b"." | b".." => true,
            b"" => name_end < part.len(),
            _ => false,
        };
        if hidden {
            return Err(TargetError::HiddenSegment);
        }
        parts += 1;
        match slash {
            Some(position) if parts <= segment.len() => rest = &rest[position + 3..],
            _ => return Ok(()),
        }
    }
}

/// Overlong UTF-8: a lead byte that spends more bytes than the character needs, before a continuation byte.
fn is_overlong(lead: u8, rest: &[u8]) -> bool {
    let next = match rest {
        [b'%', digits @ ..] => decode(digits).ok(),
        _ => None,
    };
    matches!(
        (lead, next),
        (0xC0 | 0xC1 | 0xF8..=0xFF, Some(0x80..=0xBF))
            | (0xE0, Some(0x80..=0x9F))
            | (0xF0, Some(0x80..=0x8F))
    )
}

fn decode(digits: &[u8]) -> Result<u8, TargetError> {
    match digits {
        [high, low, ..] => match (hexadecimal(*high), hexadecimal(*low)) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            (None, _) | (_, None) => Err(TargetError::PercentEncoding),
        },
        _ => Err(TargetError::PercentEncoding),
    }
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn push_encoded(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// The query may hold any visible ASCII but `#`; its percent-encoding is the application's own matter.
fn check_query(query: &[u8]) -> Result<(), TargetError> {
    for byte in query {
        match byte {
            b'#' => return Err(TargetError::Fragment),
            0x21..=0x7E => {}
            _ => return Err(TargetError::Byte),
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself (RFC 3986 `pchar`).
    Plain,
    Slash,
    Percent,
    Question,
    Backslash,
    Hash,
    /// Visible, but outside the grammar: percent-encoded.
    Encode,
    Refused,
}

static CLASS: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7F {
        table[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'?' => Class::Question,
            b'\\' => Class::Backslash,
            b'#' => Class::Hash,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Encode,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};
