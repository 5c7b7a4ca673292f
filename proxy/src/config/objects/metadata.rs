//! What every object carries, and the small value types that the specs share.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// The part of `metadata` that Vestibule uses. Managed fields, finalizers and owners are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: Arc<str>,
    /// Empty for kinds without a namespace; `default` where a manifest names none.
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub labels: StringMap,
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: StringMap,
    /// Absent in files; then the object counts as younger than all that have one.
    #[serde(default)]
    pub creation_timestamp: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub generation: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub uid: Box<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub resource_version: Box<str>,
}

impl Metadata {
    /// The order in which the specs settle conflicts: oldest first, then `namespace/name`.
    pub fn seniority(&self) -> Seniority {
        Seniority {
            undated: self.creation_timestamp.is_none(),
            created: self.creation_timestamp,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Sorts objects as conflicts are settled: the smaller one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    undated: bool,
    created: Option<jiff::Timestamp>,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// A map of strings, sorted by key: labels, annotations, TLS options. Lean, because there are thousands of them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct StringMap(Box<[(Box<str>, Box<str>)]>);

impl StringMap {
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(candidate, _)| (**candidate).cmp(key)).ok()?;
        Some(&self.0[index].1)
    }

    /// In the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for StringMap {
    /// Of equal keys the last one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let sorted: std::collections::BTreeMap<Box<str>, Box<str>> =
            entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        StringMap(sorted.into_iter().collect())
    }
}

impl fmt::Debug for StringMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings (quote numbers and true or false)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                let mut entries: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<Box<str>, Option<Box<str>>>()? {
                    // A copy of the whole object that kubectl leaves behind; nothing here reads it.
                    if &*key != LAST_APPLIED {
                        entries.push((key, value.unwrap_or_default()));
                    }
                }
                Ok(entries.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Text where the spec lists the words it knows. A word that is not among them is kept, so that one unknown value becomes
/// one problem (`UnsupportedValue`) and not an object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Known<T> {
    Value(T),
    Unknown(Box<str>),
}

impl<T: Copy> Known<T> {
    /// The value, or `None` for an unknown word.
    pub fn value(&self) -> Option<T> {
        match self {
            Known::Value(value) => Some(*value),
            Known::Unknown(_) => None,
        }
    }
}

/// The words of one enumeration.
pub trait Words: Sized + Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value.
    fn as_str(self) -> &'static str
    where
        Self: PartialEq,
    {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

impl<'de, T: Words> Deserialize<'de> for Known<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word<T>(PhantomData<T>);
        impl<T: Words> Visitor<'_> for Word<T> {
            type Value = Known<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word")
            }

            fn visit_str<E>(self, text: &str) -> Result<Known<T>, E> {
                let known = T::WORDS.iter().find(|(word, _)| *word == text);
                Ok(known.map_or_else(|| Known::Unknown(text.into()), |(_, value)| Known::Value(*value)))
            }
        }
        deserializer.deserialize_str(Word(PhantomData))
    }
}

/// Reads `null` like an absent field, as Kubernetes does.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
