//! One attempt at a certificate, from the account to the store.
//!
//! Everything that the CA or DNS would remember is written to the store before it is done, so that whoever comes next goes on
//! from there: the same account, the same order, the same key, the same proofs.

mod answer;
mod proof;
mod reply;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, CertificateIdentifier, ExternalAccountKey, Identifier, Key, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use jiff::Timestamp;
use rustls_pki_types::PrivateKeyDer;
use tokio::sync::Mutex;

use crate::Clock;
use crate::chain::{Chain, issuer_names};
use crate::failure::Failure;
use crate::http::Recorder;
use crate::issuer::{ExternalAccount, Issuer};
use crate::name::Name;
use crate::plan::CertificateId;
use crate::renewal::is_usable_order;
use crate::secret::Secret;
use crate::state::{Event, Order, State, What};
use crate::store::{Kept, Store, StoreError, account_key};

pub(crate) use proof::clean_up;

/// What an attempt is about.
pub(crate) struct Attempt<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) store: &'a dyn Store,
    pub(crate) clock: &'a Clock,
    /// Held while an account is looked for and made, so that two attempts do not make two.
    pub(crate) accounts: &'a Mutex<()>,
    pub(crate) id: &'a CertificateId,
    pub(crate) names: &'a [Name],
    /// The certificate that this one takes the place of, as the CA calls it.
    pub(crate) replaces: Option<&'a str>,
    /// It is tried at the CA's staging side, and what comes of it is thrown away.
    pub(crate) is_rehearsal: bool,
    pub(crate) state: &'a mut State,
}

