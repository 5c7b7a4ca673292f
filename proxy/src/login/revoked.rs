//! Who is logged out although the browser still has a cookie, as all workers see it.
//!
//! In parts, so that a logout copies one of them and not all, and so that looking takes no lock.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::auth::oidc::logout::{Ends, LogoutError, Revocation, Revocations};
use ::auth::session::Marks;
use arc_swap::ArcSwap;
use jiff::Timestamp;

/// Parts; each holds what [`Revocations`] may.
const PARTS_LEN: usize = 256;

pub(crate) struct Revoked {
    parts: Box<[Part]>,
    hasher: RandomState,
    /// There has been one at all, which is seldom so.
    any: AtomicBool,
}

#[derive(Default)]
struct Part {
    current: ArcSwap<Revocations>,
    /// Held while `current` is made anew.
    changing: Mutex<()>,
}

impl Revoked {
    pub(crate) fn new() -> Self {
        let parts = (0..PARTS_LEN).map(|_| Part::default()).collect();
        Revoked { parts, hasher: RandomState::new(), any: AtomicBool::new(false) }
    }

    /// True while nobody has been logged out.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Takes up a logout ([`Revocations::add`]).
    pub(crate) fn add(
        &self,
        revocation: Revocation,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), LogoutError> {
        let name = match &revocation.ends {
            Ends::ProviderSession(id) => id,
            Ends::Subject(subject) | Ends::Login { subject, .. } => subject,
        };
        let part = self.part(name);
        let _one = part.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revocations = Revocations::clone(&part.current.load());
        revocations.add(revocation, lifetime, now)?;
        part.current.store(Arc::new(revocations));
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the session of this provider with these marks was ended.
    pub(crate) fn ends(&self, provider: &str, marks: Marks<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        let ends = |name: &str| self.part(name).current.load().ends(provider, marks);
        marks.provider_session.is_some_and(ends) || ends(marks.subject)
    }

    /// When a login that has just succeeded counts as begun ([`Revocations::begin`]).
    pub(crate) fn begin(&self, now: Timestamp) -> Timestamp {
        if self.is_empty() {
            return now;
        }
        self.parts.iter().map(|part| part.current.load().begin(now)).max().unwrap_or(now)
    }

    fn part(&self, name: &str) -> &Part {
        let hash = self.hasher.hash_one(name);
        &self.parts[usize::try_from(hash % PARTS_LEN as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests;
