//! Bounds on sizes and on time, each met from both sides.

use std::time::Duration;

use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{settings, site};
use tests::upstream::{Upstream, nobody, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";

fn edge(annotations: &str, operator: &str, upstream: &Upstream) -> Edge {
    Edge::from_yaml(&format!("{}{}", site(annotations, upstream.address), settings(operator)))
}

/// A head of exactly `bytes` bytes.
fn head_of(bytes: usize) -> String {
    let rest = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nA: \r\n\r\n").len();
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nA: {}\r\n\r\n", "x".repeat(bytes - rest))
}

#[test]
fn the_bytes_of_a_head_are_bounded() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "limits: {headerBytes: 4k}", &upstream);
    for (bytes, status) in [(4095, 200), (4096, 200), (4097, 431), (100_000, 431)] {
        let mut client = Client::connect(edge.http());
        client.send(head_of(bytes));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{bytes} bytes");
        assert_eq!(answer.says_close(), status != 200);
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_head_without_end_is_refused_before_it_ends() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "limits: {headerBytes: 4k}", &upstream);
    for start in ["GET / HTTP/1.1\r\nA: ", "GET /", "\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\nA: b"] {
        let mut client = Client::connect(edge.http());
        client.send(start);
        client.send("x".repeat(8 << 10));
        let answer = client.answer();
        assert!([400, 414, 431, 501].contains(&answer.status), "{start:?}: {}", answer.status);
        assert!(client.is_closed(), "{start:?}");
    }
}

#[test]
fn the_number_of_fields_is_bounded() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "limits: {headers: 10}", &upstream);
    for (count, status) in [(9, 200), (10, 200), (11, 431), (500, 431)] {
        let mut client = Client::connect(edge.http());
        let fields: String = (1..count).map(|n| format!("A{n}: b\r\n")).collect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
        assert_eq!(client.answer().status, status, "{count} fields");
    }
}

#[test]
fn the_length_of_a_target_is_bounded() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "limits: {targetBytes: 1k}", &upstream);
    for (length, status) in [(1023, 200), (1024, 200), (1025, 414), (20_000, 414)] {
        let answer = get(edge.http(), HOST, &format!("/{}", "a".repeat(length - 1)));
        assert_eq!(answer.status, status, "{length} bytes");
    }
}

#[test]
fn the_length_of_a_body_is_bounded() {
    let upstream = Upstream::answering(|request| ok(request, &request.body.len().to_string()));
    let edge = edge("proxy-body-size: \"1000\"", "", &upstream);
    for (length, status) in [(999, 200), (1000, 200), (1001, 413), (1_000_000, 413)] {
        let body = "x".repeat(length);
        let mut client = Client::connect(edge.http());
        client
            .send(format!("POST /exact HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.answer().status, status, "{length} bytes");
        let mut client = Client::connect(edge.http());
        client.send(format!(
            "POST /chunked HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{length} bytes in a chunk");
        assert_eq!(answer.says_close(), status == 413);
    }
    assert!(upstream.requests().iter().all(|request| request.body.len() <= 1000));
}

#[test]
fn the_operators_bound_on_bodies_holds_where_a_route_has_none() {
    let upstream = Upstream::answering(|request| ok(request, &request.body.len().to_string()));
    for (annotation, length, status) in [
        ("", 1001, 413),
        ("", 1000, 200),
        ("proxy-body-size: \"0\"", 5000, 200),
        ("proxy-body-size: \"2000\"", 1500, 200),
    ] {
        let edge = edge(annotation, "limits: {bodyBytes: \"1000\"}", &upstream);
        let mut client = Client::connect(edge.http());
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        ));
        assert_eq!(client.answer().status, status, "{length} bytes with {annotation:?}");
    }
}

#[test]
fn a_head_that_does_not_come_is_timed_out() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "timeouts: {headers: 200ms}", &upstream);
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: ");
    let answer = client.answer();
    assert!(answer.status == 408 && answer.says_close(), "{answer:?}");
    assert!(client.is_closed());
}

