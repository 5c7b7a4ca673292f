//! Which hosts have TLS, by whichever Ingress of their class says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::certs::Certificates;
use crate::config::ingress;
use crate::config::lower::{Lowered, Place, Scope};
use crate::config::objects::Ingress;
use crate::config::problem::ObjectRef;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::settings::Class;

/// The class of an Ingress, and the hosts that it declares to have TLS.
pub(super) type Claims = (Arc<str>, BTreeSet<HostPattern>);

/// The hosts of each class that some Ingress declares to have TLS: they hold for all Ingresses of the host.
#[derive(Debug, Default)]
pub(super) struct Secured {
    hosts: HashMap<(Arc<str>, HostPattern), u32, RandomState>,
    /// Claims of Ingresses that are about to be lowered.
    pub(super) pending: BTreeMap<ObjectRef, Option<Box<Claims>>>,
}

impl Secured {
    /// Puts new claims in the place of old ones; hosts that got their first claim or lost their last go into `shifted`.
    pub(super) fn replace(
        &mut self,
        old: Option<&Claims>,
        new: Option<&Claims>,
        shifted: &mut BTreeSet<(Arc<str>, HostPattern)>,
    ) {
        let keys = |claims: Option<&Claims>| {
            let pairs = claims.map(|(class, hosts)| hosts.iter().map(|host| (class.clone(), host.clone())));
            pairs.into_iter().flatten().collect::<BTreeSet<_>>()
        };
        let (old, new) = (keys(old), keys(new));
        for key in new.difference(&old) {
            let count = self.hosts.entry(key.clone()).or_default();
            *count += 1;
            if *count == 1 {
                shifted.insert(key.clone());
            }
        }
        for key in old.difference(&new) {
            if let Some(count) = self.hosts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.hosts.remove(key);
                    shifted.insert(key.clone());
                }
            }
        }
    }

    fn covers(&self, class: &Arc<str>, host: &HostPattern) -> bool {
        if self.hosts.contains_key(&(class.clone(), host.clone())) {
            return true;
        }
        let HostPattern::Exact(name) = host else { return false };
        let Some(dot) = name.find('.') else { return false };
        let parent = HostPattern::Wildcard { suffix: name[dot..].into(), labels: WildcardLabels::One };
        self.hosts.contains_key(&(class.clone(), parent))
    }

    pub(super) fn lower(
        &self,
        ingress: &Ingress,
        class: &Class,
        place: &Arc<Place>,
        certificates: &mut Certificates,
        scope: Scope<'_>,
    ) -> Lowered {
        let has_tls = |host: &HostPattern| self.covers(&class.name, host);
        ingress::lower(ingress, class, place, &has_tls, certificates, scope)
    }
}
