//! From a reference to a backend to the Service that it means (Gateway API v1, `BackendObjectReference`).

use std::sync::Arc;

use super::lower::Scope;
use super::objects::Service;
use super::objects::httproute::BackendReference;
use super::problem::{Kind, ObjectRef};

/// Gateway API's word for why a reference cannot be used, and the words for people.
pub(super) type Unresolved = (&'static str, String);

/// A Service that a route may refer to, and the number of the port that is meant.
pub(super) struct Resolved<'o> {
    pub(super) target: ObjectRef,
    pub(super) service: &'o Arc<Service>,
    pub(super) number: u16,
}

/// Follows a reference of the object that the scope says.
pub(super) fn resolve<'o>(
    reference: &BackendReference,
    scope: &mut Scope<'o>,
) -> Result<Resolved<'o>, Unresolved> {
    let group = reference.group.as_deref().unwrap_or("");
    let kind = reference.kind.as_deref().unwrap_or("Service");
    if (group, kind) != ("", "Service") {
        let written = format!("{group}/{kind}");
        let written = written.trim_start_matches('/');
        return Err(("InvalidKind", format!("only Services can be backends, not {written}")));
    }
    let namespace = reference.namespace.as_ref().unwrap_or(&scope.source.namespace).clone();
    let target = ObjectRef { kind: Kind::Service, namespace, name: reference.name.clone() };
    if !scope.is_granted(&target) {
        let message = format!("no ReferenceGrant in {} allows the {target}", target.namespace);
        return Err(("RefNotPermitted", message));
    }
    let Some(service) = scope.service(&target.namespace, &target.name) else {
        return Err(("BackendNotFound", format!("there is no {target}")));
    };
    let Some(number) = reference.port else {
        return Err(("BackendNotFound", format!("write the port of the {target}")));
    };
    Ok(Resolved { target, service, number })
}
