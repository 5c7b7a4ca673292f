//! The Secrets of a cluster as the store of certificates, accounts and orders.
//!
//! Certificates are Secrets of type `kubernetes.io/tls` where their objects say; accounts and states are Secrets of a
//! namespace that nobody else has to read. Each write names the version that it read, so that a write by anyone else is a conflict, and is
//! done only while this replica holds the Lease. **A Secret without our label is never written**, save for one that
//! cert-manager made and whose Certificate is gone.

use std::sync::Arc;

use acme::http::BoxFuture;
use acme::plan::CertificateId;
use acme::secret::Secret;
use acme::state::State;
use acme::store::directory::{ISSUER_ANNOTATION, OWNER, OWNER_LABEL};
use acme::store::{Kept, Published, Store, StoreError, Stored, THUMBPRINTS};
use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::Client;
use serde_json::{Value, json};

use super::api::Failure;
use super::leader::Tenure;
use super::write::{self, WriteError};
use crate::certificates::requests::MADE_BY_CERT_MANAGER;
use crate::replicas::Replicas;

/// Where Secrets stand that belong to no object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Namespaces<'a> {
    /// Vestibule's own.
    pub(crate) own: &'a str,
    /// Of what only the process that orders has to read; it may be the same.
    pub(crate) private: &'a str,
}

/// The Secrets that this replica may write while it leads.
pub(crate) struct SecretStore {
    client: Client,
    /// Of what every replica reads.
    namespace: Arc<str>,
    /// Of what only the one that orders reads: accounts and states.
    private: Arc<str>,
    /// Absent for a person at a terminal, who does not wait for a Lease.
    tenure: Option<Arc<Tenure>>,
    /// Who can say what they serve, where replicas speak with each other.
    replicas: Option<Replicas>,
}

impl SecretStore {
    pub(super) fn new(
        client: &Client,
        namespaces: Namespaces<'_>,
        tenure: Option<Arc<Tenure>>,
        replicas: Option<Replicas>,
    ) -> SecretStore {
        let Namespaces { own, private } = namespaces;
        let client = client.clone();
        SecretStore { client, namespace: own.into(), private: private.into(), tenure, replicas }
    }

