//! The shell around `auth`: what logins and tokens need of the process.
//!
//! Workers decide with what is known; whatever needs the network is done by control, through a queue that is
//! bounded in length and time: when it is full, the answer is 503. Providers are asked when somebody needs them, so that the
//! process starts and serves without them; the last good answer is kept.

mod endpoints;
mod provider;
mod revoked;
pub(crate) mod ring;
mod stored;
mod visit;

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ::auth::oidc::logout::{LogoutError, Revocation};
use ::auth::session::KeyRing;
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::fetch::Fetcher;
use crate::reject::Reject;
use crate::replicas::Replicas;
use crate::shared_store::sessions::SessionStore;

pub(crate) use endpoints::serve;
pub(crate) use provider::{OidcProvider, Providers, TokenIssuer};
pub(crate) use revoked::Revoked;
pub(crate) use visit::{Asking, Found, Going, bearer, glance, login};

/// Jobs for control that may wait or run, of all workers.
pub(crate) const JOBS_LEN_MAX: usize = 4096;
/// How long a request waits for control.
pub(crate) const JOB_TIMEOUT: Duration = Duration::from_secs(15);
/// Before each try to tell others of a logout, replicas and the shared store: a minute, all in all.
pub(crate) const LOGOUT_PAUSES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// What logins share, for the life of the process.
pub(crate) struct Logins {
    control: Handle,
    pub(crate) fetcher: Arc<Fetcher>,
    ring: ArcSwapOption<KeyRing>,
    revoked: Revoked,
    jobs: Arc<Semaphore>,
    /// The others, who are told of logouts.
    replicas: OnceLock<Replicas>,
    /// Where sessions are, of providers that do not keep them in cookies.
    pub(crate) sessions: SessionStore,
    /// The keys of those that this process refreshes now; no more than there are jobs.
    refreshing: Mutex<HashSet<String>>,
}

impl Logins {
    pub(crate) fn new(control: Handle) -> Self {
        Logins {
            fetcher: Arc::new(Fetcher::new(control.clone())),
            control,
            ring: ArcSwapOption::empty(),
            revoked: Revoked::new(),
            jobs: Arc::new(Semaphore::new(JOBS_LEN_MAX)),
            replicas: OnceLock::new(),
            sessions: SessionStore::default(),
            refreshing: Mutex::default(),
        }
    }

    /// Puts the keys of sessions in force for the next request.
    pub(crate) fn set_ring(&self, ring: Arc<KeyRing>) {
        self.ring.store(Some(ring));
    }

    /// The keys of sessions. Without any nobody can be known, so the request is refused.
    pub(crate) fn ring(&self) -> Result<arc_swap::Guard<Option<Arc<KeyRing>>>, Reject> {
        let ring = self.ring.load();
        if ring.is_none() {
            return Err(Reject::AuthUnavailable("there is no key ring for sessions".into()));
        }
        Ok(ring)
    }

    /// Who is logged out.
    pub(crate) fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// From now on other replicas hear of logouts here, and this one of those there.
    pub(crate) fn join(self: &Arc<Self>, replicas: &Replicas) {
        replicas.set_logins(self);
        // There is one port for the life of the process.
        let _ = self.replicas.set(replicas.clone());
    }

    /// Takes up a logout at this provider, for all replicas and for what the store holds.
    pub(crate) fn log_out(
        self: &Arc<Self>,
        provider: &OidcProvider,
        revocation: Revocation,
        at: Timestamp,
    ) -> Result<(), LogoutError> {
        let lifetime = provider.core.settings().lifetimes.session;
        self.revoke_everywhere(revocation.clone(), lifetime, at)?;
        self.end_stored_by(provider, &revocation);
        Ok(())
    }

    /// Takes up a logout here, and tells the other replicas of it; nobody waits for them.
    pub(crate) fn revoke_everywhere(
        &self,
        revocation: Revocation,
        lifetime: Duration,
        at: Timestamp,
    ) -> Result<(), LogoutError> {
        self.revoke(revocation.clone(), lifetime, at)?;
        if let Some(replicas) = self.replicas.get() {
            self.control.spawn(replicas.clone().revoke(revocation, lifetime, at));
        }
        Ok(())
    }

    /// Takes up a logout here.
    pub(crate) fn revoke(
        &self,
        revocation: Revocation,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(), LogoutError> {
        self.revoked.add(revocation, lifetime, now)
    }

    /// Has control do `job`, and waits for it.
    pub(crate) async fn on_control<T: Send + 'static>(
        &self,
        job: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Reject> {
        let permit = Arc::clone(&self.jobs).try_acquire_owned().map_err(|_| Reject::Overloaded)?;
        let job = self.control.spawn(async move {
            let done = job.await;
            drop(permit);
            done
        });
        wait(job).await
    }

    /// Has control do `job` when it finds the time; nobody waits. A job that finds no room is left out.
    pub(crate) fn in_background(&self, job: impl Future<Output = ()> + Send + 'static) {
        if let Ok(permit) = Arc::clone(&self.jobs).try_acquire_owned() {
            self.control.spawn(async move {
                job.await;
                drop(permit);
            });
        }
    }
}

async fn wait<T>(job: tokio::task::JoinHandle<T>) -> Result<T, Reject> {
    match tokio::time::timeout(JOB_TIMEOUT, job).await {
        Ok(Ok(done)) => Ok(done),
        // Control ends with the process, and a job that failed has said so.
        Ok(Err(_)) => Err(Reject::Internal),
        Err(_) => Err(Reject::AuthUnavailable("control did not answer in time".into())),
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of logins, where time comes in")]
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests;
