//! HTTP/2 through the whole edge, on both of its sides.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use proxy::edge::Drained;
use tests::certificates::Authority;
use tests::client::Client;
use tests::edge::Edge;
use tests::frames::{CONTINUATION, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, block};
use tests::manifests::{service, service_with, settings, site, tls_secret};
use tests::streams::{Http2Upstream, Streams, get, request};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";

fn upload(
    streams: &mut Streams,
    request: Request<()>,
    parts: &[&'static [u8]],
    trailers: Option<HeaderMap>,
) -> tests::streams::Whole {
    let mut pending = streams.start(request, true).expect("a stream");
    for (n, part) in parts.iter().enumerate() {
        let last = n + 1 == parts.len() && trailers.is_none();
        pending.upload.send_data(Bytes::from_static(part), last).expect("an open stream");
    }
    if let Some(trailers) = trailers {
        pending.upload.send_trailers(trailers).expect("an open stream");
    }
    streams.finish(pending).expect("an answer")
}

#[test]
fn streams_share_a_connection_in_plain() {
    let upstream = Upstream::answering(|request| ok(request, &request.target));
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut streams = Streams::connect(edge.http());
    let pending: Vec<_> =
        (0..50).map(|n| streams.start(get(HOST, &format!("/{n}")), false).expect("a stream")).collect();
    for (n, pending) in pending.into_iter().enumerate() {
        let answer = streams.finish(pending).expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.body), (200, format!("/{n}").into_bytes()));
        assert!(answer.headers.contains_key("date"));
    }
    let received = &upstream.requests()[0];
    assert_eq!(received.fields.one("host"), Some(HOST));
    assert_eq!(received.fields.one("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn bodies_and_trailers_pass_to_http_1_and_back() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            assert_eq!(request.trailers.one("x-sum"), request.trailers.has("x-sum").then_some("1"));
            assert!(!request.trailers.has("x-forwarded-for"));
            let body = String::from_utf8_lossy(&request.body).to_uppercase();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Total: 2\r\n\r\n",
                body.len()
            ));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut streams = Streams::connect(edge.http());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().expect("a value"));
    trailers.insert("x-forwarded-for", "192.0.2.1".parse().expect("a value"));
    for trailers in [None, Some(trailers)] {
        let answer = upload(&mut streams, request("POST", HOST, "/"), &[b"hel", b"lo"], trailers);
        assert_eq!(answer.body, b"HELLO");
        assert_eq!(answer.trailers["x-total"], "2");
        assert!(!answer.headers.contains_key("x-hop") && !answer.headers.contains_key("connection"));
    }
    assert_eq!(upstream.requests()[1].trailers.one("x-sum"), Some("1"));
}

#[test]
fn grpc_passes_with_its_trailers() {
    let upstream = Http2Upstream::start(|request, mut respond| {
        Box::pin(async move {
            let mut body = request.into_body();
            let head =
                Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
            let mut send = respond.send_response(head, false).expect("an open stream");
            // A stream both ways: each message is answered before the next one comes.
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                let _ = send.send_data(data, false);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            let _ = send.send_trailers(trailers);
        })
    });
    let yaml = format!(
        "{}{}",
        tests::manifests::ingress(""),
        service_with("web", "kubernetes.io/h2c", &[upstream.address])
    );
    let edge = Edge::from_yaml(&yaml);
    let mut streams = Streams::connect(edge.http());
    let mut call = request("POST", HOST, "/service/Method");
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    call.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let mut pending = streams.start(call, true).expect("a stream");
    pending.upload.send_data(Bytes::from_static(b"one"), false).expect("an open stream");
    let mut upload = pending.upload;
    let (answer, mut body) = streams.head(pending.answer).expect("a head").into_parts();
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(streams.data(&mut body).expect("a message"), "one");
    upload.send_data(Bytes::from_static(b"two"), true).expect("an open stream");
    assert_eq!(streams.data(&mut body).expect("a message"), "two");
    assert_eq!(streams.trailers(&mut body).expect("trailers")["grpc-status"], "0");
    let requests = upstream.requests();
    assert_eq!(requests[0].headers["te"], "trailers");
    assert_eq!(requests[0].uri.authority().map(|authority| authority.as_str()), Some(HOST));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_stream_that_is_reset_cancels_the_upstream_and_no_other() {
    let (gone, noticed) = mpsc::sync_channel(16);
    let upstream = Upstream::start(move |connection| {
        while let Some(request) = connection.request() {
            if request.target == "/slow" {
                connection.wait_for_close();
                let _ = gone.send(());
                return;
            }
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut streams = Streams::connect(edge.http());
    let mut pending = streams.start(get(HOST, "/slow"), false).expect("a stream");
    streams.drive_until(|| upstream.count() == 1);
    pending.upload.send_reset(h2::Reason::CANCEL);
    drop(pending);
    streams.drive_until(|| noticed.try_recv().is_ok());
    assert_eq!(streams.get(HOST, "/").expect("an answer").body, b"hello");
}

#[test]
fn an_answer_that_is_cut_short_resets_the_stream_and_no_other() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            if request.target == "/cut" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
                return;
            }
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut streams = Streams::connect(edge.http());
    assert!(streams.get(HOST, "/cut").is_err());
    assert_eq!(streams.get(HOST, "/").expect("an answer").body, b"hello");
}

#[test]
fn a_body_is_bounded_and_the_connection_goes_on() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("proxy-body-size: \"4\"", upstream.address));
    let mut streams = Streams::connect(edge.http());
    let answer = upload(&mut streams, request("POST", HOST, "/"), &[b"123", b"45"], None);
    assert_eq!(answer.status, 413);
    assert_eq!(streams.get(HOST, "/").expect("an answer").status, 200);
}

