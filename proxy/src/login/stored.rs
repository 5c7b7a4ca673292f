//! Sessions in the store that all replicas share: looked up, written, refreshed, ended.
//!
//! A refresh token is good once. So one replica at a time refreshes a session, whoever of its requests came first; the others
//! go on with what there is, or wait for it where an application is shown a token that is over.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::auth::oidc::Visit;
use ::auth::oidc::exchange::{ExchangeError, refresh};
use ::auth::oidc::logout::Revocation;
use ::auth::session::KeyRing;
use ::auth::session::stored::{Manner, Refresh, SessionId, Stored, Write};
use jiff::Timestamp;

use super::{LOGOUT_PAUSES, Logins, OidcProvider, wall_clock};
use crate::reject::Reject;
use crate::shared_store::StoreError;

impl Logins {
    /// What the store has under the handle that a request carries; at once where sessions are in cookies.
    pub(crate) async fn stored(
        &self,
        provider: &OidcProvider,
        ring: &KeyRing,
        visit: &Visit<'_>,
    ) -> Result<Option<Stored>, Reject> {
        match provider.core.handle(ring, visit) {
            None => Ok(None),
            Some(id) => self.look_up(provider, ring, id).await.map_err(unusable),
        }
    }

    async fn look_up(
        &self,
        provider: &OidcProvider,
        ring: &KeyRing,
        id: SessionId,
    ) -> Result<Option<Stored>, StoreError> {
        let value = self.sessions.read(&id.key()).await?;
        Ok(value.and_then(|value| Stored::open(ring, provider.core.key(), id, value)))
    }

    /// Does what a step of a login says before anybody is sent on.
    pub(crate) async fn write(&self, write: Option<Box<Write>>) -> Result<(), Reject> {
        match write {
            None => Ok(()),
            Some(write) => self.sessions.write(*write).await.map(drop).map_err(unusable),
        }
    }

    /// The same, when there is time.
    pub(crate) fn write_later(self: &Arc<Self>, write: Option<Box<Write>>) {
        let Some(write) = write else { return };
        let logins = Arc::clone(self);
        self.in_background(async move {
            // A session that is not sealed anew ends a little earlier.
            let _ = logins.sessions.write(*write).await;
        });
    }

    /// Ends one session.
    pub(crate) async fn end_stored(&self, stored: &Stored) -> Result<(), Reject> {
        self.sessions.end(&stored.id.key()).await.map_err(unusable)
    }

    /// Ends the sessions that a logout is about, also where the store is away now. Nobody waits: every replica that serves
    /// knows of the logout itself, and this is for those that begin later.
    pub(super) fn end_stored_by(self: &Arc<Self>, provider: &OidcProvider, revocation: &Revocation) {
        let Some(set) = provider.core.found_by(&revocation.ends).filter(|_| self.sessions.is_named()) else {
            return;
        };
        let logins = Arc::clone(self);
        self.control.spawn(async move {
            for pause in LOGOUT_PAUSES {
                tokio::time::sleep(pause).await;
                if logins.sessions.end_all(&set).await.is_ok() {
                    return;
                }
            }
            tracing::warn!(
                "a logout has not reached the shared store; replicas that begin later do not know of it"
            );
        });
    }

    /// Refreshes a session while its requests go on.
    pub(crate) fn refresh_later(self: &Arc<Self>, provider: &Arc<OidcProvider>, id: SessionId) {
        let key = id.key();
        let mut under_way = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        if !provider.may_refresh(wall_clock()) || !under_way.insert(key.clone()) {
            return;
        }
        drop(under_way);
        let done = Done { logins: Arc::clone(self), key };
        let (logins, provider) = (Arc::clone(self), Arc::clone(provider));
        self.in_background(async move {
            // Moved here, so that it ends with the job, or with the lack of room for one.
            let _done = done;
            let _ = logins.refresh(&provider, id, Patience::None).await;
        });
    }

    /// Refreshes a session before its request goes on. What it is then; None where it has ended.
    pub(crate) async fn refresh_first(
        self: &Arc<Self>,
        provider: &Arc<OidcProvider>,
        id: SessionId,
    ) -> Result<Option<Stored>, Reject> {
        let (logins, provider) = (Arc::clone(self), Arc::clone(provider));
        self.on_control(async move { logins.refresh(&provider, id, Patience::Turn).await })
            .await?
            .map_err(unusable)
    }

