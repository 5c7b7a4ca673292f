//! Backends beside an Ingress's own: who writes its error pages, and who gets copies of its requests.

use std::sync::Arc;

use http::HeaderValue;

use super::Lowering;
use crate::config::annotations::Dialect;
use crate::config::backend::first_port;
use crate::config::problem::Severity;
use crate::config::providers::server_at;
use crate::route::errors::{ErrorPages, Source};
use crate::route::{Handling, Mirror, MirrorBody, MirrorTarget, WeightedBackend};
use crate::upstream::Backend;

impl Lowering<'_, '_> {
    /// Adds to the handling of all routes what the keys about error pages and mirrors say.
    pub(super) fn companions(&mut self) {
        let errors = self.error_pages();
        let mirror = self.mirror();
        if errors.is_none() && mirror.is_none() {
            return;
        }
        let mirrors = mirror.into_iter().collect();
        let handling = Handling { errors: errors.map(Arc::new), mirrors, ..Handling::clone(&self.handling) };
        self.handling = Arc::new(handling);
    }

    fn error_pages(&mut self) -> Option<ErrorPages> {
        let words = self.reading.annotations.errors.clone();
        let own = words.backend.as_deref().and_then(|name| self.named_backend(name));
        let stand_in = own.as_ref().map(|backend| [WeightedBackend::whole(backend.clone())].into());
        let backend = own.or_else(|| match (&words.codes, &words.class_backend) {
            (Some(_), Some(name)) => self.named_backend(name),
            (Some(_) | None, _) => None,
        });
        let Some(backend) = backend else {
            if words.codes.as_ref().is_some_and(|codes| !codes.is_empty()) && words.backend.is_none() {
                let instead = match self.reading.dialect {
                    Dialect::Own => "name a Service in `default-backend`",
                    Dialect::Nginx => {
                        "name a Service in `default-backend`, or in `ingressNginx.defaultBackend` of the class"
                    }
                };
                let message = format!(
                    "nobody writes the pages of `custom-http-errors`, so errors stay as they are: {instead}"
                );
                self.scope.problem(
                    Severity::Degraded,
                    field("custom-http-errors"),
                    "NoErrorBackend",
                    message,
                );
            }
            return None;
        };
        let source = if words.edge_only == Some(true) { Source::Edge } else { Source::Everybody };
        Some(ErrorPages { codes: words.codes.unwrap_or_default(), source, backend, stand_in })
    }

    /// The first port of a Service: of the Ingress's namespace, unless the operator names another one.
    fn named_backend(&mut self, written: &str) -> Option<Arc<Backend>> {
        let own = self.ingress.metadata.namespace.clone();
        let (namespace, name) = written.split_once('/').unwrap_or((&own, written));
        let (namespace, name): (Arc<str>, Arc<str>) = (namespace.into(), name.into());
        let Some(service) = self.scope.service(&namespace, &name) else {
            let message = format!("there is no Service {namespace}/{name} to write error pages");
            self.scope.problem(Severity::Degraded, field("default-backend"), "BackendNotFound", message);
            return None;
        };
        let Some(port) = first_port(service) else {
            let message = format!("the Service {namespace}/{name} has no TCP port");
            self.scope.problem(Severity::Degraded, field("default-backend"), "BackendNotFound", message);
            return None;
        };
        let speech = port.speech();
        match self.scope.server(service, port, speech) {
            Ok(backend) => Some(backend),
            Err(message) => {
                self.scope.problem(
                    Severity::Degraded,
                    field("default-backend"),
                    "InvalidBackendTls",
                    message,
                );
                None
            }
        }
    }

    fn mirror(&mut self) -> Option<Mirror> {
        let words = self.reading.annotations.mirror.clone();
        let url = words.target?;
        match server_at(&mut self.scope, &url) {
            Ok(server) => {
                let host: HeaderValue = words.host.unwrap_or(server.host);
                let body = if words.body == Some(false) { MirrorBody::LeftOut } else { MirrorBody::Copied };
                let target = server.target;
                Some(Mirror {
                    backend: server.backend,
                    numerator: 1,
                    denominator: 1,
                    target: Some(Arc::new(MirrorTarget { target, host, body })),
                })
            }
            Err(reason) => {
                let message = format!("requests are not mirrored: the server of `mirror-target` {reason}");
                self.scope.problem(Severity::Degraded, field("mirror-target"), "BackendNotFound", message);
                None
            }
        }
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations['vestibule.dev/{key}']")
}