#[test]
fn a_head_that_comes_slowly_is_timed_out() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "timeouts: {headers: 300ms}", &upstream);
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n");
    // A byte now and then does not buy time.
    let refused = tests::wait::eventually_some("the edge loses patience", || {
        client.send("A: b\r\n");
        client.socket().set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        client.reader.answer("GET").ok().flatten()
    });
    assert_eq!(refused.status, 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "timeouts: {keepAlive: 200ms}", &upstream);
    let mut fresh = Client::connect(edge.http());
    assert!(fresh.is_closed());
    let mut used = Client::connect(edge.http());
    assert_eq!(used.get(HOST, "/").status, 200);
    assert!(used.is_closed());
}

#[test]
fn a_body_that_stalls_is_timed_out() {
    let upstream = Upstream::saying("hello");
    let edge = edge("", "timeouts: {bodyIdle: 200ms}", &upstream);
    for start in ["Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"] {
        let mut client = Client::connect(edge.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{start}"));
        let answer = client.answer();
        assert!(answer.status == 408 && answer.says_close(), "{start}: {answer:?}");
    }
    assert!(upstream.requests().iter().all(|request| request.body.is_empty()));
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let upstream = Upstream::start(|connection| {
        let Some(_) = connection.request() else { return };
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        while connection.send(vec![b'x'; 1 << 20]) {}
    });
    let edge = edge("", "timeouts: {writeIdle: 200ms}", &upstream);
    let mut client = Client::connect(edge.http()).with_receive_buffer(4096);
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    eventually("the upstream is let go", || upstream.count() == 1 && upstream.open() == 0);
}

#[test]
fn an_upstream_that_does_not_answer_is_timed_out() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let edge = edge("", "upstream: {responseHeadTimeout: 200ms}", &upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\nx"));
    let answer = client.answer();
    assert_eq!(answer.status, 504);
    assert_eq!(upstream.count(), 1, "a POST that was timed out is not repeated");
    eventually("the upstream is let go", || upstream.open() == 0);
    assert_eq!(client.get(HOST, "/").status, 504, "the client's connection is good still");
}

#[test]
fn an_upstream_that_stops_in_its_answer_is_cut() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        connection.wait_for_close();
    });
    let edge = edge("", "upstream: {readTimeout: 200ms}", &upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let framing = client.head().1;
    assert!(client.reader.body(framing).is_err());
    eventually("the upstream is let go", || upstream.open() == 0);
}

#[test]
fn events_may_be_far_apart() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        connection.wait_for_close();
    });
    let edge = edge("", "upstream: {readTimeout: 100ms}", &upstream);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    assert_eq!(client.reader.chunk().expect("an event"), b"data: 1\n\n");
    // Five times the limit for ordinary answers.
    client.socket().set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let error = client.reader.chunk().expect_err("no event");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_route_may_have_its_own_patience() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let edge = edge("proxy-read-timeout: 200ms", "", &upstream);
    assert_eq!(get(edge.http(), HOST, "/").status, 504);
}

#[test]
fn an_upstream_that_takes_nothing_is_timed_out() {
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |_| {
        // Without a look at what was sent, until the test is over.
        let _ = wait.lock().expect("one connection").recv();
    });
    let _done = done;
    let edge = edge("proxy-send-timeout: 200ms", "limits: {bodyBytes: 0}", &upstream);
    let address = edge.http();
    // More than the buffers of both sides hold.
    let sending = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n"));
        let part = vec![b'x'; 1 << 20];
        (0..100).take_while(|_| client.send(&part)).count()
    });
    edge.logged("the line of the request", |line| line["status"] == 504);
    assert!(sending.join().expect("no panic") < 100);
}

