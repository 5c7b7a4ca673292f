//! A directory as a store, for an edge without a cluster.
//!
//! `certificates/NAMESPACE.NAME.json` holds a Secret of type `kubernetes.io/tls`, as the edge reads it among its manifests, and
//! `shared/` what every process has to know; `.accounts/` and `.orders/` are hidden, and read by nobody else. Files are 0600 and
//! directories 0700. A file is written beside its place and moved there, so that a reader sees the old one or the new one.
//! The lock is one of the system on `.lock`: it goes with the process, however that ends.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::{Kept, Published, Store, StoreError, Stored, THUMBPRINTS};
use crate::http::BoxFuture;
use crate::plan::CertificateId;
use crate::secret::Secret;
use crate::state::State;

/// A directory that this process may have to itself.
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    /// Of what belongs to no object.
    namespace: String,
    lock: File,
    is_held: AtomicBool,
}

impl DirectoryStore {
    /// Makes the directory if there is none. Does not take the lock. `namespace` is that of what belongs to no object.
    pub fn open(root: &Path, namespace: &str) -> Result<DirectoryStore, StoreError> {
        let parts = [CERTIFICATES, ACCOUNTS, ORDERS, SHARED].map(|part| root.join(part));
        for directory in std::iter::once(root.to_owned()).chain(parts) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|error| unavailable(&directory, &error))?;
        }
        let place = root.join(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&place);
        let lock = lock.map_err(|error| unavailable(&place, &error))?;
        let namespace = namespace.to_owned();
        Ok(DirectoryStore { root: root.to_owned(), namespace, lock, is_held: AtomicBool::new(false) })
    }

    /// Where the certificates are: a directory of manifests.
    pub fn certificates(root: &Path) -> PathBuf {
        root.join(CERTIFICATES)
    }

    /// Takes the lock if nobody has it.
    pub fn try_acquire(&self) -> bool {
        let taken = self.is_held() || self.lock.try_lock().is_ok();
        self.is_held.store(taken, Ordering::Release);
        taken
    }

    fn place(&self, part: &str, name: &str) -> PathBuf {
        self.root.join(part).join(format!("{name}.json"))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, part: &str, name: &str) -> Result<Option<T>, StoreError> {
        let place = self.place(part, name);
        let text = match fs::read(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(&place, &error)),
        };
        // serde's words may quote the text, which may be a key.
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            place: place.display().to_string(),
            error: format!("it breaks off or is no JSON of ours at line {}", error.line()),
        };
        serde_json::from_slice(&text).map(Some).map_err(corrupt)
    }

    fn write(&self, part: &str, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        if !self.is_held() {
            return Err(StoreError::Lost);
        }
        let place = self.place(part, name);
        let text = serde_json::to_vec_pretty(value).map_err(|error| StoreError::Corrupt {
            place: place.display().to_string(),
            error: error.to_string(),
        })?;
        // Hidden, so that nobody takes it for a manifest.
        let beside = self.root.join(part).join(format!(".{name}.new"));
        let written = replace(&beside, &place, &text);
        if written.is_err() {
            // It may not exist; nothing else can be done about it.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(|error| unavailable(&place, &error))
    }

    /// What is in a certificate's place. Somebody may have put a manifest of their own there.
    fn manifest(&self, name: &str) -> Result<Option<Manifest>, StoreError> {
        self.read(CERTIFICATES, name)
    }

    fn check_owner(&self, name: &str) -> Result<(), StoreError> {
        let is_ours = |manifest: &Manifest| {
            manifest.metadata.labels.get(OWNER_LABEL).is_some_and(|owner| owner == OWNER)
        };
        match self.manifest(name)? {
            Some(manifest) if !is_ours(&manifest) => {
                Err(StoreError::NotOurs { place: self.place(CERTIFICATES, name).display().to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn remove(&self, part: &str, name: &str) -> Result<(), StoreError> {
        let place = self.place(part, name);
        match fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unavailable(&place, &error)),
            _ => Ok(()),
        }
    }

    /// The names of the files of one part, sorted.
    fn names(&self, part: &str) -> Result<Vec<String>, StoreError> {
        let directory = self.root.join(part);
        let failed = |error: std::io::Error| unavailable(&directory, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            names.extend(name.filter(|name| !name.starts_with('.')).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }
}

impl Store for DirectoryStore {
    fn acquire(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            while !self.try_acquire() {
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
        })
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    fn prepare<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if !self.is_held() {
                return Err(StoreError::Lost);
            }
            self.check_owner(&file_name(id)?)
        })
    }

    fn load_account<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Secret>, StoreError>> {
        Box::pin(async move { self.read(ACCOUNTS, file_part(key)?) })
    }

    fn save_account<'a>(
        &'a self,
        key: &'a str,
        account: &'a Secret,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.write(ACCOUNTS, file_part(key)?, account) })
    }

    fn load<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let name = file_name(id)?;
            let certificate =
                self.manifest(&name)?.map(|manifest| manifest.certificate()).transpose().map_err(
                    |error| {
                        let place = self.place(CERTIFICATES, &name).display().to_string();
                        StoreError::Corrupt { place, error }
                    },
                )?;
            Ok(Stored { certificate, state: self.read(ORDERS, &name)?.unwrap_or_default() })
        })
    }

    fn save_state<'a>(
        &'a self,
        id: &'a CertificateId,
        state: &'a State,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.write(ORDERS, &file_name(id)?, state) })
    }

    fn remove_state<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.remove(ORDERS, &file_name(id)?) })
    }

    fn save_certificate<'a>(
        &'a self,
        id: &'a CertificateId,
        certificate: &'a Kept,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = file_name(id)?;
            self.check_owner(&name)?;
            self.write(CERTIFICATES, &name, &Manifest::new(id, certificate))
        })
    }

    fn publish<'a>(
        &'a self,
        account: &'a str,
        thumbprint: &'a str,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        Box::pin(async move {
            let file = format!("{}.{THUMBPRINTS}", file_part(&self.namespace)?);
            let known: Option<Thumbprints> = self.read(SHARED, &file)?;
            let mut known = known.unwrap_or_else(|| Thumbprints::of(&self.namespace));
            let encoded = BASE64_STANDARD.encode(thumbprint);
            if known.data.get(account) == Some(&encoded) {
                return Ok(Published::Known);
            }
            known.data.insert(account.to_owned(), encoded);
            self.write(SHARED, &file, &known).map(|()| Published::Unconfirmed)
        })
    }

    fn states(&self) -> BoxFuture<'_, Result<Vec<CertificateId>, StoreError>> {
        Box::pin(async move {
            let names = self.names(ORDERS)?;
            // A namespace has no dot.
            let ids = names.iter().filter_map(|name| name.split_once('.'));
            Ok(ids
                .map(|(namespace, name)| CertificateId { namespace: namespace.into(), name: name.into() })
                .collect())
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move { self.names(ACCOUNTS) })
    }
}