#[test]
fn a_malformed_request_reaches_nobody() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];
    let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
    let without = |name: &str| base.iter().filter(|(known, _)| *known != name).copied().collect::<Vec<_>>();
    let but = |name: &'static str, value: &'static str| {
        base.iter()
            .map(|(known, old)| if *known == name { (name, value) } else { (*known, *old) })
            .collect::<Vec<_>>()
    };
    let rows: &[(&str, Vec<(&str, &str)>)] = &[
        ("two methods", with(&[(":method", "GET")])),
        ("two paths", with(&[(":path", "/x")])),
        ("two authorities", with(&[(":authority", "evil.example")])),
        ("a pseudo header after a field", [&[("a", "b")][..], &base].concat()),
        ("an unknown pseudo header", with(&[(":evil", "1")])),
        ("a pseudo header of answers", with(&[(":status", "200")])),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no authority", without(":authority")),
        ("an empty path", but(":path", "")),
        ("a path without slash", but(":path", "x")),
        ("a path with a blank", but(":path", "/ HTTP/1.1")),
        ("CRLF in the path", but(":path", "/\r\nX: y")),
        ("an encoded slash", but(":path", "/a%2fb")),
        ("CRLF in the method", but(":method", "GET / HTTP/1.1\r\nX: y")),
        ("CONNECT", but(":method", "CONNECT")),
        ("TRACE", but(":method", "TRACE")),
        ("a scheme that is none", but(":scheme", "http://evil.example/?")),
        ("user data", but(":authority", "evil@shop.example")),
        ("Host of another name", with(&[("host", "evil.example")])),
        ("two Hosts", with(&[("host", HOST), ("host", "evil.example")])),
        ("capitals", with(&[("X-Upper", "1")])),
        ("CRLF in a value", with(&[("x", "a\r\nb: c")])),
        ("NUL in a value", with(&[("x", "a\0b")])),
        ("CRLF in a name", with(&[("x\r\ny", "a")])),
        ("a colon in a name", with(&[("x:y", "a")])),
        ("an empty name", with(&[("", "a")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("te", with(&[("te", "gzip")])),
        ("a length that is not kept to", with(&[("content-length", "5")])),
        ("two lengths", with(&[("content-length", "5"), ("content-length", "6")])),
    ];
    for (name, fields) in rows {
        let mut frames = Frames::open(Client::connect(edge.http()));
        frames.request(1, END_STREAM, fields);
        match frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]) {
            // A refusal with a status of 4xx or 5xx: 0x8c and 0x8d are 400 and 404 of the static table, others are literal.
            Some(frame) if frame.kind == HEADERS => {
                assert_ne!(frame.payload[0], 0x88, "{name}: answered with 200");
            }
            Some(_) | None => {}
        }
    }
    assert_eq!(upstream.count(), 0, "{:?}", upstream.requests());
    assert_eq!(Streams::connect(edge.http()).get(HOST, "/").expect("an answer").status, 200);
}

#[test]
fn a_fragment_is_cut_before_anything_looks_at_the_path() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/a#b"), (":authority", HOST)];
    frames.request(1, END_STREAM, &fields);
    frames.next_of(&[HEADERS]).expect("an answer");
    assert_eq!(upstream.requests()[0].target, "/a");
}

