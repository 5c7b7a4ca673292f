//! Attacks on the framing of HTTP/1: whatever is ambiguous is refused, and the upstream sees exactly one well-formed request
//! or none.

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::site;
use tests::upstream::Upstream;

/// Comes after each attack; were it ever executed, the attack would have succeeded.
const POISON: &str = "GET /poison HTTP/1.1\r\nHost: shop.example\r\n\r\n";

struct Setting {
    upstream: Upstream,
    edge: Edge,
}

fn setting() -> Setting {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    Setting { upstream, edge }
}

/// Sends `attack` with the poison after it. The first answer must be a refusal with `status`, and the last thing that comes.
fn refuses(setting: &Setting, name: &str, attack: &[u8], status: &[u16]) {
    let mut client = Client::connect(setting.edge.http());
    client.send([attack, POISON.as_bytes()].concat());
    let answer = match client.reader.answer("GET") {
        Ok(Some(answer)) => answer,
        other => panic!("{name}: {other:?}"),
    };
    assert!(status.contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
    assert!(answer.says_close(), "{name}: {answer:?}");
    assert!(client.is_closed(), "{name}: the connection goes on");
}

fn head(fields: &str) -> Vec<u8> {
    format!("POST /attack HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n").into_bytes()
}

#[test]
fn a_length_that_can_be_read_in_two_ways_reaches_nobody() {
    let setting = setting();
    let fields: &[(&str, &[u16])] = &[
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &[400]),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", &[400]),
        ("Transfer-Encoding : chunked\r\n", &[400]),
        ("Transfer-Encoding\t: chunked\r\n", &[400]),
        ("Transfer-Encoding: xchunked\r\n", &[400, 501]),
        ("Transfer-Encoding: \"chunked\"\r\n", &[400, 501]),
        ("Transfer-Encoding: \x0bchunked\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked\x0b\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked,\r\n", &[400, 501]),
        ("Transfer-Encoding: ,chunked\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked, chunked\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &[400, 501]),
        ("Transfer-Encoding: gzip, chunked\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked, gzip\r\n", &[400, 501]),
        ("Transfer-Encoding: identity\r\n", &[400, 501]),
        ("Transfer-Encoding: chunked;q=1\r\n", &[400, 501]),
        ("Transfer-Encoding:\r\n", &[400, 501]),
        ("Transfer-Encoding:\r\n chunked\r\n", &[400, 501]),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", &[400]),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", &[400]),
        ("Content-Length: 5, 5\r\n", &[400]),
        ("Content-Length: +5\r\n", &[400]),
        ("Content-Length: -5\r\n", &[400]),
        ("Content-Length: 0x5\r\n", &[400]),
        ("Content-Length: 5_0\r\n", &[400]),
        ("Content-Length: 5 0\r\n", &[400]),
        ("Content-Length: 5.0\r\n", &[400]),
        ("Content-Length:\r\n", &[400]),
        ("Content-Length: 99999999999999999999\r\n", &[400]),
        ("Content-Length: 18446744073709551616\r\n", &[400]),
        ("Content-Length : 5\r\n", &[400]),
        ("Content-Length: 5\r\n ,6\r\n", &[400]),
    ];
    for (fields, status) in fields {
        refuses(&setting, fields, &head(fields), status);
    }
    assert_eq!(setting.upstream.count(), 0, "{:?}", setting.upstream.requests());
}

