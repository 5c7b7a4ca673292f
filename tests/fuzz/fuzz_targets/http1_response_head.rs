//! A response with its body, to GET and to HEAD: read the same however it was cut, and sent on as exactly one.
#![no_main]

use fuzz::{Content, Refused, however_cut, read_body, read_head};
use http::{HeaderMap, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use proxy::http1::body::{Encoder, FramingError};
use proxy::http1::head::{
    BodyLength, DateCache, Disposition, HeadError, HeadLimits, ResponseFraming, parse_response,
    write_response_head,
};
use proxy::message::Protocol;

type Seen = (StatusCode, HeaderMap, BodyLength, Content);

fn read(method: &Method, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<Seen, Refused> {
    let parse = |buffer: &mut _, scan: &mut _| parse_response(buffer, scan, method, &HeadLimits::RESPONSE);
    let (head, buffer) = read_head(pieces, parse)?;
    let content = read_body(head.length, buffer, pieces)?;
    Ok((head.status, head.headers, head.length, content))
}

fuzz_target!(|bytes: &[u8]| {
    for method in [Method::GET, Method::HEAD] {
        let seen = however_cut(bytes, |pieces| read(&method, pieces));
        let Ok((status, headers, length, content)) = seen else { continue };
        if status.is_informational() {
            continue;
        }
        let known = match length {
            BodyLength::None => Some(0),
            BodyLength::Exact(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        let framing = ResponseFraming::plan(Protocol::Http11, &method, status, known, Disposition::KeepAlive);
        let (mut out, mut date) = (Vec::new(), DateCache::default());
        write_response_head(&mut out, status, &headers, &framing, date.text(std::time::UNIX_EPOCH));
        let mut encoder = Encoder::new(framing.length);
        encoder.encode(&content.data, &mut out).unwrap();
        encoder.finish(Some(&content.trailers), &mut out).unwrap();
        match read(&method, &mut std::iter::once(&out[..])) {
            Ok(again) => {
                assert_eq!((again.0, again.2), (status, framing.length));
                assert_eq!(again.3, Content { rest: Vec::new(), ..content });
            }
            Err(Refused::Head(HeadError::HeadTooLarge)) => {
                assert!(out.len() > HeadLimits::RESPONSE.bytes_max)
            }
            Err(Refused::Head(HeadError::FieldsTooMany)) => {
                assert!(headers.len() >= HeadLimits::RESPONSE.fields_max - 1)
            }
            Err(Refused::Body(FramingError::TrailersTooLarge)) => {}
            Err(refused) => panic!("{refused:?} of {}", out.escape_ascii()),
        }
    }
});
