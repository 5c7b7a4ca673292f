//! From the name a client asks for to the certificates that may be shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::route::host::{HostPattern, WildcardLabels};

use super::certificates::Certificate;
use super::{CertificateUse, Hosts};

/// The certificates of one listener by name.
///
/// Order of choice: a certificate that carries the exact name; one that carries its wildcard (one label, RFC 9525 §6.3);
/// one that configuration names for the host though it does not carry the name, the most specific host first; the default.
pub(super) struct CertificateNames {
    carried: HostMap<Candidates>,
    configured: HostMap<Candidates>,
    default: Candidates,
}

/// In the order of configuration. One, save where certificates of different key types serve one name.
type Candidates = SmallVec<[Arc<Certificate>; 1]>;

impl CertificateNames {
    pub(super) fn new(uses: &[CertificateUse], default: Option<Arc<Certificate>>) -> Self {
        let mut carried = HostMap::default();
        let mut configured = HostMap::default();
        for CertificateUse { certificate, hosts } in uses {
            match hosts {
                Hosts::Carried => {
                    for name in certificate.names() {
                        add(&mut carried, name, certificate);
                    }
                }
                Hosts::Only(patterns) => {
                    for pattern in patterns {
                        for name in certificate.names() {
                            if let Some(name) = intersection(name, pattern) {
                                add(&mut carried, name, certificate);
                            }
                        }
                        if !certificate.names().contains(pattern) {
                            add(&mut configured, pattern, certificate);
                        }
                    }
                }
            }
        }
        CertificateNames { carried, configured, default: default.into_iter().collect() }
    }

    /// The certificates that may be shown for a name, which is lower case. Empty: refuse the handshake.
    pub(super) fn candidates(&self, server_name: Option<&str>) -> &[Arc<Certificate>] {
        server_name
            .and_then(|name| self.carried.find(name).or_else(|| self.configured.find(name)))
            .unwrap_or(&self.default)
    }
}

impl fmt::Debug for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateNames")
            .field("names", &self.carried.len())
            .field("default", &self.default.first())
            .finish_non_exhaustive()
    }
}

/// Values by host: exact names, wildcards of one label or of any number, and one for any host.
#[derive(Debug)]
pub(super) struct HostMap<T> {
    exact: HashMap<Arc<str>, T, foldhash::fast::RandomState>,
    /// By suffix with its leading dot.
    one_label: HashMap<Arc<str>, T, foldhash::fast::RandomState>,
    any_labels: HashMap<Arc<str>, T, foldhash::fast::RandomState>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        HostMap {
            exact: HashMap::default(),
            one_label: HashMap::default(),
            any_labels: HashMap::default(),
            any: None,
        }
    }
}

impl<T> HostMap<T> {
    /// The value of the most specific pattern: the exact name, then the longest wildcard, at equal length the one that
    /// covers one label only, then any host. The name is lower case.
    pub(super) fn find(&self, name: &str) -> Option<&T> {
        self.find_named(name).or(self.any.as_ref())
    }

    fn find_named(&self, name: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        let mut suffix = &name[name.find('.')?..];
        if let Some(value) = self.one_label.get(suffix) {
            return Some(value);
        }
        if self.any_labels.is_empty() {
            return None;
        }
        loop {
            if let Some(value) = self.any_labels.get(suffix) {
                return Some(value);
            }
            suffix = &suffix[1 + suffix[1..].find('.')?..];
        }
    }

    /// The value of a pattern, made if there is none yet.
    pub(super) fn value_or_insert_with(&mut self, pattern: &HostPattern, make: impl FnOnce() -> T) -> &mut T {
        let (map, key) = match pattern {
            HostPattern::Any => return self.any.get_or_insert_with(make),
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard { suffix, labels: WildcardLabels::One } => (&mut self.one_label, suffix),
            HostPattern::Wildcard { suffix, labels: WildcardLabels::OneOrMore } => {
                (&mut self.any_labels, suffix)
            }
        };
        map.entry(key.clone()).or_insert_with(make)
    }

    pub(super) fn len(&self) -> usize {
        self.exact.len() + self.one_label.len() + self.any_labels.len() + self.any.iter().count()
    }
}

fn add(names: &mut HostMap<Candidates>, pattern: &HostPattern, certificate: &Arc<Certificate>) {
    let candidates = names.value_or_insert_with(pattern, Candidates::new);
    // One wildcard certificate is often named by hundreds of Ingresses.
    let known = candidates.iter().any(|candidate| candidate.digest() == certificate.digest());
    if !known && candidates.len() < CERTIFICATES_PER_NAME_MAX {
        candidates.push(certificate.clone());
    }
}

/// The names that both a name on a certificate and a configured host cover: the narrower of the two, or nothing.
fn intersection<'a>(carried: &'a HostPattern, configured: &'a HostPattern) -> Option<&'a HostPattern> {
    use HostPattern::{Any, Exact, Wildcard};
    match (carried, configured) {
        (_, Any) => Some(carried),
        (Any, _) => Some(configured),
        (Exact(name), Exact(host)) => (name == host).then_some(carried),
        (Exact(name), Wildcard { suffix, labels }) => covers(suffix, *labels, name).then_some(carried),
        (Wildcard { suffix, labels }, Exact(host)) => covers(suffix, *labels, host).then_some(configured),
        (Wildcard { suffix: carried_suffix, .. }, Wildcard { suffix, labels }) => {
            let same = carried_suffix == suffix;
            let deeper = *labels == WildcardLabels::OneOrMore && carried_suffix.ends_with(&**suffix);
            (same || deeper).then_some(carried)
        }
    }
}

pub(super) fn covers(suffix: &str, labels: WildcardLabels, name: &str) -> bool {
    match name.strip_suffix(suffix) {
        None | Some("") => false,
        Some(front) => labels == WildcardLabels::OneOrMore || !front.contains('.'),
    }
}

/// More certificates than this for one name cannot differ in what matters to a client; later ones are not shown.
const CERTIFICATES_PER_NAME_MAX: usize = 8;

#[cfg(test)]
mod tests;
