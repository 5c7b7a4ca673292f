//! What is remembered of one relayed connection, or of one client of UDP, until its end: a line of the access log, and counts.

use std::fmt::Display;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::copy::Copied;
use super::{Fault, Speech};
use crate::access::SessionEntry;
use crate::route::host::Host;
use crate::route::relay::Relay;
use crate::upstream::{Backend, Endpoint, EndpointAddress};
use crate::worker::Worker;

pub(super) struct Session {
    worker: Rc<Worker>,
    started: Instant,
    speech: Speech,
    client: IpAddr,
    server_name: Option<Host>,
    relay: Option<Arc<Relay>>,
    pub(super) backend: Option<Arc<Backend>>,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) copied: Copied,
    pub(super) fault: Option<Fault>,
}

impl Session {
    pub(super) fn begin(
        worker: &Rc<Worker>,
        speech: Speech,
        client: IpAddr,
        server_name: Option<Host>,
        relay: Option<Arc<Relay>>,
    ) -> Self {
        Session {
            worker: Rc::clone(worker),
            started: Instant::now(),
            speech,
            client,
            server_name,
            relay,
            backend: None,
            endpoint: None,
            copied: Copied::default(),
            // Until something else is known: cut off by the end of the worker.
            fault: Some(Fault::BrokenOff),
        }
    }
}

impl Drop for Session {
    /// Every session is counted and logged here, however it ended.
    fn drop(&mut self) {
        self.worker.metrics.relayed(self.fault.is_some(), self.copied.from_client, self.copied.to_client);
        let mut access = self.worker.access.borrow_mut();
        if access.is_off() {
            return;
        }
        let endpoint = self.endpoint.as_ref().and_then(|endpoint| match &endpoint.spec.address {
            EndpointAddress::Socket(address) => Some(*address),
            EndpointAddress::Name(..) => None,
        });
        access.log_session(&SessionEntry {
            time: wall_clock(),
            client: self.client,
            host: self.server_name.as_ref().map(Host::as_str),
            protocol: self.speech.as_str(),
            reason: self.fault.map(Fault::as_str),
            route: self.relay.as_ref().map(|relay| &relay.origin as &dyn Display),
            backend: self.backend.as_ref().map(|backend| &backend.key as &dyn Display),
            endpoint,
            duration: self.started.elapsed(),
            bytes_in: self.copied.from_client,
            bytes_out: self.copied.to_client,
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "lines of the log carry the time of day")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
