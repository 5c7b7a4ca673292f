//! Bounds and time limits of the edge as a whole, for clients and for upstreams.

use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{self, Bytes};

/// Bounds on what clients may send and hold open.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of all request headers together, else 431. Default: 32k. (new connections)
    pub header_bytes: Bytes,
    /// Number of request headers, else 431. Default: 100. (new connections)
    pub headers: usize,
    /// Bytes of the request target, else 414. Default: 16k. (new connections)
    pub target_bytes: Bytes,
    /// Bytes of a request body, else 413; `0` means no bound. A route may set its own. Default: 64m. (live)
    pub body_bytes: Bytes,
    /// Connections from one address (one /64 of IPv6). Default: 512. (new connections)
    pub connections_per_address: usize,
    /// Connections in all. Default: 50000. (new connections)
    pub connections: usize,
    /// Requests on one connection before it is closed gracefully. Default: 10000. (new connections)
    pub requests_per_connection: u64,
    /// Requests that one HTTP/2 connection may have under way. Default: 100. (new connections)
    pub streams_per_connection: u32,
    /// Requests under way in all, tunnels among them, else 503. Each worker has its share. Default: 50000. (live)
    pub requests: usize,
    /// Memory of the process, from which its marks for shedding load are counted; `0` means that of its control group, if
    /// that has a bound. Default: 0. (live)
    pub memory_bytes: Bytes,
    /// How late a worker may be with its work, on average over some ticks of 100 ms, before it refuses requests with 503; `0`
    /// bears any. Default: 1s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub worker_lag: Duration,
    /// TLS handshakes of which a worker computes a step before it turns to its other work; more wait for their turn.
    /// Default: 64. (restart)
    pub handshakes_per_worker: usize,
    /// Networks whose addresses stand for many clients, because the address of a client is lost on the way. Their requests
    /// are not counted by limits per address; neither are those of trusted proxies, and in a cluster those of its nodes and of the
    /// ranges that they give to pods. Default: none. (live)
    #[schemars(with = "Vec<String>")]
    pub shared_networks: Vec<IpNet>,
    /// Keys of rate limits that are remembered at the same time, each in 48 bytes, from the first limited request on. When
    /// there are more, those that would be forgotten first are forgotten early. Default: 250000. (restart)
    pub rate_limit_keys: usize,
}

/// How long a client may take over each part of an exchange.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last, else 408. Default: 10s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub headers: Duration,
    /// Between two reads of a request body. Default: 30s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub body_idle: Duration,
    /// The slowest request body that is borne once its grace is over, in bytes a second from its start; `0` bears any.
    /// Default: 240. (new connections)
    pub body_bytes_per_second: Bytes,
    /// How long a request body may be as slow as it likes. Default: 30s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub body_grace: Duration,
    /// Between two writes that a client accepts. Default: 30s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub write_idle: Duration,
    /// Between two requests on a connection. Default: 75s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub keep_alive: Duration,
    /// The age at which a connection is closed gracefully. Default: 1h. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub connection_age: Duration,
    /// A TLS handshake, and a PROXY header. Default: 10s. (new connections)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub handshake: Duration,
}

/// Defaults for every backend; a route may set its own where its objects have a word for it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upstream {
    /// To connect, TLS included. Default: 5s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub connect_timeout: Duration,
    /// From the last byte of a request to the last of the answer's head. Default: 60s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub response_head_timeout: Duration,
    /// Between two reads of an answer; does not count for upgraded, event and gRPC streams. Default: 60s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub read_timeout: Duration,
    /// Bytes of an answer's head, else 502. Default: 64k. (new connections)
    pub response_head_bytes: Bytes,
    /// Idle connections that a worker keeps to one endpoint. Default: 32. (live)
    pub idle_connections: usize,
    /// How long an idle connection to an endpoint is kept. Default: 60s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle_timeout: Duration,
    /// Requests under way to one endpoint from the whole process, else 503. Default: 10000. (live)
    pub requests_per_endpoint: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: Bytes(32 << 10),
            headers: 100,
            target_bytes: Bytes(16 << 10),
            body_bytes: Bytes(64 << 20),
            connections_per_address: 512,
            connections: 50_000,
            requests_per_connection: 10_000,
            streams_per_connection: 100,
            requests: 50_000,
            memory_bytes: Bytes(0),
            worker_lag: Duration::from_secs(1),
            handshakes_per_worker: 64,
            shared_networks: Vec::new(),
            rate_limit_keys: crate::limit::KEYS_DEFAULT,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            headers: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            body_bytes_per_second: Bytes(240),
            body_grace: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            connection_age: Duration::from_secs(3600),
            handshake: Duration::from_secs(10),
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Upstream {
            connect_timeout: crate::upstream::CONNECT_TIMEOUT,
            response_head_timeout: crate::upstream::RESPONSE_HEAD_TIMEOUT,
            read_timeout: crate::upstream::READ_IDLE_TIMEOUT,
            response_head_bytes: Bytes(crate::upstream::RESPONSE_HEAD_BYTES_MAX as u64),
            idle_connections: 32,
            idle_timeout: Duration::from_secs(60),
            requests_per_endpoint: 10_000,
        }
    }
}
