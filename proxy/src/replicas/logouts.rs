//! Logouts, which every replica has to hear of: a session lives in the browser, and any of them would take it.
//!
//! Whoever takes up a logout tells the others at once, and those that do not answer again for about a minute. What a
//! process has heard is gone with it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use auth::oidc::logout::{Ends, LogoutError, Revocation};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::call::call;
use super::listener::Reply;
use super::{REVOKE, Replicas, wall_clock};
use crate::login::{LOGOUT_PAUSES, Logins};

impl Replicas {
    /// Who has to hear of logouts elsewhere.
    pub(crate) fn set_logins(&self, logins: &Arc<Logins>) {
        let _ = self.0.logins.set(Arc::downgrade(logins));
    }

    /// Tells all others that there are now.
    pub(crate) async fn revoke(self, revocation: Revocation, lifetime: Duration, at: Timestamp) {
        let Ok(_place) = Arc::clone(&self.0.telling).acquire_owned().await else { return };
        let revoked = Revoked::new(revocation, lifetime, at);
        let members = self.0.members.borrow().clone().unwrap_or_default();
        let mut left: Vec<SocketAddr> = members.iter().map(|member| member.address).collect();
        for pause in LOGOUT_PAUSES {
            sleep(pause).await;
            // Those whose Pods have gone need not hear of it.
            let members = self.0.members.borrow().clone().unwrap_or_default();
            left.retain(|address| members.iter().any(|member| member.address == *address));
            left = self.tell_all(left, &revoked).await;
            if left.is_empty() {
                return;
            }
        }
        let left: Vec<String> = left.iter().map(SocketAddr::to_string).collect();
        tracing::warn!(
            replicas = left.join(", "),
            "a logout has not reached these replicas; sessions that it ended go on there"
        );
    }

    /// Returns those that have not heard of it.
    async fn tell_all(&self, addresses: Vec<SocketAddr>, revoked: &Revoked) -> Vec<SocketAddr> {
        let (mut tasks, mut left) = (JoinSet::new(), Vec::new());
        for address in addresses {
            if tasks.len() >= CALLS_AT_ONCE {
                left.extend(tasks.join_next().await.and_then(Result::ok).flatten());
            }
            let (replicas, revoked) = (self.clone(), revoked.clone());
            tasks.spawn(async move {
                let told = call::<Done>(&replicas, address, REVOKE, &revoked, CALL_TIMEOUT).await;
                told.is_err().then_some(address)
            });
        }
        while let Some(done) = tasks.join_next().await {
            left.extend(done.ok().flatten());
        }
        left
    }

    pub(super) fn answer_revoke(&self, body: &[u8]) -> Reply {
        let Ok(revoked) = serde_json::from_slice::<Revoked>(body) else {
            return Reply::status(StatusCode::BAD_REQUEST);
        };
        // One that serves nobody has nobody to log out.
        if let Some(logins) = self.0.logins.get().and_then(Weak::upgrade) {
            let (revocation, lifetime, at) = revoked.take(wall_clock());
            match logins.revoke(revocation, lifetime, at) {
                // It came a second time, or was taken up here.
                Ok(()) | Err(LogoutError::Seen) => {}
                Err(LogoutError::UnknownKey | LogoutError::Invalid(_)) => {
                    return Reply::status(StatusCode::BAD_REQUEST);
                }
            }
        }
        Reply::json(&Done {})
    }
}

/// [`Revocation`], with the time that it counts from and the longest that a session of its provider lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    provider: String,
    ends: Ended,
    token: String,
    at: Timestamp,
    lifetime_seconds: u64,
}

/// [`Ends`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Ended {
    Session(String),
    Subject(String),
    Login { subject: String, began: i64 },
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {}

impl Revoked {
    fn new(revocation: Revocation, lifetime: Duration, at: Timestamp) -> Self {
        let ends = match revocation.ends {
            Ends::ProviderSession(id) => Ended::Session(id),
            Ends::Subject(subject) => Ended::Subject(subject),
            Ends::Login { subject, began } => Ended::Login { subject, began },
        };
        let Revocation { provider, token, .. } = revocation;
        Revoked { provider, ends, token, at, lifetime_seconds: lifetime.as_secs() }
    }

    /// As of our own clock, if the other one is ahead: nobody who logs in after it is meant.
    fn take(self, now: Timestamp) -> (Revocation, Duration, Timestamp) {
        let ends = match self.ends {
            Ended::Session(id) => Ends::ProviderSession(id),
            Ended::Subject(subject) => Ends::Subject(subject),
            Ended::Login { subject, began } => Ends::Login { subject, began },
        };
        let lifetime = Duration::from_secs(self.lifetime_seconds).min(LIFETIME_MAX);
        (Revocation { provider: self.provider, ends, token: self.token }, lifetime, self.at.min(now))
    }
}

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const CALLS_AT_ONCE: usize = 32;
/// Logouts that are told at the same time; further ones wait.
pub(super) const TOLD_AT_ONCE: usize = 64;
/// No session lives longer.
const LIFETIME_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

#[cfg(test)]
mod tests;
