//! Listeners: the sections of classes and Gateways, with their addresses and certificates.

mod relays;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use self::relays::{Built, RelaysByPlace};
use super::places::Places;
use super::{Source, Sources};
use crate::config::certs::Certificates;
use crate::config::gateway::{self, Carries, LoweredGateway, Side};
use crate::config::lower::Place;
use crate::config::objects::Objects;
use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::route::host::HostPattern;
use crate::route::table::{Listener, ListenerKey, Section, Table};
use crate::settings::{DefaultCertificate, Settings, TlsVersion};
use crate::tls::certificates::Certificate;
use crate::tls::tickets::TicketSecret;
use crate::tls::{Alpn, CertificateUse, ClientAuthRule, Hosts, ListenerTls, ListenerTlsSpec};

/// The listeners as they were assembled last.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    kept: HashMap<ListenerKey, Kept>,
    table: Vec<Arc<Listener>>,
    /// Counts the changes of certificates of Ingresses.
    certificates: u64,
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    listener: Arc<Listener>,
    tls_stamp: Option<TlsStamp>,
}

/// What a listener was made of. Equal stamps mean equal listeners.
#[derive(Debug, PartialEq)]
struct Stamp {
    addresses: Vec<SocketAddr>,
    sections: Vec<(Arc<str>, HostPattern, u64)>,
    tls: Option<usize>,
    relays: Option<relays::Stamp>,
}

/// What the TLS of a class was made of.
#[derive(Clone, Debug, PartialEq)]
struct TlsStamp {
    certificates: u64,
    default: Option<[u8; 32]>,
}

/// One listener that can be served, with the object that it stands in and where.
struct Usable<'a> {
    object: &'a ObjectRef,
    index: usize,
    side: &'a Side,
    place: &'a Place,
}

/// All that assembling looks at.
pub(super) struct Assembly<'a> {
    pub(super) objects: &'a Objects,
    pub(super) settings: &'a Settings,
    pub(super) ticket_secret: &'a TicketSecret,
    pub(super) fallback: Option<&'a Arc<Certificate>>,
    pub(super) certificates: &'a mut Certificates,
    pub(super) sources: &'a Sources,
    /// Sources whose routes pass bytes on unread.
    pub(super) relaying: &'a BTreeSet<ObjectRef>,
    pub(super) places: &'a Places,
    pub(super) problems: &'a mut Vec<Problem>,
}

/// The table, and what could not be had for it.
pub(super) struct Assembled {
    pub(super) table: Table,
    pub(super) changed: bool,
    /// Ports of Gateways that have no sockets, with the reason.
    pub(super) unbound: BTreeMap<ObjectRef, Vec<(u16, Arc<str>)>>,
}

impl Listeners {
    /// To be told when an Ingress with certificates came, went or changed.
    pub(super) fn certificates_changed(&mut self) {
        self.certificates += 1;
    }

    pub(super) fn assemble(
        &mut self,
        assembly: &mut Assembly<'_>,
        gateways: &BTreeMap<ObjectRef, LoweredGateway>,
    ) -> Assembled {
        let default = assembly.default_certificate();
        let mut taken = Taken::default();
        let mut listeners = Vec::new();
        let relays = relays::by_place(assembly);
        for class in &assembly.settings.classes {
            for (tls, addresses) in [(false, &class.http), (true, &class.https)] {
                let key = ListenerKey::Class { class: class.name.clone(), tls };
                if let Some((_, other)) = taken.clash(addresses, false) {
                    let message = format!("class {}: {other}", class.name);
                    assembly.problem(None, "classes", "PortUnavailable", message);
                } else if !addresses.is_empty() {
                    taken.take(addresses, &key);
                    listeners.push(self.class(assembly, key, addresses, &relays, default.as_ref()));
                }
            }
        }
        let mut unbound = BTreeMap::new();
        let mut oldest: Vec<&LoweredGateway> = gateways.values().collect();
        oldest.sort_by_cached_key(|gateway| {
            let object =
                assembly.objects.gateways.find(&gateway.reference.namespace, &gateway.reference.name);
            object.map(|object| object.metadata.seniority())
        });
        for gateway in oldest {
            let lost = self.gateway(assembly, gateway, &relays, &mut taken, default.as_ref(), &mut listeners);
            if !lost.is_empty() {
                unbound.insert(gateway.reference.clone(), lost);
            }
        }
        self.kept.retain(|key, _| listeners.iter().any(|listener| listener.key == *key));
        let changed = listeners.len() != self.table.len()
            || listeners.iter().zip(&self.table).any(|(new, old)| !Arc::ptr_eq(new, old));
        self.table.clone_from(&listeners);
        Assembled { table: Table { listeners, challenges: None }, changed, unbound }
    }

