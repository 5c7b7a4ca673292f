//! From the name a client asks for to the certificates that may be shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::route::host::{Host, HostMap, HostPattern};

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
        let mut carried = HashMap::new();
        let mut configured = HashMap::new();
        for CertificateUse { certificate, hosts } in uses {
            match hosts {
                Hosts::Carried => {
                    for name in certificate.names() {
                        add(&mut carried, name.clone(), certificate);
                    }
                }
                Hosts::Only(patterns) => {
                    for pattern in patterns {
                        let meet = certificate.names().iter().filter_map(|name| name.intersect(pattern));
                        let mut carried_whole = false;
                        for name in meet {
                            carried_whole |= name == *pattern;
                            add(&mut carried, name, certificate);
                        }
                        if !carried_whole {
                            add(&mut configured, pattern.clone(), certificate);
                        }
                    }
                }
            }
        }
        CertificateNames {
            carried: carried.into_iter().collect(),
            configured: configured.into_iter().collect(),
            default: default.into_iter().collect(),
        }
    }

    /// The certificates that may be shown to a client that asks for this host, or for none. Empty: refuse the handshake.
    pub(super) fn candidates(&self, host: Option<&Host>) -> &[Arc<Certificate>] {
        self.carried.best(host).or_else(|| self.configured.best(host)).unwrap_or(&self.default)
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

fn add(names: &mut HashMap<HostPattern, Candidates>, pattern: HostPattern, certificate: &Arc<Certificate>) {
    let candidates = names.entry(pattern).or_default();
    // One wildcard certificate is often named by hundreds of Ingresses.
    let known = candidates.iter().any(|candidate| candidate.digest() == certificate.digest());
    if !known && candidates.len() < CERTIFICATES_PER_NAME_MAX {
        candidates.push(certificate.clone());
    }
}

/// More certificates than this for one name cannot differ in what matters to a client; later ones are not shown.
const CERTIFICATES_PER_NAME_MAX: usize = 8;

#[cfg(test)]
mod tests;
