//! What the HTTP/1 targets share: a message read from pieces, and the ways to cut one.

use bytes::BytesMut;
use http::HeaderMap;
use proxy::http1::body::{BodyLimits, Decoded, Decoder, FramingError};
use proxy::http1::head::{BodyLength, HeadError, Scan};

/// The body of a message, and what was left behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub data: Vec<u8>,
    pub trailers: HeaderMap,
    pub rest: Vec<u8>,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refused {
    Head(HeadError),
    Body(FramingError),
    Unfinished,
}

/// Feeds `pieces` to `parse` until there is a head. Gives what is left of the piece that ended it, too.
pub fn read_head<Head>(
    pieces: &mut dyn Iterator<Item = &[u8]>,
    parse: impl Fn(&mut BytesMut, &mut Scan) -> Result<Option<Head>, HeadError>,
) -> Result<(Head, BytesMut), Refused> {
    let (mut buffer, mut scan) = (BytesMut::new(), Scan::default());
    loop {
        if let Some(head) = parse(&mut buffer, &mut scan).map_err(Refused::Head)? {
            return Ok((head, buffer));
        }
        buffer.extend_from_slice(pieces.next().ok_or(Refused::Unfinished)?);
    }
}

/// Reads a body that begins in `buffer` and goes on in `pieces`, after which the stream ends.
pub fn read_body(
    length: BodyLength,
    mut buffer: BytesMut,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> Result<Content, Refused> {
    let mut decoder = Decoder::new(length, BodyLimits::default());
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut buffer).map_err(Refused::Body)? {
            Decoded::Data(piece) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Decoded::Trailers(fields) => {
                assert!(!fields.is_empty());
                trailers = fields;
            }
            Decoded::End => break,
            Decoded::NeedMore => {
                assert!(
                    length != BodyLength::Chunked || buffer.len() <= BodyLimits::default().trailers_bytes_max
                );
                match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => decoder.on_eof().map_err(Refused::Body)?,
                }
            }
        }
    }
    let mut rest = buffer.to_vec();
    pieces.for_each(|piece| rest.extend_from_slice(piece));
    Ok(Content { data, trailers, rest })
}

/// Asserts that `read` gives the same whether the bytes come at once, one by one, or in two pieces.
pub fn however_cut<Seen: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> Seen,
) -> Seen {
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(1)), whole);
    // A place that depends on the bytes alone, so that a finding can be repeated.
    let sum =
        bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (first, second) = bytes.split_at(sum % (bytes.len() + 1));
    assert_eq!(read(&mut [first, second].into_iter()), whole);
    whole
}
