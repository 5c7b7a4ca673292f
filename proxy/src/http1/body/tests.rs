use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

/// All that a decoder makes of `bytes`: data, trailers, what is left.
fn decode(length: BodyLength, bytes: &[u8]) -> Result<(Vec<u8>, HeaderMap, Bytes), FramingError> {
    let mut decoder = Decoder::new(length, BodyLimits::default());
    let mut buffer = BytesMut::from(bytes);
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut buffer)? {
            Decoded::Data(piece) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Decoded::Trailers(fields) => {
                assert!(!fields.is_empty());
                trailers = fields;
            }
            Decoded::End => {
                assert!(decoder.is_done());
                assert_eq!(decoder.on_eof(), Ok(()));
                return Ok((data, trailers, buffer.freeze()));
            }
            Decoded::NeedMore => {
                decoder.on_eof()?;
                return Ok((data, trailers, buffer.freeze()));
            }
        }
    }
}

fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, HeaderMap, Bytes), FramingError> {
    decode(BodyLength::Chunked, bytes)
}

fn data_of(bytes: &[u8]) -> Vec<u8> {
    match chunked(bytes) {
        Ok((data, _, rest)) if rest.is_empty() => data,
        other => panic!("{} gave {other:?}", bytes.escape_ascii()),
    }
}

#[test]
fn a_body_of_known_length_ends_there() {
    let (data, _, rest) = decode(BodyLength::Exact(5), b"helloGET /").unwrap();
    assert_eq!((&data[..], &rest[..]), (&b"hello"[..], &b"GET /"[..]));
    assert_eq!(decode(BodyLength::Exact(5), b"hell"), Err(FramingError::Premature));
    assert_eq!(decode(BodyLength::Exact(5), b""), Err(FramingError::Premature));
    for length in [BodyLength::None, BodyLength::Exact(0)] {
        let (data, _, rest) = decode(length, b"next").unwrap();
        assert_eq!((data.len(), &rest[..]), (0, &b"next"[..]));
    }
}

#[test]
fn a_body_until_close_ends_there() {
    let (data, _, _) = decode(BodyLength::UntilClose, b"anything\r\n0\r\n\r\n").unwrap();
    assert_eq!(data, b"anything\r\n0\r\n\r\n");
    let mut decoder = Decoder::new(BodyLength::UntilClose, BodyLimits::default());
    assert_eq!(decoder.decode(&mut BytesMut::new()), Ok(Decoded::NeedMore));
    assert!(!decoder.is_done());
    assert_eq!(decoder.on_eof(), Ok(()));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(&mut BytesMut::new()), Ok(Decoded::End));
}

#[test]
fn chunks_are_joined() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", b"hello world"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0000\r\n\r\n", b"hello"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        (b"1;a\r\nx\r\n0;b\r\n\r\n", b"x"),
        (b"1;a=b;c=\"d;\\\"e\\\\\tf \xff\";g\r\nx\r\n0\r\n\r\n", b"x"),
    ];
    for (bytes, data) in cases {
        assert_eq!(data_of(bytes), *data, "{}", bytes.escape_ascii());
    }
    let (_, _, rest) = chunked(b"0\r\n\r\nGET / HTTP/1.1\r\n").unwrap();
    assert_eq!(rest, "GET / HTTP/1.1\r\n", "what follows the body stays");
}

