//! What becomes of one listener.

use std::sync::Arc;

use acme::name::Name;

use super::{Admission, Carries, Conflict, Door, GATEWAY_GROUP, Side};
use crate::certificates::requests::{Wish, wish, wish_of_set};
use crate::config::certs::{Certificates, target};
use crate::config::lower::{Place, Scope};
use crate::config::objects::gateway::{
    AllowedRoutes, Gateway, Listener, ListenerProtocol, NamespacesFrom, ObjectReference, TlsMode,
};
use crate::config::objects::metadata::Known;
use crate::config::problem::{Kind, ObjectRef, Severity};
use crate::config::status::Condition;
use crate::route::host::{HostPattern, WildcardLabels};
use crate::route::table::ListenerKey;
use crate::tls::certificates::Certificate;

/// One listener, of a Gateway or of the ListenerSet that the scope says, on its way to a verdict.
pub(super) struct Judge<'a, 'b, 's> {
    pub(super) gateway: &'a Gateway,
    /// Its name among all listeners of the Gateway.
    pub(super) section: Arc<str>,
    /// Where it stands in its object.
    pub(super) index: usize,
    pub(super) listener: &'a Listener,
    pub(super) certificates: &'b mut Certificates,
    pub(super) scope: &'b mut Scope<'s>,
}

