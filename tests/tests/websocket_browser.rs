//! A real browser's WebSocket: over the HTTP/2 connection that it has already (RFC 8441).

use std::net::{SocketAddr, TcpListener};

use tests::certificates::Authority;
use tests::chromium::Chromium;
use tests::edge::Edge;
use tests::manifests::{service, tls_secret};
use tests::upstream::Upstream;
use tokio_tungstenite::tungstenite;

const HOST: &str = "shop.example";

/// Sends every message back.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept(stream) else { return };
                while let Ok(message) = socket.read() {
                    if !message.is_close() && socket.send(message).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn chromium_opens_a_websocket_on_its_http2_connection() {
    let page = Upstream::saying("a page");
    let identity = Authority::default().issue(&[HOST]);
    let backend = |name: &str| format!("{{service: {{name: {name}, port: {{number: 80}}}}}}");
    let ingress = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         tls: [{{hosts: [{HOST}], secretName: web}}]\n  rules:\n  - host: {HOST}\n    http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {}}}\n      - {{path: /ws, pathType: Prefix, backend: {}}}\n",
        backend("web"),
        backend("echo")
    );
    let yaml = ingress
        + &service("web", &[page.address])
        + &service("echo", &[echo()])
        + &tls_secret("web", &identity.certificate, &identity.key);
    let edge = Edge::from_yaml(&yaml);
    let browser = Chromium::start(&[(HOST, edge.https())]);
    browser.open(&format!("https://{HOST}/"));
    browser.wait_for(&["a page"]);
    browser.script(&format!(
        "const socket = new WebSocket('wss://{HOST}/ws?a=b');\
         socket.onopen = () => socket.send('hello'.repeat(50000));\
         socket.onmessage = event => {{ document.body.innerText = 'echo of ' + event.data.length; socket.close(1000); }};\
         socket.onclose = event => {{ document.body.innerText += ', closed ' + event.code; }};\
         socket.onerror = () => {{ document.body.innerText = 'an error'; }};"
    ));
    browser.wait_for(&["echo of 250000", "closed 1000"]);
    let line = edge.logged("the line of the WebSocket", |line| line["path"] == "/ws");
    assert_eq!(line["protocol"], "HTTP/2.0");
}
