//! Passwords: verified away from the workers, a few at a time, and remembered for a while.
//!
//! A hash of a password costs milliseconds to seconds of a processor, on purpose. A worker never pays that: it asks the
//! control runtime's pool for it and serves others meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::auth::basic::{Credentials, Users, Verified};
use ::auth::{Identity, Invalid};
use http::HeaderValue;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::reject::Reject;

/// Users with their passwords, and how browsers are asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    pub users: Arc<Listed>,
    /// `Basic realm="…", charset="UTF-8"` (RFC 7617).
    pub challenge: HeaderValue,
}

/// [`Users`] that are equal when they are the same.
#[derive(Debug, PartialEq)]
pub struct Listed(pub Users);

impl Eq for Listed {}

/// Where passwords are verified; one for the whole process.
pub(crate) struct Passwords {
    control: Handle,
    /// `None` where the system gives no random bytes: then nothing is remembered.
    verified: Option<Verified>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What a password is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Good(Box<Identity>),
    Bad(Invalid),
}

impl Passwords {
    pub(crate) fn new(control: Handle) -> Self {
        Passwords {
            control,
            verified: Verified::new(),
            turns: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Whether these credentials are good. At once where they were verified of late; an error when too many wait, or when the
    /// turn does not come within [`TURN_WAIT_MAX`].
    pub(crate) async fn check(
        &self,
        users: &Arc<Listed>,
        credentials: Credentials,
    ) -> Result<Checked, Reject> {
        if self.recalls(&users.0, &credentials) {
            return Ok(Checked::Good(Box::new(users.0.identity(&credentials))));
        }
        let Some(_waiting) = Waiting::enter(&self.waiting) else { return Err(Reject::Overloaded) };
        let turn = tokio::time::timeout(TURN_WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Reject::Overloaded) };
        // A browser asks for many things at once, and the first of them has paid for all.
        if self.recalls(&users.0, &credentials) {
            return Ok(Checked::Good(Box::new(users.0.identity(&credentials))));
        }
        let (listed, shown) = (Arc::clone(users), credentials.clone());
        let verified = self.control.spawn_blocking(move || {
            let _turn = turn;
            listed.0.check(&shown)
        });
        match verified.await {
            Ok(true) => {
                if let Some(verified) = &self.verified {
                    verified.remember(&users.0, &credentials, wall_clock());
                }
                Ok(Checked::Good(Box::new(users.0.identity(&credentials))))
            }
            Ok(false) => Ok(Checked::Bad(Invalid::Password)),
            Err(_) => Err(Reject::Internal),
        }
    }

    fn recalls(&self, users: &Users, credentials: &Credentials) -> bool {
        self.verified.as_ref().is_some_and(|verified| verified.recall(users, credentials, wall_clock()))
    }
}

/// One request that waits for its password.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// `None` when as many wait as may.
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let entered = Waiting(count);
        // Counted first, so that leaving takes back exactly what entering added.
        (count.fetch_add(1, Ordering::Relaxed) < WAITING_LEN_MAX).then_some(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a verified password is remembered counts in the time of day.
#[expect(clippy::disallowed_methods, reason = "the shell of the workers, where time comes in")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

/// Passwords that are hashed at the same time.
const HASHES_AT_ONCE: usize = 2;
/// Requests that wait for a password's hash; more get 503.
pub(crate) const WAITING_LEN_MAX: usize = 256;
/// How long a request waits for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
