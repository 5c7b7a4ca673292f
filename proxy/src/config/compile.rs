//! From objects to a table: total, and as cheap as the change.
//!
//! Lowering turns one object into its shares of hosts; merging turns the shares of one host into its routes; assembling
//! puts the hosts on listeners. What was lowered and merged is kept, and a change touches only what it concerns: the
//! journal of [`Objects`] says what changed, and each lowered object knows what it looked at.

mod dependents;
mod describe;
mod listeners;
mod places;
mod plan;
mod secured;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use self::dependents::Dependents;
use self::listeners::Listeners;
use self::places::Places;
use self::plan::Work;
use self::secured::{Claims, Secured};
use super::attach::Parents;
use super::backend::{Backends, Locality};
use super::backend_tls::Policies;
use super::certs::Certificates;
use super::gateway::{self, LoweredGateway, Outcome};
use super::ingress::{self, Owner};
use super::lower::{ANY_NAME, Lowered, Place, Scope};
use super::objects::metadata::Seniority;
use super::objects::{Cursor, Objects};
use super::problem::{Kind, ObjectRef, Problem, Severity};
use super::providers::Outside;
use super::status::{RouteStatus, Statuses};
use crate::login::Providers;
use crate::route::host::HostPattern;
use crate::route::table::Table;
use crate::settings::Settings;
use crate::tls::certificates::Certificate;
use crate::tls::tickets::TicketSecret;
use crate::workload::gate::Gates;

pub use describe::describe;

/// What one compilation made.
#[derive(Debug)]
pub struct Compiled {
    pub table: Table,
    /// False when the table is the same as before; there is nothing to publish then.
    pub changed: bool,
    /// Sorted, each once.
    pub problems: Vec<Problem>,
    pub statuses: Statuses,
    /// How many routes the objects came to, each counted once however many hosts it has.
    pub routes: usize,
}

/// Compiles, and remembers what it made.
#[derive(Debug)]
pub struct Compiler {
    ticket_secret: TicketSecret,
    /// Shown for names without a certificate of their own, unless the settings name a Secret.
    fallback_certificate: Option<Arc<Certificate>>,
    seen: Option<(Cursor, Settings)>,
    /// What the settings name outside the objects.
    outside: Outside,
    backends: Backends,
    providers: Arc<Providers>,
    certificates: Certificates,
    policies: Policies,
    gateways: BTreeMap<ObjectRef, LoweredGateway>,
    sources: Sources,
    /// Sources with problems.
    troubled: BTreeSet<ObjectRef>,
    /// Sources with backends that a policy is for.
    policed: BTreeSet<ObjectRef>,
    /// Sources that pass bytes on unread.
    relaying: BTreeSet<ObjectRef>,
    routes: usize,
    /// By class.
    class_places: BTreeMap<Arc<str>, Arc<Place>>,
    dependents: Dependents,
    secured: Secured,
    places: Places,
    attached: HashMap<Arc<Place>, u32, RandomState>,
    listeners: Listeners,
    compilations: u64,
}

/// An Ingress or route that was lowered.
#[derive(Debug)]
struct Source {
    seniority: Seniority,
    lowered: Lowered,
    /// The hosts that an Ingress declares to have TLS, with its class.
    claims: Option<Box<Claims>>,
    /// How many routes it has.
    routes: u32,
}

/// Boxed, because a tree of ten thousand has room for as many again.
type Sources = BTreeMap<ObjectRef, Box<Source>>;

/// What a look at the journal found to be enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// More than endpoints changed: compile.
    NotEnough,
    /// Nothing that is in use changed.
    Same,
    /// New endpoints are live.
    Published,
}

