//! Which namespaces may claim which host names, where the operator says so (`hosts` in the settings).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::lower::{Lowered, Place};
use super::problem::{ObjectRef, Problem, Severity};
use super::status::Condition;
use crate::route::host::HostPattern;
use crate::route::table::ListenerKey;
use crate::settings::HostClaim;
use crate::tls::Hosts;

/// Takes away what an object claims that is not for its namespace, each host with a problem: its routes, what it passes on
/// unread, its certificates, and what it would ask of clients.
pub(crate) fn withhold(lowered: &mut Lowered, claims: &[HostClaim], source: &ObjectRef) {
    if claims.is_empty() {
        return;
    }
    let may = |host: &HostPattern| may_claim(claims, host, &source.namespace);
    let mut refused: Vec<HostPattern> = Vec::new();
    let mut note = |host: &HostPattern| {
        if !may(host) && !refused.contains(host) {
            refused.push(host.clone());
        }
    };
    lowered.shares.iter().for_each(|share| note(&share.host));
    lowered.relays.iter().for_each(|relay| note(&relay.host));
    let rules = lowered.client_auth.iter();
    rules.for_each(|rule| note(rule.host.as_ref().unwrap_or(&HostPattern::Any)));
    for used in &lowered.certificates {
        match &used.hosts {
            Hosts::Only(hosts) => hosts.iter().for_each(&mut note),
            Hosts::Carried => note(&HostPattern::Any),
        }
    }
    if refused.is_empty() {
        return;
    }
    let before = sections(lowered);
    let shares = std::mem::take(&mut lowered.shares).into_vec();
    lowered.shares = shares.into_iter().filter(|share| may(&share.host)).collect();
    let relays = std::mem::take(&mut lowered.relays).into_vec();
    lowered.relays = relays.into_iter().filter(|relay| may(&relay.host)).collect();
    let after = sections(lowered);
    let gone: Vec<Arc<Place>> = before.into_iter().filter(|place| !after.contains(place)).collect();
    if !gone.is_empty() {
        detach(lowered, &gone, claims, &refused, source);
    }
    let rules = std::mem::take(&mut lowered.client_auth).into_vec();
    let rule_may = |host: Option<&HostPattern>| may(host.unwrap_or(&HostPattern::Any));
    lowered.client_auth = rules.into_iter().filter(|rule| rule_may(rule.host.as_ref())).collect();
    let mut certificates = std::mem::take(&mut lowered.certificates).into_vec();
    certificates.retain_mut(|used| match &mut used.hosts {
        Hosts::Only(hosts) => {
            *hosts = hosts.iter().filter(|host| may(host)).cloned().collect();
            !hosts.is_empty()
        }
        Hosts::Carried => may(&HostPattern::Any),
    });
    lowered.certificates = certificates.into();
    let mut problems = std::mem::take(&mut lowered.problems).into_vec();
    for host in refused {
        let Some(message) = told(claims, &host, &source.namespace) else { continue };
        problems.push(Problem {
            severity: Severity::Refused,
            object: Some(source.clone()),
            field: "spec".into(),
            reason: "HostNotAllowed",
            message: message.into(),
            place: None,
        });
    }
    lowered.problems = problems.into();
}

/// Sections that something of the object is served on.
fn sections(lowered: &Lowered) -> BTreeSet<Arc<Place>> {
    let shares = lowered.shares.iter().map(|share| &share.place);
    shares.chain(lowered.relays.iter().map(|relay| &relay.place)).cloned().collect()
}

/// A route is not attached where none of its hosts is served any more, and a parent that has it nowhere does not accept it
/// (Gateway API v1, `NotAllowedByListeners`).
fn detach(
    lowered: &mut Lowered,
    gone: &[Arc<Place>],
    claims: &[HostClaim],
    refused: &[HostPattern],
    source: &ObjectRef,
) {
    let attached = std::mem::take(&mut lowered.attached).into_vec();
    lowered.attached = attached.into_iter().filter(|place| !gone.contains(place)).collect();
    let Some(status) = &mut lowered.status else { return };
    let is_gone = |gateway: &ObjectRef, name: &str| {
        gone.iter().any(|place| match &place.listener {
            ListenerKey::Gateway { namespace, name: own, .. }
            | ListenerKey::Datagrams { namespace, name: own, .. } => {
                *namespace == gateway.namespace && *own == gateway.name && *place.section == *name
            }
            ListenerKey::Class { .. } => false,
        })
    };
    let message = refused.first().and_then(|host| told(claims, host, &source.namespace)).unwrap_or_default();
    for parent in &mut Arc::make_mut(status).parents {
        let gateway = parent.gateway.clone();
        let before = parent.listeners.len();
        parent.listeners.retain(|name| !is_gone(&gateway, name));
        if parent.listeners.is_empty() && before > 0 {
            parent.accepted = Condition::no("NotAllowedByListeners", message.as_str());
            parent.partially_invalid = None;
        }
    }
}

/// Why an object of this namespace may not have the host, and whom to ask; `None` where it may.
fn told(claims: &[HostClaim], host: &HostPattern, namespace: &str) -> Option<String> {
    let claim = refusal(claims, host, namespace)?;
    Some(format!(
        "the namespace {namespace} may not claim {host}: hosts of the pattern {} are for {}; ask the operator (`hosts` in the \
         settings)",
        claim.pattern,
        claim.namespaces.join(", ")
    ))
}

/// Whether an object of this namespace may claim `host`.
pub(crate) fn may_claim(claims: &[HostClaim], host: &HostPattern, namespace: &str) -> bool {
    refusal(claims, host, namespace).is_none()
}

/// The entry that keeps `namespace` from claiming `host`: the narrowest that takes the host decides.
fn refusal<'a>(claims: &'a [HostClaim], host: &HostPattern, namespace: &str) -> Option<&'a HostClaim> {
    let takes = |claim: &&HostClaim| claim.pattern.intersect(host).as_ref() == Some(host);
    let decides = claims.iter().filter(takes).max_by_key(|claim| claim.pattern.specificity())?;
    let is_meant = |name: &str| match name.strip_suffix('*') {
        Some(begin) => namespace.starts_with(begin),
        None => namespace == name,
    };
    (!decides.namespaces.iter().any(|name| is_meant(name))).then_some(decides)
}