    fn class(
        &mut self,
        assembly: &Assembly<'_>,
        key: ListenerKey,
        addresses: &[SocketAddr],
        relays: &RelaysByPlace<'_>,
        default: Option<&Arc<Certificate>>,
    ) -> Arc<Listener> {
        let ListenerKey::Class { class, tls } = &key else {
            return self.listener(assembly, key, Vec::new(), None, None, &[]);
        };
        let place =
            Place { listener: ListenerKey::Class { class: class.clone(), tls: false }, section: "".into() };
        let tls_stamp = TlsStamp {
            certificates: self.certificates,
            default: default.map(|certificate| *certificate.digest()),
        };
        let tls = tls.then(|| {
            let kept = self.kept.get(&key);
            let same = kept.filter(|kept| kept.tls_stamp.as_ref() == Some(&tls_stamp));
            if let Some(tls) = same.and_then(|kept| kept.listener.tls.clone()) {
                return tls;
            }
            let spec = ListenerTlsSpec {
                key: key.clone(),
                certificates: assembly.class_certificates(&place),
                default_certificate: default.cloned(),
                client_auth: assembly.class_client_auth(&place),
                alpn: ALPN.to_vec(),
                min_version: assembly.settings.tls.min_version,
            };
            self.tls(&key, &spec, assembly.ticket_secret)
        });
        let relays = tls.as_ref().and_then(|_| relays::of_class(relays, &place));
        let sections = [(place, HostPattern::Any)];
        let listener = self.listener(assembly, key.clone(), addresses.to_vec(), tls, relays, &sections);
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.tls_stamp = Some(tls_stamp);
        }
        listener
    }

    /// Adds the listeners of one Gateway and returns the ports that could not be had.
    fn gateway(
        &mut self,
        assembly: &mut Assembly<'_>,
        gateway: &LoweredGateway,
        relays: &RelaysByPlace<'_>,
        taken: &mut Taken,
        default: Option<&Arc<Certificate>>,
        listeners: &mut Vec<Arc<Listener>>,
    ) -> Vec<(u16, Arc<str>)> {
        // UDP has ports of its own.
        let mut ports: BTreeMap<(u16, bool), Vec<Usable<'_>>> = BTreeMap::new();
        for (object, index, door, side) in gateway.listeners().filter(|(.., side)| side.is_usable()) {
            let port = (side.port, side.carries == Carries::Udp);
            ports.entry(port).or_default().push(Usable { object, index, side, place: &door.place });
        }
        let (namespace, name) = (&gateway.reference.namespace, &gateway.reference.name);
        let bound = gateway::bound(&gateway.reference, assembly.settings, assembly.objects);
        let binding = bound.as_ref().map(|bound| &*bound.binding);
        let only_named = bound.as_ref().is_some_and(|bound| bound.only_named_ports);
        let mut lost = Vec::new();
        for ((port, udp), sides) in ports {
            let named = binding.and_then(|binding| binding.ports.get(&port).copied());
            let has_number = named.is_some() || !only_named;
            let bound = named.unwrap_or(port);
            let claim = gateway::claim(&gateway.addresses, binding);
            let addresses: Vec<SocketAddr> =
                claim.addresses.iter().map(|ip| SocketAddr::new(*ip, bound)).collect();
            let (namespace, name) = (namespace.clone(), name.clone());
            let key = if udp {
                ListenerKey::Datagrams { namespace, name, port }
            } else {
                ListenerKey::Gateway { namespace, name, port }
            };
            let fault = match taken.clash(&addresses, udp) {
                _ if !has_number => Some("its Service does not have the port yet".to_owned()),
                Some((_, other)) => Some(other),
                None if addresses.is_empty() && !claim.unusable.is_empty() => {
                    Some("none of the addresses that it asks for is one that it can have".to_owned())
                }
                None if addresses.is_empty() => {
                    let services = assembly.settings.gateway_services.is_some();
                    Some(if services {
                        "its Service is not there yet".to_owned()
                    } else {
                        "the settings bind it to no address: add it to `gateways`".to_owned()
                    })
                }
                None => None,
            };
            if let Some(message) = fault {
                let Some(Usable { object, index, .. }) = sides.first() else { continue };
                let field = format!("spec.listeners[{index}].port");
                assembly.problem(Some(object), field, "PortUnavailable", message.clone());
                lost.push((port, message.into()));
                continue;
            }
            taken.take(&addresses, &key);
            let min_version = assembly.settings.tls.min_version;
            let https = of_kind(&sides, Carries::Https);
            let tls = (!https.is_empty()).then(|| {
                let spec = gateway_tls(&key, &https, default, min_version);
                self.tls(&key, &spec, assembly.ticket_secret)
            });
            let relays = relays::build(assembly, relays, &key, &sides, min_version);
            let https_or_http: Vec<_> = sides
                .iter()
                .filter(|usable| matches!(usable.side.carries, Carries::Http | Carries::Https))
                .collect();
            let sections: Vec<_> =
                https_or_http.iter().map(|usable| (usable.place.clone(), usable.side.host.clone())).collect();
            listeners.push(self.listener(assembly, key, addresses, tls, relays, &sections));
        }
        lost
    }

    /// The TLS made of this, or the one that is there when it is equal: its ticket keys go on.
    fn tls(&self, key: &ListenerKey, spec: &ListenerTlsSpec, secret: &TicketSecret) -> Arc<ListenerTls> {
        let new = ListenerTls::new(spec, secret);
        let old = self.kept.get(key).and_then(|kept| kept.listener.tls.as_ref());
        match old.filter(|old| ***old == new) {
            Some(old) => old.clone(),
            None => Arc::new(new),
        }
    }

    fn listener(
        &mut self,
        assembly: &Assembly<'_>,
        key: ListenerKey,
        addresses: Vec<SocketAddr>,
        tls: Option<Arc<ListenerTls>>,
        relays: Option<Built>,
        sections: &[(Place, HostPattern)],
    ) -> Arc<Listener> {
        let stamps = sections
            .iter()
            .map(|(place, host)| (place.section.clone(), host.clone(), assembly.places.version(place)));
        let stamp = Stamp {
            addresses: addresses.clone(),
            sections: stamps.collect(),
            // The kept listener keeps its TLS alive, so an address means one value only.
            tls: tls.as_ref().map(|tls| Arc::as_ptr(tls) as usize),
            relays: relays.as_ref().map(|relays| relays.stamp.clone()),
        };
        if let Some(kept) = self.kept.get(&key).filter(|kept| kept.stamp == stamp) {
            return kept.listener.clone();
        }
        let sections = sections.iter().map(|(place, host)| Section {
            name: place.section.clone(),
            host: host.clone(),
            hosts: assembly.places.table(place),
        });
        let listener = Listener::new(key.clone(), addresses, tls, sections.collect());
        let listener = Arc::new(listener.with_relays(relays.map(|relays| relays.relays)));
        self.kept.insert(key, Kept { stamp, listener: listener.clone(), tls_stamp: None });
        listener
    }
}

