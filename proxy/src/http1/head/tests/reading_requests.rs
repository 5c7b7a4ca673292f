use super::*;

#[test]
fn plain_request_is_read() {
    let mut buffer = BytesMut::from(&b"GET /a/b?c=%20d HTTP/1.1\r\nHost: example.com\r\nX-Empty:\r\nX-Two: 1\r\nx-two:\t 2 \t\r\n\r\nrest"[..]);
    let head = parse_request(&mut buffer, &mut Scan::default(), &HeadLimits::REQUEST).unwrap().unwrap();
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.target, "/a/b?c=%20d");
    assert_eq!(head.protocol, Protocol::Http11);
    assert_eq!(head.length, BodyLength::None);
    assert!(head.keep_alive);
    assert!(!head.expect_continue);
    assert_eq!(head.upgrade, None);
    assert_eq!(head.headers.len(), 4);
    assert_eq!(head.headers["host"], "example.com");
    assert_eq!(head.headers["x-empty"], "");
    let two: Vec<_> = head.headers.get_all("x-two").iter().collect();
    assert_eq!(two, ["1", "2"], "both lines, in order, without the space around them");
    assert_eq!(buffer, "rest", "what follows the head stays");
}

#[test]
fn field_values_and_the_target_are_slices_of_the_read_buffer() {
    let mut buffer =
        BytesMut::from(&b"GET /target HTTP/1.1\r\nHost: a.example\r\nX-Long: some value\r\n\r\n"[..]);
    let range = buffer.as_ptr_range();
    let head = parse_request(&mut buffer, &mut Scan::default(), &HeadLimits::REQUEST).unwrap().unwrap();
    assert!(range.contains(&head.target.as_ptr()));
    for value in head.headers.values() {
        assert!(range.contains(&value.as_bytes().as_ptr()), "{value:?} was copied");
    }
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let mut buffer = BytesMut::from(
        &b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHo"[..],
    );
    let mut scan = Scan::default();
    for target in ["/1", "/2"] {
        let head = parse_request(&mut buffer, &mut scan, &HeadLimits::REQUEST).unwrap().unwrap();
        assert_eq!(head.target, target);
    }
    assert!(parse_request(&mut buffer, &mut scan, &HeadLimits::REQUEST).unwrap().is_none());
    assert_eq!(buffer, "GET /3 HTTP/1.1\r\nHo", "a part of a head is not consumed");
    buffer.extend_from_slice(b"st: a\r\n\r\n");
    let head = parse_request(&mut buffer, &mut scan, &HeadLimits::REQUEST).unwrap().unwrap();
    assert_eq!(head.target, "/3");
    assert!(buffer.is_empty());
}

#[test]
fn request_lines_that_are_refused() {
    let cases: &[(&[u8], HeadError)] = &[
        // Versions.
        (b"GET /\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/0.9\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/1.2\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/2.0\r\n\r\n", HeadError::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / ICY/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        // Spaces.
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET\r\n\r\n", HeadError::RequestLine),
        // Methods.
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        // Targets.
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
        // Line ends.
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::LineEnd),
        (b"GET / HTTP/1.1\nHost: a\n\n", HeadError::LineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::LineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::LineEnd),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::RequestLine),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
        // The first byte of a TLS handshake is enough.
        (b"\x16\x03\x01", HeadError::RequestLine),
        (b"\0", HeadError::RequestLine),
    ];
    for (bytes, error) in cases {
        assert_eq!(refused(bytes), *error, "{}", bytes.escape_ascii());
    }
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let head = accepted(b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.method, &head.target[..]), (Method::GET, &b"/x"[..]));
    for beginning in [&b""[..], b"\r", b"\r\n", b"\r\nG"] {
        assert!(request(beginning).unwrap().is_none(), "{}", beginning.escape_ascii());
    }
}

