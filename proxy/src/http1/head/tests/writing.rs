use super::*;

const DATE: &[u8; DATE_BYTES] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

/// Every field that only the writers may emit, with values that would do harm.
fn hostile() -> HeaderMap {
    map(&[
        ("host", "a"),
        ("content-length", "77"),
        ("transfer-encoding", "gzip"),
        ("connection", "x-secret, close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("x-last", "z"),
    ])
}

fn written_request(
    method: Method,
    headers: &HeaderMap,
    length: BodyLength,
    disposition: Disposition,
) -> String {
    let mut out = b"before|".to_vec();
    write_request_head(&mut out, &method, b"/a?b", headers, &[], length, disposition).unwrap();
    String::from_utf8(out).unwrap().strip_prefix("before|").unwrap().to_owned()
}

fn written_response(status: u16, headers: &HeaderMap, framing: &ResponseFraming) -> String {
    let mut out = Vec::new();
    write_response_head(&mut out, StatusCode::from_u16(status).unwrap(), headers, framing, DATE);
    String::from_utf8(out).unwrap()
}

fn plan(protocol: Protocol, method: Method, status: u16, length: Option<u64>) -> ResponseFraming {
    ResponseFraming::plan(
        protocol,
        &method,
        StatusCode::from_u16(status).unwrap(),
        length,
        Disposition::KeepAlive,
    )
}

#[test]
fn requests_are_written_with_framing_of_our_own() {
    use Disposition::{Close, KeepAlive, Upgrade};
    let cases = [
        (Method::GET, BodyLength::None, KeepAlive, "GET", ""),
        (Method::POST, BodyLength::None, KeepAlive, "POST", "content-length: 0\r\n"),
        (Method::PUT, BodyLength::None, KeepAlive, "PUT", "content-length: 0\r\n"),
        (Method::PATCH, BodyLength::None, KeepAlive, "PATCH", "content-length: 0\r\n"),
        (Method::DELETE, BodyLength::None, KeepAlive, "DELETE", ""),
        (Method::GET, BodyLength::Exact(10), KeepAlive, "GET", "content-length: 10\r\n"),
        (
            Method::POST,
            BodyLength::Exact(u64::MAX),
            KeepAlive,
            "POST",
            "content-length: 18446744073709551615\r\n",
        ),
        (
            Method::POST,
            BodyLength::Chunked,
            Close,
            "POST",
            "transfer-encoding: chunked\r\nconnection: close\r\n",
        ),
        (Method::GET, BodyLength::None, Upgrade, "GET", "connection: upgrade\r\nupgrade: websocket\r\n"),
    ];
    for (method, length, disposition, name, framing) in cases {
        let expected = format!("{name} /a?b HTTP/1.1\r\nhost: a\r\nx-last: z\r\n{framing}\r\n");
        assert_eq!(written_request(method, &hostile(), length, disposition), expected);
    }
}

#[test]
fn requests_that_would_be_two_are_not_written() {
    let headers = map(&[("host", "a")]);
    for target in [
        &b""[..],
        b"/a b",
        b"/a\r\nX: y",
        b"/\0",
        b"/\x7f",
        b"/\xc3\xa9",
        b"/a#b",
        b"/ HTTP/1.1\r\n\r\nGET /",
    ] {
        let mut out = Vec::new();
        let result = write_request_head(
            &mut out,
            &Method::GET,
            target,
            &headers,
            &[],
            BodyLength::None,
            Disposition::KeepAlive,
        );
        assert_eq!(result, Err(WriteError::Target), "{}", target.escape_ascii());
        assert!(out.is_empty());
    }
    let mut out = Vec::new();
    let result = write_request_head(
        &mut out,
        &Method::POST,
        b"/",
        &headers,
        &[],
        BodyLength::UntilClose,
        Disposition::Close,
    );
    assert_eq!((result, out.len()), (Err(WriteError::UntilClose), 0));
}

#[test]
fn repeated_fields_are_written_in_order() {
    let headers = map(&[("host", "a"), ("cookie", "1"), ("cookie", "2")]);
    let written = written_request(Method::GET, &headers, BodyLength::None, Disposition::KeepAlive);
    assert_eq!(written, "GET /a?b HTTP/1.1\r\nhost: a\r\ncookie: 1\r\ncookie: 2\r\n\r\n");
}

#[test]
fn responses_are_written_with_framing_of_our_own() {
    use Protocol::{Http10, Http11};
    let cases = [
        (Http11, Method::GET, 200, Some(5), "OK", "content-length: 5\r\n", BodyLength::Exact(5)),
        (Http11, Method::GET, 200, Some(0), "OK", "content-length: 0\r\n", BodyLength::None),
        (Http11, Method::GET, 200, None, "OK", "transfer-encoding: chunked\r\n", BodyLength::Chunked),
        (Http11, Method::GET, 204, None, "No Content", "", BodyLength::None),
        (Http11, Method::GET, 204, Some(5), "No Content", "", BodyLength::None),
        (
            Http10,
            Method::GET,
            200,
            Some(5),
            "OK",
            "content-length: 5\r\nconnection: keep-alive\r\n",
            BodyLength::Exact(5),
        ),
        (Http10, Method::GET, 200, None, "OK", "connection: close\r\n", BodyLength::UntilClose),
        (Http11, Method::GET, 799, Some(1), "", "content-length: 1\r\n", BodyLength::Exact(1)),
        // The length of what a GET would have brought stays as the upstream gave it.
        (Http11, Method::HEAD, 200, None, "OK", "content-length: 77\r\n", BodyLength::None),
        (Http11, Method::HEAD, 200, Some(0), "OK", "content-length: 77\r\n", BodyLength::None),
        (Http11, Method::GET, 304, None, "Not Modified", "content-length: 77\r\n", BodyLength::None),
        (
            Http10,
            Method::HEAD,
            200,
            None,
            "OK",
            "content-length: 77\r\nconnection: keep-alive\r\n",
            BodyLength::None,
        ),
    ];
    for (protocol, method, status, body_length, reason, fields, length) in cases {
        let framing = plan(protocol, method.clone(), status, body_length);
        let expected = format!(
            "HTTP/1.1 {status} {reason}\r\nhost: a\r\nx-last: z\r\ndate: {}\r\n{fields}\r\n",
            str::from_utf8(DATE).unwrap()
        );
        assert_eq!(written_response(status, &hostile(), &framing), expected, "{method} {protocol:?}");
        assert_eq!(framing.length, length);
    }
}

#[test]
fn the_plan_says_what_becomes_of_the_connection() {
    let (http10, http11) = (Protocol::Http10, Protocol::Http11);
    assert_eq!(plan(http10, Method::GET, 200, None).disposition, Disposition::Close);
    assert_eq!(plan(http10, Method::HEAD, 200, None).disposition, Disposition::KeepAlive);
    assert_eq!(plan(http10, Method::GET, 200, Some(1)).disposition, Disposition::KeepAlive);
    assert_eq!(plan(http11, Method::GET, 200, None).disposition, Disposition::KeepAlive);

    let close = ResponseFraming::plan(http11, &Method::GET, StatusCode::OK, Some(0), Disposition::Close);
    assert!(
        written_response(200, &map(&[]), &close).ends_with("content-length: 0\r\nconnection: close\r\n\r\n")
    );
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = ResponseFraming::plan(http11, &Method::GET, status, None, Disposition::Upgrade);
    assert_eq!(upgrade.length, BodyLength::None);
    assert!(
        written_response(101, &map(&[]), &upgrade)
            .ends_with("GMT\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    );
}

#[test]
fn only_a_101_becomes_a_websocket() {
    for status in [200, 204, 304, 400, 426, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let framing =
            ResponseFraming::plan(Protocol::Http11, &Method::GET, status, Some(0), Disposition::Upgrade);
        assert_eq!(framing.disposition, Disposition::Close, "{status}");
        let written = written_response(status.as_u16(), &map(&[]), &framing);
        assert!(written.contains("connection: close\r\n") && !written.contains("upgrade"), "{written}");
    }
}

#[test]
fn an_answer_to_head_tells_no_length_that_is_not_known() {
    let length_of = |headers: &HeaderMap, length| {
        let written = written_response(200, headers, &plan(Protocol::Http11, Method::HEAD, 200, length));
        written
            .split("content-length: ")
            .nth(1)
            .map(|rest| rest.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(length_of(&map(&[]), None), None);
    assert_eq!(length_of(&map(&[]), Some(0)), None);
    assert_eq!(length_of(&map(&[]), Some(12)).as_deref(), Some("12"), "a page of our own that is dropped");
    assert_eq!(length_of(&map(&[("content-length", "5")]), Some(12)).as_deref(), Some("5"));
    assert_eq!(length_of(&map(&[("content-length", "0")]), None).as_deref(), Some("0"));
    assert_eq!(length_of(&map(&[("content-length", "5, 5")]), None), None);
}

#[test]
fn a_date_of_the_upstream_stays() {
    let headers = map(&[("date", "Mon, 07 Nov 1994 08:49:37 GMT")]);
    let written = written_response(200, &headers, &plan(Protocol::Http11, Method::GET, 200, Some(0)));
    assert_eq!(
        written,
        "HTTP/1.1 200 OK\r\ndate: Mon, 07 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn interim_responses_have_neither_date_nor_framing() {
    let mut out = Vec::new();
    write_informational_head(
        &mut out,
        StatusCode::from_u16(103).unwrap(),
        &map(&[("link", "</a>"), ("content-length", "5")]),
    );
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    answered(&Method::GET, &out);
    assert_eq!(answered(&Method::GET, CONTINUE).status, StatusCode::CONTINUE);
}

#[test]
fn the_date_follows_the_clock() {
    let mut cache = DateCache::default();
    let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
    assert_eq!(cache.text(at(0, 0)), b"Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(cache.text(at(784_111_777, 0)), DATE);
    assert_eq!(cache.text(at(784_111_777, 999_999_999)), DATE);
    assert_eq!(cache.text(at(784_111_778, 0)), b"Sun, 06 Nov 1994 08:49:38 GMT");
    assert_eq!(cache.text(at(784_111_777, 0)), DATE, "a clock that was set back");
    assert_eq!(cache.text(at(951_782_400, 0)), b"Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(cache.text(UNIX_EPOCH - Duration::from_secs(9)), b"Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(cache.text(at(400_000_000_000, 0)), b"Fri, 31 Dec 9999 23:59:59 GMT");
}