impl Assembly<'_> {
    /// What the settings say is shown for names without a certificate.
    fn default_certificate(&mut self) -> Option<Arc<Certificate>> {
        let DefaultCertificate::SecretRef(name) = &self.settings.tls.default_certificate else {
            return self.fallback.cloned();
        };
        let fault = match self.objects.secrets.find(&name.namespace, &name.name) {
            None => format!("there is no Secret {}/{}", name.namespace, name.name),
            Some(secret) => match self.certificates.of(secret) {
                Ok(certificate) => return Some(certificate),
                Err(error) => format!("the Secret {}/{} cannot be used: {error}", name.namespace, name.name),
            },
        };
        self.problem(None, "tls.defaultCertificate", "InvalidCertificateRef", fault);
        None
    }

    /// The certificates of all Ingresses of a class, those of the oldest first.
    fn class_certificates(&self, place: &Place) -> Vec<CertificateUse> {
        let sources = self.tls_sources(place).into_iter();
        sources.flat_map(|source| source.lowered.certificates.iter().cloned()).collect()
    }

    /// What the hosts of a class ask of the certificates of their clients, by the oldest Ingress first.
    fn class_client_auth(&self, place: &Place) -> Vec<ClientAuthRule> {
        let sources = self.tls_sources(place).into_iter();
        sources.flat_map(|source| source.lowered.client_auth.iter().cloned()).collect()
    }

    /// The Ingresses that the TLS side of a class is made of, the oldest first.
    fn tls_sources(&self, place: &Place) -> Vec<&Source> {
        let of_class = |source: &&Source| {
            source.lowered.concerns_tls()
                && source.lowered.class.as_ref().is_some_and(|class| **class == *place)
        };
        let sources = self.sources.values().map(|source| &**source);
        let mut sources: Vec<&Source> = sources.filter(of_class).collect();
        sources.sort_by(|a, b| a.seniority.cmp(&b.seniority));
        sources
    }

    fn problem(
        &mut self,
        object: Option<&ObjectRef>,
        field: impl Into<Arc<str>>,
        reason: &'static str,
        message: String,
    ) {
        self.problems.push(Problem {
            severity: Severity::Refused,
            object: object.cloned(),
            field: field.into(),
            reason,
            message: message.into(),
            place: None,
        });
    }
}