#[test]
fn a_length_that_is_exceeded_never_completes_a_request() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    for (length, body) in [("3", b"12345".as_slice()), ("7", b"12345")] {
        let mut frames = Frames::open(Client::connect(edge.http()));
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", HOST),
            ("content-length", length),
        ];
        frames.request(1, 0, &fields);
        frames.send(tests::frames::DATA, END_STREAM, 1, body);
        let frame = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).expect("a word");
        assert!(frame.kind != HEADERS || frame.payload[0] != 0x88, "{length}");
    }
    assert!(upstream.requests().iter().all(|request| request.body.is_empty()));
}

#[test]
fn rapid_resets_end_the_connection() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)]);
    let mut bytes = Vec::new();
    for n in 0..10_000_u32 {
        bytes.extend(tests::frames::frame(HEADERS, END_STREAM | 4, 2 * n + 1, &head));
        bytes.extend(tests::frames::frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    frames.0.send(&bytes);
    let ended = frames.next_of(&[GOAWAY]);
    assert!(ended.is_none_or(|frame| frame.error_code() == 11), "ENHANCE_YOUR_CALM, or the end");
    assert!(upstream.count() < 1_000, "{} of 10,000 were executed", upstream.count());
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    frames.send(
        HEADERS,
        END_STREAM,
        1,
        &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)]),
    );
    let filler = "x".repeat(8_000);
    let more = block(&[("a", &filler)]);
    let mut sent = 0;
    while sent < 10_000 && frames.send(CONTINUATION, 0, 1, &more) {
        sent += 1;
    }
    assert!(sent < 10_000, "80 MB of one head were taken");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_head_past_the_bound_is_refused() {
    let upstream = Upstream::saying("hello");
    let edge =
        Edge::from_yaml(&format!("{}{}", site("", upstream.address), settings("limits: {headerBytes: 4k}")));
    let mut streams = Streams::connect(edge.http());
    let mut large = get(HOST, "/");
    large.headers_mut().insert("a", "x".repeat(5_000).parse().expect("a value"));
    let refused = streams.start(large, false).and_then(|pending| streams.finish(pending));
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 431));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn the_number_of_fields_is_bounded() {
    let upstream = Upstream::saying("hello");
    let edge =
        Edge::from_yaml(&format!("{}{}", site("", upstream.address), settings("limits: {headers: 20}")));
    let mut streams = Streams::connect(edge.http());
    for (fields, status) in [(20, 200), (21, 431)] {
        let mut request = get(HOST, "/");
        for n in 1..fields {
            request.headers_mut().append("a", n.to_string().parse().expect("a value"));
        }
        // In crumbs it is one field still.
        for crumb in ["a=1", "b=2", "c=3"] {
            request.headers_mut().append("cookie", crumb.parse().expect("a value"));
        }
        let pending = streams.start(request, false).expect("a stream");
        assert_eq!(streams.finish(pending).expect("an answer").status, status, "{fields} fields");
    }
}

#[test]
fn heads_that_wait_are_bounded_together() {
    let (go, wait) = mpsc::sync_channel::<()>(40);
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        while let Some(request) = connection.request() {
            let _ = wait.lock().expect("a lock").recv();
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut streams = Streams::connect(edge.http());
    let large = || {
        let mut request = get(HOST, "/");
        request.headers_mut().insert("a", "x".repeat(30_000).parse().expect("a value"));
        request
    };
    // 1 MB of heads, and some more.
    let mut held: Vec<_> = (0..40).map(|_| streams.start(large(), false).expect("a stream")).collect();
    for refused in held.split_off(34) {
        let error = streams.finish(refused).expect_err("a refusal");
        assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
    }
    (0..34).for_each(|_| go.send(()).expect("a listening upstream"));
    for held in held {
        assert_eq!(streams.finish(held).expect("an answer").status, 200);
    }
    let again = streams.start(large(), false).expect("a stream");
    go.send(()).expect("room");
    assert_eq!(streams.finish(again).expect("an answer").status, 200);
}

#[test]
fn early_hints_and_continue_reach_the_client() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    let base = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];
    frames.request(1, 0, &[&base[..], &[("expect", "100-continue")]].concat());
    // 100, without END_STREAM; only then the body.
    let go_on = frames.next_of(&[HEADERS]).expect("a head");
    assert_eq!(go_on.flags & END_STREAM, 0);
    frames.send(tests::frames::DATA, END_STREAM, 1, b"body");
    assert_eq!(frames.next_of(&[HEADERS]).expect("the hints").flags & END_STREAM, 0);
    assert_eq!(frames.next_of(&[HEADERS]).expect("the answer").payload[0], 0x88);
    assert_eq!(upstream.requests()[0].body, b"body");
}

