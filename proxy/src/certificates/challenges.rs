//! Which names every replica answers for when a CA asks by HTTP-01. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use acme::plan::Plan;
use acme::store::THUMBPRINTS;

use crate::config::objects::Objects;
use crate::route::challenges::Challenges;
use crate::settings::Settings;

/// The names of the plan that are proved by HTTP-01, with the thumbprints that the leader has published. `None` where there is
/// nothing to answer.
///
/// Only the Secret of Vestibule's own namespace counts: whoever could say another thumbprint could have certificates.
pub(crate) fn challenges(objects: &Objects, settings: &Settings, plan: &Plan) -> Option<Challenges> {
    let known = objects.secrets.find(settings.certificates.namespace(), THUMBPRINTS)?;
    let by_http = settings.issuers.iter().filter(|issuer| issuer.has_http01());
    let issuers: BTreeMap<&str, _> = by_http
        .filter_map(|issuer| {
            let thumbprint = known.data.get(&*issuer.account_key())?;
            let thumbprint: Arc<str> = std::str::from_utf8(thumbprint.expose()).ok()?.into();
            Some((&*issuer.name, (issuer, thumbprint)))
        })
        .collect();
    let names = plan.wanted.iter().flat_map(|wanted| {
        let issuer = issuers.get(&*wanted.issuer);
        issuer.into_iter().flat_map(|(issuer, thumbprint)| {
            let names = wanted.names.iter().filter(|name| issuer.is_proved_by_http(name));
            names.map(|name| (name.as_str().into(), thumbprint.clone()))
        })
    });
    Challenges::new(names)
}