#[test]
fn data_is_a_slice_of_the_read_buffer() {
    let mut buffer = BytesMut::from(&b"5\r\nhello\r\n0\r\n\r\n"[..]);
    let range = buffer.as_ptr_range();
    let mut decoder = Decoder::new(BodyLength::Chunked, BodyLimits::default());
    match decoder.decode(&mut buffer) {
        Ok(Decoded::Data(data)) => assert!(range.contains(&data.as_ptr())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn chunk_lines_that_are_refused() {
    use FramingError::{ChunkEnd, ChunkExtension, ChunkSize, LineEnd};
    let cases: &[(&[u8], FramingError)] = &[
        (b"\r\nhello", ChunkSize),
        (b";a\r\nhello", ChunkSize),
        (b"0x5\r\nhello", ChunkSize),
        (b"x\r\n", ChunkSize),
        (b"+5\r\nhello", ChunkSize),
        (b"-5\r\nhello", ChunkSize),
        (b"-0\r\n\r\n", ChunkSize),
        (b" 5\r\nhello", ChunkSize),
        (b"\t5\r\nhello", ChunkSize),
        (b"5 \r\nhello", ChunkSize),
        (b"5\t\r\nhello", ChunkSize),
        (b"5 ;a\r\nhello", ChunkSize),
        (b"5 0\r\nhello", ChunkSize),
        (b"5_0\r\nhello", ChunkSize),
        (b"5g\r\nhello", ChunkSize),
        (b"5,\r\nhello", ChunkSize),
        (b"\"5\"\r\nhello", ChunkSize),
        (b"5\0\r\nhello", ChunkSize),
        (b"\xef\xbc\x95\r\nhello", ChunkSize),
        (b"00000000000000005\r\nhello", ChunkSize),
        (b"10000000000000005\r\nhello", ChunkSize),
        (b"fffffffffffffffff\r\nhello", ChunkSize),
        (b"5\nhello", LineEnd),
        (b"\nhello", LineEnd),
        (b"5\rhello", LineEnd),
        (b"5\r\r\nhello", LineEnd),
        (b"0\n\n", LineEnd),
        (b"5;\r\nhello", ChunkExtension),
        (b"5;;a\r\nhello", ChunkExtension),
        (b"5; a\r\nhello", ChunkExtension),
        (b"5;a \r\nhello", ChunkExtension),
        (b"5;a= b\r\nhello", ChunkExtension),
        (b"5;a=\r\nhello", ChunkExtension),
        (b"5;=b\r\nhello", ChunkExtension),
        (b"5;a\nhello", ChunkExtension),
        (b"5;a\0\r\nhello", ChunkExtension),
        (b"5;a=\"b\r\nhello", ChunkExtension),
        (b"5;a=\"b\\\r\nhello", ChunkExtension),
        (b"5;a=\"b\"c\r\nhello", ChunkExtension),
        (b"5;a=b=c\r\nhello", ChunkExtension),
        (b"5;a=\"\n\"\r\nhello", ChunkExtension),
        (b"5;a\r0\r\n", LineEnd),
        (b"5\r\nhello0\r\n\r\n", ChunkEnd),
        (b"5\r\nhello\n0\r\n\r\n", ChunkEnd),
        (b"5\r\nhello\r0\r\n\r\n", ChunkEnd),
        (b"5\r\nhello!\r\n0\r\n\r\n", ChunkEnd),
        (b"5\r\nhello  \r\n0\r\n\r\n", ChunkEnd),
    ];
    for (bytes, error) in cases {
        assert_eq!(chunked(bytes), Err(*error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_size_of_sixteen_digits_does_not_overflow() {
    let mut decoder = Decoder::new(BodyLength::Chunked, BodyLimits::default());
    let mut buffer = BytesMut::from(&b"ffffffffffffffff\r\nabc"[..]);
    assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::Data(Bytes::from_static(b"abc"))));
    assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::NeedMore));
    assert_eq!(decoder.on_eof(), Err(FramingError::Premature));
}

#[test]
fn an_error_stays() {
    let mut decoder = Decoder::new(BodyLength::Chunked, BodyLimits::default());
    assert_eq!(decoder.decode(&mut BytesMut::from(&b"x"[..])), Err(FramingError::ChunkSize));
    assert_eq!(decoder.decode(&mut BytesMut::from(&b"0\r\n\r\n"[..])), Err(FramingError::ChunkSize));
    assert_eq!(decoder.on_eof(), Err(FramingError::ChunkSize));
    assert!(!decoder.is_done());
}

#[test]
fn a_chunked_body_that_breaks_off_is_a_loss() {
    let whole = b"5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n";
    for end in 0..whole.len() {
        let result = chunked(&whole[..end]);
        assert_eq!(result, Err(FramingError::Premature), "{}", whole[..end].escape_ascii());
    }
    chunked(whole).unwrap();
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let max = EXTENSIONS_BYTES_MAX;
    let one = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(bytes - 1)).into_bytes();
    for bytes in [max - 1, max] {
        assert_eq!(data_of(&one(bytes)), b"x");
    }
    assert_eq!(chunked(&one(max + 1)), Err(FramingError::ExtensionsTooLarge));
    let many = |count: usize| format!("{}0\r\n\r\n", "1;a\r\nx\r\n".repeat(count)).into_bytes();
    assert_eq!(data_of(&many(max / 2)).len(), max / 2);
    assert_eq!(chunked(&many(max / 2 + 1)), Err(FramingError::ExtensionsTooLarge));
}

#[test]
fn trailers_are_read() {
    let (data, trailers, rest) =
        chunked(b"1\r\nx\r\n0;a\r\nGrpc-Status: 0\r\nX-Sum: \t a b \r\nx-sum:\r\n\r\nnext").unwrap();
    assert_eq!((&data[..], &rest[..]), (&b"x"[..], &b"next"[..]));
    assert_eq!(trailers.len(), 3);
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["a b", ""]);
}

#[test]
fn trailers_that_are_refused() {
    for section in [
        &b"x: y\n\r\n"[..],
        b"x: y\r\n\n",
        b"x\r\n\r\n",
        b"x : y\r\n\r\n",
        b" x: y\r\n\r\n",
        b"x: y\r\n z\r\n\r\n",
        b"x: \0\r\n\r\n",
        b"x: a\rb\r\n\r\n",
        b": y\r\n\r\n",
        b"x y: z\r\n\r\n",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let bytes = [b"0\r\n", section].concat();
        assert_eq!(chunked(&bytes), Err(FramingError::Trailers), "{}", bytes.escape_ascii());
    }
}

#[test]
fn trailers_that_would_change_what_was_checked_are_dropped() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Content-Type",
        "Content-Encoding",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Real-IP",
        "X-Original-URI",
        "True-Client-IP",
        "X-Auth-Request-User",
        "Remote-User",
        "X-Request-Id",
        "Proxy-Authorization",
        "WWW-Authenticate",
        "If-Match",
        "Location",
        "Access-Control-Allow-Origin",
        "X_Forwarded_For",
        "X.Auth.User",
        "Content_Length",
        "a_b",
    ] {
        let (_, trailers, _) = chunked(format!("0\r\n{name}: 1\r\nx-kept: 2\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((trailers.len(), &trailers["x-kept"]), (1, &HeaderValue::from_static("2")), "{name}");
        let (_, trailers, _) = chunked(format!("0\r\n{name}: 1\r\n\r\n").as_bytes()).unwrap();
        assert!(trailers.is_empty(), "{name}");
    }
    for name in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "content-digest",
        "repr-digest",
        "server-timing",
        "etag",
        "x-checksum",
    ] {
        assert!(is_trailer_allowed(&HeaderName::from_static(name)), "{name}");
    }
}

