//! A request with its body: read the same however it was cut, and sent on as exactly one.
#![no_main]

use fuzz::{Content, Refused, however_cut, read_body, read_head};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use proxy::http1::body::{Encoder, FramingError};
use proxy::http1::head::{BodyLength, Disposition, HeadError, HeadLimits, parse_request, write_request_head};
use proxy::message::Protocol;

type Seen = (Method, Vec<u8>, Protocol, HeaderMap, BodyLength, Content);

fn read(pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<Seen, Refused> {
    let parse = |buffer: &mut _, scan: &mut _| parse_request(buffer, scan, &HeadLimits::REQUEST);
    let (head, buffer) = read_head(pieces, parse)?;
    let content = read_body(head.length, buffer, pieces)?;
    Ok((head.method, head.target.to_vec(), head.protocol, head.headers, head.length, content))
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((method, target, protocol, headers, length, content)) = however_cut(bytes, read) else { return };
    let mut out = Vec::new();
    write_request_head(&mut out, &method, &target, &headers, length, Disposition::KeepAlive).unwrap();
    let mut encoder = Encoder::new(length);
    encoder.encode(&content.data, &mut out).unwrap();
    encoder.finish(Some(&content.trailers), &mut out).unwrap();
    match read(&mut std::iter::once(&out[..])) {
        Ok(again) => {
            assert_eq!((again.0, again.1, again.4), (method, target, length));
            assert_eq!(again.5, Content { rest: Vec::new(), ..content });
        }
        // HTTP/1.0 may do without a Host; the path gives such a request one.
        Err(Refused::Head(HeadError::HostMissing)) if protocol == Protocol::Http10 => {}
        // `x:y` is one byte shorter than what we write.
        Err(Refused::Head(HeadError::HeadTooLarge)) => assert!(out.len() > HeadLimits::REQUEST.bytes_max),
        Err(Refused::Body(FramingError::TrailersTooLarge)) => {}
        Err(Refused::Head(HeadError::FieldsTooMany)) => {
            assert!(headers.len() >= HeadLimits::REQUEST.fields_max)
        }
        Err(refused) => panic!("{refused:?} of {}", out.escape_ascii()),
    }
});