#[test]
fn a_drain_says_goodbye_and_lets_streams_end() {
    let (go, wait) = mpsc::sync_channel::<()>(16);
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        let Some(request) = connection.request() else { return };
        let _ = wait.lock().expect("a channel").recv();
        connection.send(ok(&request, "hello"));
        connection.wait_for_close();
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let address = edge.http();
    let mut frames = Frames::open(Client::connect(address));
    frames.request(
        1,
        END_STREAM,
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)],
    );
    let mut busy = Client::connect(address);
    busy.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let mut idle = Client::connect(address);
    eventually("the requests are under way", || upstream.count() == 2);
    let drained = edge.drain(Duration::from_secs(10));
    assert!(idle.is_closed(), "nobody waits for an idle connection");
    let goodbye = frames.next_of(&[GOAWAY]).expect("a GOAWAY");
    assert_eq!(goodbye.error_code(), 0);
    // The graceful form asks for a round trip before it names the last stream.
    if let Some(ping) = frames.next_of(&[PING]) {
        frames.send(PING, 1, 0, &ping.payload);
    }
    go.send(()).expect("a waiting upstream");
    go.send(()).expect("a waiting upstream");
    assert_eq!(frames.next_of(&[HEADERS]).expect("an answer").payload[0], 0x88);
    let answer = busy.answer();
    assert!(answer.status == 200 && answer.says_close());
    drop(frames);
    assert_eq!(drained.join().expect("a drain"), Drained::Completely);
}

#[test]
fn a_connection_serves_the_names_of_its_listener_and_misdirects_others() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::default();
    let names = [
        "example.org",
        "second-example.org",
        "*.wildcard.org",
        "fourth-example.wildcard.org",
        "unknown-example.org",
    ];
    let pair = authority.issue(&names);
    let tls = "tls: {certificateRefs: [{name: web-tls}]}";
    let yaml = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
         spec:\n  gatewayClassName: vestibule\n  listeners:\n  \
         - {{name: any, port: 443, protocol: HTTPS, {tls}}}\n  \
         - {{name: second, port: 443, protocol: HTTPS, hostname: second-example.org, {tls}}}\n  \
         - {{name: wildcard, port: 443, protocol: HTTPS, hostname: \"*.wildcard.org\", {tls}}}\n  \
         - {{name: fourth, port: 443, protocol: HTTPS, hostname: fourth-example.wildcard.org, {tls}}}\n{}{}{}{}{}{}",
        route("any", "example.org"),
        route("second", "second-example.org"),
        route("wildcard", "\"*.wildcard.org\""),
        route("fourth", "fourth-example.wildcard.org"),
        service("web", &[upstream.address]),
        tls_secret("web-tls", &pair.certificate, &pair.key)
    );
    let edge = Edge::from_yaml(&yaml);
    let config = authority.client().alpn(&["h2"]).build();
    for (server_name, host, status) in [
        ("example.org", "example.org", 200),
        ("example.org", "second-example.org", 421),
        ("example.org", "unknown-example.org", 404),
        ("second-example.org", "second-example.org", 200),
        ("second-example.org", "example.org", 421),
        ("second-example.org", "unknown-example.org", 421),
        ("third-example.wildcard.org", "third-example.wildcard.org", 200),
        ("third-example.wildcard.org", "fifth-example.wildcard.org", 200),
        ("third-example.wildcard.org", "fourth-example.wildcard.org", 421),
        ("third-example.wildcard.org", "second-example.org", 421),
        ("third-example.wildcard.org", "unknown-example.org", 421),
        ("fourth-example.wildcard.org", "fourth-example.wildcard.org", 200),
        ("fourth-example.wildcard.org", "third-example.wildcard.org", 421),
        ("unknown-example.org", "example.org", 200),
        ("unknown-example.org", "unknown-example.org", 404),
    ] {
        let mut streams = Streams::connect_tls(edge.address("shop/edge:443"), config.clone(), server_name);
        let answer = streams.get(host, "/").expect("an answer");
        assert_eq!(answer.status.as_u16(), status, "{server_name} asked for {host}");
    }
}

fn route(section: &str, host: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {section}, namespace: shop}}\n\
         spec: {{parentRefs: [{{name: edge, sectionName: {section}}}], hostnames: [{host}], \
         rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n"
    )
}