impl Judge<'_, '_, '_> {
    pub(super) fn listener(&mut self, conflict: Option<Conflict>) -> (Door, Side) {
        let mut accepted = Condition::yes("Accepted");
        let mut resolved_refs = Condition::yes("ResolvedRefs");
        let host = self.host(&mut accepted);
        let carries = self.carries(&mut accepted);
        let kinds = self.kinds(carries, &mut resolved_refs);
        let namespaces = self.admission(&mut accepted);
        let ends_tls = matches!(carries, Some(Carries::Https | Carries::Terminate));
        let certificates =
            if ends_tls { self.certificates(&mut accepted, &mut resolved_refs) } else { Vec::new() };
        let https = carries == Some(Carries::Https);
        let client_auth = if https { self.client_auth(&mut accepted, &mut resolved_refs) } else { None };
        // What is not known is not served; what it is taken for is of no consequence.
        let carries = carries.unwrap_or(Carries::Http);
        let conflicted = match conflict {
            Some((reason, message)) => {
                self.problem(Severity::Refused, "", reason, message.clone());
                accepted = Condition::no(reason, message.clone());
                Condition { message: message.into(), ..Condition::yes(reason) }
            }
            None => Condition::no("NoConflicts", ""),
        };
        // Bad kinds leave the rest of the listener in use; a bad certificate does not.
        let served = accepted.holds && (resolved_refs.holds || resolved_refs.reason == "InvalidRouteKinds");
        let programmed = if conflicted.holds {
            Condition::no(conflicted.reason, conflicted.message.clone())
        } else if served {
            Condition::yes("Programmed")
        } else {
            let cause = if accepted.holds { &resolved_refs } else { &accepted };
            Condition::no("Invalid", cause.message.clone())
        };
        let metadata = &self.gateway.metadata;
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let port = self.listener.port;
        let listener = match carries {
            Carries::Udp => ListenerKey::Datagrams { namespace, name, port },
            _ => ListenerKey::Gateway { namespace, name, port },
        };
        let place = Arc::new(Place { listener, section: self.section.clone() });
        let name = self.listener.name.clone();
        let door = Door { name, place, port, host: host.clone(), carries, kinds, namespaces };
        let side = Side {
            name: self.listener.name.clone(),
            port,
            carries,
            host,
            certificates,
            client_auth,
            accepted,
            resolved_refs,
            conflicted,
            programmed,
        };
        (door, side)
    }

    fn host(&mut self, accepted: &mut Condition) -> HostPattern {
        match self.listener.hostname.as_deref().filter(|host| !host.is_empty()) {
            None => HostPattern::Any,
            Some(host) => HostPattern::parse(host, WildcardLabels::OneOrMore).unwrap_or_else(|error| {
                self.refuse(accepted, ".hostname", "UnsupportedValue", error.to_string());
                // Nothing is served here; the most narrow stand-in keeps routes from meaning more than was written.
                HostPattern::Exact(host.into())
            }),
        }
    }

    fn carries(&mut self, accepted: &mut Condition) -> Option<Carries> {
        let mode = match self.listener.tls.as_ref().and_then(|tls| tls.mode.as_ref()) {
            None | Some(Known::Value(TlsMode::Terminate)) => TlsMode::Terminate,
            Some(Known::Value(TlsMode::Passthrough)) => TlsMode::Passthrough,
            Some(Known::Unknown(mode)) => {
                let message = format!("`{mode}` is no TLS mode: write Terminate or Passthrough");
                self.refuse(accepted, ".tls.mode", "UnsupportedValue", message);
                TlsMode::Terminate
            }
        };
        match &self.listener.protocol {
            Known::Value(ListenerProtocol::Http) => Some(Carries::Http),
            Known::Value(ListenerProtocol::Https) => {
                if mode == TlsMode::Passthrough {
                    let message = "HTTPS listeners end TLS: write mode Terminate, or protocol TLS".to_owned();
                    self.refuse(accepted, ".tls.mode", "UnsupportedValue", message);
                }
                Some(Carries::Https)
            }
            Known::Value(ListenerProtocol::Tls) => Some(match mode {
                TlsMode::Terminate => Carries::Terminate,
                TlsMode::Passthrough => Carries::Passthrough,
            }),
            Known::Value(ListenerProtocol::Tcp) => Some(Carries::Tcp),
            Known::Value(ListenerProtocol::Udp) => Some(Carries::Udp),
            Known::Unknown(word) => {
                let message =
                    format!("`{word}` is no protocol that is known: write HTTP, HTTPS, TLS, TCP or UDP");
                self.refuse(accepted, ".protocol", "UnsupportedProtocol", message);
                None
            }
        }
    }

    /// The kinds of routes that may attach: those that the protocol carries, or the written ones of them.
    fn kinds(&mut self, carries: Option<Carries>, resolved: &mut Condition) -> Vec<Kind> {
        let Some(carries) = carries else { return Vec::new() };
        let carried = carries.kinds();
        let AllowedRoutes { kinds, .. } = &self.listener.allowed_routes;
        if kinds.is_empty() {
            return carried.to_vec();
        }
        let mut taken = Vec::new();
        for (position, written) in kinds.iter().enumerate() {
            let ours = written.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP;
            match carried.iter().find(|kind| ours && *written.kind == *kind.as_str()) {
                Some(kind) if taken.contains(kind) => {}
                Some(kind) => taken.push(*kind),
                None => {
                    let message = format!("routes of kind {} are not supported here", written.kind);
                    let field = format!(".allowedRoutes.kinds[{position}]");
                    self.problem(Severity::Degraded, &field, "InvalidRouteKinds", message.clone());
                    *resolved = Condition::no("InvalidRouteKinds", message);
                }
            }
        }
        taken
    }

    fn admission(&mut self, accepted: &mut Condition) -> Admission {
        let written = &self.listener.allowed_routes.namespaces;
        Admission::read(written, NamespacesFrom::Same).unwrap_or_else(|(field, message)| {
            self.refuse(accepted, &format!(".allowedRoutes.namespaces{field}"), "UnsupportedValue", message);
            Admission::None
        })
    }

    fn certificates(&mut self, accepted: &mut Condition, resolved: &mut Condition) -> Vec<Arc<Certificate>> {
        let references = self.listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
        let mut found = Vec::new();
        if references.is_empty() {
            let message =
                "a listener that ends TLS needs a certificate: name a Secret in tls.certificateRefs";
            self.problem(Severity::Refused, ".tls.certificateRefs", "InvalidCertificateRef", message.into());
            *resolved = Condition::no("InvalidCertificateRef", message);
            return found;
        }
        for (position, reference) in references.iter().enumerate() {
            match self.certificate(reference) {
                Ok(certificate) => found.push(certificate),
                Err((reason, message)) => {
                    let field = format!(".tls.certificateRefs[{position}]");
                    self.problem(Severity::Refused, &field, reason, message.clone());
                    *resolved = Condition::no(reason, message);
                }
            }
        }
        // One good certificate keeps the listener up, with the others told of.
        if !found.is_empty() && !resolved.holds && accepted.holds {
            self.problem(
                Severity::Warning,
                ".tls.certificateRefs",
                "InvalidCertificateRef",
                "the listener is not served until all of its certificates can be used".into(),
            );
        }
        found
    }

    fn certificate(
        &mut self,
        reference: &ObjectReference,
    ) -> Result<Arc<Certificate>, (&'static str, String)> {
        let invalid = "InvalidCertificateRef";
        let target =
            target(reference, Kind::Secret, &[Kind::Secret], &self.scope.source.namespace.clone())
                .map_err(|kind| (invalid, format!("a certificate stands in a Secret, not in a {kind}")))?;
        if !self.scope.is_granted(&target) {
            let message = format!("no ReferenceGrant in {} allows the {target}", target.namespace);
            return Err(("RefNotPermitted", message));
        }
        let Some(secret) = self.scope.secret(&target.namespace, &target.name) else {
            return self.pending(&target);
        };
        self.certificates.of(secret).map_err(|error| (invalid, format!("{target} cannot be used: {error}")))
    }

    /// For a Secret that is not there: what an issuer keeps for everyone, or a word on what is ordered.
    fn pending(&mut self, target: &ObjectRef) -> Result<Arc<Certificate>, (&'static str, String)> {
        let missing = ("InvalidCertificateRef", format!("there is no {target}"));
        let settings = self.scope.settings;
        let source = &self.scope.source;
        let set = self.scope.objects.listener_sets.find(&source.namespace, &source.name);
        let wish = match set.filter(|_| source.kind == Kind::ListenerSet) {
            Some(set) => wish_of_set(&set.metadata, &self.gateway.metadata, settings),
            None => wish(&self.gateway.metadata, settings),
        };
        let Wish::Issuer(issuer) = wish else { return Err(missing) };
        let name = self.listener.hostname.as_deref().and_then(|host| Name::parse(host).ok());
        let (Some(name), true) = (name, settings.issuers.iter().any(|known| *known.name == *issuer)) else {
            return Err(missing);
        };
        let shared = self.scope.shared_certificate(self.certificates, issuer, &name);
        shared
            .ok_or_else(|| (missing.0, format!("there is no {target} yet: the issuer `{issuer}` orders it")))
    }

    fn refuse(&mut self, accepted: &mut Condition, field: &str, reason: &'static str, message: String) {
        self.problem(Severity::Refused, field, reason, message.clone());
        *accepted = Condition::no(reason, message);
    }

    fn problem(&mut self, severity: Severity, field: &str, reason: &'static str, message: String) {
        let field = format!("spec.listeners[{}]{field}", self.index);
        self.scope.problem(severity, field, reason, message);
    }
}