impl Compiler {
    /// `fallback_certificate` is what the settings' `tls.defaultCertificate` comes to, save for a Secret, which is looked up
    /// here; `None` refuses names without a certificate.
    pub fn new(
        ticket_secret: TicketSecret,
        fallback_certificate: Option<Arc<Certificate>>,
        locality: Locality,
    ) -> Self {
        Compiler {
            ticket_secret,
            fallback_certificate,
            seen: None,
            outside: Outside::default(),
            backends: Backends::new(locality),
            providers: Arc::default(),
            certificates: Certificates::default(),
            policies: Policies::default(),
            gateways: BTreeMap::new(),
            sources: BTreeMap::new(),
            troubled: BTreeSet::new(),
            policed: BTreeSet::new(),
            relaying: BTreeSet::new(),
            routes: 0,
            class_places: BTreeMap::new(),
            dependents: Dependents::default(),
            secured: Secured::default(),
            places: Places::default(),
            attached: HashMap::default(),
            listeners: Listeners::default(),
            compilations: 0,
        }
    }

    /// Replaces the certificate for names without one, from the next compilation on.
    pub fn set_fallback_certificate(&mut self, certificate: Option<Arc<Certificate>>) {
        self.fallback_certificate = certificate;
    }

    /// Replaces the values of files and variables that the settings name. True when they differ: the next compilation begins
    /// anew then.
    pub fn set_outside(&mut self, outside: Outside) -> bool {
        let differs = self.outside != outside;
        if differs {
            self.outside = outside;
            self.seen = None;
        }
        differs
    }

    /// The table for these objects. Never fails: what is wrong becomes a problem, and what guards access and cannot be
    /// enforced becomes a route that refuses.
    pub fn compile(&mut self, objects: &Objects, settings: &Settings) -> Compiled {
        self.backends.gates.defaults =
            wake::policy::Defaults { idle: settings.wake.idle, timeout: settings.wake.timeout };
        let mut work = self.plan(objects, settings);
        self.lower_policies(objects, settings, &mut work);
        self.lower_gateways(objects, settings, &mut work);
        self.claim_tls(objects, settings, &mut work);
        for reference in work.sources {
            self.lower_source(objects, settings, &reference);
        }
        self.places.merge(&self.sources);
        self.compilations += 1;
        if self.compilations.is_multiple_of(COMPILATIONS_PER_SWEEP) {
            self.backends.sweep();
        }
        self.assemble(objects, settings)
    }

    /// Publishes what changed of endpoints, when nothing but endpoints changed since the last compilation. Far cheaper than
    /// to compile, and not to be told apart from it.
    pub fn refresh_endpoints(&mut self, objects: &Objects) -> Refresh {
        let Some((cursor, _)) = &mut self.seen else { return Refresh::NotEnough };
        let Some(changes) = objects.changes_since(*cursor) else { return Refresh::NotEnough };
        let services: BTreeSet<&ObjectRef> = changes.collect();
        if services.iter().any(|changed| changed.kind != Kind::EndpointSlice) {
            return Refresh::NotEnough;
        }
        *cursor = objects.cursor();
        let refresh =
            |changed: &&ObjectRef| self.backends.refresh(objects, &changed.namespace, &changed.name);
        if services.iter().filter(|changed| refresh(changed)).count() > 0 {
            Refresh::Published
        } else {
            Refresh::Same
        }
    }

    /// The gates of routes that wake, those of tables before this one included.
    pub(crate) fn gates(&self) -> &Gates {
        &self.backends.gates
    }

    /// Backends that are alive, those of tables before this one included.
    pub fn backends_len(&self) -> usize {
        self.backends.len()
    }

    /// What the compiled configuration means for the routes of Gateways.
    pub fn route_statuses(&self) -> impl Iterator<Item = &Arc<RouteStatus>> {
        self.sources.values().filter_map(|source| source.lowered.status.as_ref())
    }

