use super::*;

fn length_and_fate(method: &Method, bytes: &[u8]) -> (BodyLength, bool) {
    let head = answered(method, bytes);
    (head.length, head.keep_alive)
}

#[test]
fn plain_response_is_read() {
    let mut buffer = BytesMut::from(
        &b"HTTP/1.1 200 Fine by me\r\nServer: x\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nhello"[..],
    );
    let head = parse_response(&mut buffer, &mut Scan::default(), &Method::GET, &HeadLimits::RESPONSE);
    let head = head.unwrap().unwrap();
    assert_eq!((head.status, head.protocol), (StatusCode::OK, Protocol::Http11));
    assert_eq!((head.length, head.keep_alive, head.upgraded), (BodyLength::Exact(5), true, None));
    assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(buffer, "hello");
}

#[test]
fn where_the_body_ends() {
    let cases: &[(&Method, &[u8], BodyLength, bool)] = &[
        (&Method::GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", BodyLength::Chunked, true),
        (&Method::GET, b"HTTP/1.1 200 OK\r\n\r\n", BodyLength::UntilClose, false),
        (&Method::GET, b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", BodyLength::UntilClose, false),
        (
            &Method::GET,
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            BodyLength::Exact(5),
            false,
        ),
        (&Method::GET, b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", BodyLength::Exact(5), false),
        (
            &Method::GET,
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            BodyLength::Exact(5),
            true,
        ),
        (&Method::GET, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", BodyLength::UntilClose, false),
        // No body whatever the head says: to HEAD, and with these statuses.
        (&Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BodyLength::None, true),
        (&Method::HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BodyLength::None, true),
        (&Method::HEAD, b"HTTP/1.1 200 OK\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 304 Not Modified\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 204 No Content\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", BodyLength::None, true),
        // A 204 that announces a body may send it: what follows cannot be trusted.
        (&Method::GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", BodyLength::None, false),
        (
            &Method::GET,
            b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            BodyLength::None,
            false,
        ),
        (&Method::CONNECT, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BodyLength::None, false),
        (
            &Method::CONNECT,
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n",
            BodyLength::Exact(5),
            true,
        ),
        (&Method::GET, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", BodyLength::None, true),
        (&Method::GET, b"HTTP/1.1 999 x\r\nContent-Length: 1\r\n\r\n", BodyLength::Exact(1), true),
    ];
    for (method, bytes, length, keep_alive) in cases {
        assert_eq!(
            length_and_fate(method, bytes),
            (*length, *keep_alive),
            "{method} {}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let mut buffer = BytesMut::from(
        &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
    );
    let mut scan = Scan::default();
    for (status, length) in [(100, BodyLength::None), (103, BodyLength::None), (200, BodyLength::Exact(2))] {
        let head =
            parse_response(&mut buffer, &mut scan, &Method::POST, &HeadLimits::RESPONSE).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.length), (status, length));
        assert!(head.keep_alive);
    }
    assert_eq!(buffer, "ok");
}

#[test]
fn interim_responses_with_a_body_are_refused() {
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        for status in ["100 Continue", "103 Early Hints", "150 x"] {
            let bytes = format!("HTTP/1.1 {status}\r\n{field}\r\n\r\n");
            let error = response_to(&Method::GET, bytes.as_bytes()).unwrap_err();
            assert_eq!(error, HeadError::InterimBody, "{bytes:?}");
        }
    }
    answered(&Method::GET, b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn switching_protocols_tells_what_to() {
    let websocket = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n\x81\x00";
    let head = answered(&Method::GET, websocket);
    assert_eq!((head.upgraded, head.length), (Some(UpgradeRequest::WebSocket), BodyLength::None));
    for bytes in [
        &b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(answered(&Method::GET, bytes).upgraded, None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn responses_that_are_refused() {
    let cases: &[(&[u8], HeadError)] = &[
        (b"HTTP/1.1 OK\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 20 OK\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 2000 OK\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 000 x\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 099 x\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 +20 x\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1  200 OK\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1\t200 OK\r\n\r\n", HeadError::Version),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", HeadError::StatusLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", HeadError::Version),
        (b"ICY 200 OK\r\n\r\n", HeadError::Version),
        (b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n", HeadError::Version),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::LineEnd),
        (b"HTTP/1.1 200 OK\n\r\n", HeadError::LineEnd),
        (b"HTTP/1.1 200 OK\r\nX: y\n\r\n", HeadError::LineEnd),
        (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", HeadError::FieldName),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", HeadError::FieldName),
        (b"HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n", HeadError::FieldValue),
        (b"HTTP/1.1 200 OK\r\nX: y\rz\r\n\r\n", HeadError::FieldValue),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            HeadError::ContentLengthDuplicate,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", HeadError::ContentLengthInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HeadError::ContentLengthInvalid),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::LengthConflict,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            HeadError::LengthConflict,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::TransferCodingUnknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", HeadError::TransferEncodingInvalid),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            HeadError::TransferEncodingInvalid,
        ),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncodingHttp10),
    ];
    for (bytes, error) in cases {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(response_to(&method, bytes).unwrap_err(), *error, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn responses_without_a_reason_are_read() {
    for bytes in
        [&b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"[..], b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"]
    {
        assert_eq!(answered(&Method::GET, bytes).status, StatusCode::OK);
    }
    answered(&Method::GET, b"HTTP/1.1 200 \xe9\t\xff\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn fields_that_only_requests_have_mean_nothing() {
    let head = answered(
        &Method::GET,
        b"HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\nExpect: x\r\nContent-Length: 1\r\n\r\n",
    );
    assert_eq!(head.length, BodyLength::Exact(1));
}

#[test]
fn a_response_head_may_fill_its_bounds_and_no_more() {
    let head = |bytes: usize| {
        let rest = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(bytes - rest)).into_bytes()
    };
    let max = RESPONSE_HEAD_BYTES_MAX;
    for bytes in [max - 1, max] {
        answered(&Method::GET, &head(bytes));
    }
    assert_eq!(response_to(&Method::GET, &head(max + 1)).unwrap_err(), HeadError::HeadTooLarge);
    assert_eq!(response_to(&Method::GET, &head(max + 1)[..max]).unwrap_err(), HeadError::HeadTooLarge);
    // A first line without end is held by the same bound.
    let endless = [b"HTTP/1.1 200 ".to_vec(), vec![b'x'; max]].concat();
    assert_eq!(response_to(&Method::GET, &endless).unwrap_err(), HeadError::HeadTooLarge);

    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    for count in [HEAD_FIELDS_MAX - 1, HEAD_FIELDS_MAX] {
        assert_eq!(answered(&Method::GET, fields(count).as_bytes()).headers.len(), count);
    }
    let error = response_to(&Method::GET, fields(HEAD_FIELDS_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error, HeadError::FieldsTooMany);
}
