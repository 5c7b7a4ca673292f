//! The compiled table: per listener, because one host may mean different things on different listeners.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Route;
use super::challenges::Challenges;
use super::host::{Host, HostHit, HostMap, HostPattern};
use super::matches::{Lookup, Mismatch};
use super::path::{Candidate, HostRoutes};
use super::relay::Relays;
use crate::tls::ListenerTls;

/// All listeners with all their routes.
#[derive(Debug, Default)]
pub struct Table {
    pub listeners: Vec<Arc<Listener>>,
    /// What is answered for certificates; absent where none are ordered by HTTP-01.
    pub challenges: Option<Challenges>,
}

/// What identifies a listener across configuration changes, so that its sockets and ticket keys survive them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerKey {
    /// The plain or the TLS side of an Ingress class.
    Class { class: Arc<str>, tls: bool },
    /// One port of one Gateway.
    Gateway { namespace: Arc<str>, name: Arc<str>, port: u16 },
    /// One port of UDP, which may have the number of one of TCP.
    Datagrams { namespace: Arc<str>, name: Arc<str>, port: u16 },
}

impl fmt::Display for ListenerKey {
    /// `class vestibule (https)`, or `Gateway shop/public:443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenerKey::Class { class, tls: false } => write!(f, "class {class} (http)"),
            ListenerKey::Class { class, tls: true } => write!(f, "class {class} (https)"),
            ListenerKey::Gateway { namespace, name, port } => write!(f, "Gateway {namespace}/{name}:{port}"),
            ListenerKey::Datagrams { namespace, name, port } => {
                write!(f, "Gateway {namespace}/{name}:{port} (udp)")
            }
        }
    }
}

/// One set of sockets with its routes.
#[derive(Debug)]
pub struct Listener {
    pub key: ListenerKey,
    pub addresses: Vec<SocketAddr>,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// What is passed on unread; `None`: nothing, all is HTTP.
    pub relays: Option<Relays>,
    /// Parts told apart by host name (the listeners of a Gateway that share a port). A request uses the routes of exactly
    /// one of them. An Ingress class has one section, for any host.
    sections: Vec<Section>,
    by_host: HostMap<usize>,
}

/// One isolated part of a listener.
#[derive(Debug)]
pub struct Section {
    /// The Gateway listener's name; empty for a class.
    pub name: Arc<str>,
    pub host: HostPattern,
    pub hosts: HostTable,
}

/// The routes of one section by host. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    hosts: HostMap<HostRoutes>,
    fallback: HostFallback,
    default: Option<Arc<Route>>,
}

/// What happens when a host has routes and none of them matches the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostFallback {
    /// The next less specific host is tried: the rules of all matching hosts compete, the narrowest host first (Gateway API
    /// v1, `HTTPRoute.spec.hostnames`).
    #[default]
    LessSpecific,
    /// Nothing but the default backend is tried: a host is one closed server, as users of ingress-nginx know it.
    Never,
}

/// The answer to a [`Lookup`].
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    Route(&'t Arc<Route>),
    /// The host has routes, but none for this request: 404.
    NoRoute,
    /// No section, or no route of the section, takes this host: 404.
    NoHost,
}

/// What a look-up passes by on its way; `explain` writes it down, the request path does not look.
pub(crate) enum Passed<'t> {
    Host(HostHit<'t, HostRoutes>),
    Candidate(&'t Candidate, Result<(), Mismatch<'t>>),
    Default(&'t Arc<Route>),
}

impl Table {
    pub fn listener(&self, key: &ListenerKey) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.key == *key)
    }
}

impl Listener {
    /// Of two sections for the same host the first is used; to refuse such a pair is the caller's part.
    pub fn new(
        key: ListenerKey,
        addresses: Vec<SocketAddr>,
        tls: Option<Arc<ListenerTls>>,
        sections: Vec<Section>,
    ) -> Self {
        let by_host = sections.iter().enumerate().map(|(at, section)| (section.host.clone(), at)).collect();
        Listener { key, addresses, tls, relays: None, sections, by_host }
    }

    /// The same, with what is passed on unread.
    pub fn with_relays(self, relays: Option<Relays>) -> Self {
        Listener { relays, ..self }
    }

    /// In the order in which they were given.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The one section that a host belongs to: the exact name, else the longest wildcard, else the section for any host
    /// (Gateway API v1, `Listener.hostname`). Another section is never tried, whatever its routes are.
    pub fn section(&self, host: Option<&Host>) -> Option<&Section> {
        self.by_host.best(host).map(|&at| &self.sections[at])
    }

    /// True when the name that a client opened its TLS connection for and the name it now asks for belong to different
    /// sections: the request is answered 421 (GEP-3567). One connection may not carry requests across that border, because the
    /// sections may ask for different client certificates.
    pub fn is_misdirected(&self, server_name: Option<&Host>, host: Option<&Host>) -> bool {
        self.by_host.best(server_name) != self.by_host.best(host)
    }

    /// The route of a request. Allocates nothing, save for a regular expression over a repeated header or a long encoded
    /// query parameter.
    pub fn find(&self, lookup: &Lookup<'_>) -> Found<'_> {
        match self.section(lookup.host) {
            Some(section) => section.hosts.find(lookup),
            None => Found::NoHost,
        }
    }
}

impl HostTable {
    /// Cheap: the routes are shared, not copied. Of two entries for the same host the first is used.
    ///
    /// `default` answers what no rule takes (an Ingress class's default backend).
    pub fn new(
        hosts: impl IntoIterator<Item = (HostPattern, HostRoutes)>,
        fallback: HostFallback,
        default: Option<Arc<Route>>,
    ) -> Self {
        HostTable { hosts: hosts.into_iter().collect(), fallback, default }
    }

    /// The same table, but for these hosts and the default.
    pub(crate) fn with(
        &self,
        hosts: impl IntoIterator<Item = (HostPattern, Option<HostRoutes>)>,
        default: Option<Arc<Route>>,
    ) -> Self {
        HostTable { hosts: self.hosts.with(hosts), fallback: self.fallback, default }
    }

    pub fn hosts(&self) -> &HostMap<HostRoutes> {
        &self.hosts
    }

    pub fn fallback(&self) -> HostFallback {
        self.fallback
    }

    pub fn default_route(&self) -> Option<&Arc<Route>> {
        self.default.as_ref()
    }

    /// As [`Listener::find`], within one section.
    pub fn find(&self, lookup: &Lookup<'_>) -> Found<'_> {
        self.search(lookup, |_| ())
    }

    /// [`HostTable::find`], telling `note` all that it passes by, so that what is explained is what is done.
    pub(crate) fn search<'t>(&'t self, lookup: &Lookup<'_>, mut note: impl FnMut(Passed<'t>)) -> Found<'t> {
        let mut missed = Found::NoHost;
        let found = self.hosts.find_map(lookup.host, |hit| {
            note(Passed::Host(hit));
            missed = Found::NoRoute;
            let found = hit.value.find_map(lookup.path, |candidate| {
                let verdict = candidate.conditions.check(lookup);
                note(Passed::Candidate(candidate, verdict));
                verdict.is_ok().then_some(Found::Route(&candidate.route))
            });
            match self.fallback {
                HostFallback::LessSpecific => found,
                HostFallback::Never => Some(found.unwrap_or(Found::NoRoute)),
            }
        });
        match (found, &self.default) {
            (Some(Found::Route(route)), _) => Found::Route(route),
            (_, Some(route)) => {
                note(Passed::Default(route));
                Found::Route(route)
            }
            (_, None) => missed,
        }
    }
}

#[cfg(test)]
mod tests;
