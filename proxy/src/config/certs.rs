//! Certificates and authorities, from the Secrets and ConfigMaps that objects name. Each Secret is parsed once.

use std::collections::HashMap;
use std::sync::Arc;

use super::objects::Secret;
use super::objects::gateway::ObjectReference;
use super::problem::{Kind, ObjectRef};
use crate::directory::manifest::SEALED_SECRET_TYPE;
use crate::tls::certificates::Certificate;

/// Certificates by the Secret that they stand in.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    parsed: HashMap<ObjectRef, Parsed>,
}

#[derive(Debug)]
struct Parsed {
    secret: Arc<Secret>,
    /// The words of the error hold nothing of the Secret.
    certificate: Result<Arc<Certificate>, Arc<str>>,
}

impl Certificates {
    /// The certificate in this Secret, or what is wrong with it.
    pub(crate) fn of(&mut self, secret: &Arc<Secret>) -> Result<Arc<Certificate>, Arc<str>> {
        let reference = secret.metadata.reference(Kind::Secret);
        if let Some(known) = self.parsed.get(&reference)
            && Arc::ptr_eq(&known.secret, secret)
        {
            return known.certificate.clone();
        }
        let certificate = parse(secret);
        self.parsed.insert(reference, Parsed { secret: secret.clone(), certificate: certificate.clone() });
        certificate
    }

    /// Lets go of a Secret that changed or went.
    pub(crate) fn forget(&mut self, reference: &ObjectRef) {
        self.parsed.remove(reference);
    }

    pub(crate) fn forget_all(&mut self) {
        self.parsed.clear();
    }
}

fn parse(secret: &Secret) -> Result<Arc<Certificate>, Arc<str>> {
    if is_sealed(secret) {
        return Err(SEALED.into());
    }
    let part = |key: &str| {
        let value = secret.data.get(key);
        value.map(|value| value.expose()).ok_or_else(|| Arc::from(format!("it has no {key}")))
    };
    let certificate = Certificate::from_pem(part("tls.crt")?, part("tls.key")?);
    certificate.map(Arc::new).map_err(|error| error.to_string().into())
}

/// Whether the Secret is known to exist while its content is not known here: encrypted by SOPS, or yet to be made of a
/// SealedSecret or an ExternalSecret.
pub(crate) fn is_sealed(secret: &Secret) -> bool {
    // `check` fills in content of its own for these.
    *secret.secret_type == *SEALED_SECRET_TYPE && secret.data.is_empty()
}

/// What is wrong with a sealed Secret, and the mend.
pub(crate) const SEALED: &str = "its content is sealed (SOPS, SealedSecret or ExternalSecret) and cannot be read here; \
                                 put the opened Secret into the manifests";

/// The object that a reference means, where absent parts default to the referrer's namespace and to this kind; or `Err` with
/// the written kind when it is another one.
pub(crate) fn target(
    reference: &ObjectReference,
    default: Kind,
    allowed: &[Kind],
    namespace: &Arc<str>,
) -> Result<ObjectRef, String> {
    let group = reference.group.as_deref().unwrap_or("");
    let kind = reference.kind.as_deref().unwrap_or(default.as_str());
    let known = allowed.iter().find(|allowed| group.is_empty() && allowed.as_str() == kind);
    let known = known.ok_or_else(|| format!("{group}/{kind}").trim_start_matches('/').to_owned())?;
    let namespace = reference.namespace.as_ref().unwrap_or(namespace);
    Ok(ObjectRef { kind: *known, namespace: namespace.clone(), name: reference.name.clone() })
}
