//! Logins of many applications by way of one host: what an application's host asks of it, and the ticket that it answers with.
//!
//! Both travel through the browser, sealed; a ticket is good for one flow of one host.

use http::HeaderValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::sessions::Pass;
use super::super::{CALLBACK_PATH, Metadata, Provider, START_PATH, Visit};
use super::{BeginError, Callback, Failure, Flow, Manner, Purposeful, Step};
use crate::session::{Binding, KeyRing, KeyRingError, Purpose, Reading, Worth};

/// How long a ticket between two hosts is good.
pub const TICKET_SECONDS_MAX: i64 = 60;

/// The host that sent someone to the auth host, and waits for a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Onward {
    origin: String,
    host: String,
    /// Of the flow on that host.
    id: String,
}

/// What one host asks of the auth host.
#[derive(Serialize, Deserialize)]
struct Request {
    provider: String,
    onward: Onward,
    manner: Manner,
    expires: i64,
}

impl Provider {
    pub(super) fn ask_auth_host(
        &self,
        ring: &KeyRing,
        auth_host: &str,
        visit: &Visit<'_>,
        (id, manner): (&str, Manner),
        now: Timestamp,
    ) -> Result<String, KeyRingError> {
        let origin = visit.origin();
        let request = Request {
            provider: self.key().to_owned(),
            onward: Onward { origin: origin.clone(), host: visit.host.to_owned(), id: id.to_owned() },
            manner,
            expires: now.as_second() + TICKET_SECONDS_MAX,
        };
        let scope = without_port(auth_host);
        let binding =
            Binding { purpose: Purpose::Ticket, name: REQUEST, scope: &scope, provider: self.key() };
        let sealed = ring.seal(&binding, &serde_json::to_vec(&request).unwrap_or_default(), now)?;
        let scheme = origin.split("://").next().unwrap_or("https");
        Ok(format!("{scheme}://{auth_host}{START_PATH}?request={sealed}"))
    }

    /// On the auth host: takes up what another host asks for (`request` of the query). `None` when it is not for this
    /// provider, or too old.
    pub fn take_request(
        &self,
        ring: &KeyRing,
        metadata: Option<&Metadata>,
        visit: &Visit<'_>,
        sealed: &str,
        now: Timestamp,
    ) -> Option<Result<Step, BeginError>> {
        let binding =
            Binding { purpose: Purpose::Ticket, name: REQUEST, scope: visit.host, provider: self.key() };
        let request: Request = serde_json::from_slice(&ring.open(&binding, sealed)?).ok()?;
        if now.as_second() >= request.expires || request.provider != self.key() {
            return None;
        }
        // Who is logged in here needs no second login.
        if let Reading::Session(session, Worth::Live | Worth::Reseal) = self.session(ring, visit, now) {
            let pass = Pass::of(&session, visit.stored);
            return Some(self.ticket(ring, pass, &request.onward, now).map_err(Into::into));
        }
        let wanted =
            Purposeful { return_to: "/".to_owned(), manner: request.manner, onward: Some(request.onward) };
        Some(self.begin_for(ring, metadata, visit, wanted, now))
    }

    /// Sends someone who is logged in here on to the host that waits for them.
    pub(super) fn ticket(
        &self,
        ring: &KeyRing,
        pass: Pass,
        onward: &Onward,
        now: Timestamp,
    ) -> Result<Step, KeyRingError> {
        let mut plain = (now.as_second() + TICKET_SECONDS_MAX).to_be_bytes().to_vec();
        plain.extend_from_slice(&pass.encode());
        let sealed = ring.seal(&self.ticket_binding(&onward.id, &onward.host), &plain, now)?;
        let location = format!("{}{CALLBACK_PATH}?state={}&ticket={sealed}", onward.origin, onward.id);
        Ok(Step { location, cookies: Vec::new(), write: None })
    }

    /// Takes the session out of a ticket from the auth host.
    pub(super) fn take_ticket(
        &self,
        ring: &KeyRing,
        visit: &Visit<'_>,
        (id, flow): (&str, &Flow),
        sealed: &str,
        mut cookies: Vec<HeaderValue>,
        now: Timestamp,
    ) -> Callback {
        let opened = ring.open(&self.ticket_binding(id, visit.host), sealed).and_then(|plain| {
            let (expires, pass) = plain.split_at_checked(8)?;
            let expires = i64::from_be_bytes(expires.try_into().ok()?);
            self.take_pass(pass).filter(|_| now.as_second() < expires)
        });
        let written = opened.map(|pass| self.show(ring, &pass, visit, now));
        match written {
            Some(Ok(more)) => {
                cookies.extend(more);
                Callback::Go(Step { location: flow.return_to.clone(), cookies, write: None })
            }
            Some(Err(_)) | None => Callback::Failed { failure: Failure::NoFlow, cookies },
        }
    }

    fn ticket_binding<'a>(&'a self, id: &'a str, host: &'a str) -> Binding<'a> {
        Binding { purpose: Purpose::Ticket, name: id, scope: host, provider: self.key() }
    }
}

fn without_port(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    host.to_ascii_lowercase()
}

/// The name that requests to the auth host are bound to.
const REQUEST: &str = "request";