    /// One that is for a person at a terminal.
    pub(crate) fn for_a_person(client: &Client, namespaces: Namespaces<'_>) -> SecretStore {
        SecretStore::new(client, namespaces, None, None)
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Value>, StoreError> {
        match write::read(&self.client, &path(namespace, name)).await {
            Ok(secret) => Ok(Some(secret)),
            Err(WriteError::Missing) => Ok(None),
            Err(error) => Err(failed(namespace, name, error)),
        }
    }

    /// Creates a Secret, or replaces the one that was read.
    async fn write(&self, old: Option<&Value>, secret: &Value) -> Result<(), StoreError> {
        if !self.is_held() {
            return Err(StoreError::Lost);
        }
        let text = |key: &str| secret["metadata"][key].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let written = match old {
            None => write::create(&self.client, &path(namespace, ""), secret).await,
            Some(_) => write::replace(&self.client, &path(namespace, name), secret).await,
        };
        written.map(drop).map_err(|error| failed(namespace, name, error))
    }

    /// Reads an account or a state. One that stands beside the certificates, as it does until a private namespace is
    /// configured, is moved to its place by whoever leads.
    async fn read_own(&self, name: &str, kind: &str) -> Result<Option<Value>, StoreError> {
        if let Some(secret) = self.read(&self.private, name).await? {
            return Ok(Some(secret));
        }
        if self.private == self.namespace {
            return Ok(None);
        }
        let old = self.read(&self.namespace, name).await?;
        let Some(old) = old.filter(|old| old["metadata"]["labels"][KIND_LABEL].as_str() == Some(kind)) else {
            return Ok(None);
        };
        if let (true, Some(value)) = (self.tenure.is_some(), value(&old, kind)) {
            self.write_own(name, kind, old["metadata"]["annotations"].clone(), &value).await?;
            self.delete(&self.namespace, name).await?;
        }
        Ok(Some(old))
    }

    async fn delete(&self, namespace: &str, name: &str) -> Result<(), StoreError> {
        match write::delete(&self.client, &path(namespace, name)).await {
            Ok(_) | Err(WriteError::Missing) => Ok(()),
            Err(error) => Err(failed(namespace, name, error)),
        }
    }

    /// Writes an account or a state. Its kind is also the key that its text stands under.
    async fn write_own(&self, name: &str, kind: &str, note: Value, value: &str) -> Result<(), StoreError> {
        persistently(|| self.write_own_once(name, kind, &note, value)).await
    }

    async fn write_own_once(
        &self,
        name: &str,
        kind: &str,
        note: &Value,
        value: &str,
    ) -> Result<(), StoreError> {
        let old = self.read(&self.private, name).await?;
        let data = json!({kind: BASE64_STANDARD.encode(value)});
        let mut secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"namespace": &*self.private, "name": name, "labels": {KIND_LABEL: kind}, "annotations": note},
            "data": data,
        });
        if let Some(old) = &old {
            if old["metadata"]["labels"][KIND_LABEL].as_str() != Some(kind) {
                return Err(StoreError::NotOurs { place: format!("the Secret {}/{name}", self.private) });
            }
            secret["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        }
        self.write(old.as_ref(), &secret).await
    }

    async fn publish_once(&self, account: &str, thumbprint: &str) -> Result<bool, StoreError> {
        let old = self.read(&self.namespace, THUMBPRINTS).await?;
        let encoded = json!(BASE64_STANDARD.encode(thumbprint));
        let mut secret = match &old {
            Some(old) if old["metadata"]["labels"][KIND_LABEL].as_str() != Some(HTTP01) => {
                let place = format!("the Secret {}/{THUMBPRINTS}", self.namespace);
                return Err(StoreError::NotOurs { place });
            }
            Some(old) if old["data"][account] == encoded => return Ok(false),
            Some(old) => old.clone(),
            None => json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"namespace": &*self.namespace, "name": THUMBPRINTS, "labels": {KIND_LABEL: HTTP01}},
            }),
        };
        secret["data"][account] = encoded;
        self.write(old.as_ref(), &secret).await.map(|()| true)
    }

    /// Those that have not been moved are among them.
    async fn list_own(&self, kind: &str) -> Result<Vec<Value>, StoreError> {
        let mut all: Vec<Value> = Vec::new();
        let elsewhere = (self.private != self.namespace).then_some(&self.namespace);
        for namespace in std::iter::once(&self.private).chain(elsewhere) {
            let path = format!("{}?labelSelector={KIND_LABEL_ENCODED}%3D{kind}", path(namespace, ""));
            let list = write::read(&self.client, &path).await;
            let list = list.map_err(|error| failed(namespace, "", error))?;
            for secret in list["items"].as_array().into_iter().flatten() {
                let name = &secret["metadata"]["name"];
                if !all.iter().any(|other| other["metadata"]["name"] == *name) {
                    all.push(secret.clone());
                }
            }
        }
        Ok(all)
    }

    /// Refuses a Secret that was made by somebody else who may still want it.
    async fn check_owner(&self, id: &CertificateId, secret: &Value) -> Result<(), StoreError> {
        let is_ours = secret["metadata"]["labels"][OWNER_LABEL].as_str() == Some(OWNER);
        let maker = secret["metadata"]["annotations"][MADE_BY_CERT_MANAGER].as_str();
        match (is_ours, maker) {
            (true, _) => Ok(()),
            (false, Some(maker)) if !self.is_managed_elsewhere(&id.namespace, maker).await => Ok(()),
            (false, Some(_) | None) => Err(StoreError::NotOurs { place: format!("the Secret {id}") }),
        }
    }

    /// Asks for a Secret to be made and not kept: says what would forbid it before anything is ordered.
    async fn rehearse_creation(&self, id: &CertificateId) -> Result<(), StoreError> {
        let empty = Secret::new("");
        let secret = certificate_secret(json!({"namespace": &*id.namespace, "name": &*id.name}), "", &empty);
        let path = format!("{}?dryRun=All", path(&id.namespace, ""));
        match write::create(&self.client, &path, &secret).await {
            Err(error @ WriteError::Failed(Failure::Forbidden(_))) => {
                Err(failed(&id.namespace, &id.name, error))
            }
            Err(WriteError::Missing) => Err(StoreError::Unavailable {
                place: format!("the Secret {id}"),
                error: format!("there is no namespace {}", id.namespace),
            }),
            // Servers and webhooks that know no rehearsal say nothing about the real thing.
            Ok(_) | Err(WriteError::Conflict | WriteError::Failed(_)) => Ok(()),
        }
    }

    async fn save_once(&self, id: &CertificateId, certificate: &Kept) -> Result<(), StoreError> {
        let old = self.read(&id.namespace, &id.name).await?;
        let mut metadata = json!({"namespace": &*id.namespace, "name": &*id.name});
        if let Some(old) = &old {
            self.check_owner(id, old).await?;
            metadata = old["metadata"].clone();
        }
        metadata["labels"][OWNER_LABEL] = json!(OWNER);
        if let Some(issuer) = &certificate.issuer {
            metadata["annotations"][ISSUER_ANNOTATION] = json!(issuer);
        }
        let secret = certificate_secret(metadata, &certificate.chain, &certificate.key);
        self.write(old.as_ref(), &secret).await
    }

    /// Whether cert-manager will write this Secret again: its Certificate is there, or we may not look.
    async fn is_managed_elsewhere(&self, namespace: &str, certificate: &str) -> bool {
        let path = write::path("cert-manager.io/v1", "certificates", namespace, certificate, "");
        !matches!(write::read(&self.client, &path).await, Err(WriteError::Missing))
    }
}