/// A Secret as a manifest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    api_version: String,
    kind: String,
    #[serde(rename = "type")]
    secret_type: String,
    metadata: Metadata,
    data: Data,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The Secret [`THUMBPRINTS`] as a manifest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thumbprints {
    api_version: String,
    kind: String,
    metadata: Metadata,
    /// Base64, by the account's key.
    data: BTreeMap<String, String>,
}

impl Thumbprints {
    fn of(namespace: &str) -> Thumbprints {
        let (namespace, name) = (namespace.to_owned(), THUMBPRINTS.to_owned());
        Thumbprints {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            metadata: Metadata { namespace, name, labels: BTreeMap::new(), annotations: BTreeMap::new() },
            data: BTreeMap::new(),
        }
    }
}

/// Base64, as in every Secret.
#[derive(Serialize, Deserialize)]
struct Data {
    #[serde(rename = "tls.crt")]
    chain: String,
    #[serde(rename = "tls.key")]
    key: Secret,
}

impl Manifest {
    fn new(id: &CertificateId, certificate: &Kept) -> Manifest {
        let issuer = certificate.issuer.iter().map(|issuer| (ISSUER_ANNOTATION.to_owned(), issuer.clone()));
        Manifest {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            secret_type: "kubernetes.io/tls".to_owned(),
            metadata: Metadata {
                namespace: id.namespace.to_string(),
                name: id.name.to_string(),
                labels: [(OWNER_LABEL.to_owned(), OWNER.to_owned())].into(),
                annotations: issuer.collect(),
            },
            data: Data {
                chain: BASE64_STANDARD.encode(&certificate.chain),
                key: Secret::new(BASE64_STANDARD.encode(certificate.key.expose())),
            },
        }
    }

    fn certificate(self) -> Result<Kept, String> {
        let text = |encoded: &str| {
            let bytes = BASE64_STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok()
        };
        let broken = "its data is not base64";
        let chain = text(&self.data.chain).ok_or(broken)?;
        let key = Secret::new(text(self.data.key.expose()).ok_or(broken)?);
        let mut annotations = self.metadata.annotations;
        Ok(Kept { issuer: annotations.remove(ISSUER_ANNOTATION), chain, key })
    }
}

/// The content is on the disk before the name is, and the name before this returns.
fn replace(beside: &Path, place: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(beside, place)?;
    match place.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn unavailable(place: &Path, error: &std::io::Error) -> StoreError {
    let place = place.display().to_string();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full { place }
        }
        _ => StoreError::Unavailable { place, error: error.to_string() },
    }
}

fn file_name(id: &CertificateId) -> Result<String, StoreError> {
    let name = format!("{}.{}", file_part(&id.namespace)?, file_part(&id.name)?);
    if id.namespace.contains('.') { Err(bad_name(&name)) } else { Ok(name) }
}

/// What Kubernetes allows as a name is safe as a part of a path; anything else never becomes one.
fn file_part(text: &str) -> Result<&str, StoreError> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match text.bytes().all(is_fine) && !text.is_empty() && !text.starts_with('.') && text.len() <= 200 {
        true => Ok(text),
        false => Err(bad_name(text)),
    }
}

fn bad_name(text: &str) -> StoreError {
    let error = "a file cannot be called so; use at most 200 letters, digits, hyphens and dots".to_owned();
    StoreError::Unavailable { place: format!("{text:?}"), error }
}

/// On every Secret that Vestibule made; `managed-by` alone may be set by deployment tools.
pub const OWNER_LABEL: &str = "vestibule.dev/certificate";
pub const OWNER: &str = "managed";
pub const ISSUER_ANNOTATION: &str = "vestibule.dev/issuer";

const CERTIFICATES: &str = "certificates";
const ACCOUNTS: &str = ".accounts";
const ORDERS: &str = ".orders";
const SHARED: &str = "shared";
const LOCK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
