//! What is measured, and the requests that each workload sends.

use clap::ValueEnum;
use serde::Serialize;

use crate::http1;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// CPU time per plain GET
    Get,
    /// CPU time per POST with a body of 1 kB
    Post,
    /// CPU time per POST with both bodies chunked
    Chunked,
    /// CPU time per GET over TLS 1.3
    Tls,
    /// Memory per idle kept-alive connection, plain
    Idle,
    /// Memory per idle kept-alive connection, TLS 1.3
    IdleTls,
    /// CPU time per GET and memory, with 10 and with 10,000 hosts
    Hosts,
    /// Time from a changed file to the first answer by it, at 10,000 hosts
    Reload,
}

impl Workload {
    /// What the table says above the results.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Workload::Get => "GET, plain",
            Workload::Post => "POST with 1 kB, plain",
            Workload::Chunked => "POST with 1 kB, both bodies chunked, plain",
            Workload::Tls => "GET, TLS 1.3 (X25519, P-256, AES-128-GCM)",
            Workload::Idle => "Idle kept-alive connections, plain",
            Workload::IdleTls => "Idle kept-alive connections, TLS 1.3",
            Workload::Hosts => "GET over all hosts, 10 hosts and 10,000",
            Workload::Reload => "One new route at 10,000 hosts: from the file's rename to the first answer",
        }
    }
}

/// The form of the requests of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    Get,
    Post,
    Chunked,
}

/// The requests to choose from: one to `host`, or one to each of the first `hosts` generated hosts.
pub(crate) fn requests(shape: Shape, host: &str, hosts: usize) -> Vec<Vec<u8>> {
    let one = |host: &str| match shape {
        Shape::Get => http1::get(host, "/"),
        Shape::Post => http1::post(host),
        Shape::Chunked => http1::post_chunked(host),
    };
    match hosts {
        0 => vec![one(host)],
        _ => (0..hosts).map(|number| one(&host_name(number))).collect(),
    }
}

/// The name of the generated host with this number.
pub(crate) fn host_name(number: usize) -> String {
    format!("host-{number}.bench.test")
}

/// Served without TLS.
pub(crate) const PLAIN_HOST: &str = "plain.bench.test";

/// Served with TLS.
pub(crate) const SECURE_HOST: &str = "secure.bench.test";

/// The small and the large table that are compared.
pub(crate) const HOSTS_FEW: usize = 10;
pub(crate) const HOSTS_MANY: usize = 10_000;
