//! A certificate with its key, as far as it matters for renewing it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::name::Name;
use crate::secret::Secret;

/// A chain, leaf first, and the key of the leaf; both PEM, checked to belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub pem: String,
    pub key: Secret,
    pub facts: Facts,
}

/// What a chain says of itself: all that is kept in memory of a certificate that needs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub names: Vec<Name>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// How the CA calls it when asked when to renew (RFC 9773 §4.1); absent where the leaf does not say who signed it.
    pub renewal_id: Option<String>,
}

/// Why a chain is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("there is no certificate")]
    Empty,
    #[error("the private key cannot be read")]
    Key,
    #[error("the private key belongs to another certificate")]
    KeyMismatch,
    #[error("it does not carry {0}")]
    NameMissing(Name),
    #[error("it is valid from {0} on, which is later than this machine's clock; set the clock")]
    NotYet(Timestamp),
    #[error("it ran out at {0}")]
    Expired(Timestamp),
}

impl Chain {
    pub fn parse(pem: &str, key: &Secret) -> Result<Chain, ChainError> {
        let facts_and_key = read(pem)?;
        let (facts, public_key) = facts_and_key;
        let pair = rcgen::KeyPair::from_pem(key.expose()).map_err(|_| ChainError::Key)?;
        if rcgen::PublicKeyData::subject_public_key_info(&pair) != public_key {
            return Err(ChainError::KeyMismatch);
        }
        Ok(Chain { pem: pem.to_owned(), key: key.clone(), facts })
    }

    /// What a CA gave, before it is stored: for all these names, and valid now.
    pub(crate) fn check_issued(&self, names: &[Name], now: Timestamp) -> Result<(), ChainError> {
        if let Some(missing) = self.facts.first_uncovered(names) {
            return Err(ChainError::NameMissing(missing.clone()));
        }
        if self.facts.not_before > now + CLOCK_LEEWAY {
            return Err(ChainError::NotYet(self.facts.not_before));
        }
        if self.facts.not_after <= now {
            return Err(ChainError::Expired(self.facts.not_after));
        }
        Ok(())
    }
}

impl Facts {
    /// Reads the leaf of a PEM chain.
    pub fn parse(pem: &str) -> Result<Facts, ChainError> {
        read(pem).map(|(facts, _)| facts)
    }

    pub fn lifetime(&self) -> SignedDuration {
        self.not_after.duration_since(self.not_before)
    }

    /// What is left of the life at `now`, from 1 down to 0.
    pub fn share_left(&self, now: Timestamp) -> f64 {
        let lifetime = self.lifetime().as_secs_f64().max(1.0);
        (self.not_after.duration_since(now).as_secs_f64() / lifetime).clamp(0.0, 1.0)
    }

    /// The first of `names` that the certificate does not serve.
    pub fn first_uncovered<'n>(&self, names: &'n [Name]) -> Option<&'n Name> {
        names.iter().find(|name| !self.names.iter().any(|own| own.covers(name)))
    }
}

/// The common names of who signed each certificate of a chain: what `preferredChain` is compared with.
pub(crate) fn issuer_names(pem: &str) -> Vec<String> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().take(CHAIN_LEN_MAX);
    let names = certificates.filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let name = certificate.issuer().iter_common_name().next()?.as_str().ok()?;
        Some(name.to_owned())
    });
    names.collect()
}

/// The facts of the leaf, and its public key (SubjectPublicKeyInfo, DER).
fn read(pem: &str) -> Result<(Facts, Vec<u8>), ChainError> {
    let unreadable = |error: &dyn std::fmt::Display| ChainError::Unreadable(error.to_string());
    let leaf = CertificateDer::pem_slice_iter(pem.as_bytes()).next().ok_or(ChainError::Empty)?;
    let leaf = leaf.map_err(|error| unreadable(&error))?;
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|error| unreadable(&error))?;
    let validity = certificate.validity();
    let moment = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let facts = Facts {
        names: subject_names(&certificate),
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
        renewal_id: renewal_id(&certificate),
    };
    Ok((facts, certificate.public_key().raw.to_vec()))
}

fn subject_names(certificate: &X509Certificate<'_>) -> Vec<Name> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Name::parse(name).ok(),
        _ => None,
    });
    names.collect()
}

/// base64url(key identifier of the authority) `.` base64url(serial number), RFC 9773 §4.1.
fn renewal_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let authority =
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
    let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Some(format!("{}.{}", encode(authority.0), encode(certificate.raw_serial())))
}

/// How far the CA's clock may be ahead of ours.
const CLOCK_LEEWAY: SignedDuration = SignedDuration::from_mins(5);
/// Certificates of one chain that are looked at.
const CHAIN_LEN_MAX: usize = 10;

#[cfg(test)]
pub(crate) mod tests;
