//! What a change concerns: which objects have to be lowered again.

use std::collections::BTreeSet;

use super::Compiler;
use super::dependents::Dependents;
use crate::config::gateway;
use crate::config::lower::ANY_NAME;
use crate::config::objects::Objects;
use crate::config::problem::{Kind, ObjectRef};
use crate::settings::Settings;

/// What has to be lowered again.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) policies: BTreeSet<ObjectRef>,
    pub(super) gateways: BTreeSet<ObjectRef>,
    pub(super) sources: BTreeSet<ObjectRef>,
}

impl Work {
    pub(super) fn add_dependents(&mut self, dependents: &Dependents, changed: &ObjectRef) {
        for dependent in dependents.of(changed) {
            match dependent.kind {
                Kind::BackendTLSPolicy => self.policies.insert(dependent.clone()),
                Kind::Gateway => self.gateways.insert(dependent.clone()),
                _ => self.sources.insert(dependent.clone()),
            };
        }
    }
}

impl Compiler {
    /// What has to be lowered again.
    pub(super) fn plan(&mut self, objects: &Objects, settings: &Settings) -> Work {
        let changes = match &self.seen {
            Some((cursor, seen)) if seen == settings => objects.changes_since(*cursor),
            _ => None,
        };
        let changes: Option<BTreeSet<ObjectRef>> = changes.map(|changes| changes.cloned().collect());
        self.seen = Some((objects.cursor(), settings.clone()));
        match changes {
            Some(changes) if changes.iter().all(|changed| changed.kind != Kind::IngressClass) => {
                self.plan_changes(objects, changes)
            }
            // A class decides whose every Ingress is.
            _ => self.plan_all(objects),
        }
    }

    fn plan_all(&mut self, objects: &Objects) -> Work {
        self.certificates.forget_all();
        self.backends.refresh_all(objects);
        let mut work = Work::default();
        work.policies.extend(self.policies.names().cloned());
        let policies = objects.backend_tls_policies.iter();
        work.policies.extend(policies.map(|policy| policy.metadata.reference(Kind::BackendTLSPolicy)));
        work.gateways.extend(self.gateways.keys().cloned());
        work.gateways
            .extend(objects.gateways.iter().map(|gateway| gateway.metadata.reference(Kind::Gateway)));
        work.sources.extend(self.sources.keys().cloned());
        work.sources.extend(objects.ingresses.iter().map(|object| object.metadata.reference(Kind::Ingress)));
        work.sources
            .extend(objects.http_routes.iter().map(|object| object.metadata.reference(Kind::HTTPRoute)));
        work.sources
            .extend(objects.grpc_routes.iter().map(|object| object.metadata.reference(Kind::GRPCRoute)));
        work.sources
            .extend(objects.tls_routes.iter().map(|object| object.metadata.reference(Kind::TLSRoute)));
        work.sources
            .extend(objects.tcp_routes.iter().map(|object| object.metadata.reference(Kind::TCPRoute)));
        work.sources
            .extend(objects.udp_routes.iter().map(|object| object.metadata.reference(Kind::UDPRoute)));
        work
    }

    fn plan_changes(&mut self, objects: &Objects, changes: BTreeSet<ObjectRef>) -> Work {
        let mut work = Work::default();
        for changed in changes {
            match changed.kind {
                Kind::Ingress
                | Kind::HTTPRoute
                | Kind::GRPCRoute
                | Kind::TLSRoute
                | Kind::TCPRoute
                | Kind::UDPRoute => {
                    work.sources.insert(changed);
                }
                // The routes follow, if what they see of it changed.
                Kind::Gateway => {
                    work.gateways.insert(changed);
                }
                Kind::ListenerSet => {
                    let set = objects.listener_sets.find(&changed.namespace, &changed.name);
                    work.gateways.extend(set.and_then(|set| gateway::parent_of(set)));
                    // The Gateway that it had, and the routes that name it.
                    work.add_dependents(&self.dependents, &changed);
                }
                Kind::BackendTLSPolicy => {
                    work.policies.insert(changed);
                }
                Kind::GatewayClass => {
                    let all =
                        objects.gateways.iter().map(|gateway| gateway.metadata.reference(Kind::Gateway));
                    work.gateways.extend(all);
                }
                Kind::EndpointSlice => {
                    self.backends.refresh(objects, &changed.namespace, &changed.name);
                }
                Kind::Service => {
                    self.backends.refresh(objects, &changed.namespace, &changed.name);
                    work.add_dependents(&self.dependents, &changed);
                }
                Kind::ReferenceGrant => {
                    let any = ObjectRef { name: ANY_NAME.into(), ..changed };
                    work.add_dependents(&self.dependents, &any);
                }
                Kind::Secret | Kind::ConfigMap | Kind::Namespace => {
                    self.certificates.forget(&changed);
                    work.add_dependents(&self.dependents, &changed);
                }
                Kind::IngressClass => {}
            }
        }
        work
    }
}