#[test]
fn every_form_of_target_and_every_token_method_is_left_to_the_next_step() {
    let cases: &[(&str, &str)] = &[
        ("GET", "http://example.com/a?b"),
        ("OPTIONS", "*"),
        ("CONNECT", "example.com:443"),
        ("TRACE", "/"),
        ("PROPFIND", "/dav/"),
        ("get", "/"),
        ("!#$%&'*+-.^_`|~1", "/"),
        ("GET", "/a%00b/../c;d//\\e|{f}[g]^`\"<h>"),
        ("GET", "no-slash"),
    ];
    for (method, target) in cases {
        let head = accepted(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((head.method.as_str(), &head.target[..]), (*method, target.as_bytes()));
    }
}

#[test]
fn field_lines_that_are_refused() {
    let cases: &[(&[u8], HeadError)] = &[
        (b"X : 1", HeadError::FieldName),
        (b"X\t: 1", HeadError::FieldName),
        (b" X: 1", HeadError::FieldName),
        (b": 1", HeadError::FieldName),
        (b"X", HeadError::FieldName),
        (b"X Y: 1", HeadError::FieldName),
        (b"X(Y): 1", HeadError::FieldName),
        (b"X\0: 1", HeadError::FieldName),
        (b"X\x80: 1", HeadError::FieldName),
        (b"\"X\": 1", HeadError::FieldName),
        (b"X@Y: 1", HeadError::FieldName),
        // Folded lines: the second one begins with a space.
        (b"X: 1\r\n 2", HeadError::FieldName),
        (b"X: 1\r\n\t2", HeadError::FieldName),
        (b"X:\r\n 2", HeadError::FieldName),
        (b"X: 1\r\n \r\nY: 2", HeadError::FieldName),
        (b"X: \0", HeadError::FieldValue),
        (b"X: a\0b", HeadError::FieldValue),
        (b"X: a\rb", HeadError::FieldValue),
        (b"X: a\r", HeadError::FieldValue),
        (b"X:\ra", HeadError::FieldValue),
        (b"X: a\x0bb", HeadError::FieldValue),
        (b"X: a\x0cb", HeadError::FieldValue),
        (b"X: a\x1bb", HeadError::FieldValue),
        (b"X: a\x7fb", HeadError::FieldValue),
        (b"X: a\nb", HeadError::LineEnd),
        (b"X: a\nContent-Length: 5", HeadError::LineEnd),
    ];
    for (field, error) in cases {
        let bytes = with_fields("GET / HTTP/1.1", &[b"Host: a", field]);
        assert_eq!(refused(&bytes), *error, "{}", bytes.escape_ascii());
        // In front of all others too.
        let bytes = with_fields("GET / HTTP/1.1", &[field, b"Host: a"]);
        assert_eq!(refused(&bytes), *error, "{}", bytes.escape_ascii());
    }
}

#[test]
fn obsolete_text_and_tabs_within_a_value_are_kept() {
    let head = accepted(&with_fields("GET / HTTP/1.1", &[b"Host: a", b"X: \xe9\ta \xff"]));
    assert_eq!(head.headers["x"].as_bytes(), b"\xe9\ta \xff");
}

#[test]
fn content_lengths() {
    let read = |field: &[u8]| {
        request(&with_fields("POST / HTTP/1.1", &[b"Host: a", field])).map(|head| head.unwrap().length)
    };
    assert_eq!(read(b"Content-Length: 0"), Ok(BodyLength::None));
    assert_eq!(read(b"Content-Length: 00"), Ok(BodyLength::None));
    assert_eq!(read(b"Content-Length: 5"), Ok(BodyLength::Exact(5)));
    assert_eq!(read(b"content-LENGTH:   005  "), Ok(BodyLength::Exact(5)));
    assert_eq!(read(b"Content-Length: 18446744073709551615"), Ok(BodyLength::Exact(u64::MAX)));
    for value in [
        "",
        "5, 5",
        "5,5",
        "5,",
        ",5",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5_0",
        "5 0",
        "5;",
        "5.0",
        "\"5\"",
        "five",
        "5a",
        "\u{0665}",
        "18446744073709551616",
        "99999999999999999999",
        "100000000000000000000000000000000000000005",
    ] {
        let field = format!("Content-Length: {value}");
        assert_eq!(read(field.as_bytes()), Err(HeadError::ContentLengthInvalid), "{field}");
    }
    let twice: &[[&[u8]; 2]] = &[
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"content-length: 6"],
        [b"Content-Length: 0", b"Content-Length: 0"],
    ];
    for [first, second] in twice {
        let bytes = with_fields("POST / HTTP/1.1", &[b"Host: a", first, b"X: y", second]);
        assert_eq!(refused(&bytes), HeadError::ContentLengthDuplicate);
    }
}

