//! What has to outlive the process for each certificate: the order under way, records to remove, failures, renewal.
//!
//! A new leader, or this process after a restart, goes on where it was; it neither orders again nor tries sooner.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::secret::Secret;

/// The state of one certificate. Fields that a later version adds are ignored by this one, and absent ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    pub order: Option<Order>,
    /// What stands in DNS because of us and has to go.
    pub records: Vec<Record>,
    /// Failures in a row.
    pub failures: u32,
    /// Nothing is tried before.
    pub next_try: Option<Timestamp>,
    pub last_attempt: Option<Timestamp>,
    pub last_error: Option<LastError>,
    pub renewal: Option<Renewal>,
    /// Orders and failed proofs of the last days, for the CA's limits.
    pub history: Vec<Event>,
    /// The next order goes to the CA's staging side first, because the last proof failed.
    pub rehearse: bool,
    /// The issuer that the certificate came from.
    pub issuer: Option<String>,
}

/// An order that the CA knows and that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub url: String,
    /// The CA's directory, to see that the issuer is still the same.
    pub directory: String,
    pub names: Vec<Name>,
    /// The key that the certificate will have, PKCS#8 in PEM.
    pub key: Secret,
    pub created: Timestamp,
}

/// A TXT record that was written, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of the issuer whose credentials wrote it.
    pub issuer: String,
    /// The name it stands at, after delegation.
    pub name: String,
    pub value: String,
    pub written: Timestamp,
}

/// The last failure, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// One of [`crate::failure::Failure::reason`].
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
}

/// What the CA said about when to renew (RFC 9773).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// The certificate that it is about; what was said of an older one does not count.
    pub certificate: String,
    /// The CA's window; absent when it could not be asked or has no such thing.
    pub window: Option<(Timestamp, Timestamp)>,
    /// The moment in the window that was drawn.
    pub chosen: Option<Timestamp>,
    pub explanation: Option<String>,
    /// When to ask again.
    pub next_check: Timestamp,
    /// Failed questions in a row.
    #[serde(default)]
    pub failures: u32,
}

/// What counts towards a CA's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub at: Timestamp,
    pub directory: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// An order for this set of names; `exempt` when it replaces a certificate in the CA's own window.
    Ordered { names: Vec<Name>, exempt: bool },
    /// A proof that the CA found wanting.
    ProofFailed { name: Name },
}

impl State {
    /// Notes an event, and forgets those that no limit looks at any more.
    pub(crate) fn note(&mut self, event: Event) {
        let oldest = event.at - HISTORY_AGE_MAX;
        self.history.retain(|known| known.at > oldest);
        if self.history.len() >= HISTORY_LEN_MAX {
            self.history.remove(0);
        }
        self.history.push(event);
    }

    /// Adds what is about to be written; what is known already stays as it is.
    pub(crate) fn remember(&mut self, record: Record) {
        let is_same = |known: &Record| known.name == record.name && known.value == record.value;
        if !self.records.iter().any(is_same) {
            self.records.push(record);
        }
    }
}

/// The longest span that a limit looks at: a week, and an hour for clocks that differ.
pub const HISTORY_AGE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24 + 1);
/// More events than this in a week are beyond every limit anyway.
pub const HISTORY_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests;
