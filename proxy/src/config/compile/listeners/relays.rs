//! What is passed on unread on the ports of Gateways and classes: of several routes for the same bytes, the oldest.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Assembly, Usable, gateway_tls, of_kind};
use crate::config::gateway::Carries;
use crate::config::lower::Place;
use crate::route::host::HostPattern;
use crate::route::relay::{Relay, Relays, Section, TlsRelays};
use crate::route::table::ListenerKey;
use crate::settings::TlsVersion;
use crate::tls::{ListenerTls, ListenerTlsSpec};

/// By section, the relay of each host.
pub(super) type RelaysByPlace<'a> = HashMap<&'a Place, Vec<(&'a HostPattern, &'a Arc<Relay>)>>;

/// The relays of one port, with what they were made of.
pub(super) struct Built {
    pub(super) relays: Relays,
    pub(super) stamp: Stamp,
}

/// Equal stamps mean equal relays.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stamp {
    sections: Vec<(Arc<str>, HostPattern, &'static str)>,
    /// The kept listener keeps its relays alive, so an address means one value only.
    relays: Vec<(Arc<str>, HostPattern, usize)>,
    terminate: Option<Arc<ListenerTls>>,
}

/// The relays of all routes, the oldest first where several are for one host of one section.
pub(super) fn by_place<'a>(assembly: &Assembly<'a>) -> RelaysByPlace<'a> {
    let sources = assembly.relaying.iter().filter_map(|reference| assembly.sources.get(reference));
    let mut sources: Vec<_> = sources.collect();
    sources.sort_by(|a, b| a.seniority.cmp(&b.seniority));
    let mut by_place: RelaysByPlace<'a> = HashMap::new();
    for relay in sources.into_iter().flat_map(|source| source.lowered.relays.iter()) {
        let hosts = by_place.entry(&*relay.place).or_default();
        if hosts.iter().all(|(host, _)| **host != relay.host) {
            hosts.push((&relay.host, &relay.relay));
        }
    }
    by_place
}

/// What Ingresses have passed on of the TLS side of their class; `None`: nothing.
pub(super) fn of_class(by_place: &RelaysByPlace<'_>, place: &Place) -> Option<Built> {
    let relays = by_place.get(place)?;
    let made_of = relays
        .iter()
        .map(|(host, relay)| (place.section.clone(), (*host).clone(), Arc::as_ptr(relay) as usize));
    let stamp = Stamp { sections: Vec::new(), relays: made_of.collect(), terminate: None };
    let passed = relays.iter().map(|(host, relay)| {
        let whole = [((*host).clone(), Arc::clone(relay))].into_iter().collect();
        ((*host).clone(), Section::Passthrough(whole))
    });
    let sections = passed.chain([(HostPattern::Any, Section::Https)]);
    Some(Built { relays: Relays::Tls(TlsRelays::new(sections, None)), stamp })
}

/// The relays of one port; `None`: all of it is HTTP.
pub(super) fn build(
    assembly: &Assembly<'_>,
    by_place: &RelaysByPlace<'_>,
    key: &ListenerKey,
    sides: &[Usable<'_>],
    min_version: TlsVersion,
) -> Option<Built> {
    let of = |usable: &Usable<'_>| by_place.get(usable.place).map_or(&[][..], Vec::as_slice);
    let mut stamp = Stamp { sections: Vec::new(), relays: Vec::new(), terminate: None };
    for usable in sides {
        let word = match usable.side.carries {
            Carries::Http => continue,
            Carries::Https => "https",
            Carries::Passthrough => "passthrough",
            Carries::Terminate => "terminate",
            Carries::Tcp => "tcp",
            Carries::Udp => "udp",
        };
        stamp.sections.push((usable.place.section.clone(), usable.side.host.clone(), word));
        let relays = of(usable).iter().map(|(host, relay)| {
            (usable.place.section.clone(), (*host).clone(), Arc::as_ptr(relay) as usize)
        });
        stamp.relays.extend(relays);
    }
    if let Some(usable) =
        sides.iter().find(|usable| matches!(usable.side.carries, Carries::Tcp | Carries::Udp))
    {
        let relay = of(usable).first().map(|(_, relay)| Arc::clone(relay));
        let udp = usable.side.carries == Carries::Udp;
        return Some(Built { relays: if udp { Relays::Udp(relay) } else { Relays::Tcp(relay) }, stamp });
    }
    let is_relay =
        |usable: &Usable<'_>| matches!(usable.side.carries, Carries::Passthrough | Carries::Terminate);
    if !sides.iter().any(is_relay) {
        return None;
    }
    let terminate = of_kind(sides, Carries::Terminate);
    let terminate = (!terminate.is_empty()).then(|| {
        // What is inside the TLS has no name that ALPN knows.
        let spec = ListenerTlsSpec { alpn: Vec::new(), ..gateway_tls(key, &terminate, None, min_version) };
        Arc::new(ListenerTls::new(&spec, assembly.ticket_secret))
    });
    stamp.terminate.clone_from(&terminate);
    let sections = sides.iter().map(|usable| {
        let routes = || of(usable).iter().map(|(host, relay)| ((*host).clone(), Arc::clone(relay))).collect();
        let section = match usable.side.carries {
            Carries::Passthrough => Section::Passthrough(routes()),
            Carries::Terminate => Section::Terminate(routes()),
            Carries::Http | Carries::Https | Carries::Tcp | Carries::Udp => Section::Https,
        };
        (usable.side.host.clone(), section)
    });
    Some(Built { relays: Relays::Tls(TlsRelays::new(sections, terminate)), stamp })
}
