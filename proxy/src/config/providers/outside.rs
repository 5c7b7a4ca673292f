//! Values that the settings name and that stand in no object: files, and variables of the environment.
//!
//! They are read by whoever runs the process, before a compilation and again from time to time, because compiling itself reads
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::objects::core::SecretBytes;
use crate::settings::providers::SecretSource;
use crate::settings::{Settings, ValueSource};

/// What stood at the places that the settings name. Its `Debug` shows no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside(BTreeMap<SecretSource, Result<SecretBytes, Arc<str>>>);

impl Outside {
    /// Reads every file and variable that providers of `settings` name.
    pub fn read(settings: &Settings) -> Outside {
        let sources = settings.providers.values().flat_map(|provider| provider.secrets());
        let value = |source: &SecretSource| {
            let place = match source {
                SecretSource::SecretRef(_) => return None,
                SecretSource::File(file) => ValueSource::File(file.clone()),
                SecretSource::Env(name) => ValueSource::Env(name.clone()),
            };
            let value = place.read().map(|bytes| SecretBytes::from(bytes.as_slice()));
            Some((source.clone(), value.map_err(|error| error.to_string().into())))
        };
        Outside(sources.filter_map(value).collect())
    }

    /// True when nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The error is for a sentence that begins with the provider.
    pub(super) fn value(&self, source: &SecretSource) -> Result<SecretBytes, String> {
        match self.0.get(source) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(error)) => Err(format!("names a value that cannot be read: {error}")),
            None => Err("names a value that has not been read".into()),
        }
    }
}
