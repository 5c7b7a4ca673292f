//! HTTP/1 through the whole edge, as bytes on sockets.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{settings, site};
use tests::message::Framing;
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";

fn edge(upstream: &Upstream) -> Edge {
    Edge::from_yaml(&site("", upstream.address))
}

#[test]
fn a_request_goes_through_and_connections_of_both_sides_are_kept() {
    let upstream = Upstream::saying("hello");
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for turn in 0..5 {
        let answer = client.get(HOST, &format!("/a?turn={turn}"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert!(!answer.says_close() && answer.fields.has("date"));
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[4].target, "/a?turn=4");
    assert_eq!(requests[4].fields.one("host"), Some(HOST));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| ok(request, &request.target));
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    let all: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).collect();
    client.send(all);
    for n in 0..100 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
}

#[test]
fn a_refusal_of_ours_in_a_pipeline_takes_its_turn() {
    let upstream = Upstream::answering(|request| ok(request, &request.target));
    let edge = Edge::from_yaml(&site("app-root: /app", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(format!(
        "GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET / HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /3 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ));
    assert_eq!(client.answer().text(), "/1");
    assert_eq!(client.answer().status, 302);
    assert_eq!(client.answer().text(), "/3");
}

#[test]
fn nothing_after_an_unreadable_request_in_a_pipeline_is_executed() {
    let upstream = Upstream::answering(|request| ok(request, &request.target));
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!(
        "GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /2 HTTP/1.1\r\nHost : {HOST}\r\n\r\nGET /3 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ));
    assert_eq!(client.answer().text(), "/1");
    let refusal = client.answer();
    assert!(refusal.status == 400 && refusal.says_close());
    assert!(client.is_closed());
    assert_eq!(upstream.count(), 1);
}

#[test]
fn connection_close_of_the_client_is_kept_to() {
    let upstream = Upstream::saying("hello");
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    let answer = client.answer();
    assert!(answer.status == 200 && answer.says_close());
    assert!(client.is_closed());
    assert_eq!(get(edge.http(), HOST, "/").status, 200);
    assert_eq!(upstream.connections(), 1, "the client's wish is not the upstream's");
}

#[test]
fn a_client_of_http_1_0_gets_an_answer_it_can_read() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            assert_eq!(request.version, "HTTP/1.1");
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            connection.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            );
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let (answer, framing) = client.head();
    assert_eq!((answer.status, framing), (200, Framing::UntilClose));
    assert_eq!(client.rest(), b"hello");
}

#[test]
fn a_client_of_http_1_0_can_keep_its_connection_when_the_length_is_known() {
    let upstream = Upstream::saying("hello");
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for _ in 0..3 {
        client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.fields.one("connection")), ("hello", Some("keep-alive")));
    }
}

#[test]
fn answers_without_a_body_keep_both_connections() {
    let upstream = Upstream::answering(|request| match request.target.as_str() {
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n".into(),
        "/0" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
        _ => ok(request, "hello"),
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for (method, path, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("5")),
        ("GET", "/0", 200, Some("0")),
        ("HEAD", "/", 200, Some("5")),
        ("HEAD", "/304", 304, Some("5")),
        ("GET", "/", 200, Some("5")),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let answer = client.answer_to(method);
        assert_eq!(answer.status, status, "{method} {path}");
        let known = answer.fields.one("content-length");
        assert!(known == length || (status == 304 && known.is_none()), "{method} {path}: {known:?}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_body_where_none_can_be_is_dropped_with_its_connection() {
    let upstream = Upstream::answering(|request| {
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        let status = match request.target.as_str() {
            "/204" => "204 No Content\r\nContent-Length: 48",
            "/304" => "304 Not Modified\r\nContent-Length: 48",
            _ => "200 OK\r\nContent-Length: 48",
        };
        format!("HTTP/1.1 {status}\r\n\r\n{body}")
    });
    let edge = edge(&upstream);
    let mut connections = 0;
    for (method, path) in [("HEAD", "/"), ("GET", "/204"), ("GET", "/304")] {
        let mut client = Client::connect(edge.http());
        for _ in 0..2 {
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            let answer = client.answer_to(method);
            assert!(answer.body.is_empty() && answer.status != 502, "{method} {path}: {answer:?}");
            connections += 1;
            assert_eq!(upstream.connections(), connections, "{method} {path}");
        }
    }
}

#[test]
fn early_hints_reach_clients_of_http_1_1() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection
                .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\n\r\n");
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n");
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for _ in 0..2 {
        let hint = client.get(HOST, "/");
        assert_eq!((hint.status, hint.fields.one("link")), (103, Some("</a.css>; rel=preload")));
        assert!(!hint.fields.has("connection"));
        assert_eq!(client.answer().fields.one("link"), Some("</b.css>; rel=preload"));
        assert_eq!(client.answer().text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn early_hints_come_before_the_answer_is_ready() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        let Some(request) = connection.request() else { return };
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
        let _ = wait.lock().expect("a channel").recv();
        connection.send(ok(&request, "hello"));
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    assert_eq!(client.get(HOST, "/").status, 103);
    go.send(()).expect("a waiting upstream");
    assert_eq!(client.answer().text(), "hello");
}

#[test]
fn the_edge_says_continue_when_the_body_is_wanted() {
    let upstream = Upstream::saying("hello");
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 100);
        client.send("abcde");
        assert_eq!(client.answer().text(), "hello");
    }
    let requests = upstream.requests();
    assert!(
        requests.iter().all(|request| request.body == b"abcde" && !request.fields.has("expect")),
        "{requests:?}"
    );
}

#[test]
fn a_body_that_is_refused_is_never_asked_for() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("proxy-body-size: \"4\"", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    ));
    let answer = client.answer();
    assert!(answer.status == 413 && answer.says_close(), "{answer:?}");
    assert!(client.is_closed());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_upstream_may_refuse_before_it_has_the_body() {
    let upstream = Upstream::start(|connection| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
            connection.finish();
            connection.wait_for_close();
            return;
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    ));
    let mut answer = client.answer();
    if answer.status == 100 {
        answer = client.answer();
    }
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            assert_eq!(request.body, b"abcde");
            assert_eq!(request.trailers.one("x-request-sum"), Some("1"));
            connection.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 5\r\nhello\r\n0\r\nX-Sum: 2\r\n\r\n",
            );
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n\
             3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Request-Sum: 1\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.trailers.one("x-sum")), ("hello", Some("2")));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn chunks_pass_as_they_come() {
    let upstream = Upstream::start(|connection| {
        let Some(_) = connection.head() else { return };
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        loop {
            let Ok(chunk) = connection.reader.chunk() else { return };
            if chunk.is_empty() {
                break;
            }
            let text = String::from_utf8_lossy(&chunk).to_uppercase();
            connection.send(format!("{:x}\r\n{text}\r\n", text.len()));
        }
        connection.send("0\r\n\r\n");
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_eq!(client.head().1, Framing::Chunked);
    // The answer came before the upload ended; now each waits for the other, over and over.
    for word in ["one", "two", "three", "four"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.reader.chunk().expect("a chunk"), word.to_uppercase().as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reader.chunk().expect("the last chunk"), b"");
}

#[test]
fn an_early_answer_does_not_cut_the_upload_short() {
    let (read, total) = mpsc::channel();
    let upstream = Upstream::start(move |connection| {
        let Some(mut request) = connection.head() else { return };
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let _ = connection.reader.request_body(&mut request);
        let _ = read.send(request.body.len());
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 20000\r\n\r\n"));
    client.send(vec![b'a'; 10_000]);
    let (answer, framing) = client.head();
    assert_eq!((answer.status, framing), (200, Framing::Length(5)));
    client.send(vec![b'a'; 10_000]);
    assert_eq!(client.reader.body(framing).expect("a body").0, b"hello");
    // What comes after the answer is not passed on for sure; if the connection is kept, the next request is clean.
    client.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    if let Ok(Some(answer)) = client.reader.answer("GET") {
        assert_eq!(answer.status, 200);
    }
    let bytes = total.recv_timeout(tests::wait::DEADLINE).expect("the upstream ends");
    assert!(bytes == 20_000 || bytes == 0, "{bytes}");
}

#[test]
fn an_upload_nobody_reads_is_drained_or_the_connection_closed() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.head() {
            connection.send(ok(&request, "early"));
            if request.method == "POST" {
                connection.wait_for_close();
            }
        }
    });
    let edge = edge(&upstream);
    for (length, kept) in [(1_000, true), (30_000, true), (10 << 20, false)] {
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.text(), "early");
        let sent = client.send(vec![b'x'; length]);
        client.send(format!("GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let next = client.reader.answer("GET");
        match next {
            Ok(Some(answer)) => assert!(kept && sent && answer.text() == "early", "{length}: {answer:?}"),
            Ok(None) | Err(_) => assert!(!kept, "{length} bytes are few enough to be drained"),
        }
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
    let requests = upstream.requests();
    assert!(requests.iter().all(|request| ["/", "/next"].contains(&request.target.as_str())), "{requests:?}");
}

#[test]
fn a_client_that_goes_away_cancels_the_upstream() {
    for bytes in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"] {
        let (gone, noticed) = mpsc::channel();
        let upstream = Upstream::start(move |connection| {
            let Some(_) = connection.request() else { return };
            connection.send(bytes);
            connection.wait_for_close();
            let _ = gone.send(());
        });
        let edge = edge(&upstream);
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        eventually("the upstream has the request", || upstream.count() == 1);
        if !bytes.is_empty() {
            assert_eq!(client.head().1, Framing::Length(10));
        }
        drop(client);
        noticed.recv_timeout(tests::wait::DEADLINE).expect("the upstream's connection is closed");
    }
}

#[test]
fn a_client_that_goes_away_in_its_upload_never_completes_the_request() {
    for head in ["Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"] {
        let upstream = Upstream::saying("hello");
        let edge = edge(&upstream);
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{head}"));
        eventually("the upstream has the head", || upstream.count() == 1);
        drop(client);
        eventually("the upstream sees it cut short", || upstream.faults().len() == 1);
        assert!(upstream.faults()[0].contains("ended"), "{:?}", upstream.faults());
    }
}

#[test]
fn an_answer_that_is_cut_short_is_seen_to_be() {
    for (answer, whole) in [
        ("Content-Length: 10\r\n\r\n12345", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nzz\r\n", false),
        ("Connection: close\r\n\r\n12345", true),
    ] {
        let upstream = Upstream::start(move |connection| {
            let Some(_) = connection.request() else { return };
            connection.send(format!("HTTP/1.1 200 OK\r\n{answer}"));
            connection.finish();
            connection.wait_for_close();
        });
        let edge = edge(&upstream);
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        match client.reader.answer("GET") {
            Ok(Some(read)) => assert!(whole && read.body == b"12345", "{answer}: {read:?}"),
            Ok(None) => panic!("{answer}: nothing came"),
            Err(error) => assert!(!whole && error.kind() == ErrorKind::UnexpectedEof, "{answer}: {error}"),
        }
    }
}

#[test]
fn an_upstream_that_breaks_http_is_a_bad_gateway() {
    let flood: &'static str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100).leak();
    let huge: &'static str = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(70 << 10)).leak();
    for (name, bytes) in [
        (
            "CL and TE",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("no length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello"),
        ("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
        (
            "101 unasked",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        ("flood of 1xx", flood),
        ("huge head", huge),
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("HTTP/2", "HTTP/2 200\r\n\r\n"),
        ("status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        ("status 099", "HTTP/1.1 099 OK\r\n\r\n"),
        ("obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
        ("blank before colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
        ("NUL", "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"),
        ("half a head", "HTTP/1.1 200 OK\r\nA: b"),
        ("1xx with a body", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello"),
    ] {
        let upstream = Upstream::start(move |connection| {
            let Some(_) = connection.request() else { return };
            connection.send(bytes);
            connection.finish();
            connection.wait_for_close();
        });
        let edge = edge(&upstream);
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx"));
        let mut answer = client.answer();
        while answer.status == 103 {
            answer = client.answer();
        }
        assert_eq!(answer.status, 502, "{name}");
        assert_eq!(upstream.connections(), 1, "{name}: it was not repeated");
    }
}

#[test]
fn a_second_answer_is_never_delivered() {
    let upstream = Upstream::start(|connection| {
        let Some(request) = connection.request() else { return };
        let number = connection.number;
        connection.send(format!("{}{}", ok(&request, &format!("answer {number}")), ok(&request, "poison")));
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for number in 0..4 {
        assert_eq!(client.get(HOST, "/").text(), format!("answer {number}"));
    }
}

#[test]
fn a_late_second_answer_is_never_delivered() {
    let (push, pushed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ask, done) = (Arc::clone(&push), Arc::clone(&pushed));
    let upstream = Upstream::start(move |connection| {
        let Some(request) = connection.request() else { return };
        let number = connection.number;
        connection.send(ok(&request, &format!("answer {number}")));
        eventually("the client has its answer", || ask.load(Ordering::SeqCst) > number);
        connection.send(ok(&request, "poison"));
        done.fetch_add(1, Ordering::SeqCst);
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for number in 0..3 {
        assert_eq!(client.get(HOST, "/").text(), format!("answer {number}"));
        push.fetch_add(1, Ordering::SeqCst);
        eventually("the second answer was sent", || pushed.load(Ordering::SeqCst) > number);
    }
}

#[test]
fn parked_connections_are_answered_again() {
    let upstream = Upstream::saying("hello");
    let edge = edge(&upstream);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(edge.http())).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.get(HOST, "/").text(), "hello");
        }
    }
    // A head that comes in pieces after a rest.
    for client in &mut clients {
        client.send("GET / HT");
    }
    for client in clients.iter_mut().rev() {
        client.send(format!("TP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            for byte in ok(&request, "hello").bytes() {
                connection.send([byte]);
            }
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    for _ in 0..2 {
        for byte in format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n").bytes()
        {
            client.send([byte]);
        }
        assert_eq!(client.answer().text(), "hello");
    }
    assert_eq!(upstream.requests()[1].body, b"abc");
}

#[test]
fn events_pass_before_the_stream_ends() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        let Some(_) = connection.request() else { return };
        connection
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n");
        for turn in 0..3 {
            connection.send(format!("data: {turn}\n\n"));
            let _ = wait.lock().expect("a channel").recv();
        }
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n"));
    assert_eq!(client.head().1, Framing::Chunked);
    for turn in 0..3 {
        assert_eq!(client.reader.chunk().expect("an event"), format!("data: {turn}\n\n").as_bytes());
        go.send(()).expect("a waiting upstream");
    }
    assert_eq!(client.reader.chunk().expect("the end"), b"");
}

#[test]
fn a_client_that_does_not_read_slows_the_upstream() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let (stalled, seen) = mpsc::channel();
    let upstream = Upstream::start(move |connection| {
        let Some(_) = connection.request() else { return };
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CHUNK * CHUNKS));
        let limit = Some(std::time::Duration::from_millis(300));
        connection.socket().expect("a socket").set_write_timeout(limit).expect("a timeout");
        let chunk = vec![b'x'; CHUNK];
        let mut rest = CHUNK * CHUNKS;
        while rest > 0 {
            match connection.reader.stream.write(&chunk[..rest.min(CHUNK)]) {
                Ok(bytes) => {
                    rest -= bytes;
                    counted.fetch_add(bytes, Ordering::SeqCst);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = stalled.send(());
                }
                Err(_) => return,
            }
        }
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http()).with_receive_buffer(64 << 10);
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let framing = client.head().1;
    seen.recv_timeout(tests::wait::DEADLINE).expect("the upstream is slowed");
    let before = sent.load(Ordering::SeqCst);
    assert!(before < CHUNK * CHUNKS / 2, "{before} bytes were taken from the upstream ahead of the client");
    assert_eq!(client.reader.body(framing).expect("the body").0.len(), CHUNK * CHUNKS);
}

#[test]
fn an_upstream_that_does_not_read_slows_the_client() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        let Some(mut request) = connection.head() else { return };
        let _ = wait.lock().expect("a channel").recv();
        let _ = connection.reader.request_body(&mut request);
        connection.send(ok(&request, &request.body.len().to_string()));
        connection.wait_for_close();
    });
    let edge = edge(&upstream);
    let mut client = Client::connect(edge.http());
    const LENGTH: usize = 64 << 20;
    client.send(format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let socket = client.socket();
    socket.set_write_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 0;
    let mut stalled_at = None;
    while sent < LENGTH {
        match client.reader.stream.write(&chunk[..chunk.len().min(LENGTH - sent)]) {
            Ok(bytes) => sent += bytes,
            Err(_) if stalled_at.is_none() => {
                stalled_at = Some(sent);
                go.send(()).expect("a waiting upstream");
            }
            Err(_) => {}
        }
    }
    assert!(stalled_at.is_some_and(|bytes| bytes < LENGTH / 2), "{stalled_at:?}");
    assert_eq!(client.answer().text(), LENGTH.to_string());
}

#[test]
fn connections_from_one_address_are_bounded() {
    let upstream = Upstream::saying("hello");
    let bound = settings("limits: {connectionsPerAddress: 3}");
    let edge = Edge::from_yaml(&format!("{}{bound}", site("", upstream.address)));
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(edge.http())).collect();
    for client in &mut clients {
        assert_eq!(client.get(HOST, "/").status, 200);
    }
    let mut fourth = Client::connect(edge.http());
    fourth.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert!(fourth.is_closed());
    let other = "127.0.0.2".parse().expect("an address");
    assert_eq!(Client::connect_from(other, edge.http()).get(HOST, "/").status, 200);
    clients.pop();
    eventually("a place is free again", || {
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        matches!(client.reader.answer("GET"), Ok(Some(answer)) if answer.status == 200)
    });
}

#[test]
fn a_connection_ends_after_its_share_of_requests() {
    let upstream = Upstream::saying("hello");
    let bound = settings("limits: {requestsPerConnection: 3}");
    let edge = Edge::from_yaml(&format!("{}{bound}", site("", upstream.address)));
    let mut client = Client::connect(edge.http());
    for turn in 1..=3 {
        assert_eq!(client.get(HOST, "/").says_close(), turn == 3);
    }
    assert!(client.is_closed());
}
