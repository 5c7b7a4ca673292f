//! Lowering a TLSRoute, TCPRoute or UDPRoute: to which listeners it attaches, and where bytes go from there.

use std::sync::Arc;

use super::annotations::{Dialect, Reading};
use super::attach::{Attachment, Belonging, Parents, attach};
use super::backend::{PortChoice, Speech, Through, numbered_port, numbered_udp_port};
use super::backend_ref::{Unresolved, resolve};
use super::gateway::Carries;
use super::lower::{ANY_NAME, BackendWishes, Lowered, RelayPlace, Scope, bystander};
use super::objects::httproute::HttpBackendReference;
use super::objects::metadata::Metadata;
use super::objects::relay_routes::RelayRouteSpec;
use super::problem::{Kind, ObjectRef, Severity};
use super::status::{Condition, ParentStatus, RouteStatus};
use crate::route::Refusal;
use crate::route::relay::{Relay, RelayShare};
use crate::upstream::{Backend, BackendProtocol};

/// Lowers a route of the kind that the scope says.
pub(crate) fn lower(
    metadata: &Metadata,
    spec: &RelayRouteSpec,
    parents: Parents<'_>,
    mut scope: Scope<'_>,
) -> Lowered {
    // Only TLS says a name before it says anything else.
    let hostnames = if scope.source.kind == Kind::TLSRoute { &spec.hostnames[..] } else { &[] };
    let belonging = Belonging { namespace: &metadata.namespace, parent_refs: &spec.parent_refs, hostnames };
    let attachments = attach(belonging, parents, &mut scope);
    if attachments.is_empty() {
        return scope.finish(Vec::new());
    }
    let mut reading = scope.annotations(&metadata.annotations, Dialect::Own);
    let wishes = scope.backend_wishes(&reading.annotations).map_err(|refusal| {
        reading.refusal.get_or_insert(refusal);
    });
    let mut lowering =
        Lowering { spec, reading, wishes: wishes.ok(), scope, policies: Vec::new(), resolved: None };
    // What is TLS already is passed on as it is; the rest may be put into TLS for the backend.
    let plain = lowering.relay(Within::ClientsOwnTls, None);
    let mut secured: Vec<(Option<Refusal>, bool, Arc<Relay>)> = Vec::new();
    let mut relays = Vec::new();
    let mut attached = Vec::new();
    let mut statuses = Vec::new();
    for attachment in attachments {
        let listeners = if attachment.refused.is_none() { attachment.names() } else { Vec::new() };
        for (door, hosts, refusal) in &attachment.doors {
            let passes = door.carries == Carries::Passthrough;
            let known = secured.iter().find(|(of, through, _)| of == refusal && *through == passes);
            let relay = match (known, passes, refusal) {
                (Some((.., relay)), ..) => relay.clone(),
                (None, true, None) => plain.clone(),
                (None, ..) => {
                    let within = if passes { Within::ClientsOwnTls } else { Within::Bytes };
                    let relay = lowering.relay(within, refusal.as_ref());
                    secured.push((refusal.clone(), passes, relay.clone()));
                    relay
                }
            };
            attached.push(door.place.clone());
            for host in hosts {
                relays.push(RelayPlace {
                    place: door.place.clone(),
                    host: host.clone(),
                    relay: relay.clone(),
                });
            }
        }
        statuses.push((attachment, listeners));
    }
    let Lowering { scope, policies, resolved, .. } = lowering;
    let parents = statuses.into_iter().map(|(attachment, listeners)| {
        let Attachment { parent, gateway, refused, .. } = attachment;
        ParentStatus {
            parent,
            gateway,
            accepted: refused.unwrap_or_else(|| Condition::yes("Accepted")),
            resolved_refs: resolved.clone().unwrap_or_else(|| Condition::yes("ResolvedRefs")),
            partially_invalid: None,
            listeners,
        }
    });
    let status = RouteStatus {
        route: scope.source.clone(),
        generation: metadata.generation,
        parents: parents.collect(),
    };
    Lowered {
        status: Some(Arc::new(status)),
        attached: attached.into(),
        policies: policies.into(),
        relays: relays.into(),
        ..scope.finish(Vec::new())
    }
}

