//! The search for the end of a head, and the bounds that hold before it is found.

use super::{HeadError, HeadLimits, is_token_byte};

/// How far the search for the end of a head has come. Fresh at the start of each head; every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Where the head begins: behind the empty line that a request may have before it.
    start: usize,
    /// The first byte that was not searched.
    position: usize,
    /// Where the line that `position` is in begins.
    line_start: usize,
    /// Whole lines so far.
    lines: usize,
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// A request line of at most so many bytes, CRLF included, then fields.
    Request { first_line_max: usize },
    /// A status line, then fields.
    Response,
    /// Fields alone.
    Trailers,
}

/// A whole head in the buffer, from its first byte to the one behind its empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Scan {
    /// Searches what is new in `buffer`. A bound is passed, or a line ends wrongly: an error at once, not only at the end.
    pub(crate) fn find(
        &mut self,
        buffer: &[u8],
        section: Section,
        limits: &HeadLimits,
    ) -> Result<Option<Found>, HeadError> {
        if self.lines == 0 && !self.begin(buffer, section)? {
            return Ok(None);
        }
        while let Some(offset) = memchr::memchr(b'\n', buffer.get(self.position..).unwrap_or_default()) {
            let feed = self.position + offset;
            let end = feed + 1;
            let line = &buffer[self.line_start..feed];
            self.check(section, limits, end)?;
            let Some(line) = line.strip_suffix(b"\r") else { return Err(HeadError::LineEnd) };
            if line.is_empty() {
                if self.lines == 0 && section != Section::Trailers {
                    return Err(HeadError::LineEnd);
                }
                let found = Found { start: self.start, end };
                *self = Scan::default();
                return Ok(Some(found));
            }
            self.lines += 1;
            self.position = end;
            self.line_start = end;
            let fields = self.lines - usize::from(section != Section::Trailers);
            if fields > limits.fields_max {
                return Err(HeadError::FieldsTooMany);
            }
        }
        self.position = buffer.len();
        // At least one byte more is to come, so this is checked as if it were here.
        self.check(section, limits, buffer.len() + 1)?;
        Ok(None)
    }

    /// The bytes of the buffer that will not be searched again.
    #[cfg(test)]
    pub(super) fn searched(&self) -> usize {
        self.position
    }

    /// Looks at the first bytes. False: too few to say anything.
    fn begin(&mut self, buffer: &[u8], section: Section) -> Result<bool, HeadError> {
        if !matches!(section, Section::Request { .. }) {
            return Ok(true);
        }
        if self.start == 0 && buffer.starts_with(b"\r\n") {
            *self = Scan { start: 2, position: 2, line_start: 2, lines: 0 };
        }
        match buffer.get(self.start..).unwrap_or_default() {
            [] => Ok(false),
            [b'\r'] if self.start == 0 => Ok(false),
            // A TLS handshake, or anything else that is no HTTP, need not wait for a line feed.
            [first, ..] if is_token_byte(*first) => Ok(true),
            [b'\r' | b'\n', ..] => Err(HeadError::LineEnd),
            [..] => Err(HeadError::RequestLine),
        }
    }

    /// Holds the bounds for a head that reaches to `end` at least.
    fn check(&self, section: Section, limits: &HeadLimits, end: usize) -> Result<(), HeadError> {
        if let Section::Request { first_line_max } = section
            && self.lines == 0
            && end - self.start > first_line_max
        {
            return Err(HeadError::TargetTooLong);
        }
        if end - self.start > limits.bytes_max {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(())
    }
}
