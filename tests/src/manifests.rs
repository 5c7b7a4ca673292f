//! Objects that nearly every test needs, as YAML. All of them live in the namespace `shop`.
//!
//! Services are headless: one with an address of its own and no endpoints would be dialled at that address, and a test must
//! not reach for a machine that might be there. What is written down to be unreachable is of 192.0.2.0/24 (RFC 5737).

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A Service `name` on port 80 with these endpoints, ready.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    service_with(name, "", endpoints)
}

/// The same with an `appProtocol`; empty: none.
pub fn service_with(name: &str, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let protocol = if protocol.is_empty() { String::new() } else { format!(", appProtocol: {protocol}") };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{clusterIP: None, ports: [{{name: http, port: 80{protocol}}}]}}\n{}",
        endpoint_slices(name, endpoints)
    )
}

/// The EndpointSlices of the Service `name`: one for each endpoint, as each has a port of its own.
pub fn endpoint_slices(name: &str, endpoints: &[SocketAddr]) -> String {
    let mut yaml = String::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        writeln!(
            yaml,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-{index}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {}}}]\n\
             endpoints: [{{addresses: [\"{}\"], conditions: {{ready: true}}}}]",
            endpoint.port(),
            endpoint.ip()
        )
        .expect("a string takes it");
    }
    yaml
}

/// An Ingress `web` that sends everything to the Service `web`. `annotations` are lines of `key: value` without the prefix
/// `vestibule.dev/`.
pub fn ingress(annotations: &str) -> String {
    let annotations: String = annotations
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| format!("    vestibule.dev/{line}\n"))
        .collect();
    let annotations =
        if annotations.is_empty() { String::new() } else { format!("  annotations:\n{annotations}") };
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  namespace: shop\n{annotations}\
         spec:\n  rules:\n  - http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}\n"
    )
}

/// The Ingress of [`ingress`] with its Service and one endpoint.
pub fn site(annotations: &str, endpoint: SocketAddr) -> String {
    format!("{}{}", ingress(annotations), service("web", &[endpoint]))
}

/// The operator's file.
pub fn settings(text: &str) -> String {
    format!("---\nkind: Settings\n{text}\n")
}

/// A Secret of type TLS from PEM texts.
pub fn tls_secret(name: &str, certificate: &str, key: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(certificate),
        indented(key)
    )
}

/// A ConfigMap with certificate authorities.
pub fn authorities(name: &str, certificate: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata:\n  ca.crt: |\n{}",
        indented(certificate)
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
