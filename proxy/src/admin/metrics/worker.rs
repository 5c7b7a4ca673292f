//! The counters that one worker writes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{
    ABUSES, Counter, HANDSHAKE_REASONS, NETWORKS_LEN_MAX, REASONS, REASONS_UNFINISHED, STATUS_NONE, Shared,
    lock,
};
use crate::http2::streams::Abuse;
use crate::request::record::Record;
use crate::tls::accept::{HandshakeError, TlsInfo};

/// What one worker counts. Only that worker may call the methods that count.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    index: usize,
    shared: Arc<Shared>,
    pub(super) connections_opened: Counter,
    pub(super) connections_closed: Counter,
    pub(super) connections_refused: Counter,
    pub(super) accepts_failed: Counter,
    pub(super) tls_handshakes: Counter,
    pub(super) tls_handshakes_failed: [Counter; HANDSHAKE_REASONS.len()],
    pub(super) thrown_out: [Counter; ABUSES.len()],
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) requests: Counter,
    pub(super) upstream_connects: Counter,
    pub(super) upstream_connects_failed: Counter,
    pub(super) ejections: Counter,
    pub(super) retries: Counter,
    pub(super) limited_dry_run: Counter,
    pub(super) relay_sessions: Counter,
    pub(super) relay_faults: Counter,
    pub(super) relay_bytes_in: Counter,
    pub(super) relay_bytes_out: Counter,
    /// Requests that ended otherwise than the upstream meant.
    pub(super) reasons: PerReason,
}

/// One counter for each of [`REASONS`].
#[derive(Debug)]
pub(super) struct PerReason(pub(super) [Counter; REASONS.len()]);

impl Default for PerReason {
    fn default() -> Self {
        PerReason(std::array::from_fn(|_| Counter::default()))
    }
}

impl WorkerMetrics {
    pub(super) fn new(index: usize, shared: Arc<Shared>) -> Self {
        WorkerMetrics {
            index,
            shared,
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_refused: Counter::default(),
            accepts_failed: Counter::default(),
            tls_handshakes: Counter::default(),
            tls_handshakes_failed: Default::default(),
            thrown_out: Default::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            requests: Counter::default(),
            upstream_connects: Counter::default(),
            upstream_connects_failed: Counter::default(),
            ejections: Counter::default(),
            retries: Counter::default(),
            limited_dry_run: Counter::default(),
            relay_sessions: Counter::default(),
            relay_faults: Counter::default(),
            relay_bytes_in: Counter::default(),
            relay_bytes_out: Counter::default(),
            reasons: PerReason::default(),
        }
    }

    /// A request ended, in whatever way.
    pub(crate) fn finished(&self, record: &Record, duration: Duration) {
        let route = match &record.route {
            Some(route) => route.metrics.0.get_or_init(|| self.shared.route(&route.origin.object)),
            None => &self.shared.unmatched,
        };
        let status = record.status.map_or(STATUS_NONE, |status| status.as_u16());
        route.record(self.index, record.protocol, status, duration);
        self.requests.increment();
        self.bytes_in.add(record.bytes_in);
        self.bytes_out.add(record.bytes_out);
        if let Some(reason) = record.reason() {
            self.ended_for(reason);
        }
    }

    pub(super) fn ended_for(&self, reason: &str) {
        let other = REASONS.len() - REASONS_UNFINISHED.len() - 1;
        let index = REASONS.iter().position(|known| *known == reason).unwrap_or(other);
        self.reasons.0[index].increment();
    }

    pub(crate) fn connection_opened(&self) {
        self.connections_opened.increment();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_closed.increment();
    }

    /// A connection was closed at once, because of a bound.
    pub(crate) fn connection_refused(&self) {
        self.connections_refused.increment();
    }

    /// The system gave no connection, for want of descriptors or memory.
    pub(crate) fn accept_failed(&self) {
        self.accepts_failed.increment();
    }

    /// A limit that is on trial would have refused a request.
    pub(crate) fn limited_dry_run(&self) {
        self.limited_dry_run.increment();
    }

    pub(crate) fn handshake_done(&self, _: &TlsInfo) {
        self.tls_handshakes.increment();
    }

    pub(crate) fn handshake_failed(&self, error: &HandshakeError) {
        let reason = error.reason();
        let index = HANDSHAKE_REASONS.iter().position(|known| *known == reason);
        self.tls_handshakes_failed[index.unwrap_or(HANDSHAKE_REASONS.len() - 1)].increment();
    }

    /// A client's HTTP/2 connection is closed because of how it behaves.
    pub(crate) fn thrown_out(&self, abuse: Abuse) {
        if let Some(index) = ABUSES.iter().position(|known| *known == abuse.reason()) {
            self.thrown_out[index].increment();
        }
    }

    /// A peer that is not trusted sent forwarding headers. Called once for a connection, so that the lock is no matter.
    pub(crate) fn untrusted_forwarding(&self, address: IpAddr) {
        let address = address.to_canonical();
        let length = if address.is_ipv4() { 24 } else { 64 };
        let Ok(network) = IpNet::new(address, length) else { return };
        let network = network.trunc();
        let mut networks = lock(&self.shared.untrusted);
        if networks.len() < NETWORKS_LEN_MAX && networks.insert(network) {
            tracing::warn!(
                %network,
                "forwarding headers are dropped; where this is your load balancer, add its network to trust.forwarded"
            );
        }
    }

    /// A request is tried once more.
    pub(crate) fn retried(&self) {
        self.retries.increment();
    }

    /// An endpoint is left alone for a while, after failures.
    pub(crate) fn ejected(&self) {
        self.ejections.increment();
    }

    /// A connection, or a client of UDP, that was passed on unread is done with; `faulty` when not as both sides meant.
    pub(crate) fn relayed(&self, faulty: bool, bytes_in: u64, bytes_out: u64) {
        self.relay_sessions.increment();
        if faulty {
            self.relay_faults.increment();
        }
        self.relay_bytes_in.add(bytes_in);
        self.relay_bytes_out.add(bytes_out);
    }

    /// A connection to an endpoint is begun.
    pub(crate) fn connecting(&self) {
        self.upstream_connects.increment();
    }

    pub(crate) fn connect_failed(&self) {
        self.upstream_connects_failed.increment();
    }
}