#[test]
fn a_head_that_can_be_read_in_two_ways_reaches_nobody() {
    let setting = setting();
    let heads: &[(&str, &[u8], &[u16])] = &[
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA: b\r\n c\r\n\r\n", &[400]),
        ("obs-fold by tab", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA: b\r\n\tc\r\n\r\n", &[400]),
        ("first field folded", b"GET / HTTP/1.1\r\n Host: shop.example\r\n\r\n", &[400]),
        ("space before colon", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA : b\r\n\r\n", &[400]),
        ("no name", b"GET / HTTP/1.1\r\nHost: shop.example\r\n: b\r\n\r\n", &[400]),
        ("no colon", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA\r\n\r\n", &[400]),
        ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA: b\rc: d\r\n\r\n", &[400]),
        ("bare CR for a line end", b"GET / HTTP/1.1\rHost: shop.example\r\n\r\n", &[400]),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA: b\0c\r\n\r\n", &[400]),
        ("NUL in a name", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA\0: b\r\n\r\n", &[400]),
        ("DEL in a value", b"GET / HTTP/1.1\r\nHost: shop.example\r\nA: \x7f\r\n\r\n", &[400]),
        ("HTTP/0.9", b"GET /\r\n\r\n", &[400, 505]),
        ("HTTP/0.9 with fields", b"GET /\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("http/1.1", b"GET / http/1.1\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("a blank after the version", b"GET / HTTP/1.1 \r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("two blanks before the target", b"GET  / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("two blanks after the target", b"GET /  HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("a tab for a blank", b"GET\t/\tHTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("a blank in the target", b"GET /a b HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400, 505]),
        ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("a byte past ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("a control byte", b"GET /\x01 HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("an encoded NUL", b"GET /%00 HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("an encoded slash", b"GET /a%2fb HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("no slash", b"GET a HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("CONNECT", b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400, 405, 501]),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[405, 501]),
        ("no Host", b"GET / HTTP/1.1\r\nA: b\r\n\r\n", &[400]),
        ("two Hosts", b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: shop.example\r\n\r\n", &[400]),
        ("a list of Hosts", b"GET / HTTP/1.1\r\nHost: shop.example, evil.example\r\n\r\n", &[400]),
        ("a path in Host", b"GET / HTTP/1.1\r\nHost: shop.example/x\r\n\r\n", &[400]),
        ("user data in Host", b"GET / HTTP/1.1\r\nHost: evil@shop.example\r\n\r\n", &[400]),
        ("a blank in Host", b"GET / HTTP/1.1\r\nHost: shop example\r\n\r\n", &[400]),
        ("two authorities", b"GET http://evil.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        ("user data", b"GET http://evil@shop.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n", &[400]),
        (
            "HTTP/1.0 in chunks",
            b"POST / HTTP/1.0\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        (
            "an unknown expectation",
            b"POST / HTTP/1.1\r\nHost: shop.example\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n",
            &[417],
        ),
    ];
    for (name, head, status) in heads {
        refuses(&setting, name, head, status);
    }
    assert_eq!(setting.upstream.count(), 0, "{:?}", setting.upstream.requests());
}

#[test]
fn a_chunk_that_can_be_read_in_two_ways_ends_the_request() {
    let setting = setting();
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(17 << 10));
    let trailer = format!("0\r\n{}\r\n", "A: bcdefghijklmnopqrstuvwxyz\r\n".repeat(1500));
    let bodies: &[(&str, &str)] = &[
        ("a hexadecimal prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a blank before", " 5\r\nhello\r\n0\r\n\r\n"),
        ("an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("only an extension", ";a=b\r\nhello\r\n0\r\n\r\n"),
        ("17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("17 digits, most of them 0", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("an overflow", "FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n"),
        ("no CRLF after the data", "5\r\nhello0\r\n\r\n"),
        ("an LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("an LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("a CR after the size", "5\rXhello\r\n0\r\n\r\n"),
        ("more data than announced", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "5;a=\rb\r\nhello\r\n0\r\n\r\n"),
        ("an LF in an extension", "5;a=\nb\r\nhello\r\n0\r\n\r\n"),
        ("a huge extension", &extension),
        ("huge trailers", &trailer),
        ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        ("a trailer with a blank before its colon", "0\r\nA : b\r\n\r\n"),
        ("a trailer without colon", "0\r\nA\r\n\r\n"),
    ];
    for (name, body) in bodies {
        let attack = [&head("Transfer-Encoding: chunked\r\n")[..], body.as_bytes()].concat();
        refuses(&setting, name, &attack, &[400, 413, 431]);
    }
    for request in setting.upstream.requests() {
        assert_eq!(request.target, "/attack");
        assert!(request.body.is_empty(), "no upload was complete: {request:?}");
    }
    for fault in setting.upstream.faults() {
        assert!(fault.contains("ended"), "the edge may only cut a request short: {fault}");
    }
}

#[test]
fn what_is_unusual_and_clear_is_read_as_it_is_meant() {
    let setting = setting();
    let requests: &[(&str, &str)] = &[
        ("an empty line before", "\r\nGET /ok HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        ("no blank after the colon", "GET /ok HTTP/1.1\r\nHost:shop.example\r\n\r\n"),
        ("tabs around a value", "GET /ok HTTP/1.1\r\nHost:\tshop.example\t\r\n\r\n"),
        ("absolute form", "GET http://shop.example/ok HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        ("capitals", "GET /ok HTTP/1.1\r\nHOST: SHOP.EXAMPLE\r\n\r\n"),
        ("an unknown method", "PURGE /ok HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        (
            "capitals in the coding",
            "POST /ok HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "an extension and capitals in a size",
            "POST /ok HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n00A;a=b\r\n0123456789\r\n0\r\n\r\n",
        ),
        (
            "zeros before a length",
            "POST /ok HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0005 \r\n\r\nhello",
        ),
        ("a length of zero", "POST /ok HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n"),
        ("a GET with a body", "GET /ok HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello"),
    ];
    for (name, request) in requests {
        let before = setting.upstream.count();
        let mut client = Client::connect(setting.edge.http());
        client.send(format!("{request}{request}"));
        for _ in 0..2 {
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        }
        assert_eq!(setting.upstream.count(), before + 2, "{name}");
    }
    assert!(setting.upstream.requests().iter().all(|request| request.target == "/ok"));
    assert_eq!(setting.upstream.faults(), Vec::<String>::new());
}

#[test]
fn a_body_is_never_the_next_request() {
    let setting = setting();
    let mut client = Client::connect(setting.edge.http());
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        let length = POISON.len();
        client.send(format!(
            "{method} /ok HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {length}\r\n\r\n{POISON}"
        ));
        assert_eq!(client.answer().status, 200, "{method}");
    }
    let requests = setting.upstream.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert!(requests.iter().all(|request| request.body == POISON.as_bytes()));
}

#[test]
fn an_upgrade_to_http2_in_plain_is_not_passed_on() {
    let setting = setting();
    let mut client = Client::connect(setting.edge.http());
    client.send(
        "GET /ok HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let request = &setting.upstream.requests()[0];
    assert!(!request.fields.has("upgrade") && !request.fields.has("http2-settings"), "{request:?}");
    assert_eq!(client.get("shop.example", "/ok").status, 200);
}

#[test]
fn framing_and_identity_in_trailers_stop_at_the_edge() {
    let setting = setting();
    let mut client = Client::connect(setting.edge.http());
    client.send(
        "POST /ok HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\n\
         Content-Length: 99\r\nTransfer-Encoding: chunked\r\nHost: evil.example\r\nAuthorization: Basic eA==\r\n\
         Cookie: a=b\r\nX-Forwarded-For: 192.0.2.1\r\nX-Auth-Request-User: admin\r\nRemote_User: admin\r\n\
         Connection: close\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let request = &setting.upstream.requests()[0];
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailers.0, [("x-sum".to_owned(), "42".to_owned())]);
}

#[test]
fn hop_by_hop_and_forged_fields_stop_at_the_edge() {
    let setting = setting();
    let mut client = Client::connect(setting.edge.http());
    client.send(
        "GET /ok HTTP/1.1\r\nHost: shop.example\r\nConnection: X-Secret, X-Forwarded-For, Cookie, Host, keep-alive\r\n\
         X-Secret: 1\r\nCookie: a=b\r\nKeep-Alive: timeout=9\r\nTE: trailers, gzip\r\nProxy-Connection: keep-alive\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX_Forwarded_Proto: https\r\nX-Forwarded-Host: evil.example\r\n\
         Forwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Auth-Request-User: admin\r\nX.Auth.Request.User: admin\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let fields = &setting.upstream.requests()[0].fields;
    for gone in [
        "x-secret",
        "keep-alive",
        "proxy-connection",
        "x_forwarded_proto",
        "x-auth-request-user",
        "x.auth.request.user",
    ] {
        assert!(!fields.has(gone), "{gone} in {fields:?}");
    }
    assert_eq!(fields.one("cookie"), Some("a=b"));
    assert_eq!(fields.one("host"), Some("shop.example"));
    assert_eq!(fields.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(fields.one("x-forwarded-proto"), Some("http"));
    assert_eq!(fields.one("x-forwarded-host"), Some("shop.example"));
    assert_eq!(fields.one("x-real-ip"), Some("127.0.0.1"));
}
