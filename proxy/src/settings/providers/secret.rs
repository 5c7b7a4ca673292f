//! Where secrets stand. What is read here never holds one, and no error repeats what was written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, Expected, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Where a secret value stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SecretSource {
    /// A key of a Secret.
    SecretRef(SecretKey),
    /// A file; a relative path starts at the settings file's directory.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl<'de> Deserialize<'de> for SecretSource {
    /// Errors never repeat what was written: whoever gets this wrong has often written the secret itself.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoSecrets)
    }
}

struct NoSecrets;

impl<'de> Visitor<'de> for NoSecrets {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`secretRef`, `file` or `env`, which name a secret; it is never written here")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(format_args!("expected {}", &self as &dyn Expected)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let wrong = || A::Error::custom(format_args!("expected one of {}", &self as &dyn Expected));
        let source = match map.next_key::<Cow<'de, str>>()?.as_deref() {
            Some("secretRef") => SecretSource::SecretRef(map.next_value_seed(OneKey)?),
            Some("file") => SecretSource::File(map.next_value()?),
            Some("env") => SecretSource::Env(map.next_value()?),
            Some(_) | None => return Err(wrong()),
        };
        if map.next_key::<serde::de::IgnoredAny>()?.is_some() { Err(wrong()) } else { Ok(source) }
    }
}

struct OneKey;

impl<'de> DeserializeSeed<'de> for OneKey {
    type Value = SecretKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SecretKey, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneKey {
    type Value = SecretKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`namespace`, `name` and `key` of a Secret")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretKey, E> {
        Err(E::custom(format_args!("expected {}", &self as &dyn Expected)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretKey, A::Error> {
        SecretKey::deserialize(MapAccessDeserializer::new(map))
    }
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's namespace. In a namespace's own provider it is that namespace. (live)
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// The Secret's name. In a namespace's own provider it may be left out: the labelled Secret itself. (live)
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// The key. (live)
    pub key: Arc<str>,
}
