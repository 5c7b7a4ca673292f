//! `auth-tls-*`: which client certificates the hosts of an Ingress ask for.
//!
//! They hold for a host as a whole, whichever Ingress the other paths are of; of several Ingresses the oldest says which. A
//! Secret that cannot be used closes the host.

use std::sync::Arc;

use crate::config::annotations::{ClientWords, VerifyClient};
use crate::config::certs::{SEALED, is_sealed};
use crate::config::lower::Scope;
use crate::config::problem::Severity;
use crate::route::Refusal;
use crate::route::client_certificates::{ClientCertificates, Demand};
use crate::tls::client_auth::{ClientAuth, ClientAuthMode, Revocation};

/// What the hosts of one Ingress ask of their clients.
#[derive(Clone, Debug)]
pub(super) struct HostDemand {
    pub(super) rules: Arc<ClientCertificates>,
    /// What the handshake asks for.
    pub(super) policy: Arc<ClientAuth>,
}

/// What `words` mean; `None` where no certificate is asked for. The refusal is for all routes of the hosts.
pub(super) fn lower(scope: &mut Scope<'_>, words: &ClientWords) -> Result<Option<HostDemand>, Refusal> {
    match demand(scope, words) {
        Ok(demand) => Ok(demand),
        Err((key, message)) => {
            let message: Arc<str> = message.into();
            let field = format!("metadata.annotations['vestibule.dev/{key}']");
            scope.problem(Severity::Refused, field, "InvalidClientCertificates", message.clone());
            Err(Refusal { message })
        }
    }
}

/// The key at fault, and the words for people.
type Fault = (&'static str, String);

fn demand(scope: &mut Scope<'_>, words: &ClientWords) -> Result<Option<HostDemand>, Fault> {
    let demand = match words.verify {
        Some(VerifyClient::Off) if words.subject.is_some() => {
            let message =
                "`auth-tls-match-cn` needs a certificate, and `auth-tls-verify-client: off` asks for none";
            return Err(("auth-tls-match-cn", message.into()));
        }
        Some(VerifyClient::Off) => return Ok(None),
        Some(VerifyClient::On) | None => Demand::Required,
        Some(VerifyClient::Optional) => Demand::IfShown,
        Some(VerifyClient::OptionalWithoutAuthority) => Demand::Nothing,
    };
    let Some(written) = &words.secret else {
        return match words.needs_secret() {
            Some(key) => {
                Err((key, format!("`{key}` has no effect without `auth-tls-secret`: write both, or none")))
            }
            None => Ok(None),
        };
    };
    let policy = authorities(scope, written, words.depth.unwrap_or(DEPTH)).map_err(|reason| {
        ("auth-tls-secret", format!("`auth-tls-secret` names the Secret {written}, {reason}"))
    })?;
    let rules = ClientCertificates {
        demand,
        subject: words.subject.clone(),
        passes_certificate: words.passes_certificate == Some(true),
        error_page: words.error_page.clone(),
    };
    Ok(Some(HostDemand { rules: Arc::new(rules), policy: Arc::new(policy) }))
}

fn authorities(scope: &mut Scope<'_>, written: &str, depth: u32) -> Result<ClientAuth, String> {
    let own = scope.source.namespace.clone();
    let (namespace, name) = written.split_once('/').unwrap_or((&own, written));
    if *namespace != *own {
        return Err(format!("which is of another namespace; it must be of its own, {own}"));
    }
    let secret = scope.secret(&own, &name.into()).ok_or("which does not exist")?;
    if is_sealed(secret) {
        return Err(format!("but {SEALED}"));
    }
    let bundle = secret.data.get("ca.crt").ok_or("which has no ca.crt")?;
    let revocation = Revocation {
        lists: secret.data.get("ca.crl").map(|lists| lists.expose().to_vec()),
        intermediates_max: Some(depth as usize),
    };
    ClientAuth::with_revocation(ClientAuthMode::InsecureFallback, bundle.expose(), revocation)
        .map_err(|error| format!("which cannot be used: {error}"))
}

/// `auth-tls-verify-depth` where it is not written.
const DEPTH: u32 = 1;
