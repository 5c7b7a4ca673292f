//! What can go wrong on the way to a certificate, in words for who can mend it, and when it is tried again.

use jiff::{SignedDuration, Timestamp};

use crate::chain::ChainError;
use crate::name::Name;
use crate::store::StoreError;

/// Why an attempt came to nothing. Every one is tried again; [`Failure::retry_at`] says when.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the CA at {directory} cannot be reached: {error}")]
    CaUnreachable { directory: String, error: String },
    #[error("the CA at {directory} is out of order (status {status}): {detail}")]
    CaOutOfOrder { directory: String, status: u16, detail: String, retry_after: Option<Timestamp> },
    #[error("the CA refuses every nonce; its answers may be cached on the way, or come from several servers")]
    Nonce,
    #[error("the CA's limit is reached: {detail}{}", until(retry_after))]
    RateLimited { detail: String, retry_after: Option<Timestamp> },
    #[error("{limit} would be more than the CA allows; the next is possible at {until}")]
    OwnLimit { limit: &'static str, until: Timestamp },
    #[error(
        "the CA does not take the account ({detail}). If it was deactivated, remove the stored account {account} \
         so that a new one is made"
    )]
    AccountRefused { account: String, detail: String },
    #[error(
        "the CA does not know who asks: set externalAccount of the issuer to the key that the CA gave you ({detail})"
    )]
    ExternalAccount { detail: String },
    #[error("the CA refuses the names: {detail}")]
    Rejected { detail: String },
    #[error(
        "the CAA record forbids this CA: {detail}. Add a CAA record that names the CA, or use another issuer"
    )]
    Caa { detail: String },
    #[error("the CA did not accept the proof for {name}: {detail}. {seen}")]
    Proof { name: Name, detail: String, seen: String },
    #[error("the CA has no {wanted} challenge for {name}; it offers: {offered}")]
    NoChallenge { name: Name, wanted: &'static str, offered: String },
    #[error("the CA refused: {detail}")]
    Ca { detail: String },
    #[error("the CA has not finished within {minutes} minutes; the order is kept and asked for again")]
    CaSlow { minutes: i64 },
    #[error("what the CA issued cannot be used: {0}")]
    Issued(ChainError),
    #[error("no DNS credentials of the issuer are for {record}: add its zone to a solver")]
    NoSolver { record: String },
    #[error("{provider} has no zone for {record}: {detail}")]
    ZoneMissing { provider: &'static str, record: String, detail: String },
    #[error("{provider} refuses the credentials: {detail}. Check the key and what it may do")]
    Credentials { provider: &'static str, detail: String },
    #[error("{provider} is asked too often: {detail}")]
    ProviderThrottled { provider: &'static str, detail: String },
    #[error("{provider} did not take the record {record}: {detail}")]
    Provider { provider: &'static str, record: String, detail: String },
    #[error("the record {record} is not at every name server after {seconds} s: {seen}")]
    Propagation { record: String, seconds: u64, seen: String },
    #[error(
        "the proof for {name} cannot be read after {seconds} s: {seen}. Its address has to lead to the plain listener of this \
         edge; write propagation: {{check: off}} where only outsiders can reach it"
    )]
    Unanswered { name: Name, seconds: u64, seen: String },
    #[error("DNS does not answer: {detail}")]
    Dns { detail: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the key cannot be made: {0}")]
    Key(String),
}

impl Failure {
    /// One word for metrics and events; a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Failure::CaUnreachable { .. } => "CaUnreachable",
            Failure::CaOutOfOrder { .. } => "CaOutOfOrder",
            Failure::Nonce => "BadNonce",
            Failure::RateLimited { .. } => "RateLimited",
            Failure::OwnLimit { .. } => "LimitReached",
            Failure::AccountRefused { .. } => "AccountRefused",
            Failure::ExternalAccount { .. } => "ExternalAccountRequired",
            Failure::Rejected { .. } => "NamesRejected",
            Failure::Caa { .. } => "CaaForbids",
            Failure::Proof { .. } => "ProofFailed",
            Failure::NoChallenge { .. } => "NoChallenge",
            Failure::Ca { .. } => "CaRefused",
            Failure::CaSlow { .. } => "CaSlow",
            Failure::Issued(_) => "UnusableCertificate",
            Failure::NoSolver { .. } => "NoSolver",
            Failure::ZoneMissing { .. } => "ZoneMissing",
            Failure::Credentials { .. } => "DnsCredentials",
            Failure::ProviderThrottled { .. } => "DnsThrottled",
            Failure::Provider { .. } => "DnsProvider",
            Failure::Propagation { .. } => "DnsPropagation",
            Failure::Unanswered { .. } => "ProofUnreachable",
            Failure::Dns { .. } => "DnsTimeout",
            Failure::Store(error) => error.reason(),
            Failure::Key(_) => "Key",
        }
    }

    /// When to try again. `failures` counts this one and those in a row before it, from 1; `share_left` is what is left of
    /// the life of the certificate that is served meanwhile, 0 when there is none; `chance` is from 0 to 1.
    ///
    /// What the CA said is kept to the second. Close to the end of a life nothing waits long, save for the CA's limits.
    pub fn retry_at(&self, now: Timestamp, failures: u32, share_left: Option<f64>, chance: f64) -> Timestamp {
        let (wait, is_fixed) = match self {
            Failure::RateLimited { retry_after, .. } => match retry_after {
                // Never before the moment that the CA named; the jitter comes on top.
                Some(moment) => {
                    (moment.duration_since(now).max(SignedDuration::ZERO) + jitter(MINUTE, chance), true)
                }
                None => (HOUR, true),
            },
            Failure::OwnLimit { until, .. } => {
                (until.duration_since(now).max(SignedDuration::ZERO) + jitter(MINUTE, chance), true)
            }
            Failure::CaOutOfOrder { retry_after: Some(moment), .. } => {
                (moment.duration_since(now).max(SignedDuration::ZERO) + jitter(MINUTE, chance), true)
            }
            // Let's Encrypt, "integration guide": 1, 10, 100 minutes, then daily.
            Failure::CaUnreachable { .. } | Failure::CaOutOfOrder { retry_after: None, .. } => {
                (step(&[MINUTE, MINUTE * 10, MINUTE * 100, DAY], failures), false)
            }
            // Each request was repeated with a fresh nonce already; several in a row are bad luck first, and a fault later.
            Failure::Nonce => {
                let waits = [SECOND * 2, SECOND * 30, MINUTE * 10, MINUTE * 100, DAY];
                (step(&waits, failures), false)
            }
            // Five failed proofs an hour are the limit; three are ours.
            Failure::Proof { .. } => {
                (step(&[MINUTE * 20, MINUTE * 20, HOUR, HOUR * 6, DAY], failures), false)
            }
            Failure::Rejected { .. } | Failure::Caa { .. } => (step(&[HOUR * 6, DAY], failures), false),
            Failure::AccountRefused { .. }
            | Failure::ExternalAccount { .. }
            | Failure::NoChallenge { .. }
            | Failure::Credentials { .. }
            | Failure::NoSolver { .. }
            | Failure::ZoneMissing { .. }
            | Failure::Ca { .. }
            | Failure::Issued(_)
            | Failure::Key(_) => (step(&[MINUTE * 5, MINUTE * 20, HOUR], failures), false),
            Failure::Propagation { .. } | Failure::Unanswered { .. } => {
                (step(&[MINUTE * 10, MINUTE * 10, HOUR], failures), false)
            }
            Failure::Provider { .. }
            | Failure::ProviderThrottled { .. }
            | Failure::Dns { .. }
            | Failure::CaSlow { .. } => {
                (step(&[MINUTE, MINUTE * 2, MINUTE * 5, MINUTE * 10, MINUTE * 30, HOUR], failures), false)
            }
            Failure::Store(StoreError::Conflict { .. }) => (SECOND * 2, false),
            Failure::Store(_) => (step(&[SECOND * 10, MINUTE, MINUTE * 5, MINUTE * 10], failures), false),
        };
        if is_fixed {
            return now + wait;
        }
        let wait = match share_left {
            Some(left) if left < URGENT_SHARE => wait.min(URGENT_WAIT),
            _ => wait,
        };
        now + wait + jitter(wait / 10, chance)
    }
}

fn until(retry_after: &Option<Timestamp>) -> String {
    retry_after.map(|moment| format!(" (until {moment})")).unwrap_or_default()
}

fn step(waits: &[SignedDuration], failures: u32) -> SignedDuration {
    let index = (failures.max(1) as usize - 1).min(waits.len() - 1);
    waits[index]
}

fn jitter(most: SignedDuration, chance: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(most.as_secs_f64() * chance.clamp(0.0, 1.0))
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// With less than this of its life left, a certificate is tried for at short intervals.
const URGENT_SHARE: f64 = 1.0 / 20.0;
const URGENT_WAIT: SignedDuration = SignedDuration::from_mins(10);

#[cfg(test)]
mod tests;