#[test]
fn an_address_that_does_not_answer_is_timed_out() {
    // A listener whose queue is full drops what comes, like an address that is not there.
    let full = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = full.local_addr().expect("an address");
    let listener = socket2::SockRef::from(&full);
    listener.listen(0).expect("a listener");
    let _queued: Vec<_> = (0..3).map(|_| start_connecting(address)).collect();
    let edge = Edge::from_yaml(&site("proxy-connect-timeout: 200ms", address));
    assert_eq!(get(edge.http(), HOST, "/").status, 504);
}

fn start_connecting(address: std::net::SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    // It is under way, or the queue is full already.
    let _ = socket.connect(&address.into());
    socket
}

#[test]
fn an_endpoint_that_refuses_is_a_bad_gateway() {
    let edge = Edge::from_yaml(&site("", nobody()));
    assert_eq!(get(edge.http(), HOST, "/").status, 502);
}

/// An upstream that answers `/hold` with a first byte and keeps the rest back until it is told.
#[test]
fn requests_at_once_are_bounded_until_their_last_byte() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::start(move |connection| {
        while let Some(request) = connection.request() {
            if request.target == "/hold" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
                wait.lock().expect("one at a time").recv().expect("a word from the test");
                connection.send("b");
            } else {
                connection.send(ok(&request, "hello"));
            }
        }
    });
    let edge = edge("concurrency-limit: 1 per ip", "", &upstream);
    let mut holding = Client::connect(edge.http());
    holding.send(format!("GET /hold HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(holding.head().0.status, 200);
    let refused = get(edge.http(), HOST, "/");
    assert_eq!((refused.status, refused.fields.one("retry-after")), (429, Some("1")));
    let mut other = Client::connect_from("127.0.0.2".parse().expect("an address"), edge.http());
    assert_eq!(other.get(HOST, "/").status, 200);
    go.send(()).expect("a listening upstream");
    eventually("the place is free again", || get(edge.http(), HOST, "/").status == 200);
    let line = edge.logged("the refusal", |line| line["status"] == 429);
    assert_eq!(line["reason"], "too_many_at_once");
}

#[test]
fn connections_are_bounded_in_all_and_by_address() {
    let elsewhere = "127.0.0.2".parse().expect("an address");
    for (bound, whole) in [("connections: 2", true), ("connectionsPerAddress: 2", false)] {
        let upstream = Upstream::saying("hello");
        let edge = edge("", &format!("limits: {{{bound}}}"), &upstream);
        let mut open = [(); 2].map(|()| Client::connect(edge.http()));
        assert!(open.iter_mut().all(|client| client.get(HOST, "/").status == 200), "{bound}");
        let mut late = Client::connect(edge.http());
        assert!(late.reader.answer("GET").expect("an end, and no error").is_none(), "{bound}: one too many");
        assert_eq!(edge.metric("vestibule_connections_refused_total"), 1.0);
        let mut stranger = Client::connect_from(elsewhere, edge.http());
        stranger.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let answer = stranger.reader.answer("GET").ok().flatten();
        assert_eq!(answer.is_none(), whole, "{bound}: somebody else");
        drop(open);
        // The worker notices an end when it is its turn.
        eventually("there is room again", || {
            let mut client = Client::connect(edge.http());
            client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            client.reader.answer("GET").is_ok_and(|answer| answer.is_some())
        });
    }
}

#[test]
fn requests_under_way_are_bounded() {
    let upstream = Upstream::start(|connection| {
        if connection.request().is_some() {
            connection.wait_for_close();
        }
    });
    let edge = edge("", "limits: {requests: 2}", &upstream);
    let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(edge.http())).collect();
    for client in &mut waiting {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    eventually("both are under way", || upstream.count() == 2);
    let refused = get(edge.http(), HOST, "/");
    assert_eq!(refused.status, 503);
    assert!(refused.fields.has("retry-after"), "{refused:?}");
    // Counted when the answer was written whole, which the client may see first.
    eventually("the refusal is counted", || {
        edge.metric("vestibule_rejects_total{reason=\"overloaded\"}") == 1.0
    });
    waiting.clear();
    eventually("the upstream is let go", || upstream.open() == 0);
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    eventually("there is room again", || upstream.count() == 3);
}
