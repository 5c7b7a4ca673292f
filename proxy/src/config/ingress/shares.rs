//! Which backends an Ingress's path is forwarded to, and how they are spoken to.

use http::StatusCode;

use super::Lowering;
use crate::config::annotations::WrittenProtocol;
use crate::config::backend::Speech;
use crate::config::lower::BackendWishes;
use crate::config::objects::ingress::{IngressBackend, IngressServiceBackend, ServicePortReference};
use crate::config::problem::Severity;
use crate::route::{Action, Refusal, WeightedBackend};
use crate::upstream::BackendProtocol;

impl Lowering<'_, '_> {
    /// The Service that the path names, or those of `service-weights` in its place.
    pub(super) fn forward(
        &mut self,
        backend: &IngressBackend,
        field: &str,
        secure: bool,
    ) -> (Action, Option<Refusal>) {
        let wishes = self.wishes_for(secure);
        let weights = self.reading.annotations.service_weights.clone();
        if weights.is_empty() {
            let (backend, refusal) = self.backend_with(wishes.as_ref(), backend, field);
            let action = match backend {
                Some(backend) => Action::Forward([WeightedBackend::whole(backend)].into()),
                None => Action::Status(StatusCode::SERVICE_UNAVAILABLE),
            };
            return (action, refusal);
        }
        let (mut shares, mut refusal) = (Vec::new(), None);
        for share in weights {
            let own = backend.service.as_ref().map(|service| service.port.clone());
            let port = share.port.as_deref().map(port_ref).or(own).unwrap_or_default();
            let named = IngressBackend {
                service: Some(IngressServiceBackend { name: share.name.clone(), port }),
                resource: None,
            };
            let field = "metadata.annotations['vestibule.dev/service-weights']";
            let (backend, refused) = self.backend_with(wishes.as_ref(), &named, field);
            refusal = refusal.or(refused);
            let backend = backend.ok_or(StatusCode::SERVICE_UNAVAILABLE);
            let (request_headers, response_headers) = (None, None);
            shares.push(WeightedBackend { weight: share.weight, backend, request_headers, response_headers });
        }
        (Action::Forward(shares.into()), refusal)
    }

    /// As the annotations say. `AUTO_HTTP` speaks as the client did: on a host with TLS that is TLS, since plain requests are
    /// redirected; where they are not, both kinds come, and one way to speak has to do.
    fn wishes_for(&mut self, secure: bool) -> Option<BackendWishes> {
        let wishes = self.wishes.clone()?;
        let words = &self.reading.annotations;
        if words.backend_protocol != Some(WrittenProtocol::AutoHttp) || !secure || self.class.https.is_empty()
        {
            return Some(wishes);
        }
        if words.ssl_redirect == Some(false) && words.force_ssl_redirect != Some(true) {
            let message = "AUTO_HTTP: the host takes plain requests and such in TLS, and the backend is asked without TLS for \
                           both; write HTTP or HTTPS, or have plain requests redirected";
            let field = "metadata.annotations['vestibule.dev/backend-protocol']";
            self.scope.problem(Severity::Degraded, field, "UnsupportedValue", message);
            return Some(wishes);
        }
        Some(wishes.only_speech(Speech { protocol: BackendProtocol::Http1, tls: true }))
    }
}

/// A number, or a name.
fn port_ref(text: &str) -> ServicePortReference {
    match text.parse() {
        Ok(number) => ServicePortReference { name: None, number: Some(number) },
        Err(_) => ServicePortReference { name: Some(text.into()), number: None },
    }
}