    fn lower_policies(&mut self, objects: &Objects, settings: &Settings, work: &mut Work) {
        for reference in std::mem::take(&mut work.policies) {
            let nothing = Policies::default();
            let scope = Scope::new(
                objects,
                (settings, &self.outside),
                &mut self.backends,
                &nothing,
                &self.providers,
                reference.clone(),
            );
            let Some(looked_at) = self.policies.update(&reference, objects, scope) else { continue };
            self.dependents.remove(&reference, &looked_at.before);
            self.dependents.add(&reference, &looked_at.now);
            let any = ObjectRef { name: ANY_NAME.into(), ..reference };
            work.add_dependents(&self.dependents, &any);
        }
    }

    fn lower_gateways(&mut self, objects: &Objects, settings: &Settings, work: &mut Work) {
        for reference in std::mem::take(&mut work.gateways) {
            let old = self.gateways.remove(&reference);
            if let Some(old) = &old {
                self.dependents.remove(&reference, &old.depends);
            }
            let object = objects.gateways.find(&reference.namespace, &reference.name);
            let new = object.filter(|gateway| gateway::is_ours(gateway, objects, settings)).map(|gateway| {
                let scope = Scope::new(
                    objects,
                    (settings, &self.outside),
                    &mut self.backends,
                    &self.policies,
                    &self.providers,
                    reference.clone(),
                );
                gateway::lower(gateway, &mut self.certificates, scope)
            });
            let same = match (&old, &new) {
                (Some(old), Some(new)) => old.looks_like(new),
                (Some(_), None) | (None, Some(_)) => false,
                // Whether it exists at all is told apart from its being another controller's.
                (None, None) => false,
            };
            if !same {
                work.add_dependents(&self.dependents, &reference);
            }
            if let Some(new) = new {
                self.dependents.add(&reference, &new.depends);
                self.gateways.insert(reference, new);
            }
        }
    }

    /// Notes which hosts the changed Ingresses declare to have TLS; where that changes a host, the other Ingresses of that
    /// host are lowered, too.
    fn claim_tls(&mut self, objects: &Objects, settings: &Settings, work: &mut Work) {
        let mut shifted: BTreeSet<(Arc<str>, HostPattern)> = BTreeSet::new();
        let ingresses: Vec<ObjectRef> =
            work.sources.iter().filter(|source| source.kind == Kind::Ingress).cloned().collect();
        for reference in ingresses {
            let object = objects.ingresses.find(&reference.namespace, &reference.name);
            let new = object.and_then(|ingress| match ingress::owner(ingress, objects, settings) {
                Owner::Class(class) => {
                    let may = |host: &HostPattern| {
                        super::claims::may_claim(&settings.hosts, host, &reference.namespace)
                    };
                    let hosts: BTreeSet<HostPattern> = ingress::tls_hosts(ingress).filter(may).collect();
                    // Nothing is claimed without hosts.
                    (!hosts.is_empty()).then(|| Box::new((class.name.clone(), hosts)))
                }
                Owner::Unbound(_) | Owner::Nobody(_) | Owner::Other => None,
            });
            let old = self.sources.get_mut(&reference).and_then(|source| source.claims.take());
            self.secured.replace(old.as_deref(), new.as_deref(), &mut shifted);
            self.secured.pending.insert(reference, new);
        }
        for (class, pattern) in shifted {
            self.places.sources_within(&class, &pattern, &mut work.sources);
        }
    }

