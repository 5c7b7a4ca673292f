//! `sessionPersistence` of a rule (GEP-1619).

use std::hash::BuildHasher;

use crate::config::lower::Scope;
use crate::config::objects::httproute::SessionPersistence;
use crate::config::problem::Severity;
use crate::config::values::{parse_duration, parse_header_name};
use crate::route::affinity::{Affinity, AfterFailure, Carrier, Cookie, Reach, Secure, Session};

/// The sessions of the rule with this index. What cannot be had is told, and the rule is served without it.
pub(super) fn lower(
    scope: &mut Scope<'_>,
    written: &SessionPersistence,
    index: usize,
    field: &str,
) -> Option<Affinity> {
    let field = format!("{field}.sessionPersistence");
    match session(scope, written, index) {
        Ok(session) => {
            if written.idle_timeout.is_some() {
                let message = "a session does not end by being idle; write `absoluteTimeout`";
                scope.problem(
                    Severity::Degraded,
                    format!("{field}.idleTimeout"),
                    "UnsupportedValue",
                    message,
                );
            }
            Some(Affinity::Session(session))
        }
        Err((name, message)) => {
            let message = format!("{message}; the rule is served without sessions");
            scope.problem(Severity::Degraded, format!("{field}.{name}"), "UnsupportedValue", message);
            None
        }
    }
}

/// The field at fault, and the words for people.
type Fault = (&'static str, String);

fn session(scope: &Scope<'_>, written: &SessionPersistence, index: usize) -> Result<Session, Fault> {
    let absolute_timeout =
        match written.absolute_timeout.as_deref() {
            None => None,
            Some(text) => {
                let parsed = parse_duration(text).filter(|timeout| timeout.as_secs() > 0);
                Some(parsed.ok_or_else(|| {
                    ("absoluteTimeout", format!("`{text}` is no duration of a second or more"))
                })?)
            }
        };
    // Every rule needs a name of its own, and the same one on every replica.
    let name = match &written.session_name {
        Some(name) => name.clone(),
        None => {
            let hash = foldhash::quality::FixedState::default().hash_one((scope.source.to_string(), index));
            format!("vestibule-session-{:08x}", hash as u32).into()
        }
    };
    let header = parse_header_name(&name).map_err(|_| {
        ("sessionName", format!("`{}` is no name of a cookie or header", name.escape_debug()))
    })?;
    let lifetime = written.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_deref());
    let max_age = match lifetime {
        None | Some("Session") => None,
        Some("Permanent") if absolute_timeout.is_some() => absolute_timeout,
        Some("Permanent") => {
            return Err(("cookieConfig.lifetimeType", "`Permanent` needs `absoluteTimeout`".into()));
        }
        Some(word) => {
            let message = format!("`{}` is neither Session nor Permanent", word.escape_debug());
            return Err(("cookieConfig.lifetimeType", message));
        }
    };
    let carrier = match written.persistence_type.as_deref() {
        None | Some("Cookie") => Carrier::Cookie(Cookie {
            name,
            path: None,
            domain: None,
            max_age,
            expires: None,
            same_site: None,
            secure: Secure::AsRequest,
        }),
        Some("Header") => Carrier::Header(header),
        Some(word) => {
            return Err(("type", format!("`{}` is neither Cookie nor Header", word.escape_debug())));
        }
    };
    let (after_failure, reach) = (AfterFailure::Stays, Reach::AllBackends);
    Ok(Session { carrier, absolute_timeout, after_failure, reach })
}
