//! Where a provider's sessions are: in cookies, or in the store with a handle in a cookie.

use http::HeaderValue;
use jiff::Timestamp;

use super::flow::BeginError;
use super::{Keeping, Provider, Visit};
use crate::session::stored::{Handle, HandleReading, Manner, SessionId, Stored, Tokens, Write};
use crate::session::{CookieError, KeyRing, Reading, Session};

/// What one host of ours gives another: the session, or its name.
pub(super) enum Pass {
    Session(Box<Session>),
    Handle(Handle),
}

/// A session that begins.
pub(super) struct Begun {
    pub(super) cookies: Vec<HeaderValue>,
    pub(super) write: Option<Box<Write>>,
    pub(super) pass: Pass,
}

/// Cookies for the browser, and what the store has to hold before they are sent.
pub type Kept = (Vec<HeaderValue>, Option<Box<Write>>);

impl Pass {
    pub(super) fn of(session: &Session, stored: Option<&Stored>) -> Self {
        stored
            .map_or_else(|| Pass::Session(Box::new(session.clone())), |stored| Pass::Handle(stored.handle()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Pass::Session(session) => session.encode(),
            Pass::Handle(handle) => handle.encode(),
        }
    }
}

impl Provider {
    /// The name under which the store has this request's session; None where it names none, or sessions are in cookies.
    pub fn handle(&self, ring: &KeyRing, visit: &Visit<'_>) -> Option<SessionId> {
        match self.read_handle(ring, visit)? {
            HandleReading::Handle(handle) => Some(handle.id),
            HandleReading::Absent | HandleReading::Unreadable => None,
        }
    }

    /// Reads the session that a request carries.
    pub fn session(&self, ring: &KeyRing, visit: &Visit<'_>, now: Timestamp) -> Reading {
        let lifetimes = &self.settings().lifetimes;
        match self.read_handle(ring, visit) {
            None => self.cookies().read(ring, visit.headers, visit.transport, visit.host, lifetimes, now),
            Some(HandleReading::Absent) => Reading::Absent,
            Some(HandleReading::Unreadable) => Reading::Unreadable,
            Some(HandleReading::Handle(handle)) => match visit.stored {
                Some(stored) if stored.id == handle.id => {
                    let worth = stored.session.worth(lifetimes, now);
                    Reading::Session(Box::new(stored.session.clone()), worth)
                }
                // It was ended, or somebody else's was looked up.
                Some(_) | None => Reading::Unreadable,
            },
        }
    }

    /// Goes on with the session of this request as it is given here, in the place of what it was.
    pub fn keep(
        &self,
        ring: &KeyRing,
        session: &Session,
        visit: &Visit<'_>,
        now: Timestamp,
    ) -> Result<Kept, BeginError> {
        match visit.stored {
            None => {
                let pass = Pass::Session(Box::new(session.clone()));
                Ok((self.show(ring, &pass, visit, now)?, None))
            }
            Some(stored) => {
                let stored = Stored { session: session.clone(), ..stored.clone() };
                let write = stored.write(ring, self.key(), Manner::Update, now)?;
                Ok((Vec::new(), Some(Box::new(write))))
            }
        }
    }

    /// A session that begins with this request, wherever sessions are.
    pub(super) fn begin_session(
        &self,
        ring: &KeyRing,
        session: Session,
        tokens: Tokens,
        visit: &Visit<'_>,
        now: Timestamp,
    ) -> Result<Begun, BeginError> {
        let (pass, write) = match self.settings().keeping {
            Keeping::Cookie => (Pass::Session(Box::new(session)), None),
            Keeping::Store { .. } => {
                let stored = Stored { id: SessionId::random()?, session, tokens };
                let mut write = stored.write(ring, self.key(), Manner::New, now)?;
                write.replaces = visit.stored.map(|before| before.id.key());
                (Pass::Handle(stored.handle()), Some(Box::new(write)))
            }
        };
        Ok(Begun { cookies: self.show(ring, &pass, visit, now)?, write, pass })
    }

    /// Puts a session, or its name, in the browser.
    pub(super) fn show(
        &self,
        ring: &KeyRing,
        pass: &Pass,
        visit: &Visit<'_>,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, CookieError> {
        let Visit { transport, host, headers, .. } = *visit;
        match pass {
            Pass::Session(session) => self.cookies().write(ring, session, headers, transport, host, now),
            Pass::Handle(handle) => self.cookies().write_handle(ring, handle, headers, transport, host, now),
        }
    }

    /// Reads what [`Pass::encode`] wrote at a replica that keeps sessions where this one does.
    pub(super) fn take_pass(&self, bytes: &[u8]) -> Option<Pass> {
        match self.settings().keeping {
            Keeping::Cookie => Session::decode(bytes).map(|session| Pass::Session(Box::new(session))),
            Keeping::Store { .. } => Handle::decode(bytes).map(Pass::Handle),
        }
    }

    /// None where sessions are in cookies.
    fn read_handle(&self, ring: &KeyRing, visit: &Visit<'_>) -> Option<HandleReading> {
        match self.settings().keeping {
            Keeping::Cookie => None,
            Keeping::Store { .. } => {
                Some(self.cookies().read_handle(ring, visit.headers, visit.transport, visit.host))
            }
        }
    }
}
