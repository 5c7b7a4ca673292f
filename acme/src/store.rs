//! Where accounts, certificates and the state of orders are kept, and the lock that one process holds at a time.
//!
//! There are two: a directory here, and the Secrets of a cluster in the edge. Everyone else learns of a certificate by
//! watching the store; nothing is handed over in memory.

pub mod directory;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::BoxFuture;
use crate::plan::CertificateId;
use crate::secret::Secret;
use crate::state::State;

/// Keeps what has to outlive the process. Every write is whole or not at all.
pub trait Store: Send + Sync {
    /// Returns once this process, and no other, may order.
    fn acquire(&self) -> BoxFuture<'_, ()>;

    /// Whether that is still so. Asked before every step that others would see, and before every write.
    fn is_held(&self) -> bool;

    /// Whether what is about to be ordered could be stored: the lock is asked for where it is kept, and the certificate's place
    /// is ours or empty. A certificate that nobody can keep would count towards the CA's limits all the same.
    fn prepare<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The account with this key; see [`account_key`].
    fn load_account<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Secret>, StoreError>>;

    fn save_account<'a>(&'a self, key: &'a str, account: &'a Secret)
    -> BoxFuture<'a, Result<(), StoreError>>;

    /// The certificate and its state.
    fn load<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<Stored, StoreError>>;

    fn save_state<'a>(
        &'a self,
        id: &'a CertificateId,
        state: &'a State,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    fn remove_state<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Puts a certificate into the place of the last one. What is not ours is never written: [`StoreError::NotOurs`].
    fn save_certificate<'a>(
        &'a self,
        id: &'a CertificateId,
        certificate: &'a Kept,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Lets every replica know the thumbprint of an account's key, by which they answer for HTTP-01.
    fn publish<'a>(
        &'a self,
        account: &'a str,
        thumbprint: &'a str,
    ) -> BoxFuture<'a, Result<Published, StoreError>>;

    /// Every certificate that has a state, wanted or not: their records in DNS may have to be removed.
    fn states(&self) -> BoxFuture<'_, Result<Vec<CertificateId>, StoreError>>;

    /// The keys of all accounts.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;
}

/// Who answers with a thumbprint that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Everybody, since long ago.
    Known,
    /// Everybody that clients can reach: they have said so.
    Everywhere,
    /// It is new, and nobody says who has it.
    Unconfirmed,
}

/// A certificate as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The issuer that it came from, where that is known.
    #[serde(default)]
    pub issuer: Option<String>,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM.
    pub key: Secret,
}

/// What a store has of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub certificate: Option<Kept>,
    pub state: State,
}

/// Why the store did not do it. The words name the file or the Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{place} was changed by someone else meanwhile; it is read again")]
    Conflict { place: String },
    #[error("{place} was not made by Vestibule and is not touched; remove it, or name another Secret")]
    NotOurs { place: String },
    #[error("no space is left for {place}; make room, or raise the limits of the process")]
    Full { place: String },
    #[error("{place}: {error}")]
    Unavailable { place: String, error: String },
    #[error("{place} cannot be read: {error}. Remove it to begin anew")]
    Corrupt { place: String, error: String },
    #[error("another replica has taken over")]
    Lost,
}

impl StoreError {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            StoreError::Conflict { .. } => "StoreConflict",
            StoreError::NotOurs { .. } => "SecretNotOurs",
            StoreError::Full { .. } => "StoreFull",
            StoreError::Unavailable { .. } => "StoreUnavailable",
            StoreError::Corrupt { .. } => "StoreCorrupt",
            StoreError::Lost => "LeaderChanged",
        }
    }
}

/// Under which key the account at a CA is kept: issuers of one CA share one account, unless they bind it to different
/// external accounts.
pub fn account_key(directory: &str, external_account: Option<&str>) -> String {
    let text = format!("{directory} {}", external_account.unwrap_or_default());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref()[..10].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Secret of Vestibule's own namespace with the thumbprints of accounts, each under the account's key.
pub const THUMBPRINTS: &str = "vestibule-acme-http01";

/// Everything that a store holds, to be put back elsewhere: a cluster that is rebuilt from it orders nothing.
///
/// It holds private keys. It is JSON with the keys `version`, `exported`, `accounts` and `certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`BUNDLE_VERSION`].
    pub version: u32,
    pub exported: Timestamp,
    pub accounts: BTreeMap<String, Secret>,
    pub certificates: Vec<BundleEntry>,
}

/// One certificate of a [`Bundle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleEntry {
    pub namespace: String,
    pub name: String,
    #[serde(flatten)]
    pub certificate: Kept,
    pub state: State,
}

/// What [`import`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub accounts: usize,
    pub certificates: Vec<CertificateId>,
    /// What was left as it was, and why.
    pub kept: Vec<(CertificateId, String)>,
}

/// Reads a whole store. Certificates without a chain are left out: there is nothing to save of them.
pub async fn export(store: &dyn Store, now: Timestamp) -> Result<Bundle, StoreError> {
    let mut bundle = Bundle {
        version: BUNDLE_VERSION,
        exported: now,
        accounts: BTreeMap::new(),
        certificates: Vec::new(),
    };
    for key in store.accounts().await? {
        if let Some(account) = store.load_account(&key).await? {
            bundle.accounts.insert(key, account);
        }
    }
    for id in store.states().await? {
        let stored = store.load(&id).await?;
        if let Some(certificate) = stored.certificate {
            let (namespace, name) = (id.namespace.to_string(), id.name.to_string());
            bundle.certificates.push(BundleEntry { namespace, name, certificate, state: stored.state });
        }
    }
    Ok(bundle)
}

/// Puts a bundle into a store. A certificate that is there already and lasts as long is left as it is.
pub async fn import(store: &dyn Store, bundle: &Bundle) -> Result<Imported, StoreError> {
    let mut imported = Imported::default();
    for (key, account) in &bundle.accounts {
        if store.load_account(key).await?.is_none() {
            store.save_account(key, account).await?;
            imported.accounts += 1;
        }
    }
    for entry in &bundle.certificates {
        let id = CertificateId { namespace: (*entry.namespace).into(), name: (*entry.name).into() };
        match import_one(store, &id, entry).await {
            Ok(None) => imported.certificates.push(id),
            Ok(Some(why)) => imported.kept.push((id, why)),
            Err(error @ StoreError::NotOurs { .. }) => imported.kept.push((id, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(imported)
}

async fn import_one(
    store: &dyn Store,
    id: &CertificateId,
    entry: &BundleEntry,
) -> Result<Option<String>, StoreError> {
    let chain = match crate::chain::Chain::parse(&entry.certificate.chain, &entry.certificate.key) {
        Ok(chain) => chain,
        Err(error) => return Ok(Some(format!("in the bundle, {error}"))),
    };
    let there = store.load(id).await?;
    let facts = there.certificate.and_then(|kept| crate::chain::Facts::parse(&kept.chain).ok());
    if facts.is_some_and(|facts| facts.not_after >= chain.facts.not_after) {
        return Ok(Some("what is there lasts as long".to_owned()));
    }
    // An order under way elsewhere stays there.
    let state = State { order: None, records: Vec::new(), ..entry.state.clone() };
    store.save_certificate(id, &entry.certificate).await?;
    store.save_state(id, &state).await?;
    Ok(None)
}

/// Of [`Bundle::version`].
pub const BUNDLE_VERSION: u32 = 1;
