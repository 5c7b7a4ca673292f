//! What is measured, and the names under which it is served.

use clap::ValueEnum;
use serde::Serialize;

use crate::target::Program;

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
    /// CPU time per GET over HTTP/2 with TLS 1.3
    Http2,
    /// CPU time per gRPC call, HTTP/2 on both sides
    Grpc,
    /// CPU time per TLS connection: a full handshake and one GET
    Handshake,
    /// CPU time per TLS connection that resumes a session
    Resumed,
    /// CPU time per plain connection with one GET
    Close,
    /// CPU time per answer of 1 MiB
    Download,
    /// CPU time per upload of 1 MiB
    Upload,
    /// CPU time per message that a WebSocket echoes
    WebSocket,
    /// CPU time per server-sent event, on 1,000 streams
    Events,
    /// CPU time per plain GET under a rate limit
    Limited,
    /// CPU time per plain GET of somebody who has signed in
    SignedIn,
    /// CPU time per plain GET with an access log in JSON
    Log,
    /// CPU time per GET and memory, with 10, 10,000 and 50,000 hosts
    Hosts,
    /// Memory per idle kept-alive connection, plain
    Idle,
    /// Memory per idle kept-alive connection, TLS 1.3
    IdleTls,
    /// Memory per idle HTTP/2 connection, TLS 1.3
    IdleHttp2,
    /// Time from a changed file to the first answer by it, at 10,000 hosts
    Reload,
    /// Errors and latency while the configuration changes
    Churn,
    /// Time and memory from the start to the first answer, at 10,000 hosts
    ColdStart,
    /// Latency of plain GETs at half of what the slowest program can do
    Latency,
}

/// What the load sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    Get,
    Post,
    Chunked,
    Close,
    Download,
    Upload,
    Limited,
    SignedIn,
    /// What [`Traffic::SignedIn`] sends, to a host that asks nobody who they are.
    Unguarded,
    Tls,
    Handshake,
    Resumed,
    Http2,
    Grpc,
    WebSocket,
    Events,
}