#[test]
fn transfer_encodings() {
    let read =
        |fields: &[&[u8]]| request(&with_fields("POST / HTTP/1.1", fields)).map(|head| head.unwrap().length);
    for value in ["chunked", "Chunked", "CHUNKED", "\t chunked \t"] {
        let field = format!("Transfer-Encoding:{value}");
        assert_eq!(read(&[b"Host: a", field.as_bytes()]), Ok(BodyLength::Chunked), "{field}");
    }
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chunked, gzip",
        "identity",
        "gzip",
        "chunked identity",
        "c hunked",
        "chunked\u{a0}",
        "[chunked]",
        "gzip,, chunked",
        "chunked, gzip, chunked",
    ] {
        let field = format!("Transfer-Encoding: {value}");
        assert_eq!(read(&[b"Host: a", field.as_bytes()]), Err(HeadError::TransferEncodingInvalid), "{field}");
    }
    for value in ["gzip, chunked", "identity, chunked", "x,chunked", "deflate,gzip , Chunked"] {
        let field = format!("Transfer-Encoding: {value}");
        assert_eq!(read(&[b"Host: a", field.as_bytes()]), Err(HeadError::TransferCodingUnknown), "{field}");
    }
    for (field, error) in [
        (&b"Transfer-Encoding: chunked\x0b"[..], HeadError::FieldValue),
        (b"Transfer-Encoding: \x0bchunked", HeadError::FieldValue),
        (b"Transfer-Encoding : chunked", HeadError::FieldName),
        (b"Transfer-Encoding\t: chunked", HeadError::FieldName),
        (b" Transfer-Encoding: chunked", HeadError::FieldName),
        (b"Transfer-Encoding:\r\n chunked", HeadError::FieldName),
        (b"X: y\nTransfer-Encoding: chunked", HeadError::LineEnd),
        (b"X: y\rTransfer-Encoding: chunked", HeadError::FieldValue),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadError::TransferEncodingInvalid),
        (b"Transfer-Encoding: chunked\r\ntransfer-encoding: identity", HeadError::TransferEncodingInvalid),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", HeadError::TransferEncodingInvalid),
    ] {
        assert_eq!(read(&[b"Host: a", field]), Err(error), "{}", field.escape_ascii());
    }
    // A name that is not quite it frames nothing, and goes on as what it is.
    for field in
        [&b"Transfer_Encoding: chunked"[..], b"Transfer-Encodin: chunked", b"X-Transfer-Encoding: chunked"]
    {
        assert_eq!(read(&[b"Host: a", field]), Ok(BodyLength::None), "{}", field.escape_ascii());
    }
}

#[test]
fn two_ways_to_end_a_body_are_refused_in_either_order() {
    let (length, coding): (&[u8], &[u8]) = (b"Content-Length: 5", b"Transfer-Encoding: chunked");
    for fields in [[length, coding], [coding, length]] {
        let bytes = with_fields("POST / HTTP/1.1", &[b"Host: a", fields[0], fields[1]]);
        assert_eq!(refused(&bytes), HeadError::LengthConflict);
    }
    let bytes = with_fields("POST / HTTP/1.1", &[b"Host: a", b"Content-Length: 0", coding]);
    assert_eq!(refused(&bytes), HeadError::LengthConflict, "also when the length is zero");
    let bytes = with_fields("POST / HTTP/1.0", &[b"Host: a", length, coding]);
    assert_eq!(refused(&bytes), HeadError::LengthConflict);
    let bytes = with_fields("POST / HTTP/1.0", &[b"Host: a", coding]);
    assert_eq!(refused(&bytes), HeadError::TransferEncodingHttp10);
}