impl Store for SecretStore {
    fn acquire(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(tenure) = &self.tenure {
                tenure.begun().await;
            }
        })
    }

    fn is_held(&self) -> bool {
        self.tenure.as_ref().is_none_or(|tenure| tenure.is_held())
    }

    fn prepare<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if let Some(tenure) = &self.tenure {
                let is_confirmed = tenure.is_confirmed().await;
                let is_confirmed = is_confirmed.map_err(|error| StoreError::Unavailable {
                    place: "the Lease".to_owned(),
                    error: error.to_string(),
                })?;
                if !is_confirmed {
                    return Err(StoreError::Lost);
                }
            }
            match self.read(&id.namespace, &id.name).await? {
                Some(secret) => self.check_owner(id, &secret).await,
                None => self.rehearse_creation(id).await,
            }
        })
    }

    fn load_account<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Secret>, StoreError>> {
        Box::pin(async move {
            let secret = self.read_own(&account_name(key), ACCOUNT).await?;
            Ok(secret.and_then(|secret| value(&secret, ACCOUNT)).map(Secret::new))
        })
    }

    fn save_account<'a>(
        &'a self,
        key: &'a str,
        account: &'a Secret,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(
            async move { self.write_own(&account_name(key), ACCOUNT, json!({}), account.expose()).await },
        )
    }

    fn load<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let certificate = self.read(&id.namespace, &id.name).await?.and_then(|secret| {
                let issuer = secret["metadata"]["annotations"][ISSUER_ANNOTATION].as_str().map(str::to_owned);
                let (chain, key) = (value(&secret, "tls.crt")?, value(&secret, "tls.key")?);
                Some(Kept { issuer, chain, key: Secret::new(key) })
            });
            let name = state_name(id);
            let state = match self.read_own(&name, STATE).await?.and_then(|secret| value(&secret, STATE)) {
                None => State::default(),
                // serde's words may quote the text, which may hold a key.
                Some(text) => serde_json::from_str(&text).map_err(|_| StoreError::Corrupt {
                    place: format!("the Secret {}/{name}", self.private),
                    error: "it is no state of ours".to_owned(),
                })?,
            };
            Ok(Stored { certificate, state })
        })
    }

    fn save_state<'a>(
        &'a self,
        id: &'a CertificateId,
        state: &'a State,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = state_name(id);
            let text = serde_json::to_string(state).map_err(|error| StoreError::Corrupt {
                place: format!("the Secret {}/{name}", self.private),
                error: error.to_string(),
            })?;
            self.write_own(&name, STATE, json!({CERTIFICATE_ANNOTATION: id.to_string()}), &text).await
        })
    }

    fn remove_state<'a>(&'a self, id: &'a CertificateId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if !self.is_held() {
                return Err(StoreError::Lost);
            }
            let name = state_name(id);
            if self.private != self.namespace {
                self.delete(&self.namespace, &name).await?;
            }
            self.delete(&self.private, &name).await
        })
    }

    fn save_certificate<'a>(
        &'a self,
        id: &'a CertificateId,
        certificate: &'a Kept,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(persistently(|| self.save_once(id, certificate)))
    }

    fn publish<'a>(
        &'a self,
        account: &'a str,
        thumbprint: &'a str,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        Box::pin(async move {
            let is_new = persistently(|| self.publish_once(account, thumbprint)).await?;
            Ok(match (is_new, &self.replicas) {
                (false, _) => Published::Known,
                (true, Some(replicas)) if replicas.all_answer_for(thumbprint).await => Published::Everywhere,
                (true, Some(_) | None) => Published::Unconfirmed,
            })
        })
    }

    fn states(&self) -> BoxFuture<'_, Result<Vec<CertificateId>, StoreError>> {
        Box::pin(async move {
            let states = self.list_own(STATE).await?;
            let ids = states.iter().filter_map(|secret| {
                let id = secret["metadata"]["annotations"][CERTIFICATE_ANNOTATION].as_str()?;
                let (namespace, name) = id.split_once('/')?;
                Some(CertificateId { namespace: namespace.into(), name: name.into() })
            });
            Ok(ids.collect())
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let accounts = self.list_own(ACCOUNT).await?;
            let names = accounts.iter().filter_map(|secret| secret["metadata"]["name"].as_str());
            Ok(names.filter_map(|name| name.strip_prefix(ACCOUNT_PREFIX)).map(str::to_owned).collect())
        })
    }
}