#[test]
fn trailers_are_bounded() {
    let max = TRAILERS_BYTES_MAX;
    let section =
        |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(bytes - "x: \r\n\r\n".len())).into_bytes();
    for bytes in [max - 1, max] {
        chunked(&section(bytes)).unwrap();
    }
    assert_eq!(chunked(&section(max + 1)), Err(FramingError::TrailersTooLarge));
    assert_eq!(
        chunked(&section(max + 1)[..max + 3]),
        Err(FramingError::TrailersTooLarge),
        "before they are complete"
    );

    let fields = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count)).into_bytes();
    for count in [HEAD_FIELDS_MAX - 1, HEAD_FIELDS_MAX] {
        assert_eq!(chunked(&fields(count)).unwrap().1.len(), count);
    }
    assert_eq!(chunked(&fields(HEAD_FIELDS_MAX + 1)), Err(FramingError::TrailersTooLarge));
}

#[test]
fn the_rest_of_a_body_is_known_where_the_head_told() {
    let mut decoder = Decoder::new(BodyLength::Exact(5), BodyLimits::default());
    assert_eq!(decoder.remaining(), Some(5));
    decoder.decode(&mut BytesMut::from(&b"he"[..])).unwrap();
    assert_eq!(decoder.remaining(), Some(3));
    decoder.decode(&mut BytesMut::from(&b"llo"[..])).unwrap();
    assert_eq!(decoder.remaining(), Some(0));
    assert!(decoder.is_done(), "known with the last byte, not one step later");
    assert_eq!(Decoder::new(BodyLength::Chunked, BodyLimits::default()).remaining(), None);
    assert_eq!(Decoder::new(BodyLength::UntilClose, BodyLimits::default()).remaining(), None);
}