#[test]
fn hosts() {
    let read = |fields: &[&[u8]]| request(&with_fields("GET / HTTP/1.1", fields)).map(|_| ());
    for value in [
        "a",
        "example.com",
        "EXAMPLE.com.",
        "example.com:8080",
        "example.com:",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:443",
        "[::ffff:1.2.3.4]",
        "a_b.example",
        "xn--bcher-kva.example",
        "a:0",
        "a:65535",
        "a:00080",
    ] {
        assert_eq!(read(&[format!("Host: {value}").as_bytes()]), Ok(()), "{value}");
    }
    for value in [
        "",
        "a b",
        "a, b",
        "a,b",
        "a/b",
        "http://a",
        "user@a",
        "user:password@a",
        "a:b",
        "a:-1",
        "a:65536",
        "a:80:80",
        "a?b",
        "a#b",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[]",
        "[a]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        ":80",
        "a%2eb",
        "b\u{fc}cher.example",
        "a\\b",
        "a;b",
        "*",
        "a\tb",
    ] {
        assert_eq!(read(&[format!("Host: {value}").as_bytes()]), Err(HeadError::HostInvalid), "{value}");
    }
    assert_eq!(read(&[b"X: y"]), Err(HeadError::HostMissing));
    assert_eq!(read(&[]), Err(HeadError::HostMissing));
    assert_eq!(read(&[b"Host: a", b"Host: b"]), Err(HeadError::HostDuplicate));
    assert_eq!(read(&[b"Host: a", b"X: y", b"hOST: a"]), Err(HeadError::HostDuplicate));
    assert_eq!(read(&[b"Host: a", b"Host:"]), Err(HeadError::HostDuplicate));
    assert!(accepted(b"GET / HTTP/1.0\r\n\r\n").headers.is_empty(), "HTTP/1.0 may leave it out");
    assert_eq!(refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), HeadError::HostDuplicate);
    assert_eq!(refused(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), HeadError::HostInvalid);
}

#[test]
fn persistence() {
    let cases: &[(&str, &[&[u8]], bool)] = &[
        ("HTTP/1.1", &[], true),
        ("HTTP/1.1", &[b"Connection: close"], false),
        ("HTTP/1.1", &[b"Connection: CLOSE"], false),
        ("HTTP/1.1", &[b"Connection: keep-alive"], true),
        ("HTTP/1.1", &[b"Connection: keep-alive, close"], false),
        ("HTTP/1.1", &[b"Connection: x ,\tclose ,"], false),
        ("HTTP/1.1", &[b"Connection: x", b"Connection: close"], false),
        ("HTTP/1.1", &[b"Connection: closed"], true),
        ("HTTP/1.1", &[b"Proxy-Connection: close"], true),
        ("HTTP/1.0", &[], false),
        ("HTTP/1.0", &[b"Connection: Keep-Alive"], true),
        ("HTTP/1.0", &[b"Connection: keep-alive, close"], false),
        ("HTTP/1.0", &[b"Keep-Alive: timeout=5"], false),
    ];
    for (version, fields, keep_alive) in cases {
        let mut all: Vec<&[u8]> = vec![b"Host: a"];
        all.extend_from_slice(fields);
        let bytes = with_fields(&format!("GET / {version}"), &all);
        assert_eq!(accepted(&bytes).keep_alive, *keep_alive, "{}", bytes.escape_ascii());
    }
}

