//! Which certificates the objects ask for. Pure.
//!
//! An Ingress or Gateway asks with `vestibule.dev/issuer`, or by the default issuer, for the names that it declares to have TLS
//! and that a route serves. One that names an issuer of cert-manager is left to that.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use acme::name::Name;
use acme::plan::{CertificateId, Plan, Refusal, Request, Scope, plan, shared_secret};

use crate::config::gateway::is_ours;
use crate::config::ingress::{Owner, owner};
use crate::config::objects::Objects;
use crate::config::objects::core::Secret;
use crate::config::objects::gateway::Listener;
use crate::config::objects::ingress::Ingress;
use crate::config::objects::metadata::Metadata;
use crate::config::problem::{Kind, ObjectRef, Problem, Severity};
use crate::config::status::Statuses;
use crate::settings::Settings;
use crate::settings::providers::Provider;

/// What is to be had, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Requested {
    pub(crate) plan: Plan,
    pub(crate) problems: Vec<Problem>,
    /// Who asked for each certificate.
    pub(crate) by: BTreeMap<CertificateId, ObjectRef>,
    /// A mark of the certificate in each Secret that is wanted, as it is seen now.
    pub(crate) seen: BTreeMap<CertificateId, u64>,
}

/// How an object stands to issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    Issuer(&'a str),
    /// Somebody else's, or nobody's.
    HandsOff,
}

/// Which issuer orders for an object.
pub(crate) fn wish<'a>(metadata: &'a Metadata, settings: &'a Settings) -> Wish<'a> {
    let annotation =
        |name: &str| metadata.annotations.get(name).map(str::trim).filter(|text| !text.is_empty());
    let is_foreign = |key: &str| key.starts_with("cert-manager.io/") && key.ends_with("issuer");
    if metadata.annotations.iter().any(|(key, _)| is_foreign(key)) {
        return Wish::HandsOff;
    }
    match annotation(ISSUER) {
        Some("none") => Wish::HandsOff,
        Some(name) => Wish::Issuer(name),
        None => match settings.issuers.iter().find(|issuer| issuer.default) {
            Some(issuer) => Wish::Issuer(&issuer.name),
            None => Wish::HandsOff,
        },
    }
}

/// The same for a ListenerSet: its Gateway decides where it says nothing itself.
pub(crate) fn wish_of_set<'a>(set: &'a Metadata, gateway: &'a Metadata, settings: &'a Settings) -> Wish<'a> {
    let says_something =
        set.annotations.iter().any(|(key, _)| key == ISSUER || key.starts_with("cert-manager.io/"));
    if says_something { wish(set, settings) } else { wish(gateway, settings) }
}

/// Where the certificate of a name may be kept that is not in the Secret of its object, the likeliest first.
pub(crate) fn shared_places(settings: &Settings, issuer: &str, name: &Name) -> Vec<CertificateId> {
    let Some(issuer) = settings.issuers.iter().find(|known| *known.name == *issuer) else {
        return Vec::new();
    };
    let namespace: Arc<str> = settings.certificates.namespace().into();
    let wildcards = issuer.scope().wildcards;
    let covering = wildcards.iter().filter(|wildcard| wildcard.covers(name)).cloned();
    let names = covering.chain([name.clone()]);
    names
        .map(|name| CertificateId { namespace: namespace.clone(), name: shared_secret(&issuer.name, &name) })
        .collect()
}

/// The auth hosts of the operator's providers (`authHost`) that an Ingress serves and says nothing of in `spec.tls`: everybody
/// is sent there to log in, so they have TLS whatever is written.
pub(crate) fn auth_hosts(ingress: &Ingress, settings: &Settings) -> Vec<Name> {
    let hosts = settings.providers.values().filter_map(|provider| match provider {
        Provider::Oidc(oidc) => oidc.auth_host.as_deref(),
        Provider::Jwt(_) | Provider::Basic(_) | Provider::External(_) => None,
    });
    let names = hosts.filter_map(|host| Name::parse(host.split(':').next().unwrap_or_default()).ok());
    let is_served = |name: &Name| {
        let hosts = ingress.spec.rules.iter().filter_map(|rule| Name::parse(rule.host.as_deref()?).ok());
        hosts.into_iter().any(|host| host == *name)
    };
    let lists_all = ingress.spec.tls.iter().any(|tls| tls.hosts.is_empty());
    let is_listed = |name: &Name| {
        let hosts = ingress.spec.tls.iter().flat_map(|tls| &tls.hosts);
        hosts.filter_map(|host| Name::parse(host).ok()).any(|host| host == *name || host.covers(name))
    };
    names.filter(|name| !lists_all && is_served(name) && !is_listed(name)).collect()
}

