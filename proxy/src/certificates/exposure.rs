//! Credentials that a process can read which does not order: told by the process itself, because only it knows. Pure.

use crate::config::objects::Objects;
use crate::config::problem::{Problem, Severity};
use crate::settings::Settings;

/// One problem for each Secret with credentials of an issuer that is among the objects of this process.
///
/// Kubernetes grants the right to read Secrets by namespace or name, so whoever reads the certificates of a namespace reads
/// all that stands there. That a process which clients reach has DNS credentials is for the operator to mend.
pub(crate) fn exposed(objects: &Objects, settings: &Settings) -> Vec<Problem> {
    let namespace = settings.certificates.private_namespace();
    let mut problems: Vec<Problem> = Vec::new();
    for (index, issuer) in settings.issuers.iter().enumerate() {
        for source in issuer.secrets() {
            let Err(key) = source.value_source() else { continue };
            if objects.secrets.find(namespace, &key.name).is_none() {
                continue;
            }
            let message = format!(
                "the Secret {namespace}/{} with credentials of the issuer `{}` can be read by this process, which serves \
                 clients and orders nothing; keep it in a namespace whose Secrets edges may not read, and name that in \
                 certificates.privateNamespace",
                key.name, issuer.name
            );
            problems.push(Problem {
                severity: Severity::Warning,
                object: None,
                field: format!("issuers[{index}]").into(),
                reason: "CredentialsReadable",
                message: message.into(),
                place: None,
            });
        }
    }
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests;
