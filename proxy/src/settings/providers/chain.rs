//! The providers that a route is guarded by, by name and in their order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Providers in the order in which they are asked, or the word that none is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// `none`.
    None,
    /// The first that finds credentials of its kind decides. Never empty, at most [`CHAIN_LEN_MAX`].
    Providers(Arc<[Arc<str>]>),
}

/// Why a text is no chain of providers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("`{0}` is no name of a provider")]
    Name(Box<str>),
    #[error("`{0}` stands in the chain twice")]
    Twice(Box<str>),
    #[error("the chain has more than {CHAIN_LEN_MAX} providers")]
    TooLong,
    #[error("`none` stands alone or not at all")]
    NoneWithOthers,
}

impl Chain {
    /// Reads `dex`, `jwt, else dex` or `none`.
    pub fn parse(text: &str) -> Result<Chain, ChainError> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (index, part) in text.split(',').enumerate() {
            let part = part.trim();
            let name = match part.strip_prefix("else ") {
                Some(rest) if index > 0 => rest.trim(),
                Some(_) | None => part,
            };
            if !is_provider_name(name) {
                return Err(ChainError::Name(shortened(name)));
            }
            if names.iter().any(|known| **known == *name) {
                return Err(ChainError::Twice(name.into()));
            }
            if names.len() == CHAIN_LEN_MAX {
                return Err(ChainError::TooLong);
            }
            names.push(name.into());
        }
        match (names.iter().any(|name| **name == *NONE), names.len()) {
            (true, 1) => Ok(Chain::None),
            (true, _) => Err(ChainError::NoneWithOthers),
            (false, _) => Ok(Chain::Providers(names.into())),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chain::None => f.write_str(NONE),
            Chain::Providers(names) => f.write_str(&names.join(", else ")),
        }
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Chain::parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(Error::custom)
    }
}

impl JsonSchema for Chain {
    fn schema_name() -> Cow<'static, str> {
        "Chain".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// True for what may name a provider: as objects are named, so that a Secret can carry the name.
pub fn is_provider_name(name: &str) -> bool {
    let plain =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
    let ends = |edge: Option<u8>| edge.is_some_and(|byte| byte.is_ascii_alphanumeric());
    plain
        && name.len() <= PROVIDER_NAME_BYTES_MAX
        && ends(name.bytes().next())
        && ends(name.bytes().next_back())
}

fn shortened(text: &str) -> Box<str> {
    text.chars().take(60).collect::<String>().escape_debug().to_string().into()
}

/// Opts out of a default.
pub const NONE: &str = "none";
/// Providers of one chain.
pub const CHAIN_LEN_MAX: usize = 4;
/// A label of the DNS, twice over.
pub const PROVIDER_NAME_BYTES_MAX: usize = 127;