/// Everything that is asked for. `statuses` are those of these objects, and say which listeners a route serves.
pub(crate) fn requested(objects: &Objects, settings: &Settings, statuses: &Statuses) -> Requested {
    if settings.issuers.is_empty() {
        return Requested::default();
    }
    let mut asked = Asked {
        objects,
        settings,
        served: served(statuses),
        requests: Vec::new(),
        by: BTreeMap::new(),
        problems: Vec::new(),
    };
    for ingress in objects.ingresses.iter() {
        if let (Owner::Class(_), Wish::Issuer(issuer)) =
            (owner(ingress, objects, settings), wish(&ingress.metadata, settings))
        {
            asked.ingress(ingress, issuer);
        }
    }
    for gateway in objects.gateways.iter() {
        if let (true, Wish::Issuer(issuer)) =
            (is_ours(gateway, objects, settings), wish(&gateway.metadata, settings))
        {
            asked.listeners(&gateway.metadata, Kind::Gateway, &gateway.spec.listeners, issuer);
        }
    }
    for set in objects.listener_sets.iter() {
        let parent = &set.spec.parent_ref;
        let namespace = parent.namespace.as_ref().unwrap_or(&set.metadata.namespace);
        let Some(gateway) = objects.gateways.find(namespace, &parent.name) else { continue };
        if let (true, Wish::Issuer(issuer)) =
            (is_ours(gateway, objects, settings), wish_of_set(&set.metadata, &gateway.metadata, settings))
        {
            asked.listeners(&set.metadata, Kind::ListenerSet, &set.spec.listeners, issuer);
        }
    }
    let scopes: Vec<Scope> = settings.issuers.iter().map(|issuer| issuer.scope()).collect();
    let mut plan = plan(&asked.requests, &scopes, settings.certificates.namespace());
    for (id, refusal) in std::mem::take(&mut plan.refused) {
        asked.refused(&id, &refusal);
    }
    let mut seen = BTreeMap::new();
    plan.wanted.retain(|wanted| match objects.secrets.find(&wanted.id.namespace, &wanted.id.name) {
        None => true,
        Some(secret) if may_write(secret, asked.is_asked(&wanted.id)) => {
            seen.insert(wanted.id.clone(), mark(secret));
            true
        }
        Some(_) => {
            asked.foreign(&wanted.id);
            false
        }
    });
    Requested { plan, problems: asked.problems, by: asked.by, seen }
}

struct Asked<'a> {
    objects: &'a Objects,
    settings: &'a Settings,
    /// The listeners that have a route, by the object that they stand in and their name.
    served: BTreeSet<(&'a ObjectRef, &'a str)>,
    requests: Vec<Request>,
    /// Who asked for each certificate, for problems.
    by: BTreeMap<CertificateId, ObjectRef>,
    problems: Vec<Problem>,
}