impl Workload {
    /// What the table says above the results.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Workload::Get => "GET, plain",
            Workload::Post => "POST with 1 kB, plain",
            Workload::Chunked => "POST with 1 kB, both bodies chunked, plain",
            Workload::Tls => "GET, TLS 1.3 (X25519, P-256, AES-128-GCM)",
            Workload::Http2 => "GET, HTTP/2 over TLS 1.3, 4 connections × 20 streams",
            Workload::Grpc => "gRPC call over TLS 1.3, HTTP/2 to the backend, 4 connections × 20 streams",
            Workload::Handshake => "Full TLS 1.3 handshake and one GET",
            Workload::Resumed => "Resumed TLS 1.3 handshake and one GET, 16 clients",
            Workload::Close => "New plain connection and one GET",
            Workload::Download => "Answer of 1 MiB, plain",
            Workload::Upload => "Upload of 1 MiB, plain",
            Workload::WebSocket => "WebSocket: 100 bytes and their echo",
            Workload::Events => "Server-sent events, 1,000 streams × 10 each second",
            Workload::Limited => "GET, plain, with a rate limit for each client address",
            Workload::SignedIn => "GET, plain, of somebody who has signed in",
            Workload::Log => "GET, plain, with an access log in JSON",
            Workload::Hosts => "GET over all hosts: 10, 10,000 and 50,000",
            Workload::Idle => "Idle kept-alive connections, plain",
            Workload::IdleTls => "Idle kept-alive connections, TLS 1.3",
            Workload::IdleHttp2 => "Idle HTTP/2 connections, TLS 1.3",
            Workload::Reload => "One new route at 10,000 hosts: from the file's rename to the first answer",
            Workload::Churn => "GET, plain, while the configuration changes",
            Workload::Latency => "GET, plain, at half load: latency in an open loop",
            Workload::ColdStart => "From the start to the first answer at 10,000 hosts",
        }
    }

    /// What is sent, where CPU time per answer is what is measured.
    pub(crate) fn traffic(self) -> Option<Traffic> {
        match self {
            Workload::Get | Workload::Log => Some(Traffic::Get),
            Workload::Post => Some(Traffic::Post),
            Workload::Chunked => Some(Traffic::Chunked),
            Workload::Tls => Some(Traffic::Tls),
            Workload::Http2 => Some(Traffic::Http2),
            Workload::Grpc => Some(Traffic::Grpc),
            Workload::Handshake => Some(Traffic::Handshake),
            Workload::Resumed => Some(Traffic::Resumed),
            Workload::Close => Some(Traffic::Close),
            Workload::Download => Some(Traffic::Download),
            Workload::Upload => Some(Traffic::Upload),
            Workload::WebSocket => Some(Traffic::WebSocket),
            Workload::Events => Some(Traffic::Events),
            Workload::Limited => Some(Traffic::Limited),
            Workload::SignedIn => Some(Traffic::SignedIn),
            Workload::Hosts
            | Workload::Idle
            | Workload::IdleTls
            | Workload::IdleHttp2
            | Workload::Reload
            | Workload::Churn
            | Workload::ColdStart
            | Workload::Latency => None,
        }
    }

    /// What the subject is measured with besides, in the same run: without what the workload is about, and the traffic then.
    pub(crate) fn without(self) -> Option<(&'static str, Traffic)> {
        match self {
            Workload::Log => Some(("no log", Traffic::Get)),
            Workload::Limited => Some(("no limit", Traffic::Get)),
            Workload::SignedIn => Some(("not guarded", Traffic::Unguarded)),
            _ => None,
        }
    }

    /// Whether `program` can do this at all: what it cannot is left out of the table, and the table says so.
    pub(crate) fn suits(self, program: Program) -> bool {
        let secure = matches!(
            self,
            Workload::Tls
                | Workload::Http2
                | Workload::Grpc
                | Workload::Handshake
                | Workload::Resumed
                | Workload::IdleTls
                | Workload::IdleHttp2
        );
        let changes = matches!(self, Workload::Reload | Workload::Churn);
        match program {
            Program::Vestibule | Program::Baseline => true,
            Program::Nginx => self != Workload::SignedIn,
            Program::Oauth2Proxy => self == Workload::SignedIn,
            Program::Haproxy => !changes && self != Workload::SignedIn,
            Program::Envoy => !changes && !matches!(self, Workload::SignedIn | Workload::Limited),
            Program::Caddy => {
                !changes && !matches!(self, Workload::SignedIn | Workload::Limited | Workload::Hosts)
            }
            // Its program is ours: what it serves is one host, with and without TLS.
            Program::Pingora => {
                secure && self != Workload::Grpc
                    || matches!(
                        self,
                        Workload::Get
                            | Workload::Post
                            | Workload::Chunked
                            | Workload::Close
                            | Workload::Download
                            | Workload::Upload
                            | Workload::Idle
                            | Workload::Latency
                    )
            }
            // It knows neither TLS nor hosts nor a configuration, and drops what is under way when one side closes.
            Program::Relay => {
                !secure
                    && !changes
                    && !matches!(
                        self,
                        Workload::Hosts
                            | Workload::Log
                            | Workload::Limited
                            | Workload::SignedIn
                            | Workload::ColdStart
                    )
            }
        }
    }
}

/// The name of the generated host with this number.
pub(crate) fn host_name(number: usize) -> String {
    format!("host-{number}.bench.test")
}

/// Served without TLS.
pub(crate) const PLAIN_HOST: &str = "plain.bench.test";

/// Served with TLS. Generators take their server name from the URL and look it up.
pub(crate) const SECURE_HOST: &str = "localhost";

/// Served without TLS, under a rate limit that no load reaches.
pub(crate) const LIMITED_HOST: &str = "limited.bench.test";

/// Served without TLS to those who have signed in.
pub(crate) const GUARDED_HOST: &str = "guarded.bench.test";

/// Served without TLS to everybody. As long as [`GUARDED_HOST`], so that requests are the same but for one word.
pub(crate) const UNGUARDED_HOST: &str = "ungated.bench.test";

/// The gRPC method, served with TLS from a backend that speaks HTTP/2.
pub(crate) const GRPC_PATH: &str = "/bench.Greeter/Hello";

/// The tables of hosts that are compared.
pub(crate) const HOSTS_FEW: usize = 10;
pub(crate) const HOSTS_MANY: usize = 10_000;
pub(crate) const HOSTS_MOST: usize = 50_000;
