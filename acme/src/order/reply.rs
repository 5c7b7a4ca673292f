//! Proofs by HTTP-01: every replica is told whom to answer for, and the answer is looked for before the CA is.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Attempt;
use super::proof::{LOOK_INTERVAL_MAX, LOOK_INTERVAL_MIN};
use crate::dns::Check;
use crate::failure::Failure;
use crate::http01::{self, Answered, Http01};
use crate::name::Name;
use crate::store::Published;

/// A value that the CA wants to read by HTTP.
pub(super) struct Reply {
    pub(super) name: Name,
    pub(super) token: String,
    pub(super) key_authorization: String,
}

impl Attempt<'_> {
    /// Has every replica answer for this account from now on.
    pub(super) async fn publish(&self, replies: &[Reply]) -> Result<(), Failure> {
        // The thumbprint is the same in all of them.
        let Some((_, thumbprint)) = replies.first().and_then(|reply| reply.key_authorization.split_once('.'))
        else {
            return Ok(());
        };
        self.fence()?;
        match self.store.publish(&self.account_key(), thumbprint).await? {
            Published::Known | Published::Everywhere => {}
            // Replicas see it within milliseconds; nothing says when the last one has.
            Published::Unconfirmed => sleep(PUBLISHED_WAIT).await,
        }
        Ok(())
    }

    /// Until the world gets the right answer, and then as long as the operator wants.
    pub(super) async fn wait_for_reply(&self, reply: &Reply) -> Result<(), Failure> {
        let Some(solver) = self.issuer.http01_for(&reply.name) else { return Ok(()) };
        let propagation = &solver.propagation;
        if propagation.check != Check::Off {
            self.look_until_answered(reply, solver).await?;
        }
        sleep(propagation.delay).await;
        Ok(())
    }

    async fn look_until_answered(&self, reply: &Reply, solver: &Http01) -> Result<(), Failure> {
        let (begun, mut interval, timeout) = (Instant::now(), LOOK_INTERVAL_MIN, solver.propagation.timeout);
        let Reply { name, token, key_authorization } = reply;
        loop {
            let (dns, http) = (&self.issuer.dns, &*self.issuer.http);
            let seen = match http01::ask(dns, http, solver.port, name, token, key_authorization).await {
                Answered::Rightly => return Ok(()),
                Answered::Otherwise(seen) => seen,
            };
            if begun.elapsed() + interval > timeout {
                return Err(Failure::Unanswered { name: name.clone(), seconds: timeout.as_secs(), seen });
            }
            sleep(interval).await;
            interval = (interval * 2).min(LOOK_INTERVAL_MAX);
        }
    }
}

/// Far longer than a watch takes.
const PUBLISHED_WAIT: Duration = Duration::from_secs(2);
