use std::time::{Duration, UNIX_EPOCH};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::*;

mod reading_requests;
mod reading_responses;
mod writing;

/// A request head read from all of `bytes` at once.
fn request(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    request_within(bytes, &HeadLimits::REQUEST)
}

fn request_within(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, HeadError> {
    parse_request(&mut BytesMut::from(bytes), &mut Scan::default(), limits)
}

/// A request of `line` and `fields`, each without CRLF.
fn with_fields(line: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("{line}\r\n").into_bytes();
    for field in fields {
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn refused(bytes: &[u8]) -> HeadError {
    match request(bytes) {
        Err(error) => error,
        Ok(head) => panic!("{:?} was not refused but read as {head:?}", bytes.escape_ascii().to_string()),
    }
}

fn accepted(bytes: &[u8]) -> RequestHead {
    match request(bytes) {
        Ok(Some(head)) => head,
        other => panic!("{:?} was not read but gave {other:?}", bytes.escape_ascii().to_string()),
    }
}

fn response_to(method: &Method, bytes: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
    parse_response(&mut BytesMut::from(bytes), &mut Scan::default(), method, &HeadLimits::RESPONSE)
}

fn answered(method: &Method, bytes: &[u8]) -> ResponseHead {
    match response_to(method, bytes) {
        Ok(Some(head)) => head,
        other => panic!("{:?} was not read but gave {other:?}", bytes.escape_ascii().to_string()),
    }
}
