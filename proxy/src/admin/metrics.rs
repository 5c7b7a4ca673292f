//! stub
use std::sync::Arc;
use crate::request::record::Record;
#[derive(Default)]
pub struct Metrics {}
#[derive(Default)]
pub struct WorkerMetrics {}
impl Metrics { pub(crate) fn worker(&self, _i: usize) -> Arc<WorkerMetrics> { Arc::default() } }
impl WorkerMetrics {
    pub(crate) fn finished(&self, _: &Record) {}
    pub(crate) fn accept_failed(&self) {}
    pub(crate) fn connection_refused(&self) {}
    pub(crate) fn connection_opened(&self) {}
    pub(crate) fn connection_closed(&self) {}
    pub(crate) fn handshake_done(&self, _: &crate::tls::accept::TlsInfo) {}
    pub(crate) fn handshake_failed(&self, _: &crate::tls::accept::HandshakeError) {}
    pub(crate) fn handshake_shed(&self) {}
    pub(crate) fn untrusted_forwarding(&self, _: std::net::IpAddr) {}
    pub(crate) fn retried(&self) {}
    pub(crate) fn ejected(&self) {}
    pub(crate) fn connecting(&self) {}
    pub(crate) fn connect_failed(&self) {}
}