struct Lowering<'a, 's> {
    spec: &'a RelayRouteSpec,
    reading: Reading,
    wishes: Option<BackendWishes>,
    scope: Scope<'s>,
    policies: Vec<ObjectRef>,
    resolved: Option<Condition>,
}

/// What the bytes are that are passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    ClientsOwnTls,
    Bytes,
}

impl Lowering<'_, '_> {
    fn relay(&mut self, within: Within, refusal: Option<&Refusal>) -> Arc<Relay> {
        let mut own = self.reading.refusal.clone().or_else(|| refusal.cloned());
        let mut backends = Vec::new();
        for (index, rule) in self.spec.rules.iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            if index > 0 {
                let message = "nothing tells the connections of two rules apart: the first one is in use";
                self.scope.problem(Severity::Degraded, field, "UnsupportedValue", message);
                continue;
            }
            for (position, reference) in rule.backend_refs.iter().enumerate() {
                let field = format!("{field}.backendRefs[{position}]");
                backends.push(self.share(&field, reference, within, &mut own));
            }
        }
        if backends.iter().all(|share| share.weight == 0) {
            let message = "the route has no backends: its connections are closed";
            self.scope.problem(Severity::Refused, "spec.rules", "NoBackends", message);
        }
        Arc::new(Relay {
            origin: self.scope.source.clone(),
            refusal: own.map(|refusal| refusal.message),
            backends: backends.into(),
            proxy_header: self.reading.annotations.send_proxy_protocol == Some(true),
        })
    }

    fn share(
        &mut self,
        field: &str,
        reference: &HttpBackendReference,
        within: Within,
        refusal: &mut Option<Refusal>,
    ) -> RelayShare {
        let weight = reference.weight.unwrap_or(1);
        match self.backend(reference, within, refusal) {
            Ok(backend) => RelayShare { weight, backend: Some(backend) },
            Err((reason, message)) => {
                self.scope.problem(Severity::Refused, field, reason, message.clone());
                // A policy that cannot be enforced is a matter of its own status.
                if reason != "InvalidBackendTls" {
                    self.resolved.get_or_insert_with(|| Condition::no(reason, message));
                }
                RelayShare { weight, backend: None }
            }
        }
    }

    fn backend(
        &mut self,
        reference: &HttpBackendReference,
        within: Within,
        refusal: &mut Option<Refusal>,
    ) -> Result<Arc<Backend>, Unresolved> {
        let resolved = resolve(&reference.reference(), &mut self.scope)?;
        let (service, number, target) = (resolved.service, resolved.number, resolved.target);
        let misplaced = bystander(&service.metadata.annotations, Kind::Service);
        self.scope.inherit(refusal, misplaced, &target);
        let udp = self.scope.source.kind == Kind::UDPRoute;
        let port: Option<PortChoice<'_>> =
            if udp { numbered_udp_port(service, number) } else { numbered_port(service, number) };
        let protocol = if udp { "UDP" } else { "TCP" };
        let port =
            port.ok_or_else(|| ("BackendNotFound", format!("the {target} has no {protocol} port {number}")))?;
        let wishes = self.wishes.as_ref();
        let wishes =
            wishes.ok_or_else(|| ("UnsupportedValue", "how to speak to backends is not known".to_owned()))?;
        let bytes = Speech { protocol: BackendProtocol::Http1, tls: false };
        let mut wishes = wishes.only_speech(bytes);
        if udp {
            wishes = wishes.through(Through::Datagrams);
        } else if within == Within::Bytes {
            self.scope.depend(Kind::BackendTLSPolicy, &target.namespace, &ANY_NAME.into());
            if let Some(policy) = self.scope.policies.in_force(&target.namespace, &target.name, port.name) {
                for policy in policy.policies {
                    if !self.policies.contains(policy) {
                        self.policies.push(policy.clone());
                    }
                }
                let tls = policy.tls.map_err(|message| ("InvalidBackendTls", message.to_string()))?;
                wishes = wishes.with_policy(bytes, tls).without_alpn();
            }
        }
        Ok(self.scope.backend(service, port, &wishes))
    }
}
