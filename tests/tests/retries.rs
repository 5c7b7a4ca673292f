//! Which request is sent again, where it goes, and how often it is executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{endpoint_slices, ingress, service, site};
use tests::upstream::{Connection, Upstream, nobody, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";

/// Sends a request of `method`, with a body of `length` bytes unless that is zero, and returns the status.
#[track_caller]
fn send(client: &mut Client, method: &str, length: usize) -> u16 {
    let framing = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
    client.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n"));
    client.send(vec![b'x'; length]);
    client.answer_to(method).status
}

#[test]
fn only_what_can_be_repeated_is_sent_again_when_a_kept_connection_turns_out_dead() {
    // (method, body, status, how often the upstream read it)
    for (method, length, status, executions) in [
        ("GET", 0, 200, 2),
        ("HEAD", 0, 200, 2),
        ("OPTIONS", 0, 200, 2),
        ("PUT", 10, 200, 2),
        ("DELETE", 0, 200, 2),
        ("PUT", 100_000, 502, 1),
        ("POST", 10, 502, 1),
        ("POST", 0, 502, 1),
        ("PATCH", 10, 502, 1),
        ("PURGE", 0, 502, 1),
    ] {
        // The first connection answers once, and dies on the second request it reads.
        let upstream = Upstream::start(|connection| {
            let mut turn = 0;
            while let Some(request) = connection.request() {
                turn += 1;
                if connection.number == 0 && turn == 2 {
                    return;
                }
                connection.send(ok(&request, "hello"));
            }
        });
        let edge = Edge::from_yaml(&site("", upstream.address));
        let mut client = Client::connect(edge.http());
        assert_eq!(send(&mut client, "GET", 0), 200);
        assert_eq!(send(&mut client, method, length), status, "{method} with {length} bytes");
        assert_eq!(upstream.count(), 1 + executions, "{method} with {length} bytes");
    }
}

#[test]
fn a_connection_that_was_closed_while_it_was_idle_costs_nobody_a_request() {
    let upstream = Upstream::start(|connection| {
        if let Some(request) = connection.request() {
            connection.send(ok(&request, "hello"));
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    for turn in 0..20 {
        assert_eq!(send(&mut client, "POST", 10), 200, "turn {turn}");
        eventually("the upstream closed", || upstream.open() == 0);
    }
    assert_eq!(upstream.count(), 20);
}

#[test]
fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    for (method, length) in [("GET", 0), ("POST", 10), ("PATCH", 60_000)] {
        let good = Upstream::saying("hello");
        let yaml =
            format!("{}{}", ingress("load-balance: round_robin"), service("web", &[nobody(), good.address]));
        let edge = Edge::from_yaml(&yaml);
        let mut client = Client::connect(edge.http());
        for turn in 0..4 {
            assert_eq!(send(&mut client, method, length), 200, "{method} in turn {turn}");
        }
        assert_eq!(good.count(), 4);
        assert!(good.requests().iter().all(|request| request.body.len() == length));
    }
}

/// What an upstream does with every request.
type Fate = fn(&mut Connection);

#[test]
fn a_failure_after_the_request_was_read_is_repeated_for_idempotent_methods_only() {
    let close: Fate = |_| {};
    let reset: Fate = Connection::reset;
    let garbage: Fate = |connection| {
        connection.send("garbage\r\n\r\n");
    };
    for (fate, name, method, executions) in [
        (close, "close", "GET", 3),
        (close, "close", "POST", 1),
        (reset, "reset", "GET", 3),
        (reset, "reset", "POST", 1),
        (garbage, "garbage", "GET", 1),
        (garbage, "garbage", "POST", 1),
    ] {
        let upstream = Upstream::start(move |connection| {
            if connection.request().is_some() {
                fate(connection);
            }
        });
        let edge = Edge::from_yaml(&site("", upstream.address));
        assert_eq!(send(&mut Client::connect(edge.http()), method, 0), 502, "{method} after {name}");
        assert_eq!(upstream.count(), executions, "{method} after {name}");
    }
}

#[test]
fn a_request_is_not_repeated_once_an_answer_has_begun() {
    let upstream = Upstream::start(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    client.rest();
    assert_eq!(upstream.count(), 1);
}

#[test]
fn statuses_are_retried_where_the_route_says_so() {
    for (annotations, status, executions) in [
        ("", 503, 1),
        ("proxy-next-upstream: \"error http_503\"", 200, 2),
        ("proxy-next-upstream: \"error http_502\"", 503, 1),
        ("proxy-next-upstream: \"off\"", 503, 1),
        ("proxy-next-upstream: \"error http_503\"\nproxy-next-upstream-tries: \"1\"", 503, 1),
    ] {
        let upstream = Upstream::start(|connection| {
            while let Some(request) = connection.request() {
                let first = request.fields.has("x-first") && connection.number == 0;
                connection.send(if first {
                    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_owned()
                } else {
                    ok(&request, "hello")
                });
                if first {
                    return;
                }
            }
        });
        let edge = Edge::from_yaml(&site(annotations, upstream.address));
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-First: 1\r\n\r\n"));
        assert_eq!(client.answer().status, status, "{annotations}");
        assert_eq!(upstream.count(), executions, "{annotations}");
    }
}

#[test]
fn a_post_is_not_repeated_for_its_status() {
    let upstream =
        Upstream::answering(|_| "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".into());
    let edge = Edge::from_yaml(&site("proxy-next-upstream: \"error http_503\"", upstream.address));
    assert_eq!(send(&mut Client::connect(edge.http()), "POST", 10), 503);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn retries_have_a_budget() {
    let upstream = Upstream::start(|connection| {
        connection.request();
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    for _ in 0..200 {
        assert_eq!(send(&mut client, "GET", 0), 502);
    }
    // Ten at once, one for five requests, ten a second; without a budget it would be six hundred.
    let executions = upstream.count();
    assert!((220..400).contains(&executions), "{executions} executions of 200 requests");
}

#[test]
fn an_endpoint_that_fails_is_left_alone() {
    let good = [Upstream::saying("hello"), Upstream::saying("hello")];
    let bad = Upstream::start(|connection| {
        connection.request();
    });
    let addresses = [good[0].address, good[1].address, bad.address];
    let yaml = format!("{}{}", ingress("load-balance: round_robin"), service("web", &addresses));
    let edge = Edge::from_yaml(&yaml);
    let mut client = Client::connect(edge.http());
    let mut failures = 0;
    for _ in 0..300 {
        // Not repeated, so that each failure shows.
        failures += usize::from(send(&mut client, "POST", 1) != 200);
    }
    assert_eq!(failures, 5, "five failures in a row eject an endpoint");
    assert_eq!(bad.count(), 5);
}

#[test]
fn traffic_is_still_tried_when_every_endpoint_fails() {
    let failing = Arc::new(AtomicUsize::new(1));
    let switch = Arc::clone(&failing);
    let upstream = Upstream::start(move |connection| {
        while let Some(request) = connection.request() {
            if switch.load(Ordering::SeqCst) == 1 {
                return;
            }
            connection.send(ok(&request, "hello"));
        }
    });
    let other = nobody();
    let edge = Edge::from_yaml(&format!("{}{}", ingress(""), service("web", &[upstream.address, other])));
    let mut client = Client::connect(edge.http());
    for _ in 0..40 {
        assert_eq!(send(&mut client, "POST", 1), 502);
    }
    failing.store(0, Ordering::SeqCst);
    eventually("the one that has recovered is found", || send(&mut client, "POST", 1) == 200);
}

#[test]
fn load_is_spread() {
    let upstreams: Vec<Upstream> = (0..3).map(|_| Upstream::saying("hello")).collect();
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let yaml = format!("{}{}", ingress("load-balance: round_robin"), service("web", &addresses));
    let edge = Edge::from_yaml(&yaml);
    let mut client = Client::connect(edge.http());
    for _ in 0..300 {
        assert_eq!(send(&mut client, "GET", 0), 200);
    }
    assert!(upstreams.iter().all(|upstream| upstream.count() == 100));
}

#[test]
fn endpoints_come_and_go_without_a_failed_request() {
    let upstreams: Vec<Upstream> = (0..3).map(|n| Upstream::saying(&n.to_string())).collect();
    let mut edge = Edge::from_yaml(&site("", upstreams[0].address));
    let mut client = Client::connect(edge.http());
    for turn in 0..30 {
        let wanted = turn % 3;
        edge.refresh_endpoints(&endpoint_slices("web", &[upstreams[(wanted + 1) % 3].address]));
        eventually("the new endpoint is used", || {
            let answer = client.get(HOST, "/");
            assert_eq!(answer.status, 200);
            answer.text() == ((wanted + 1) % 3).to_string()
        });
    }
}

#[test]
fn a_request_under_way_keeps_its_endpoint_when_that_goes() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(16);
    let wait = std::sync::Mutex::new(wait);
    let old = Upstream::start(move |connection| {
        let Some(_) = connection.request() else { return };
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nold");
        let _ = wait.lock().expect("a channel").recv();
        connection.send("old");
    });
    let new = Upstream::saying("new");
    let mut edge = Edge::from_yaml(&site("", old.address));
    let mut client = Client::connect(edge.http());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let framing = client.head().1;
    edge.republish(&site("custom-response-headers: \"X-New: 1\"", new.address));
    eventually("the new endpoint is used", || get(edge.http(), HOST, "/").text() == "new");
    go.send(()).expect("a waiting upstream");
    assert_eq!(client.reader.body(framing).expect("the rest").0, b"oldold");
}

#[test]
fn sockets_open_and_close_with_the_configuration() {
    let upstream = Upstream::saying("hello");
    let gateway = |ports: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
             spec: {{gatewayClassName: vestibule, listeners: [{ports}]}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n{}",
            service("web", &[upstream.address])
        )
    };
    let one = "{name: a, port: 80, protocol: HTTP}";
    let two = "{name: a, port: 80, protocol: HTTP}, {name: b, port: 8080, protocol: HTTP}";
    let mut edge = Edge::from_yaml(&gateway(one));
    let first = edge.address("shop/edge:80");
    let mut kept = Client::connect(first);
    assert_eq!(kept.get(HOST, "/").status, 200);
    edge.republish(&gateway(two));
    let second = edge.address("shop/edge:8080");
    assert_eq!(edge.address("shop/edge:80"), first, "what did not change stays");
    assert_eq!(get(second, HOST, "/").status, 200);
    edge.republish(&gateway(one));
    eventually("the socket is closed", || std::net::TcpStream::connect(second).is_err());
    assert_eq!(kept.get(HOST, "/").status, 200);
}

#[test]
fn what_was_timed_out_is_tried_at_another_endpoint_or_not_at_all() {
    let hanging = Upstream::start(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let edge = Edge::from_yaml(&site("proxy-read-timeout: 300ms", hanging.address));
    assert_eq!(get(edge.http(), HOST, "/").status, 504);
    assert_eq!(hanging.count(), 1, "the only endpoint there is was asked once");

    let good = Upstream::saying("hello");
    let yaml = format!(
        "{}{}",
        ingress("proxy-read-timeout: 300ms\nload-balance: round_robin"),
        service("web", &[hanging.address, good.address])
    );
    let edge = Edge::from_yaml(&yaml);
    for turn in 0..2 {
        assert_eq!(get(edge.http(), HOST, "/").status, 200, "turn {turn}");
    }
    // A retry takes a turn too, so the second may begin where the first did.
    assert!(
        (2..=3).contains(&hanging.count()),
        "{} tries: one of the two requests began there",
        hanging.count()
    );
}

#[test]
fn no_further_endpoint_is_tried_when_the_time_for_it_is_over() {
    // Each takes its time and then breaks off.
    let slow = || {
        Upstream::start(|connection| {
            connection.request();
            let begun = Instant::now();
            eventually("the time is over", || begun.elapsed() > Duration::from_millis(300));
        })
    };
    for (keys, status, tries) in [
        ("proxy-next-upstream-tries: \"3\"\nproxy-next-upstream-timeout: 100ms", 502, 1),
        ("proxy-next-upstream-tries: \"3\"\nproxy-next-upstream-timeout: \"0\"", 502, 3),
    ] {
        let endpoints = [slow(), slow(), slow()];
        let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
        let edge = Edge::from_yaml(&format!("{}{}", ingress(keys), service("web", &addresses)));
        assert_eq!(get(edge.http(), HOST, "/").status, status, "{keys}");
        assert_eq!(endpoints.iter().map(Upstream::count).sum::<usize>(), tries, "{keys}");
    }
}