#[test]
fn expectations() {
    let read = |line: &str, fields: &[&[u8]]| {
        request(&with_fields(line, fields)).map(|head| head.unwrap().expect_continue)
    };
    let length: &[u8] = b"Content-Length: 5";
    assert_eq!(read("POST / HTTP/1.1", &[b"Host: a", length, b"Expect: 100-continue"]), Ok(true));
    assert_eq!(read("POST / HTTP/1.1", &[b"Host: a", length, b"expect: 100-Continue"]), Ok(true));
    assert_eq!(
        read("POST / HTTP/1.1", &[b"Host: a", b"Transfer-Encoding: chunked", b"Expect: 100-continue"]),
        Ok(true)
    );
    assert_eq!(read("POST / HTTP/1.1", &[b"Host: a", length]), Ok(false));
    assert_eq!(
        read("GET / HTTP/1.1", &[b"Host: a", b"Expect: 100-continue"]),
        Ok(false),
        "there is no body to wait for"
    );
    assert_eq!(read("POST / HTTP/1.0", &[b"Host: a", length, b"Expect: 100-continue"]), Ok(false));
    for value in ["", "200-ok", "100-continue, x", "x", "100-continue;a"] {
        let field = format!("Expect: {value}");
        let fields: &[&[u8]] = &[b"Host: a", length, field.as_bytes()];
        assert_eq!(read("POST / HTTP/1.1", fields), Err(HeadError::ExpectationUnknown), "{field}");
        assert_eq!(HeadError::ExpectationUnknown.status(), StatusCode::EXPECTATION_FAILED);
    }
    let both: &[&[u8]] = &[b"Host: a", length, b"Expect: 100-continue", b"Expect: x"];
    assert_eq!(read("POST / HTTP/1.1", both), Err(HeadError::ExpectationUnknown));
}

#[test]
fn upgrades() {
    let (connection, upgrade): (&[u8], &[u8]) = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket");
    let read = |line: &str, fields: &[&[u8]]| accepted(&with_fields(line, fields)).upgrade;
    let websocket = Some(UpgradeRequest::WebSocket);
    assert_eq!(read("GET / HTTP/1.1", &[b"Host: a", connection, upgrade]), websocket);
    assert_eq!(read("GET / HTTP/1.1", &[b"Host: a", upgrade, connection]), websocket);
    assert_eq!(read("GET / HTTP/1.1", &[b"Host: a", connection, upgrade, b"Content-Length: 0"]), websocket);
    assert_eq!(read("GET / HTTP/1.1", &[b"Host: a", connection, b"Upgrade: h2c, websocket"]), websocket);
    let none: &[(&str, &[&[u8]])] = &[
        ("GET / HTTP/1.1", &[b"Host: a", upgrade]),
        ("GET / HTTP/1.1", &[b"Host: a", connection]),
        ("GET / HTTP/1.1", &[b"Host: a", b"Connection: x-upgrade", upgrade]),
        (
            "GET / HTTP/1.1",
            &[b"Host: a", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"],
        ),
        ("GET / HTTP/1.1", &[b"Host: a", connection, b"Upgrade: websocket/13"]),
        ("GET / HTTP/1.0", &[b"Host: a", connection, upgrade]),
        ("POST / HTTP/1.1", &[b"Host: a", connection, upgrade]),
        ("GET / HTTP/1.1", &[b"Host: a", connection, upgrade, b"Content-Length: 1"]),
        ("GET / HTTP/1.1", &[b"Host: a", connection, upgrade, b"Transfer-Encoding: chunked"]),
    ];
    for (line, fields) in none {
        assert_eq!(read(line, fields), None, "{line} {fields:?}");
    }
}

#[test]
fn a_body_on_a_method_that_has_none_is_still_framed() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let bytes = with_fields(&format!("{method} / HTTP/1.1"), &[b"Host: a", b"Content-Length: 5"]);
        assert_eq!(accepted(&bytes).length, BodyLength::Exact(5), "{method}");
    }
}

/// A GET whose head has exactly so many bytes.
fn head_of(bytes: usize) -> Vec<u8> {
    let rest = with_fields("GET / HTTP/1.1", &[b"Host: a", b"X: "]).len();
    let field = format!("X: {}", "x".repeat(bytes - rest));
    with_fields("GET / HTTP/1.1", &[b"Host: a", field.as_bytes()])
}