    fn lower_source(&mut self, objects: &Objects, settings: &Settings, reference: &ObjectRef) {
        let old = self.sources.remove(reference);
        self.troubled.remove(reference);
        self.policed.remove(reference);
        self.relaying.remove(reference);
        if let Some(old) = &old {
            self.routes -= old.routes as usize;
            self.dependents.remove(reference, &old.lowered.depends);
            self.places.unlink(reference, &old.lowered);
            for place in &*old.lowered.attached {
                if let Some(count) = self.attached.get_mut(place) {
                    *count -= 1;
                }
            }
            if old.lowered.concerns_tls() {
                self.listeners.certificates_changed();
            }
        }
        let claims = match self.secured.pending.remove(reference) {
            Some(claims) => claims,
            // Lowered again for the sake of another object: its own claims stand.
            None => old.and_then(|old| old.claims),
        };
        let Some((seniority, mut lowered)) = self.lower(objects, settings, reference) else { return };
        super::claims::withhold(&mut lowered, &settings.hosts, reference);
        self.dependents.add(reference, &lowered.depends);
        self.places.link(reference, &lowered);
        for place in &*lowered.attached {
            *self.attached.entry(place.clone()).or_default() += 1;
        }
        if lowered.concerns_tls() {
            self.listeners.certificates_changed();
        }
        if !lowered.problems.is_empty() {
            self.troubled.insert(reference.clone());
        }
        if !lowered.policies.is_empty() {
            self.policed.insert(reference.clone());
        }
        if !lowered.relays.is_empty() {
            self.relaying.insert(reference.clone());
        }
        let routes = lowered.routes_len();
        self.routes += routes as usize;
        let source = Source { seniority, lowered, claims, routes };
        self.sources.insert(reference.clone(), Box::new(source));
    }

    /// `None` when the object is gone or not ours.
    fn lower(
        &mut self,
        objects: &Objects,
        settings: &Settings,
        reference: &ObjectRef,
    ) -> Option<(Seniority, Lowered)> {
        let scope = Scope::new(
            objects,
            (settings, &self.outside),
            &mut self.backends,
            &self.policies,
            &self.providers,
            reference.clone(),
        );
        let parents = Parents { gateways: &self.gateways, objects };
        if reference.kind == Kind::HTTPRoute {
            let route = objects.http_routes.find(&reference.namespace, &reference.name)?;
            return Some((route.metadata.seniority(), super::httproute::lower(route, parents, scope)));
        }
        if reference.kind == Kind::GRPCRoute {
            let route = objects.grpc_routes.find(&reference.namespace, &reference.name)?;
            return Some((route.metadata.seniority(), super::grpcroute::lower(route, parents, scope)));
        }
        let relay = match reference.kind {
            Kind::TLSRoute => objects
                .tls_routes
                .find(&reference.namespace, &reference.name)
                .map(|route| (&route.metadata, &route.spec)),
            Kind::TCPRoute => objects
                .tcp_routes
                .find(&reference.namespace, &reference.name)
                .map(|route| (&route.metadata, &route.spec)),
            Kind::UDPRoute => objects
                .udp_routes
                .find(&reference.namespace, &reference.name)
                .map(|route| (&route.metadata, &route.spec)),
            _ => None,
        };
        if let Some((metadata, spec)) = relay {
            return Some((metadata.seniority(), super::relay::lower(metadata, spec, parents, scope)));
        }
        if reference.kind != Kind::Ingress {
            return None;
        }
        let ingress = objects.ingresses.find(&reference.namespace, &reference.name)?;
        let lowered = match ingress::owner(ingress, objects, settings) {
            Owner::Class(class) => {
                let place = self.class_places.entry(class.name.clone());
                let place = place.or_insert_with(|| Arc::new(ingress::place_of(class)));
                self.secured.lower(ingress, class, place, &mut self.certificates, scope)
            }
            Owner::Unbound(class) => unbound(&class, scope),
            Owner::Nobody(class) => of_nobody(class.as_deref(), settings, scope),
            Owner::Other => return None,
        };
        Some((ingress.metadata.seniority(), lowered))
    }

    /// By policy, the Gateways of the routes whose backends it is for.
    fn ancestors(&self) -> BTreeMap<ObjectRef, BTreeSet<ObjectRef>> {
        let mut ancestors: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
        for source in self.policed.iter().filter_map(|reference| self.sources.get(reference)) {
            let parents = source.lowered.status.iter().flat_map(|status| &status.parents);
            let gateways: BTreeSet<&ObjectRef> =
                parents.filter(|parent| parent.accepted.holds).map(|parent| &parent.gateway).collect();
            for policy in &source.lowered.policies {
                ancestors.entry(policy.clone()).or_default().extend(gateways.iter().copied().cloned());
            }
        }
        ancestors
    }