    async fn refresh(
        self: &Arc<Self>,
        provider: &Arc<OidcProvider>,
        id: SessionId,
        patience: Patience,
    ) -> Result<Option<Stored>, StoreError> {
        let Some(ring) = self.ring.load_full() else { return Ok(None) };
        let mut owner = [0; 16];
        if aws_lc_rs::rand::fill(&mut owner).is_err() {
            return self.look_up(provider, &ring, id).await;
        }
        let owner: String = owner.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = id.key();
        let mut tries = 0;
        loop {
            let now = wall_clock();
            let Some(stored) = self.look_up(provider, &ring, id).await? else { return Ok(None) };
            let is_due = is_due(provider, &stored, now) && provider.may_refresh(now);
            if !is_due || tries == TURN_TRIES_MAX {
                return Ok(Some(stored));
            }
            if self.sessions.take_turn(&key, &owner).await? {
                break;
            }
            match patience {
                Patience::None => return Ok(Some(stored)),
                Patience::Turn => tokio::time::sleep(TURN_PAUSE).await,
            }
            tries += 1;
        }
        let refreshed = self.refresh_in_turn(provider, &ring, id).await;
        self.sessions.give_back_turn(&key, &owner).await?;
        refreshed
    }

    /// Whoever has the turn looks again: the one before may have done it.
    async fn refresh_in_turn(
        self: &Arc<Self>,
        provider: &Arc<OidcProvider>,
        ring: &KeyRing,
        id: SessionId,
    ) -> Result<Option<Stored>, StoreError> {
        let now = wall_clock();
        let Some(stored) = self.look_up(provider, ring, id).await? else { return Ok(None) };
        if !is_due(provider, &stored, now) {
            return Ok(Some(stored));
        }
        provider.refresh(&self.fetcher, false, now).await;
        let Some(metadata) = provider.known() else { return Ok(Some(stored)) };
        let http = provider.http(&self.fetcher);
        let name = provider.name();
        match refresh(&provider.core, &metadata, &stored, &http, now).await {
            Ok(refreshed) => {
                if let Some(newer) = refreshed.metadata {
                    provider.learn(newer, now);
                }
                match refreshed.stored.write(ring, provider.core.key(), Manner::Update, now) {
                    // Where there was nothing to update it was ended meanwhile.
                    Ok(write) => Ok(self.sessions.write(write).await?.then_some(refreshed.stored)),
                    Err(error) => {
                        tracing::warn!(provider = %name, "a session is not refreshed: {error}");
                        Ok(Some(stored))
                    }
                }
            }
            Err(error @ (ExchangeError::Unavailable(_) | ExchangeError::UnknownKey)) => {
                tracing::warn!(provider = %name, "sessions are not refreshed now, and go on: {error}");
                provider.refresh_failed(now);
                Ok(Some(stored))
            }
            Err(
                error @ (ExchangeError::Code(_)
                | ExchangeError::Client(_)
                | ExchangeError::Token(_)
                | ExchangeError::Missing),
            ) => {
                tracing::info!(provider = %name, "a session ends, because it is not refreshed: {error}");
                self.sessions.end(&id.key()).await?;
                Ok(None)
            }
        }
    }
}

/// Whether a request waits for another's turn.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Turn,
}

/// The end of a refresh, however it came about.
struct Done {
    logins: Arc<Logins>,
    key: String,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.logins.refreshing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn is_due(provider: &OidcProvider, stored: &Stored, now: Timestamp) -> bool {
    let worth = stored.session.worth(&provider.core.settings().lifetimes, now);
    stored.refresh_due(worth, now) != Refresh::No
}

/// Nobody is let in whose session cannot be looked at.
fn unusable(error: StoreError) -> Reject {
    Reject::AuthUnavailable(format!("the shared store of sessions: {error}").into())
}

/// While another has the turn: together as long as a request waits for control.
const TURN_PAUSE: Duration = Duration::from_millis(50);
const TURN_TRIES_MAX: usize = 200;