#[test]
fn a_head_may_fill_its_bound_and_no_more() {
    let max = REQUEST_HEAD_BYTES_MAX;
    for bytes in [max - 1, max] {
        assert_eq!(head_of(bytes).len(), bytes);
        accepted(&head_of(bytes));
    }
    assert_eq!(refused(&head_of(max + 1)), HeadError::HeadTooLarge);
    assert_eq!(refused(&head_of(max + 1)[..max]), HeadError::HeadTooLarge, "before it is complete");
    assert!(request(&head_of(max)[..max - 1]).unwrap().is_none());
    accepted(&[b"\r\n", &head_of(max)[..]].concat());
    assert_eq!(HeadError::HeadTooLarge.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[test]
fn a_head_may_have_so_many_fields_and_no_more() {
    let head = |fields: usize| {
        let lines: Vec<String> = (1..fields).map(|number| format!("x-{number}: y")).collect();
        let mut all: Vec<&[u8]> = vec![b"Host: a"];
        all.extend(lines.iter().map(|line| line.as_bytes()));
        with_fields("GET / HTTP/1.1", &all)
    };
    for fields in [HEAD_FIELDS_MAX - 1, HEAD_FIELDS_MAX] {
        assert_eq!(accepted(&head(fields)).headers.len(), fields);
    }
    assert_eq!(refused(&head(HEAD_FIELDS_MAX + 1)), HeadError::FieldsTooMany);
    let bytes = head(HEAD_FIELDS_MAX + 1);
    assert_eq!(refused(&bytes[..bytes.len() - 2]), HeadError::FieldsTooMany, "before it is complete");
    assert_eq!(HeadError::FieldsTooMany.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // The same name so often is no way around it, and the table of the parser is the last bound.
    let same = vec![&b"x: y"[..]; HEAD_FIELDS_MAX + 1];
    assert_eq!(refused(&with_fields("GET / HTTP/1.1", &same)), HeadError::FieldsTooMany);
    let wide = HeadLimits { fields_max: usize::MAX, ..HeadLimits::REQUEST };
    assert_eq!(
        request_within(&head(HEAD_FIELDS_CAP), &wide).unwrap().unwrap().headers.len(),
        HEAD_FIELDS_CAP
    );
    assert!(matches!(request_within(&head(HEAD_FIELDS_CAP + 1), &wide), Err(HeadError::FieldsTooMany)));
}

#[test]
fn a_target_may_fill_its_bound_and_no_more() {
    let head =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1)).into_bytes();
    for bytes in [TARGET_BYTES_MAX - 1, TARGET_BYTES_MAX] {
        assert_eq!(accepted(&head(bytes)).target.len(), bytes);
    }
    assert_eq!(refused(&head(TARGET_BYTES_MAX + 1)), HeadError::TargetTooLong);
    assert_eq!(refused(&head(TARGET_BYTES_MAX + 100)[..TARGET_BYTES_MAX + 50]), HeadError::TargetTooLong);
    assert_eq!(HeadError::TargetTooLong.status(), StatusCode::URI_TOO_LONG);
}

#[test]
fn a_method_may_fill_its_bound_and_no_more() {
    let head = |bytes: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(bytes)).into_bytes();
    assert_eq!(accepted(&head(METHOD_BYTES_MAX)).method.as_str().len(), METHOD_BYTES_MAX);
    assert_eq!(refused(&head(METHOD_BYTES_MAX + 1)), HeadError::MethodTooLong);
    assert_eq!(HeadError::MethodTooLong.status(), StatusCode::NOT_IMPLEMENTED);
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_searched_once() {
    // Sixteen heads of the largest size, a byte at a time: a search from the start each time would look at 8 GiB.
    let bytes = head_of(REQUEST_HEAD_BYTES_MAX);
    let limits = HeadLimits::REQUEST;
    for _ in 0..16 {
        let (mut buffer, mut scan) = (BytesMut::new(), Scan::default());
        for (index, byte) in bytes.iter().enumerate() {
            buffer.extend_from_slice(&[*byte]);
            let head = parse_request(&mut buffer, &mut scan, &limits).unwrap();
            assert_eq!(head.is_some(), index + 1 == bytes.len());
            assert!(head.is_some() || scan.searched() >= index, "byte {index} will be searched again");
        }
    }
}
