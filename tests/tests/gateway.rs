//! Routes of Gateways that need more than HTTP/1 to be tried.

use http::{HeaderMap, Response};
use tests::edge::Edge;
use tests::manifests::service;
use tests::streams::{Http2Upstream, Streams, request};

const HOST: &str = "shop.example";

/// An upstream that ends each call with success and says its name.
fn calls(name: &'static str) -> Http2Upstream {
    Http2Upstream::start(move |_, mut respond| {
        Box::pin(async move {
            let head = Response::builder().header("content-type", "application/grpc").header("x-name", name);
            let Ok(mut send) = respond.send_response(head.body(()).expect("a head"), false) else { return };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            let _ = send.send_trailers(trailers);
        })
    })
}

#[test]
fn grpc_calls_find_their_service_and_method() {
    let (accounts, orders) = (calls("accounts"), calls("orders"));
    let yaml = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
         spec: {{gatewayClassName: vestibule, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: calls, namespace: shop}}\n\
         spec:\n  parentRefs: [{{name: edge}}]\n  hostnames: [{HOST}]\n  rules:\n  \
         - matches: [{{method: {{service: shop.Accounts, method: Login}}}}]\n    \
           backendRefs: [{{name: accounts, port: 80}}]\n  \
         - matches: [{{method: {{service: shop.Orders}}}}]\n    backendRefs: [{{name: orders, port: 80}}]\n  \
         - matches: [{{method: {{service: shop.Broken}}}}]\n    backendRefs: [{{name: gone, port: 80}}]\n{}{}",
        service("accounts", &[accounts.address]),
        service("orders", &[orders.address])
    );
    let edge = Edge::from_yaml(&yaml);
    let mut streams = Streams::connect(edge.address("shop/edge:80"));
    let mut call = |path: &str| {
        let mut call = request("POST", HOST, path);
        call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        let pending = streams.start(call, false).expect("a stream");
        streams.finish(pending).expect("an answer")
    };
    let login = call("/shop.Accounts/Login");
    assert_eq!(
        (login.status.as_u16(), &login.headers["x-name"]),
        (200, &"accounts".parse().expect("a value"))
    );
    assert_eq!(call("/shop.Orders/List").headers["x-name"], "orders");
    // Whoever calls learns it in gRPC's own words: unimplemented (12), unavailable (14).
    for (path, status) in
        [("/shop.Accounts/Logout", "12"), ("/other.Service/List", "12"), ("/shop.Broken/List", "14")]
    {
        let refused = call(path);
        assert_eq!(refused.status.as_u16(), 200, "{path}");
        assert_eq!(refused.headers["grpc-status"], status, "{path}");
    }
    assert_eq!(orders.requests().len(), 1);
}