impl Attempt<'_> {
    /// Gets a certificate and stores it. On failure the state says how far it came.
    pub(crate) async fn run(mut self) -> Result<Option<Chain>, Failure> {
        let recorder = Recorder::new(self.issuer.http.clone(), self.clock.clone());
        self.store.prepare(self.id).await?;
        // Where this cannot be written, neither could an account or an order.
        self.save().await?;
        let account = self.account(&recorder).await?;
        let mut order = self.order(&account, &recorder).await?;
        let outcome = self.complete(&account, &mut order, &recorder).await;
        if let Err(failure) = &outcome
            && is_the_end_of_an_order(failure)
        {
            self.state.order = None;
        }
        let chain = outcome?;
        if self.is_rehearsal {
            self.state.order = None;
            return Ok(None);
        }
        self.fence()?;
        let kept = Kept {
            issuer: Some(self.issuer.name().to_owned()),
            chain: chain.pem.clone(),
            key: chain.key.clone(),
        };
        // The order is forgotten only when its certificate is safe.
        self.store.save_certificate(self.id, &kept).await?;
        self.state.order = None;
        self.state.issuer = kept.issuer;
        Ok(Some(chain))
    }

    fn directory(&self) -> &str {
        match (&self.issuer.staging, self.is_rehearsal) {
            (Some(staging), true) => staging,
            _ => &self.issuer.directory,
        }
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Nothing that others would see is done by a process that has lost the lock.
    fn fence(&self) -> Result<(), Failure> {
        if self.store.is_held() { Ok(()) } else { Err(StoreError::Lost.into()) }
    }

    async fn save(&self) -> Result<(), Failure> {
        self.fence()?;
        Ok(self.store.save_state(self.id, self.state).await?)
    }

    fn account_key(&self) -> String {
        let external = self.issuer.external_account.as_ref().map(|account| &*account.key_id);
        account_key(self.directory(), external)
    }

    /// The account that the store has, else a new one.
    async fn account(&self, recorder: &Recorder) -> Result<Account, Failure> {
        let _turn = self.accounts.lock().await;
        let key = self.account_key();
        let failed = |error| self.ca_failure(error, recorder);
        let builder = Account::builder_with_http(Box::new(recorder.clone()));
        if let Some(stored) = self.store.load_account(&key).await? {
            return builder.from_credentials(self.credentials(&key, &stored)?).await.map_err(failed);
        }
        self.fence()?;
        let contact: Vec<&str> = self.issuer.contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.issuer.external_account.as_ref().map(external_key).transpose()?;
        let created = builder.create(&new, self.directory().to_owned(), external.as_ref()).await;
        let (account, credentials) = created.map_err(|error| match failed(error) {
            // There is no account yet that could be refused: it is the binding.
            Failure::AccountRefused { detail, .. } if external.is_some() => {
                Failure::ExternalAccount { detail }
            }
            failure => failure,
        })?;
        self.save_account(&key, &credentials).await?;
        tracing::info!(issuer = self.issuer.name(), account = account.id(), "an account was made at the CA");
        Ok(account)
    }

    /// For a CA that has forgotten the account: the same key again.
    async fn renew_account(&self, recorder: &Recorder) -> Result<Account, Failure> {
        let key = self.account_key();
        let failed = |error| self.ca_failure(error, recorder);
        let Some(stored) = self.store.load_account(&key).await? else { return self.account(recorder).await };
        self.fence()?;
        let credentials = self.credentials(&key, &stored)?;
        let pkcs8 = credentials.private_key().clone_key();
        let own = Key::from_pkcs8_der(pkcs8.clone_key()).map_err(failed)?;
        let builder = Account::builder_with_http(Box::new(recorder.clone()));
        let created =
            builder.create_from_key((own, PrivateKeyDer::Pkcs8(pkcs8)), self.directory().to_owned()).await;
        let (account, credentials) = created.map_err(failed)?;
        self.save_account(&key, &credentials).await?;
        tracing::warn!(
            issuer = self.issuer.name(),
            "the CA had forgotten the account; its key was registered again"
        );
        Ok(account)
    }

    fn credentials(&self, key: &str, stored: &Secret) -> Result<AccountCredentials, Failure> {
        serde_json::from_str(stored.expose()).map_err(|_| {
            let place = format!("the account {key}");
            StoreError::Corrupt { place, error: "it is no account of ours".to_owned() }.into()
        })
    }

    async fn save_account(&self, key: &str, credentials: &AccountCredentials) -> Result<(), Failure> {
        let text = serde_json::to_string(credentials).map_err(|error| Failure::Key(error.to_string()))?;
        Ok(self.store.save_account(key, &Secret::new(text)).await?)
    }

    /// The order that was begun, else a new one.
    async fn order(
        &mut self,
        account: &Account,
        recorder: &Recorder,
    ) -> Result<instant_acme::Order, Failure> {
        if let Some(known) = &self.state.order
            && is_usable_order(self.now(), known, self.names, self.directory())
        {
            match account.order(known.url.clone()).await {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok(order);
                    }
                }
                Err(error) => {
                    let failure = self.ca_failure(error, recorder);
                    // One that belongs to another account is of no use to this one.
                    let is_of_another = matches!(failure, Failure::AccountRefused { .. });
                    if !is_of_another && !is_the_end_of_an_order(&failure) {
                        return Err(failure);
                    }
                }
            }
        }
        self.state.order = None;
        let (order, exempt) = match self.new_order(account, recorder).await {
            Err(NewOrderError::AccountUnknown) => {
                let account = self.renew_account(recorder).await?;
                self.new_order(&account, recorder).await.map_err(|error| error.into_failure(self))?
            }
            made => made.map_err(|error| error.into_failure(self))?,
        };
        let key_type = self.issuer.key_type;
        let key = tokio::task::spawn_blocking(move || key_type.generate()).await;
        let key = key.map_err(|error| Failure::Key(error.to_string()))??;
        let (now, directory, names) = (self.now(), self.directory().to_owned(), self.names.to_vec());
        let what = What::Ordered { names: names.clone(), exempt };
        self.state.note(Event { at: now, directory: directory.clone(), what });
        self.state.order = Some(Order { url: order.url().to_owned(), directory, names, key, created: now });
        self.save().await?;
        Ok(order)
    }

    /// A new order, and whether the CA counts it towards its limits.
    async fn new_order(
        &self,
        account: &Account,
        recorder: &Recorder,
    ) -> Result<(instant_acme::Order, bool), NewOrderError> {
        self.fence().map_err(NewOrderError::Failure)?;
        let identifiers: Vec<Identifier> =
            self.names.iter().map(|name| Identifier::Dns(name.as_str().to_owned())).collect();
        let profile = self.issuer.profile.as_deref();
        let offered = profile.filter(|profile| account.profiles().any(|offered| offered.name == *profile));
        if let (Some(profile), None) = (profile, offered) {
            tracing::warn!(
                issuer = self.issuer.name(),
                "the CA has no profile `{profile}`; it is ordered without"
            );
        }
        let order = || {
            let order = NewOrder::new(&identifiers);
            match offered {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        // What was replaced already, or fails a second time, is ordered as if it were new.
        let replaced = self.replaces.and_then(|id| id.split_once('.')).filter(|_| self.state.failures < 2);
        if let Some((authority, serial)) = replaced.filter(|_| !self.is_rehearsal) {
            let id =
                CertificateIdentifier { authority_key_identifier: authority.into(), serial: serial.into() };
            match account.new_order(&order().replaces(id)).await {
                Ok(order) => return Ok((order, true)),
                // What passes is tried again later: an order without it would count towards the CA's limits.
                Err(error) if answer::may_pass(&error) => {
                    return Err(NewOrderError::Failure(self.ca_failure(error, recorder)));
                }
                Err(error) => {
                    tracing::warn!(issuer = self.issuer.name(), %error, "the CA does not take `replaces`");
                }
            }
        }
        match account.new_order(&order()).await {
            Ok(order) => Ok((order, false)),
            Err(error) if answer::is_kind(&error, "accountDoesNotExist") => {
                Err(NewOrderError::AccountUnknown)
            }
            Err(error) => Err(NewOrderError::Failure(self.ca_failure(error, recorder))),
        }
    }

    /// Proves, finalizes and downloads, from wherever the order stands.
    async fn complete(
        &mut self,
        account: &Account,
        order: &mut instant_acme::Order,
        recorder: &Recorder,
    ) -> Result<Chain, Failure> {
        if order.state().status == OrderStatus::Pending {
            self.prove(order, recorder).await?;
        }
        let Some(known) = self.state.order.clone() else {
            return Err(Failure::Ca { detail: "the order is gone".to_owned() });
        };
        if order.state().status == OrderStatus::Ready {
            self.fence()?;
            let csr = signing_request(self.names, &known.key)?;
            order.finalize_csr(&csr).await.map_err(|error| self.ca_failure(error, recorder))?;
        }
        let pem = match order.state().status {
            OrderStatus::Valid => order.certificate().await.map(Option::unwrap_or_default),
            _ => order.poll_certificate(&patience()).await,
        };
        let pem = pem.map_err(|error| self.ca_failure(error, recorder))?;
        let pem = self.preferred(account, recorder, pem).await;
        let chain = Chain::parse(&pem, &known.key).map_err(Failure::Issued)?;
        chain.check_issued(self.names, self.now()).map_err(Failure::Issued)?;
        Ok(chain)
    }

    /// The chain that the operator prefers, where the CA has it (RFC 8555 §7.4.2).
    async fn preferred(&self, account: &Account, recorder: &Recorder, pem: String) -> String {
        let Some(wanted) = &self.issuer.preferred_chain else { return pem };
        let has_it = |pem: &str| issuer_names(pem).iter().any(|name| name == wanted);
        if has_it(&pem) {
            return pem;
        }
        for address in recorder.seen().alternates {
            // The signed question is what matters: the answer is no order, and what came is with the recorder.
            let _ = account.order(address).await;
            if let Some(other) = recorder.seen().chain.filter(|other| has_it(other)) {
                return other;
            }
        }
        tracing::warn!(
            issuer = self.issuer.name(),
            "the CA has no chain by `{wanted}`; its usual one is taken"
        );
        pem
    }
}

enum NewOrderError {
    AccountUnknown,
    Failure(Failure),
}

impl NewOrderError {
    fn into_failure(self, attempt: &Attempt<'_>) -> Failure {
        match self {
            NewOrderError::Failure(failure) => failure,
            NewOrderError::AccountUnknown => Failure::AccountRefused {
                account: attempt.account_key(),
                detail: "the CA does not know it, even after it was registered again".to_owned(),
            },
        }
    }
}

/// What fails in itself is not gone on with; what failed on the way is.
fn is_the_end_of_an_order(failure: &Failure) -> bool {
    match failure {
        Failure::Proof { .. }
        | Failure::Rejected { .. }
        | Failure::Caa { .. }
        | Failure::NoChallenge { .. }
        | Failure::Ca { .. }
        | Failure::Issued(_) => true,
        Failure::CaUnreachable { .. }
        | Failure::CaOutOfOrder { .. }
        | Failure::Nonce
        | Failure::RateLimited { .. }
        | Failure::OwnLimit { .. }
        | Failure::AccountRefused { .. }
        | Failure::ExternalAccount { .. }
        | Failure::CaSlow { .. }
        | Failure::NoSolver { .. }
        | Failure::ZoneMissing { .. }
        | Failure::Credentials { .. }
        | Failure::ProviderThrottled { .. }
        | Failure::Provider { .. }
        | Failure::Propagation { .. }
        | Failure::Unanswered { .. }
        | Failure::Dns { .. }
        | Failure::Store(_)
        | Failure::Key(_) => false,
    }
}

fn external_key(account: &ExternalAccount) -> Result<ExternalAccountKey, Failure> {
    let text = account.key.expose().trim().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Failure::ExternalAccount { detail: "the key is not base64url".to_owned() })?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}

/// A request for exactly these names (RFC 2986), signed with the key.
fn signing_request(names: &[Name], key: &Secret) -> Result<Vec<u8>, Failure> {
    let failed = |error: rcgen::Error| Failure::Key(error.to_string());
    let pair = rcgen::KeyPair::from_pem(key.expose()).map_err(failed)?;
    let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&pair).map_err(failed)?;
    Ok(request.der().to_vec())
}

/// How long the CA may take over a step; it is asked as often as it wants to be.
fn patience() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(CA_TIMEOUT)
}

const CA_TIMEOUT: Duration = Duration::from_secs(CA_TIMEOUT_MINUTES as u64 * 60);
const CA_TIMEOUT_MINUTES: i64 = 5;
