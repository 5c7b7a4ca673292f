//! What surrounds the data of a body on its way out.

use http::HeaderMap;

use crate::http1::head::{BodyLength, write_field};

use super::is_trailer_allowed;

/// Writes what surrounds the data of a body, and holds the sender to what its head announced.
#[derive(Debug)]
pub struct Encoder {
    remaining: BodyLength,
}

/// The source of a body broke the promise of its head. The connection has to be closed, for the peer waits for a body
/// that will never be whole, or would take the surplus for the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    #[error("the body has more bytes than were announced")]
    TooLong,
    #[error("the body has fewer bytes than were announced")]
    TooShort,
}

impl Encoder {
    /// An encoder for a body that was announced in this way.
    pub fn new(length: BodyLength) -> Self {
        Encoder { remaining: length }
    }

    /// Appends to `out` what stands before `length` bytes of data; nothing when `length` is zero.
    ///
    /// The data itself comes next and then [`Encoder::suffix`], in the same buffer or in a vectored write.
    pub fn prefix(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if length == 0 {
            return Ok(());
        }
        match &mut self.remaining {
            BodyLength::None => return Err(EncodeError::TooLong),
            BodyLength::Exact(remaining) => {
                *remaining = remaining.checked_sub(length as u64).ok_or(EncodeError::TooLong)?;
            }
            BodyLength::Chunked => {
                write_hexadecimal(out, length as u64);
                out.extend_from_slice(b"\r\n");
            }
            BodyLength::UntilClose => {}
        }
        Ok(())
    }

    /// What stands behind each piece of data that is not empty.
    pub fn suffix(&self) -> &'static [u8] {
        match self.remaining {
            BodyLength::Chunked => b"\r\n",
            BodyLength::None | BodyLength::Exact(_) | BodyLength::UntilClose => b"",
        }
    }

    /// Appends `data` with what surrounds it: for pieces so small that a copy costs less than a second buffer.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !data.is_empty() {
            self.prefix(data.len(), out)?;
            out.extend_from_slice(data);
            out.extend_from_slice(self.suffix());
        }
        Ok(())
    }

    /// Appends the end of the body, after which it takes no more data. Trailers have a place only in a chunked one and
    /// are left out otherwise, as are those that [`is_trailer_allowed`] refuses.
    pub fn finish(&mut self, trailers: Option<&HeaderMap>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.remaining {
            BodyLength::None | BodyLength::Exact(0) | BodyLength::UntilClose => {}
            BodyLength::Exact(_) => return Err(EncodeError::TooShort),
            BodyLength::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if is_trailer_allowed(name) {
                        write_field(out, name, value);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.remaining = BodyLength::None;
        Ok(())
    }
}

fn write_hexadecimal(out: &mut Vec<u8>, number: u64) {
    let digits = (16 - number.leading_zeros() as usize / 4).max(1);
    for index in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (index * 4)) as usize & 0xf]);
    }
}
