//! A chunked body: read the same however it was cut, and the same again after it was written.
#![no_main]

use bytes::BytesMut;
use fuzz::{Content, Refused, however_cut, read_body};
use libfuzzer_sys::fuzz_target;
use proxy::http1::body::{Encoder, FramingError, is_trailer_allowed};
use proxy::http1::head::BodyLength;

fuzz_target!(|bytes: &[u8]| {
    let read =
        |pieces: &mut dyn Iterator<Item = &[u8]>| read_body(BodyLength::Chunked, BytesMut::new(), pieces);
    let Ok(content) = however_cut(bytes, read) else { return };
    assert!(content.trailers.keys().all(is_trailer_allowed));
    let (mut encoder, mut out) = (Encoder::new(BodyLength::Chunked), Vec::new());
    encoder.encode(&content.data, &mut out).unwrap();
    encoder.finish(Some(&content.trailers), &mut out).unwrap();
    match read(&mut std::iter::once(&out[..])) {
        Ok(again) => assert_eq!(again, Content { rest: Vec::new(), ..content }),
        // `x:y` is one byte shorter than what we write.
        Err(Refused::Body(FramingError::TrailersTooLarge)) => {}
        Err(refused) => panic!("{refused:?} of {}", out.escape_ascii()),
    }
});
