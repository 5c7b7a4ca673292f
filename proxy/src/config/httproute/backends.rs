//! The backends of a rule, and those that get copies of its requests.

use std::sync::Arc;

use http::StatusCode;

use super::{Broken, Lowering, Portion, filters};
use crate::config::backend::numbered_port;
use crate::config::backend_ref::{Resolved, resolve};
use crate::config::lower::{ANY_NAME, bystander};
use crate::config::objects::httproute::{BackendReference, HttpBackendReference};
use crate::config::problem::{Kind, ObjectRef, Severity};
use crate::config::status::Condition;
use crate::route::{Mirror, Refusal};
use crate::upstream::Backend;

/// A backend that a reference means, with the refusal that its Service brings along.
enum Found {
    Open(Arc<Backend>, Option<Refusal>),
    /// A policy for it cannot be enforced, for this reason: its share is answered by the edge.
    Closed(String, Option<Refusal>),
}

impl Lowering<'_, '_> {
    pub(super) fn mirrors(&mut self, field: &str, wanted: Vec<filters::WantedMirror>) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        for mirror in wanted {
            let field = format!("{field}.filters[{}].requestMirror.backendRef", mirror.position);
            match self.backend(&mirror.target) {
                Ok(Found::Closed(message, _)) => {
                    self.scope.problem(Severity::Degraded, field, "InvalidBackendTls", message);
                }
                Ok(Found::Open(backend, _)) => {
                    mirrors.push(Mirror {
                        target: None,
                        backend,
                        numerator: mirror.numerator,
                        denominator: mirror.denominator,
                    });
                }
                Err((reason, message)) => {
                    // The answer does not hang on a copy: the requests go on.
                    self.scope.problem(Severity::Degraded, field, reason, message.clone());
                    self.unresolved(reason, message);
                }
            }
        }
        mirrors
    }

    pub(super) fn backends(
        &mut self,
        field: &str,
        references: &[HttpBackendReference],
        refusal: &mut Option<Refusal>,
    ) -> Vec<Portion> {
        let mut portions = Vec::new();
        for (position, reference) in references.iter().enumerate() {
            let field = format!("{field}.backendRefs[{position}]");
            let weight = reference.weight.unwrap_or(1);
            let mut backend = match self.backend(&reference.reference()) {
                Ok(found) => {
                    let namespace = reference.namespace.as_ref().unwrap_or(&self.metadata.namespace);
                    let (namespace, name) = (namespace.clone(), reference.name.clone());
                    let service = ObjectRef { kind: Kind::Service, namespace, name };
                    let (backend, misplaced) = match found {
                        Found::Open(backend, misplaced) => (Ok(backend), misplaced),
                        Found::Closed(message, misplaced) => {
                            self.scope.problem(Severity::Refused, &*field, "InvalidBackendTls", message);
                            (Err(StatusCode::INTERNAL_SERVER_ERROR), misplaced)
                        }
                    };
                    self.scope.inherit(refusal, misplaced, &service);
                    backend
                }
                Err((reason, message)) => {
                    self.scope.problem(Severity::Refused, &*field, reason, message.clone());
                    self.unresolved(reason, message);
                    Err(StatusCode::INTERNAL_SERVER_ERROR)
                }
            };
            let edits = filters::for_backend(&reference.filters).unwrap_or_else(|(at, reason, message)| {
                self.scope.problem(Severity::Refused, format!("{field}.filters[{at}]"), reason, message);
                backend = Err(StatusCode::INTERNAL_SERVER_ERROR);
                Default::default()
            });
            portions.push(Portion { weight, backend, request_headers: edits.0, response_headers: edits.1 });
        }
        portions
    }

    fn backend(&mut self, reference: &BackendReference) -> Result<Found, Broken> {
        let Resolved { target, service, number } = resolve(reference, &mut self.scope)?;
        let Some(port) = numbered_port(service, number) else {
            return Err(("BackendNotFound", format!("the {target} has no TCP port {number}")));
        };
        let misplaced = bystander(&service.metadata.annotations, Kind::Service);
        let Some(wishes) = &self.wishes else {
            return Err(("UnsupportedValue", "how to speak to backends is not known".into()));
        };
        let mut speech = port.speech();
        if self.scope.source.kind == Kind::GRPCRoute {
            speech = port.grpc_speech().ok_or_else(|| {
                let message = format!("the appProtocol of port {number} of the {target} cannot carry gRPC");
                ("UnsupportedProtocol", message)
            })?;
        }
        let mut wishes = wishes.or_speech(speech);
        self.scope.depend(Kind::BackendTLSPolicy, &target.namespace, &ANY_NAME.into());
        let in_force = self.scope.policies.in_force(&target.namespace, &target.name, port.name);
        if let Some(policy) = in_force {
            for policy in policy.policies {
                if !self.policies.contains(policy) {
                    self.policies.push(policy.clone());
                }
            }
            match policy.tls {
                Ok(tls) => wishes = wishes.with_policy(speech, tls),
                Err(message) => return Ok(Found::Closed(message.to_string(), misplaced)),
            }
        }
        if let Some(certificate) = &self.certificate {
            wishes = wishes.with_certificate(certificate);
        }
        Ok(Found::Open(self.scope.backend(service, port, &wishes), misplaced))
    }

    /// The server that a filter asks: spoken to as its port says, whatever the application behind the rule speaks.
    pub(super) fn filter_backend(&mut self, reference: &BackendReference) -> Result<Arc<Backend>, Broken> {
        let Resolved { target, service, number } = resolve(reference, &mut self.scope)?;
        let Some(port) = numbered_port(service, number) else {
            return Err(("BackendNotFound", format!("the {target} has no TCP port {number}")));
        };
        self.scope.server(service, port, port.speech()).map_err(|message| ("InvalidBackendTls", message))
    }

    pub(super) fn unresolved(&mut self, reason: &'static str, message: String) {
        self.verdict.resolved.get_or_insert_with(|| Condition::no(reason, message));
    }
}