fn path(namespace: &str, name: &str) -> String {
    write::path("v1", "secrets", namespace, name, "")
}

fn certificate_secret(metadata: Value, chain: &str, key: &Secret) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": {
            "tls.crt": BASE64_STANDARD.encode(chain),
            "tls.key": BASE64_STANDARD.encode(key.expose()),
        },
    })
}

/// Reads, judges and writes again where somebody else wrote in between.
async fn persistently<T, F>(attempt: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(StoreError::Conflict { .. }) => {}
            done => return done,
        }
    }
    attempt().await
}

/// One key of a Secret, as text.
fn value(secret: &Value, key: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

fn failed(namespace: &str, name: &str, error: WriteError) -> StoreError {
    let place = match name {
        "" => format!("the Secrets of {namespace}"),
        _ => format!("the Secret {namespace}/{name}"),
    };
    match error {
        WriteError::Conflict => StoreError::Conflict { place },
        WriteError::Failed(Failure::Forbidden(error)) => {
            StoreError::Unavailable { place, error: format!("the API server forbids it: {error}") }
        }
        error => StoreError::Unavailable { place, error: error.to_string() },
    }
}

fn account_name(key: &str) -> String {
    format!("{ACCOUNT_PREFIX}{key}")
}

/// A certificate's namespace and name may be longer together than one name.
fn state_name(id: &CertificateId) -> String {
    let digest = digest::digest(&digest::SHA256, id.to_string().as_bytes());
    let hex: String = digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("vestibule-acme-state-{hex}")
}

/// Of a write that meets another one.
const ATTEMPTS_MAX: u32 = 4;
const ACCOUNT_PREFIX: &str = "vestibule-acme-account-";
const KIND_LABEL: &str = "vestibule.dev/acme";
const KIND_LABEL_ENCODED: &str = "vestibule.dev%2Facme";
const ACCOUNT: &str = "account";
const STATE: &str = "state";
const HTTP01: &str = "http01";
const CERTIFICATE_ANNOTATION: &str = "vestibule.dev/certificate";

#[cfg(test)]
mod tests;