fn gateway_tls(
    key: &ListenerKey,
    sides: &[&Usable<'_>],
    default: Option<&Arc<Certificate>>,
    min_version: TlsVersion,
) -> ListenerTlsSpec {
    let mut certificates = Vec::new();
    let mut client_auth = Vec::new();
    for side in sides.iter().map(|usable| usable.side) {
        for certificate in &side.certificates {
            let hosts = Hosts::Only(vec![side.host.clone()]);
            certificates.push(CertificateUse { certificate: certificate.clone(), hosts });
        }
        if let Some(policy) = &side.client_auth {
            client_auth.push(ClientAuthRule { host: Some(side.host.clone()), policy: policy.clone() });
        }
    }
    // A listener for every host answers clients that name none, too.
    let any = sides.iter().find(|usable| usable.side.host == HostPattern::Any);
    let own = any.and_then(|usable| usable.side.certificates.first());
    ListenerTlsSpec {
        key: key.clone(),
        certificates,
        default_certificate: own.or(default).cloned(),
        client_auth,
        alpn: ALPN.to_vec(),
        min_version,
    }
}

fn of_kind<'s, 'a>(sides: &'s [Usable<'a>], carries: Carries) -> Vec<&'s Usable<'a>> {
    sides.iter().filter(|usable| usable.side.carries == carries).collect()
}

/// The addresses that listeners have so far.
#[derive(Default)]
struct Taken(Vec<(SocketAddr, ListenerKey)>);

impl Taken {
    fn take(&mut self, addresses: &[SocketAddr], key: &ListenerKey) {
        self.0.extend(addresses.iter().map(|address| (*address, key.clone())));
    }

    /// The first of these that is taken, and by whom, in words.
    fn clash(&self, addresses: &[SocketAddr], udp: bool) -> Option<(SocketAddr, String)> {
        let same_protocol = |key: &ListenerKey| matches!(key, ListenerKey::Datagrams { .. }) == udp;
        addresses.iter().find_map(|wanted| {
            let (held, by) = self.0.iter().find(|(held, by)| same_protocol(by) && collide(*held, *wanted))?;
            let holder = match by {
                ListenerKey::Class { class, .. } => format!("class {class}"),
                ListenerKey::Gateway { namespace, name, .. }
                | ListenerKey::Datagrams { namespace, name, .. } => {
                    format!("Gateway {namespace}/{name}")
                }
            };
            let message = if held == wanted {
                format!("the address {wanted} is taken by {holder}")
            } else {
                format!("the address {wanted} is taken by {holder}, which has {held}")
            };
            Some((*wanted, message))
        })
    }
}

/// Whether two sockets cannot be bound side by side. Port 0 stands for any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && overlap
}

/// What every TLS listener offers.
const ALPN: [Alpn; 2] = [Alpn::Http2, Alpn::Http11];
