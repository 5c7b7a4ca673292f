//! `ssl-passthrough`: TLS connections for a host that go to its Service as they are, found by their SNI.

use std::sync::Arc;

use super::{Lowering, path_field};
use crate::config::backend::Speech;
use crate::config::lower::RelayPlace;
use crate::config::objects::ingress::IngressPath;
use crate::config::problem::Severity;
use crate::route::host::HostPattern;
use crate::route::relay::{Relay, RelayShare};
use crate::upstream::BackendProtocol;

impl Lowering<'_, '_> {
    /// Passes the TLS connections for a host on to the Service of the path `/`, where the Ingress asks for it. What comes
    /// without TLS has its routes as ever.
    pub(super) fn passthrough(&mut self, index: usize, host: &HostPattern, paths: &[IngressPath]) {
        if self.reading.annotations.ssl_passthrough != Some(true) {
            return;
        }
        if *host == HostPattern::Any {
            let message = "ssl-passthrough finds connections by their host, and this rule has none";
            let field = format!("spec.rules[{index}].host");
            return self.scope.problem(Severity::Degraded, field, "UnsupportedValue", message);
        }
        let is_root = |path: &IngressPath| matches!(path.path.as_deref(), None | Some("" | "/"));
        let (backend, brought) = match paths.iter().position(is_root) {
            Some(entry) => {
                let bytes = Speech { protocol: BackendProtocol::Http1, tls: false };
                let wishes = self.wishes.as_ref().map(|wishes| wishes.only_speech(bytes));
                let field = format!("{}.backend", path_field(index, entry + 1));
                self.backend_with(wishes.as_ref(), &paths[entry].backend, &field)
            }
            None => {
                let message = "ssl-passthrough leads to the Service of the path `/`, and there is none: its TLS \
                               connections are closed";
                let field = format!("spec.rules[{index}].http.paths");
                self.scope.problem(Severity::Refused, field, "NoBackends", message);
                (None, None)
            }
        };
        let mut refusal = self.reading.refusal.clone().or(brought).map(|refusal| refusal.message);
        if refusal.is_none() && self.is_guarded() {
            let message = "no rule for access holds for connections that are passed on unread: they are closed; remove \
                           ssl-passthrough, or the rules";
            self.scope.problem(
                Severity::Refused,
                "metadata.annotations['vestibule.dev/ssl-passthrough']",
                "NotSupported",
                message,
            );
            refusal = Some(message.into());
        }
        let relay = Relay {
            origin: self.scope.source.clone(),
            refusal,
            backends: [RelayShare { weight: 1, backend }].into(),
            proxy_header: false,
        };
        let (place, host) = (self.place.clone(), host.clone());
        self.relays.push(RelayPlace { place, host, relay: Arc::new(relay) });
    }
}