impl Asked<'_> {
    fn ingress(&mut self, ingress: &Ingress, issuer: &str) {
        let reference = ingress.metadata.reference(Kind::Ingress);
        let rules: Vec<Option<Name>> = ingress
            .spec
            .rules
            .iter()
            .map(|rule| rule.host.as_deref().filter(|host| !host.is_empty()))
            .map(|host| host.and_then(|host| Name::parse(host).ok()))
            .collect();
        let serves_all = ingress.spec.default_backend.is_some()
            || ingress.spec.rules.iter().any(|rule| rule.host.as_deref().is_none_or(str::is_empty));
        let is_served = |name: &Name| {
            serves_all || rules.iter().flatten().any(|host| host.covers(name) || name.covers(host))
        };
        self.ask_each(issuer, auth_hosts(ingress, self.settings), &reference);
        for tls in &ingress.spec.tls {
            let listed: Vec<Name> = match tls.hosts.is_empty() {
                true => rules.iter().flatten().cloned().collect(),
                false => tls.hosts.iter().filter_map(|host| Name::parse(host).ok()).collect(),
            };
            let names: Vec<Name> = listed.into_iter().filter(is_served).collect();
            match tls.secret_name.as_ref().filter(|name| !name.is_empty()) {
                Some(secret) => {
                    let id =
                        CertificateId { namespace: ingress.metadata.namespace.clone(), name: secret.clone() };
                    self.ask(id, issuer, names, &reference);
                }
                None => self.ask_each(issuer, names, &reference),
            }
        }
    }

    /// The listeners of a Gateway or ListenerSet that have a route, a host name, and a Secret at home.
    fn listeners(&mut self, metadata: &Metadata, kind: Kind, listeners: &[Listener], issuer: &str) {
        let reference = metadata.reference(kind);
        for listener in listeners {
            if !self.served.contains(&(&reference, &*listener.name)) {
                continue;
            }
            let Some(name) = listener.hostname.as_deref().and_then(|host| Name::parse(host).ok()) else {
                continue;
            };
            let Some(tls) = &listener.tls else { continue };
            // A Secret of another namespace is written by whoever is at home there.
            let own = tls.certificate_refs.iter().find(|target| {
                target.namespace.as_deref().is_none_or(|namespace| *namespace == *metadata.namespace)
            });
            if let Some(target) = own {
                let id = CertificateId { namespace: metadata.namespace.clone(), name: target.name.clone() };
                self.ask(id, issuer, vec![name], &reference);
            }
        }
    }

    fn ask_each(&mut self, issuer: &str, names: Vec<Name>, by: &ObjectRef) {
        let namespace: Arc<str> = self.settings.certificates.namespace().into();
        for name in names {
            let id = CertificateId { namespace: namespace.clone(), name: shared_secret(issuer, &name) };
            self.ask(id, issuer, vec![name], by);
        }
    }

    fn ask(&mut self, id: CertificateId, issuer: &str, names: Vec<Name>, by: &ObjectRef) {
        self.by.entry(id.clone()).or_insert_with(|| by.clone());
        if !names.is_empty() {
            self.requests.push(Request { id, issuer: issuer.into(), names });
        }
    }

    fn refused(&mut self, id: &CertificateId, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::UnknownIssuer { .. } => "UnknownIssuer",
            Refusal::NotAllowed { .. } => "NameNotAllowed",
            Refusal::TwoIssuers { .. } => "TwoIssuers",
            Refusal::TooManyNames { .. } => "TooManyNames",
        };
        self.problem(id, reason, format!("no certificate is ordered: {refusal}"));
    }

    fn foreign(&mut self, id: &CertificateId) {
        let message = format!(
            "the Secret {id} was not made by Vestibule and is left alone; remove it to have the certificate ordered, or \
             write vestibule.dev/issuer: none"
        );
        // A default issuer is no wish of the author, who may well have a certificate.
        if self.is_asked(id) {
            self.problem(id, "SecretNotOurs", message);
        }
    }

    /// Whether an object names its issuer itself.
    fn is_asked(&self, id: &CertificateId) -> bool {
        let Some(by) = self.by.get(id) else { return false };
        let metadata = match by.kind {
            Kind::Gateway => {
                self.objects.gateways.find(&by.namespace, &by.name).map(|object| &object.metadata)
            }
            Kind::ListenerSet => {
                self.objects.listener_sets.find(&by.namespace, &by.name).map(|object| &object.metadata)
            }
            _ => self.objects.ingresses.find(&by.namespace, &by.name).map(|object| &object.metadata),
        };
        metadata.is_some_and(|metadata| metadata.annotations.get(ISSUER).is_some())
    }

    fn problem(&mut self, id: &CertificateId, reason: &'static str, message: String) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            object: self.by.get(id).cloned(),
            field: format!("metadata.annotations['{ISSUER}']").into(),
            reason,
            message: message.into(),
            place: None,
        });
    }
}

/// Whether a Secret may be written: it was made by us; or, where the author has named an issuer of ours, by cert-manager. The
/// store makes sure that cert-manager is done with it.
fn may_write(secret: &Secret, is_asked: bool) -> bool {
    secret.metadata.labels.get(OWNER_LABEL) == Some(OWNER)
        || (is_asked && secret.metadata.annotations.get(MADE_BY_CERT_MANAGER).is_some())
}

fn served(statuses: &Statuses) -> BTreeSet<(&ObjectRef, &str)> {
    let gateways = statuses.gateways.iter().map(|status| (&status.gateway, &status.listeners));
    let sets = statuses.sets.iter().map(|status| (&status.set, &status.listeners));
    let listeners = gateways.chain(sets).flat_map(|(object, listeners)| {
        let with_routes = listeners.iter().filter(|listener| listener.attached_routes > 0);
        with_routes.map(move |listener| (object, &*listener.name))
    });
    listeners.collect()
}

fn mark(secret: &Secret) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, value) in &secret.data {
        key.hash(&mut hasher);
        value.expose().hash(&mut hasher);
    }
    hasher.finish()
}

pub(crate) const ISSUER: &str = "vestibule.dev/issuer";
pub(crate) const MADE_BY_CERT_MANAGER: &str = "cert-manager.io/certificate-name";
pub(crate) const OWNER_LABEL: &str = acme::store::directory::OWNER_LABEL;
pub(crate) const OWNER: &str = acme::store::directory::OWNER;
#[cfg(test)]
mod tests;