    /// Without any GatewayClass nobody else can be meant.
    fn unclaimed_gateways<'a>(&'a self, objects: &'a Objects) -> impl Iterator<Item = Problem> + 'a {
        let all = objects.gateways.iter().map(|gateway| (gateway, gateway.metadata.reference(Kind::Gateway)));
        all.filter(|(_, reference)| !self.gateways.contains_key(reference)).map(|(gateway, reference)| {
            let class = &gateway.spec.gateway_class_name;
            let message = format!(
                "the class {class} is not known, so the Gateway is not served: add it to `gatewayClasses`"
            );
            Problem {
                severity: Severity::Warning,
                object: Some(reference),
                field: "spec.gatewayClassName".into(),
                reason: "UnknownClass",
                message: message.into(),
                place: None,
            }
        })
    }

    fn assemble(&mut self, objects: &Objects, settings: &Settings) -> Compiled {
        let mut problems: Vec<Problem> = Vec::new();
        let troubled = self.troubled.iter().filter_map(|reference| self.sources.get(reference));
        problems.extend(troubled.flat_map(|source| source.lowered.problems.iter().cloned()));
        problems.extend(self.gateways.values().flat_map(|gateway| gateway.problems.iter().cloned()));
        problems.extend(self.policies.problems());
        problems.extend(self.places.problems());
        if objects.gateway_classes.is_empty() {
            problems.extend(self.unclaimed_gateways(objects));
        }
        let mut assembly = listeners::Assembly {
            objects,
            settings,
            ticket_secret: &self.ticket_secret,
            fallback: self.fallback_certificate.as_ref(),
            certificates: &mut self.certificates,
            sources: &self.sources,
            relaying: &self.relaying,
            places: &self.places,
            problems: &mut problems,
        };
        let assembled = self.listeners.assemble(&mut assembly, &self.gateways);
        let count = |place: &Place| self.attached.get(place).copied().unwrap_or(0);
        let mut statuses =
            Statuses { policies: self.policies.statuses(&self.ancestors()), ..Statuses::default() };
        for gateway in self.gateways.values() {
            let bound = gateway::bound(&gateway.reference, settings, objects);
            let outcome = Outcome {
                unbound: assembled.unbound.get(&gateway.reference).map_or(&[][..], Vec::as_slice),
                claim: gateway::claim(&gateway.addresses, bound.as_ref().map(|bound| &*bound.binding)),
            };
            let (status, sets) = gateway.status(&outcome, count);
            statuses.gateways.push(status);
            statuses.sets.extend(sets);
        }
        problems.sort();
        problems.dedup();
        Compiled {
            table: assembled.table,
            changed: assembled.changed,
            problems,
            statuses,
            routes: self.routes,
        }
    }
}

fn unbound(class: &Arc<str>, mut scope: Scope<'_>) -> Lowered {
    let message =
        format!("the class {class} is ours, but the settings give it no addresses: add it to `classes`");
    scope.problem(Severity::Refused, "spec.ingressClassName", "NoAddresses", message);
    scope.finish(Vec::new())
}

fn of_nobody(class: Option<&str>, settings: &Settings, mut scope: Scope<'_>) -> Lowered {
    let known: Vec<&str> = settings.classes.iter().map(|class| &*class.name).collect();
    let known = known.join(", ");
    let message = match class {
        Some(class) => {
            format!("the class {class} is not known, so the Ingress is not served; known are: {known}")
        }
        None => format!("the Ingress names no class and none is the default; known are: {known}"),
    };
    scope.problem(Severity::Warning, "spec.ingressClassName", "UnknownClass", message);
    scope.finish(Vec::new())
}

/// How often backends that nobody uses are let go.
const COMPILATIONS_PER_SWEEP: u64 = 16;

#[cfg(test)]
mod tests;
