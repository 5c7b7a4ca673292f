//! An issuer: a CA, our account there, and how names are proved to it.

use std::sync::Arc;

use rcgen::{KeyPair, RsaKeySize};

use crate::dns::{Dns, Propagation};
use crate::failure::Failure;
use crate::http::Http;
use crate::http01::{Http01, is_proved_by_http};
use crate::name::{Name, is_within};
use crate::plan::Scope;
use crate::provider::DnsProvider;
use crate::secret::Secret;

/// An issuer as the operator has configured it, with everything that it needs to act.
pub struct Issuer {
    /// Its name, and the names that it may order.
    pub scope: Scope,
    /// The CA's directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// The directory of the CA's test side. After a failed proof the next one is tried there first.
    pub staging: Option<String>,
    /// Addresses for the CA, such as `mailto:ops@example.com`.
    pub contact: Vec<String>,
    pub external_account: Option<ExternalAccount>,
    pub key_type: KeyType,
    /// One of those that the CA offers; another is left out with a warning.
    pub profile: Option<String>,
    /// The common name of a CA certificate; the chain that has it is taken where the CA offers several.
    pub preferred_chain: Option<String>,
    /// Those that prove by DNS.
    pub solvers: Vec<Solver>,
    pub http01: Vec<Http01>,
    pub dns: Dns,
    /// Trusts what the operator wants trusted for this CA.
    pub http: Arc<dyn Http>,
    /// Differs when anything that matters does: what failed for its configuration is then tried at once.
    pub fingerprint: u64,
}

/// A binding to an account that the CA knows by other means (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// base64url, as CAs give it.
    pub key: Secret,
}

/// Which key a certificate gets; a new one each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// Proves the names of some zones.
#[derive(Clone)]
pub struct Solver {
    /// Only records in these zones; empty takes any that the provider has.
    pub zones: Vec<String>,
    pub provider: Arc<dyn DnsProvider>,
    pub propagation: Propagation,
}

impl Issuer {
    pub fn name(&self) -> &str {
        &self.scope.issuer
    }

    /// How a name is proved by HTTP-01; `None` where DNS does it.
    pub(crate) fn http01_for(&self, name: &Name) -> Option<&Http01> {
        let by_http = self.http01.iter().map(|solver| &*solver.zones);
        let by_dns = self.solvers.iter().map(|solver| &*solver.zones);
        let longest =
            |solver: &&Http01| solver.zones.iter().filter(|zone| name.is_within(zone)).map(String::len).max();
        is_proved_by_http(name, by_http, by_dns)
            .then(|| self.http01.iter().filter(|solver| solver.is_for(name)).max_by_key(longest))
            .flatten()
    }

    /// The solvers for a record, the one with the longest zone first, and those for any zone last.
    pub(crate) fn solvers_for(&self, record: &str) -> Vec<(&Solver, Option<&str>)> {
        let mut fitting: Vec<(&Solver, Option<&str>)> = self
            .solvers
            .iter()
            .filter_map(|solver| match solver.zones.is_empty() {
                true => Some((solver, None)),
                false => {
                    let zones = solver.zones.iter().filter(|zone| is_within(record, zone));
                    zones.max_by_key(|zone| zone.len()).map(|zone| (solver, Some(zone.as_str())))
                }
            })
            .collect();
        fitting.sort_by_key(|(_, zone)| std::cmp::Reverse(zone.map_or(0, str::len)));
        fitting
    }
}

impl KeyType {
    /// Makes a key: PKCS#8 in PEM. RSA takes up to seconds: not on a thread that others wait for.
    pub(crate) fn generate(self) -> Result<Secret, Failure> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match self {
            KeyType::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        let pair = pair.map_err(|error| Failure::Key(error.to_string()))?;
        Ok(Secret::new(pair.serialize_pem()))
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("scope", &self.scope)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
