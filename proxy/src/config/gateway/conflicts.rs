//! Listeners that cannot share a port.

use crate::config::objects::gateway::{Listener, ListenerProtocol};

/// Gateway API's word for a conflict, and the words for people.
pub(super) type Conflict = (&'static str, String);

/// Per listener of one Gateway, what it conflicts over. Nobody wins: all that conflict are refused.
pub(super) fn within(listeners: &[Listener]) -> Vec<Option<Conflict>> {
    let others = |own: usize| {
        let all = listeners.iter().enumerate();
        all.filter(move |(index, _)| *index != own).map(|(_, other)| other)
    };
    listeners.iter().enumerate().map(|(own, listener)| conflict(listener, others(own))).collect()
}

/// What a listener conflicts over with those that come before it, and that keep what they have.
pub(super) fn with_earlier(listener: &Listener, earlier: &[&Listener]) -> Option<Conflict> {
    conflict(listener, earlier.iter().copied())
}

fn conflict<'l>(listener: &Listener, others: impl Iterator<Item = &'l Listener>) -> Option<Conflict> {
    let mut found = None;
    for other in others {
        // UDP has ports of its own.
        if other.port != listener.port || (rank(other) == UDP) != (rank(listener) == UDP) {
            continue;
        }
        if rank(other) != rank(listener) {
            let message =
                format!("another protocol is spoken on port {} by listener {}", listener.port, other.name);
            return Some(("ProtocolConflict", message));
        }
        if host(other) == host(listener) {
            found = Some((
                "HostnameConflict",
                format!("listener {} has the same port and host name", other.name),
            ));
        }
    }
    found
}

/// Protocols of one rank can share a port where host names tell them apart.
fn rank(listener: &Listener) -> u8 {
    match listener.protocol.value() {
        Some(ListenerProtocol::Http) => 0,
        Some(ListenerProtocol::Https | ListenerProtocol::Tls) => 1,
        Some(ListenerProtocol::Tcp) => 2,
        Some(ListenerProtocol::Udp) => UDP,
        None => 4,
    }
}

fn host(listener: &Listener) -> String {
    listener.hostname.as_deref().unwrap_or("").to_ascii_lowercase()
}

const UDP: u8 = 3;
