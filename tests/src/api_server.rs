//! A quick client of the real API server: one kept connection, JSON, and the rights of an administrator.
//!
//! `kubectl` takes longer to start than most of what is measured takes in all.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::certificates::{ClientOptions, Pair};
use crate::client::Client;
use crate::cluster::ControlPlane;

/// One connection to the API server.
pub struct ApiServer {
    client: Client,
}

impl ApiServer {
    pub fn connect(cluster: &ControlPlane) -> ApiServer {
        let file = |name: &str| cluster.directory.join("pki").join(name);
        let read = |name: &str| std::fs::read_to_string(file(name)).expect("a file of the cluster");
        let administrator = Pair { certificate: read("admin.crt"), key: read("admin.key") };
        let config = ClientOptions::trusting(&read("ca.crt")).identity(administrator).build();
        let client = Client::connect_tls(address(cluster), &config, "127.0.0.1", b"");
        ApiServer { client: client.expect("the API server answers") }
    }

    /// Creates an object in this collection, such as `/api/v1/namespaces/default/services`. Returns once it is accepted.
    #[track_caller]
    pub fn create(&mut self, collection: &str, object: &Value) {
        self.send("POST", collection, "application/json", object);
    }

    /// Changes these fields of an object (RFC 7396). Returns once the change is accepted.
    #[track_caller]
    pub fn merge(&mut self, object: &str, fields: &Value) {
        self.send("PATCH", object, "application/merge-patch+json", fields);
    }

    #[track_caller]
    fn send(&mut self, method: &str, path: &str, media: &str, body: &Value) {
        let (body, host) = (body.to_string(), "127.0.0.1");
        let length = body.len();
        self.client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let answer = self.client.answer_to(method);
        assert!(matches!(answer.status, 200 | 201), "{method} {path}: {}", answer.text());
    }
}

/// How long the API server takes to list everything of this path, to its last byte.
pub fn list_time(cluster: &ControlPlane, path: &str) -> Duration {
    let file = |name: &str| cluster.directory.join("pki").join(name);
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--output",
        "/dev/null",
        "--write-out",
        "%{time_total}",
    ]);
    command.arg("--cacert").arg(file("ca.crt")).arg("--cert").arg(file("admin.crt"));
    command.arg("--key").arg(file("admin.key"));
    let output = command.arg(format!("https://{}{path}", address(cluster))).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let seconds =
        text.parse().unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&output.stderr)));
    Duration::from_secs_f64(seconds)
}

fn address(cluster: &ControlPlane) -> SocketAddr {
    let ports = std::fs::read_to_string(cluster.directory.join("ports")).expect("the ports of the cluster");
    let port = ports.lines().find_map(|line| line.strip_prefix("api_port=")).expect("a port");
    (Ipv4Addr::LOCALHOST, port.parse().expect("a number")).into()
}
