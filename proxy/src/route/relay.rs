//! Where connections and datagrams go that are passed on unread (TCPRoute, TLSRoute, UDPRoute).

use std::fmt::Write as _;
use std::sync::Arc;

use super::host::{Host, HostMap, HostPattern};
use crate::config::problem::ObjectRef;
use crate::tls::ListenerTls;
use crate::upstream::Backend;

/// One route for bytes.
#[derive(Debug)]
pub struct Relay {
    /// What it came from, for logs.
    pub origin: ObjectRef,
    /// Why nothing is passed on, in words for the operator: a rule that guards the route cannot be enforced.
    pub refusal: Option<Arc<str>>,
    pub backends: Box<[RelayShare]>,
    /// Whether backends are told the client's address, by a PROXY header of version 2.
    pub proxy_header: bool,
}

/// One share of a relay's connections.
#[derive(Debug)]
pub struct RelayShare {
    /// Share = weight / sum of weights; 0 gets nothing.
    pub weight: u32,
    /// `None`: the reference is invalid, and what falls to this share is closed.
    pub backend: Option<Arc<Backend>>,
}

/// What is passed on unread on one listener.
#[derive(Debug)]
pub enum Relays {
    /// Every connection.
    Tcp(Option<Arc<Relay>>),
    /// Every datagram.
    Udp(Option<Arc<Relay>>),
    /// Some of the names that clients ask for by SNI.
    Tls(TlsRelays),
}

/// TLS connections by name. A name belongs to one section, which is a relay, or else of HTTPS.
#[derive(Debug)]
pub struct TlsRelays {
    sections: HostMap<Section>,
    /// For sections that end TLS here. They speak no protocol that ALPN could name.
    terminate: Option<Arc<ListenerTls>>,
}

/// One listener of a Gateway, among those that share its port.
#[derive(Debug)]
pub enum Section {
    /// Not for relays.
    Https,
    Passthrough(HostMap<Arc<Relay>>),
    Terminate(HostMap<Arc<Relay>>),
}

/// What becomes of one TLS connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TlsVerdict<'r> {
    /// It is a matter of HTTPS.
    Https,
    Passthrough(&'r Arc<Relay>),
    Terminate(&'r Arc<Relay>, &'r Arc<ListenerTls>),
    /// Nobody has a route for the name.
    Nobody,
}

impl TlsRelays {
    /// `sections` by their host names.
    pub fn new(
        sections: impl IntoIterator<Item = (HostPattern, Section)>,
        terminate: Option<Arc<ListenerTls>>,
    ) -> Self {
        TlsRelays { sections: sections.into_iter().collect(), terminate }
    }

    pub(crate) fn judge(&self, server_name: Option<&Host>) -> TlsVerdict<'_> {
        match (self.sections.best(server_name), &self.terminate) {
            (Some(Section::Https), _) => TlsVerdict::Https,
            (Some(Section::Passthrough(routes)), _) => {
                routes.best(server_name).map_or(TlsVerdict::Nobody, TlsVerdict::Passthrough)
            }
            (Some(Section::Terminate(routes)), Some(tls)) => {
                routes.best(server_name).map_or(TlsVerdict::Nobody, |relay| TlsVerdict::Terminate(relay, tls))
            }
            (Some(Section::Terminate(_)) | None, _) => TlsVerdict::Nobody,
        }
    }
}

impl Relay {
    /// One share by weight; `None`: there is none, or all weights are zero.
    pub(crate) fn pick(&self) -> Option<&RelayShare> {
        let total: u64 = self.backends.iter().map(|share| u64::from(share.weight)).sum();
        let mut ticket = fastrand::u64(..total.max(1));
        self.backends.iter().find(|share| {
            let weight = u64::from(share.weight);
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        })
    }

    /// `-> shop/db:5432 x9 closed x1`, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::from("->");
        for share in &self.backends {
            // Into a String nothing can fail.
            let _ = match &share.backend {
                Some(backend) => write!(text, " {}", backend.key),
                None => write!(text, " closed"),
            };
            if self.backends.len() > 1 || share.weight != 1 {
                let _ = write!(text, " x{}", share.weight);
            }
        }
        if self.proxy_header {
            text.push_str(" with PROXY header");
        }
        if let Some(refusal) = &self.refusal {
            let _ = write!(text, " refuses: {refusal}");
        }
        text
    }
}

impl Relays {
    /// One line for each relay, for people: where it is, and where it goes.
    pub(crate) fn describe(&self) -> Vec<String> {
        let whole = |relay: &Option<Arc<Relay>>| match relay {
            Some(relay) => vec![format!("* {} from {}", relay.describe(), relay.origin)],
            None => vec!["* closed".to_owned()],
        };
        match self {
            Relays::Tcp(relay) | Relays::Udp(relay) => whole(relay),
            Relays::Tls(relays) => {
                let mut sections = Vec::new();
                for (host, section) in relays.sections.iter() {
                    let (mode, routes) = match section {
                        Section::Https => continue,
                        Section::Passthrough(routes) => ("passes on", routes),
                        Section::Terminate(routes) => ("ends TLS", routes),
                    };
                    let mut lines: Vec<String> = routes
                        .iter()
                        .map(|(name, relay)| format!("  {name} {} from {}", relay.describe(), relay.origin))
                        .collect();
                    lines.sort();
                    lines.insert(0, format!("listener {host} {mode}"));
                    sections.push(lines);
                }
                sections.sort();
                sections.concat()
            }
        }
    }
}
