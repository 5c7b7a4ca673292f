//! Moving in from another controller: what of its configuration is honoured as it is, what changes, and what to write instead.
//!
//! Manifests go in; a report for each object comes out, and for those that only Traefik reads the YAML that says the same here.
//! What guards access and cannot be translated becomes a route that lets nobody in.

mod documents;
mod filters;
mod guards;
mod ingress;
mod middleware;
mod neighbours;
mod plan;
mod relays;
mod render;
mod rule;
mod services;
mod traefik;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub use documents::{Documents, ReadError};
pub use plan::plan;
pub use render::{Format, render};

/// What was found in a set of manifests.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Those with something to say, in the order of their kinds and names.
    pub objects: Vec<ObjectReport>,
}

/// What becomes of one object.
#[derive(Debug, Serialize)]
pub struct ObjectReport {
    /// `IngressRoute shop/web`.
    pub object: String,
    pub findings: Vec<Finding>,
    /// What says the same here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<Value>,
}

/// One thing that an object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// The key, field or object that says it.
    pub about: String,
    pub words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Honoured as it is, or in the YAML that was written.
    Same,
    /// Served, but not quite as before.
    Changes,
    /// Has to be written by hand.
    ByHand,
    /// Refuses until somebody decides: it guards access and cannot be translated.
    Closed,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Changes => "changes",
            Verdict::ByHand => "by hand",
            Verdict::Closed => "closed",
        }
    }
}

/// Whose names the written objects carry.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Ingress class.
    pub class: String,
    /// The namespace that Vestibule runs in.
    pub namespace: String,
    /// The ports of Traefik's entry points, by their names.
    pub entry_points: BTreeMap<String, u16>,
}

impl Target {
    /// With the entry points that every Traefik has.
    pub fn new(class: &str, namespace: &str) -> Self {
        let entry_points = [("web", 80), ("websecure", 443)];
        let entry_points = entry_points.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
        Target { class: class.to_owned(), namespace: namespace.to_owned(), entry_points }
    }
}

impl Report {
    /// True when nothing is left to be done by hand.
    pub fn is_complete(&self) -> bool {
        let findings = self.objects.iter().flat_map(|object| &object.findings);
        findings.into_iter().all(|finding| finding.verdict < Verdict::ByHand)
    }

    /// The same, saying that these kinds could not be looked at.
    pub fn without(mut self, unreadable: &[String]) -> Report {
        if !unreadable.is_empty() {
            let (findings, written) = (Vec::new(), Vec::new());
            let mut report = ObjectReport { object: "the cluster".into(), findings, written };
            for kind in unreadable {
                let words = "may not be read by this user, and may guard access: what is said below does not count them";
                report.say(Verdict::Closed, kind, words);
            }
            self.objects.insert(0, report);
        }
        self
    }

    /// Everything that was written, with the object that it stands for.
    pub fn written(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.objects.iter().flat_map(|report| report.written.iter().map(|value| (&*report.object, value)))
    }
}

/// Looks at all objects.
pub fn migrate(documents: &Documents, target: &Target) -> Report {
    let mut objects = Vec::new();
    let mut listeners = relays::Listeners::default();
    for object in documents.iter() {
        let mut report =
            ObjectReport { object: documents::name_of(object), findings: Vec::new(), written: Vec::new() };
        match documents::kind_of(object) {
            "Ingress" => ingress::look(object, documents, target, &mut report),
            "IngressRoute" => traefik::http(object, documents, target, &mut report),
            "IngressRouteTCP" => relays::tcp(object, documents, target, &mut listeners, &mut report),
            "IngressRouteUDP" => relays::udp(object, documents, target, &mut listeners, &mut report),
            "Middleware" | "MiddlewareTCP" => middleware::look(object, documents, &mut report),
            "TLSOption" => traefik::tls_option(object, &mut report),
            "ServersTransport" | "ServersTransportTCP" => traefik::servers_transport(object, &mut report),
            "TraefikService" => traefik::service(object, &mut report),
            "Gateway" => filters::gateway(object, target, &mut report),
            "HTTPRoute" | "GRPCRoute" => filters::route(object, documents, &mut report),
            "Certificate" => neighbours::certificate(object, documents, &mut report),
            "NetworkPolicy" => neighbours::network_policy(object, documents, target, &mut report),
            "AuthorizationPolicy" | "PeerAuthentication" | "Server" | "ServerAuthorization" => {
                neighbours::mesh(object, documents, target, &mut report);
            }
            "Deployment" | "DaemonSet" | "StatefulSet" => neighbours::workload(object, &mut report),
            "ValidatingWebhookConfiguration" => neighbours::webhook(object, &mut report),
            "IngressClass" => neighbours::class(object, target, &mut report),
            _ => {}
        }
        if !report.findings.is_empty() || !report.written.is_empty() {
            objects.push(report);
        }
    }
    objects.extend(listeners.reports(target));
    Report { objects }
}

impl ObjectReport {
    fn say(&mut self, verdict: Verdict, about: impl Into<String>, words: impl Into<String>) {
        let finding = Finding { verdict, about: about.into(), words: words.into() };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