#[test]
fn encoded_bodies() {
    let encode = |length: BodyLength, pieces: &[&[u8]], trailers: Option<&HeaderMap>| {
        let (mut encoder, mut out) = (Encoder::new(length), Vec::new());
        for piece in pieces {
            encoder.encode(piece, &mut out)?;
        }
        encoder.finish(trailers, &mut out)?;
        Ok::<_, EncodeError>(String::from_utf8(out).unwrap())
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("content-length", HeaderValue::from_static("9"));

    assert_eq!(encode(BodyLength::Chunked, &[], None).unwrap(), "0\r\n\r\n");
    assert_eq!(
        encode(BodyLength::Chunked, &[b"hello", b"", b" "], None).unwrap(),
        "5\r\nhello\r\n1\r\n \r\n0\r\n\r\n"
    );
    assert_eq!(
        encode(BodyLength::Chunked, &[b"x"], Some(&trailers)).unwrap(),
        "1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"
    );
    assert_eq!(encode(BodyLength::Exact(5), &[b"he", b"llo"], Some(&trailers)).unwrap(), "hello");
    assert_eq!(encode(BodyLength::UntilClose, &[b"he", b"llo"], Some(&trailers)).unwrap(), "hello");
    assert_eq!(encode(BodyLength::None, &[b""], Some(&trailers)).unwrap(), "");
    assert_eq!(encode(BodyLength::Exact(5), &[b"hell"], None), Err(EncodeError::TooShort));
    assert_eq!(encode(BodyLength::Exact(5), &[b"hello", b"!"], None), Err(EncodeError::TooLong));
    assert_eq!(encode(BodyLength::None, &[b"!"], None), Err(EncodeError::TooLong));
}

#[test]
fn nothing_is_written_of_a_piece_too_many() {
    let (mut encoder, mut out) = (Encoder::new(BodyLength::Exact(3)), Vec::new());
    assert_eq!(encoder.encode(b"four", &mut out), Err(EncodeError::TooLong));
    assert!(out.is_empty());
    let mut encoder = Encoder::new(BodyLength::Chunked);
    encoder.finish(None, &mut out).unwrap();
    assert_eq!(encoder.encode(b"x", &mut out), Err(EncodeError::TooLong), "after the end");
    assert_eq!(
        (encoder.finish(None, &mut out), &out[..]),
        (Ok(()), &b"0\r\n\r\n"[..]),
        "the end is written once"
    );
}

#[test]
fn chunk_sizes_are_written_in_full() {
    for (length, expected) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (255, "ff\r\n"),
        (256, "100\r\n"),
        (65536, "10000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut out = Vec::new();
        Encoder::new(BodyLength::Chunked).prefix(length, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
