//! Which certificates are wanted: from what the objects ask for, and what the issuers allow. Pure.
//!
//! A wildcard that an issuer is configured with covers what it can, in every namespace, so that one certificate serves
//! them all and no key is copied. It is ordered when a route has a name under it, and not before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::name::Name;

/// Where a certificate is kept: a Secret's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// What an object asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: CertificateId,
    pub issuer: Arc<str>,
    /// Names that a route serves.
    pub names: Vec<Name>,
}

/// What an issuer says about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub issuer: Arc<str>,
    /// Domains whose names it may order; empty allows every name.
    pub domains: Vec<Arc<str>>,
    /// Wildcards that are ordered in the place of single names.
    pub wildcards: Vec<Name>,
}

/// One certificate to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub id: CertificateId,
    pub issuer: Arc<str>,
    /// Sorted, each once, none covered by another.
    pub names: Vec<Name>,
}

/// Why a name gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no issuer `{issuer}`; the settings have: {known}")]
    UnknownIssuer { issuer: Arc<str>, known: String },
    #[error("the issuer `{issuer}` may not order {name}: its domains are {domains}")]
    NotAllowed { issuer: Arc<str>, name: Name, domains: String },
    #[error("{id} is asked for from the issuers `{first}` and `{second}`; the first is used")]
    TwoIssuers { id: CertificateId, first: Arc<str>, second: Arc<str> },
    #[error("{id} would carry more than {NAMES_MAX} names; {name} and what follows are left out")]
    TooManyNames { id: CertificateId, name: Name },
}

/// What is to be had, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub wanted: Vec<Wanted>,
    /// With the certificate whose request was at fault.
    pub refused: Vec<(CertificateId, Refusal)>,
}

/// Plans. `shared` is the namespace where certificates that belong to no object are kept.
pub fn plan(requests: &[Request], scopes: &[Scope], shared: &str) -> Plan {
    let mut plan = Plan::default();
    let mut own: BTreeMap<CertificateId, (Arc<str>, Vec<Name>)> = BTreeMap::new();
    let mut wildcards: BTreeMap<(Arc<str>, Name), Vec<Name>> = BTreeMap::new();
    for request in requests {
        let Some(scope) = scopes.iter().find(|scope| scope.issuer == request.issuer) else {
            let known = list(scopes.iter().map(|scope| &*scope.issuer));
            let refusal = Refusal::UnknownIssuer { issuer: request.issuer.clone(), known };
            plan.refused.push((request.id.clone(), refusal));
            continue;
        };
        for name in &request.names {
            if let Err(refusal) = scope.allow(name) {
                plan.refused.push((request.id.clone(), refusal));
                continue;
            }
            if let Some(wildcard) = scope.wildcard_for(name) {
                wildcards.entry((scope.issuer.clone(), wildcard.clone())).or_default();
                continue;
            }
            let (issuer, names) =
                own.entry(request.id.clone()).or_insert_with(|| (request.issuer.clone(), Vec::new()));
            if *issuer == request.issuer {
                names.push(name.clone());
            } else {
                let (first, second) = (issuer.clone(), request.issuer.clone());
                let refusal = Refusal::TwoIssuers { id: request.id.clone(), first, second };
                plan.refused.push((request.id.clone(), refusal));
                break;
            }
        }
    }
    for ((issuer, wildcard), _) in wildcards {
        let id = CertificateId { namespace: shared.into(), name: wildcard_secret(&issuer, &wildcard) };
        plan.wanted.push(Wanted { id, issuer, names: vec![wildcard] });
    }
    for (id, (issuer, names)) in own {
        let (names, left_out) = tidy(names);
        if let Some(name) = left_out {
            plan.refused.push((id.clone(), Refusal::TooManyNames { id: id.clone(), name }));
        }
        plan.wanted.push(Wanted { id, issuer, names });
    }
    plan.refused.dedup();
    plan
}

/// The Secret of a wildcard: `vestibule-ISSUER-wildcard-example-com`.
pub fn wildcard_secret(issuer: &str, wildcard: &Name) -> Arc<str> {
    secret_name(issuer, &format!("wildcard-{}", wildcard.base()))
}

/// The Secret of a name whose object names none.
pub fn shared_secret(issuer: &str, name: &Name) -> Arc<str> {
    match name.is_wildcard() {
        true => wildcard_secret(issuer, name),
        false => secret_name(issuer, name.as_str()),
    }
}

/// Names of Secrets keep the dots of a name, so that two names never share one; RFC 1123 bounds them at 253 characters.
fn secret_name(issuer: &str, rest: &str) -> Arc<str> {
    let name = format!("vestibule-{issuer}-{rest}");
    if name.len() <= crate::name::NAME_LEN_MAX {
        return name.into();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, rest.as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("vestibule-{issuer}-{hex}").into()
}

impl Scope {
    fn allow(&self, name: &Name) -> Result<(), Refusal> {
        if self.domains.is_empty() || self.domains.iter().any(|domain| name.is_within(domain)) {
            return Ok(());
        }
        let domains = list(self.domains.iter().map(|domain| &**domain));
        Err(Refusal::NotAllowed { issuer: self.issuer.clone(), name: name.clone(), domains })
    }

    fn wildcard_for(&self, name: &Name) -> Option<&Name> {
        self.wildcards.iter().find(|wildcard| wildcard.covers(name))
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Sorted, without what another covers, and no more than fit; with the first that did not.
fn tidy(mut names: Vec<Name>) -> (Vec<Name>, Option<Name>) {
    names.sort();
    names.dedup();
    let all = names.clone();
    names.retain(|name| !all.iter().any(|other| other != name && other.covers(name)));
    let left_out = names.get(NAMES_MAX).cloned();
    names.truncate(NAMES_MAX);
    (names, left_out)
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let joined = texts.collect::<Vec<_>>().join(", ");
    if joined.is_empty() { "none".to_owned() } else { joined }
}

/// The most that Let's Encrypt puts into one certificate (profile `classic`).
pub const NAMES_MAX: usize = 100;

#[cfg(test)]
mod tests;
