//! What a Gateway shows to backends (`spec.tls.backend`).

use std::sync::Arc;

use crate::config::certs::{Certificates, target};
use crate::config::lower::Scope;
use crate::config::objects::gateway::{Gateway, ObjectReference};
use crate::config::problem::{Kind, Severity};
use crate::config::status::Condition;
use crate::tls::certificates::Certificate;

/// The client certificate of a Gateway, and whether its reference can be followed; nothing when it has none. Without it
/// backends that ask for one turn the edge away, so a bad one refuses nothing here.
pub(super) fn client_certificate(
    gateway: &Gateway,
    certificates: &mut Certificates,
    scope: &mut Scope<'_>,
) -> (Option<Arc<Certificate>>, Option<Condition>) {
    let backend = gateway.spec.tls.backend.as_ref();
    let Some(reference) = backend.and_then(|backend| backend.client_certificate_ref.as_ref()) else {
        return (None, None);
    };
    match find(reference, certificates, scope) {
        Ok(certificate) => (Some(certificate), Some(Condition::yes("ResolvedRefs"))),
        Err((reason, message)) => {
            let field = "spec.tls.backend.clientCertificateRef";
            scope.problem(Severity::Degraded, field, reason, message.clone());
            (None, Some(Condition::no(reason, message)))
        }
    }
}

fn find(
    reference: &ObjectReference,
    certificates: &mut Certificates,
    scope: &mut Scope<'_>,
) -> Result<Arc<Certificate>, (&'static str, String)> {
    let invalid = "InvalidClientCertificateRef";
    let target = target(reference, Kind::Secret, &[Kind::Secret], &scope.source.namespace.clone())
        .map_err(|kind| (invalid, format!("a certificate stands in a Secret, not in a {kind}")))?;
    if !scope.is_granted(&target) {
        let message = format!("no ReferenceGrant in {} allows the {target}", target.namespace);
        return Err(("RefNotPermitted", message));
    }
    let Some(secret) = scope.secret(&target.namespace, &target.name) else {
        return Err((invalid, format!("there is no {target}")));
    };
    certificates.of(secret).map_err(|error| (invalid, format!("{target} cannot be used: {error}")))
}
