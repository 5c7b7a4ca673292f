//! Copies of requests: who gets them, and that the client never notices.

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::service;
use tests::upstream::{Upstream, nobody};
use tests::wait::eventually;

const HOST: &str = "shop.example";

/// A route to `web` with a copy of each request for `copy`.
fn manifests(web: std::net::SocketAddr, copy: std::net::SocketAddr) -> String {
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: vestibule
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
";
    [route.to_owned(), service("web", &[web]), service("copy", &[copy])].join("\n---\n")
}

fn post(client: &mut Client, body: &str) -> u16 {
    let length = body.len();
    client.send(format!("POST /a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{body}"));
    client.answer_to("POST").status
}

#[test]
fn a_copy_has_the_head_and_the_body_and_the_client_gets_the_other_answer() {
    let (web, copy) = (Upstream::saying("web"), Upstream::saying("copy"));
    let edge = Edge::from_yaml(&manifests(web.address, copy.address));
    let mut client = Client::connect(edge.address("shop/edge:80"));
    assert_eq!(client.get(HOST, "/a?b=c").body, b"web");
    assert_eq!(post(&mut client, "hello"), 200);
    eventually("both copies have come", || copy.count() == 2);
    let copies = copy.requests();
    let seen: Vec<_> =
        copies.iter().map(|request| (request.target.as_str(), request.body.as_slice())).collect();
    assert!(seen.contains(&("/a?b=c", b"".as_slice())), "{seen:?}");
    assert!(seen.contains(&("/a", b"hello".as_slice())), "{seen:?}");
}

#[test]
fn a_body_past_the_bound_goes_to_the_backend_alone() {
    for (length, copies) in [(64 << 10, 1), ((64 << 10) + 1, 0)] {
        let (web, copy) = (Upstream::saying("web"), Upstream::saying("copy"));
        let edge = Edge::from_yaml(&manifests(web.address, copy.address));
        let mut client = Client::connect(edge.address("shop/edge:80"));
        assert_eq!(post(&mut client, &"x".repeat(length)), 200);
        // A second request, which is always copied, tells that the first one's copy is not merely late.
        assert_eq!(client.get(HOST, "/last").status, 200);
        eventually("the copies have come", || copy.count() == copies + 1);
        assert_eq!(web.count(), 2);
    }
}

#[test]
fn a_mirror_that_is_down_costs_nobody_a_request() {
    let web = Upstream::saying("web");
    let edge = Edge::from_yaml(&manifests(web.address, nobody()));
    let mut client = Client::connect(edge.address("shop/edge:80"));
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").body, b"web");
    }
}
