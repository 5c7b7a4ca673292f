//! Listeners: the sections of classes and Gateways, with their addresses and certificates.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::places::Places;
use super::{Source, Sources};
use crate::config::certs::Certificates;
use crate::config::gateway::{LoweredGateway, Side};
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
}

/// What the TLS of a class was made of.
#[derive(Clone, Debug, PartialEq)]
struct TlsStamp {
    certificates: u64,
    default: Option<[u8; 32]>,
}

/// All that assembling looks at.
pub(super) struct Assembly<'a> {
    pub(super) objects: &'a Objects,
    pub(super) settings: &'a Settings,
    pub(super) ticket_secret: &'a TicketSecret,
    pub(super) fallback: Option<&'a Arc<Certificate>>,
    pub(super) certificates: &'a mut Certificates,
    pub(super) sources: &'a Sources,
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
        for class in &assembly.settings.classes {
            for (tls, addresses) in [(false, &class.http), (true, &class.https)] {
                let key = ListenerKey::Class { class: class.name.clone(), tls };
                if let Some((_, other)) = taken.clash(addresses) {
                    let message = format!("class {}: {other}", class.name);
                    assembly.problem(None, "classes", "PortUnavailable", message);
                } else if !addresses.is_empty() {
                    taken.take(addresses, &key);
                    listeners.push(self.class(assembly, key, addresses, default.as_ref()));
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
            let lost = self.gateway(assembly, gateway, &mut taken, default.as_ref(), &mut listeners);
            if !lost.is_empty() {
                unbound.insert(gateway.reference.clone(), lost);
            }
        }
        self.kept.retain(|key, _| listeners.iter().any(|listener| listener.key == *key));
        let changed = listeners.len() != self.table.len()
            || listeners.iter().zip(&self.table).any(|(new, old)| !Arc::ptr_eq(new, old));
        self.table.clone_from(&listeners);
        Assembled { table: Table { listeners }, changed, unbound }
    }

    fn class(
        &mut self,
        assembly: &Assembly<'_>,
        key: ListenerKey,
        addresses: &[SocketAddr],
        default: Option<&Arc<Certificate>>,
    ) -> Arc<Listener> {
        let ListenerKey::Class { class, tls } = &key else {
            return self.listener(assembly, key, Vec::new(), None, &[]);
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
                client_auth: Vec::new(),
                alpn: ALPN.to_vec(),
                min_version: assembly.settings.tls.min_version,
            };
            self.tls(&key, &spec, assembly.ticket_secret)
        });
        let sections = [(place, HostPattern::Any)];
        let listener = self.listener(assembly, key.clone(), addresses.to_vec(), tls, &sections);
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
        taken: &mut Taken,
        default: Option<&Arc<Certificate>>,
        listeners: &mut Vec<Arc<Listener>>,
    ) -> Vec<(u16, Arc<str>)> {
        let mut ports: BTreeMap<u16, Vec<(&Side, &Place)>> = BTreeMap::new();
        for (side, door) in gateway.sides.iter().zip(&gateway.doors).filter(|(side, _)| side.is_usable()) {
            ports.entry(side.port).or_default().push((side, &door.place));
        }
        let (namespace, name) = (&gateway.reference.namespace, &gateway.reference.name);
        let binding = assembly.settings.gateway_binding(namespace, name);
        let mut lost = Vec::new();
        for (port, sides) in ports {
            let bound = binding.and_then(|binding| binding.ports.get(&port).copied()).unwrap_or(port);
            let ips = binding.map_or(&[][..], |binding| &binding.addresses);
            let addresses: Vec<SocketAddr> = ips.iter().map(|ip| SocketAddr::new(*ip, bound)).collect();
            let key = ListenerKey::Gateway { namespace: namespace.clone(), name: name.clone(), port };
            let fault = match taken.clash(&addresses) {
                Some((_, other)) => Some(other),
                None if addresses.is_empty() => {
                    Some("the settings bind it to no address: add it to `gateways`".to_owned())
                }
                None => None,
            };
            if let Some(message) = fault {
                let field = format!("spec.listeners[{}].port", gateway.index_of(sides[0].0));
                assembly.problem(Some(&gateway.reference), field, "PortUnavailable", message.clone());
                lost.push((port, message.into()));
                continue;
            }
            taken.take(&addresses, &key);
            let tls = sides.iter().any(|(side, _)| side.tls).then(|| {
                let spec = gateway_tls(&key, &sides, default, assembly.settings.tls.min_version);
                self.tls(&key, &spec, assembly.ticket_secret)
            });
            let sections: Vec<_> =
                sides.iter().map(|(side, place)| ((*place).clone(), side.host.clone())).collect();
            listeners.push(self.listener(assembly, key, addresses, tls, &sections));
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
        };
        if let Some(kept) = self.kept.get(&key).filter(|kept| kept.stamp == stamp) {
            return kept.listener.clone();
        }
        let sections = sections.iter().map(|(place, host)| Section {
            name: place.section.clone(),
            host: host.clone(),
            hosts: assembly.places.table(place),
        });
        let listener = Arc::new(Listener::new(key.clone(), addresses, tls, sections.collect()));
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
        let of_class = |source: &&Source| {
            !source.lowered.certificates.is_empty()
                && source.lowered.class.as_ref().is_some_and(|class| **class == *place)
        };
        let sources = self.sources.values().map(|source| &**source);
        let mut sources: Vec<&Source> = sources.filter(of_class).collect();
        sources.sort_by(|a, b| a.seniority.cmp(&b.seniority));
        sources.into_iter().flat_map(|source| source.lowered.certificates.iter().cloned()).collect()
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
    sides: &[(&Side, &Place)],
    default: Option<&Arc<Certificate>>,
    min_version: TlsVersion,
) -> ListenerTlsSpec {
    let mut certificates = Vec::new();
    let mut client_auth = Vec::new();
    for (side, _) in sides {
        for certificate in &side.certificates {
            let hosts = Hosts::Only(vec![side.host.clone()]);
            certificates.push(CertificateUse { certificate: certificate.clone(), hosts });
        }
        if let Some(policy) = &side.client_auth {
            client_auth.push(ClientAuthRule { host: Some(side.host.clone()), policy: policy.clone() });
        }
    }
    // A listener for every host answers clients that name none, too.
    let any = sides.iter().find(|(side, _)| side.host == HostPattern::Any);
    let own = any.and_then(|(side, _)| side.certificates.first());
    ListenerTlsSpec {
        key: key.clone(),
        certificates,
        default_certificate: own.or(default).cloned(),
        client_auth,
        alpn: ALPN.to_vec(),
        min_version,
    }
}

/// The addresses that listeners have so far.
#[derive(Default)]
struct Taken(Vec<(SocketAddr, ListenerKey)>);

impl Taken {
    fn take(&mut self, addresses: &[SocketAddr], key: &ListenerKey) {
        self.0.extend(addresses.iter().map(|address| (*address, key.clone())));
    }

    /// The first of these that is taken, and by whom, in words.
    fn clash(&self, addresses: &[SocketAddr]) -> Option<(SocketAddr, String)> {
        addresses.iter().find_map(|wanted| {
            let (held, by) = self.0.iter().find(|(held, _)| collide(*held, *wanted))?;
            let holder = match by {
                ListenerKey::Class { class, .. } => format!("class {class}"),
                ListenerKey::Gateway { namespace, name, .. } => format!("Gateway {namespace}/{name}"),
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
