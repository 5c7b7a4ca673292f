//! Client certificates of a Gateway's HTTPS listeners (`spec.tls.frontend`).

use std::sync::Arc;

use super::judge::Judge;
use crate::config::certs::target;
use crate::config::objects::gateway::{FrontendValidation, FrontendValidationMode, ObjectReference};
use crate::config::objects::metadata::Known;
use crate::config::problem::{Kind, Severity};
use crate::config::status::Condition;
use crate::tls::client_auth::{ClientAuth, ClientAuthMode};

impl Judge<'_, '_, '_> {
    /// What the listener asks of clients: the rule for its port, or else the one for all ports. A rule that cannot be
    /// enforced is never dropped: the listener is refused.
    pub(super) fn client_auth(
        &mut self,
        accepted: &mut Condition,
        resolved: &mut Condition,
    ) -> Option<Arc<ClientAuth>> {
        let frontend = self.gateway.spec.tls.frontend.as_ref()?;
        let own = frontend.per_port.iter().find(|entry| entry.port == self.listener.port);
        let tls = own.map_or(&frontend.default, |entry| &entry.tls);
        let validation = tls.validation.as_ref()?;
        let mode = match validation.mode {
            None | Some(Known::Value(FrontendValidationMode::AllowValidOnly)) => ClientAuthMode::Require,
            Some(Known::Value(FrontendValidationMode::AllowInsecureFallback)) => {
                ClientAuthMode::InsecureFallback
            }
            Some(Known::Unknown(ref word)) => {
                let message = format!("`{word}` is no mode: write AllowValidOnly or AllowInsecureFallback");
                self.frontend_problem("UnsupportedValue", message.clone());
                *accepted = Condition::no("UnsupportedValue", message);
                return None;
            }
        };
        let bundle = self.authorities(validation, resolved);
        match ClientAuth::from_pem(mode, &bundle) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(error) => {
                let message = format!("no client can be verified: {error}");
                self.frontend_problem("NoValidCACertificate", message.clone());
                *accepted = Condition::no("NoValidCACertificate", message);
                None
            }
        }
    }

    /// The PEM of all authorities that can be read; the others are told of.
    fn authorities(&mut self, validation: &FrontendValidation, resolved: &mut Condition) -> Vec<u8> {
        let mut bundle = Vec::new();
        for reference in &validation.ca_certificate_refs {
            match self.authority(reference) {
                Ok(pem) => {
                    bundle.extend_from_slice(pem.as_bytes());
                    bundle.push(b'\n');
                }
                Err((reason, message)) => {
                    self.frontend_problem(reason, message.clone());
                    *resolved = Condition::no(reason, message);
                }
            }
        }
        bundle
    }

    fn authority(&mut self, reference: &ObjectReference) -> Result<Arc<str>, (&'static str, String)> {
        let namespace = &self.gateway.metadata.namespace;
        let target = target(reference, Kind::ConfigMap, &[Kind::ConfigMap], namespace).map_err(|kind| {
            ("InvalidCACertificateKind", format!("authorities stand in a ConfigMap, not in a {kind}"))
        })?;
        if !self.scope.is_granted(&target) {
            let message = format!("no ReferenceGrant in {} allows the {target}", target.namespace);
            return Err(("RefNotPermitted", message));
        }
        self.scope.depend(Kind::ConfigMap, &target.namespace, &target.name);
        let invalid = |message: String| ("InvalidCACertificateRef", message);
        let map = self.scope.objects.config_maps.find(&target.namespace, &target.name);
        let map = map.ok_or_else(|| invalid(format!("there is no {target}")))?;
        let pem = map.data.get("ca.crt").ok_or_else(|| invalid(format!("{target} has no ca.crt")))?;
        // Judged one by one, so that a bad one is named and does not spoil the others.
        ClientAuth::from_pem(ClientAuthMode::Require, pem.as_bytes())
            .map_err(|error| invalid(format!("{target} cannot be used: {error}")))?;
        Ok(pem.into())
    }

    fn frontend_problem(&mut self, reason: &'static str, message: String) {
        self.scope.problem(Severity::Refused, "spec.tls.frontend", reason, message);
    }
}
