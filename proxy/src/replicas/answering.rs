//! Whether every replica answers for an account by HTTP-01: what the leader waits for before a CA is told to ask.

use std::time::Duration;

use tokio::time::timeout;

use super::Replicas;
use super::programmed::lacking;

impl Replicas {
    /// Waits until every ready replica says that it answers with this thumbprint. False when that takes longer than
    /// [`ANSWERED_TIMEOUT`], as it does while one is silent.
    pub(crate) async fn all_answer_for(&self, thumbprint: &str) -> bool {
        self.all_answer_within(thumbprint, ANSWERED_TIMEOUT).await
    }

    async fn all_answer_within(&self, thumbprint: &str, limit: Duration) -> bool {
        let name = answered(thumbprint);
        let mut surroundings = self.surroundings();
        let all = surroundings.wait_for(|surroundings| lacking(&name, 1, surroundings).is_none());
        matches!(timeout(limit, all).await, Ok(Ok(_)))
    }
}

/// What a replica says that it has when it answers with this thumbprint.
pub(crate) fn answered(thumbprint: &str) -> Box<str> {
    format!("HTTP-01 {thumbprint}").into()
}

/// The next proof is not held up for longer by a replica that hangs.
const ANSWERED_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
