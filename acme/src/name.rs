//! Names that a certificate can carry.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A DNS name, lower case and without a final dot, or a wildcard over its first label (`*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is no name that a certificate by DNS-01 can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {NAME_LEN_MAX} characters")]
    TooLong,
    #[error("it is an IP address, and certificates by ACME are for names")]
    Address,
    #[error("a wildcard stands for the whole first label, as in *.example.com")]
    Wildcard,
    #[error("a label has 1 to 63 letters, digits and inner hyphens; write other scripts in punycode (xn--…)")]
    Label,
}

impl Name {
    /// Reads a name; case and a final dot do not matter (RFC 1035 §2.3.1, RFC 8555 §7.1.3).
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let base = text.strip_prefix("*.").unwrap_or(&text);
        if base.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        if base.parse::<std::net::IpAddr>().is_ok() || base.starts_with('[') {
            return Err(NameError::Address);
        }
        if base.contains('*') {
            return Err(NameError::Wildcard);
        }
        if !base.split('.').all(is_label) {
            return Err(NameError::Label);
        }
        Ok(Name(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name without its `*.`: what the CA calls the identifier.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Where the proof stands (RFC 8555 §8.4). A name and the wildcard over it share one record with two values.
    pub fn challenge_record(&self) -> String {
        format!("_acme-challenge.{}", self.base())
    }

    /// True when a certificate with this name serves `other`. A wildcard covers exactly one label (RFC 9525 §6.3).
    pub fn covers(&self, other: &Name) -> bool {
        if self == other {
            return true;
        }
        self.is_wildcard()
            && !other.is_wildcard()
            && other.0.split_once('.').is_some_and(|(_, rest)| rest == self.base())
    }

    /// True when the name is `domain`, or lies under it.
    pub fn is_within(&self, domain: &str) -> bool {
        is_within(self.base(), domain)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Name, NameError> {
        Name::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

/// True when `name` is `domain` or lies under it. Both are lower case and without a final dot.
pub fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_label(label: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = label.as_bytes();
    (1..=63).contains(&bytes.len())
        && is_letter(bytes[0])
        && is_letter(bytes[bytes.len() - 1])
        && bytes.iter().all(|byte| is_letter(*byte) || *byte == b'-')
}

/// RFC 1035 §2.3.4, as text without the final dot.
pub const NAME_LEN_MAX: usize = 253;

#[cfg(test)]
mod tests;
