//! The keys that sessions are sealed with: where the settings say they are, and in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::auth::session::KeyRing;
use jiff::Timestamp;

use crate::config::objects::Objects;
use crate::edge::Edge;
use crate::login::ring;
use crate::settings::providers::SecretSource;

/// What is in force now.
#[derive(Debug, Default)]
pub(super) struct SessionKeys {
    place: Option<Place>,
}

/// Where the keys in force came from, with enough to see a change.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Made by this process for itself.
    Own,
    File(PathBuf),
    /// Digest of the text.
    Text([u8; 32]),
}

impl SessionKeys {
    /// Looks at the place and puts what is new in force. An error leaves what was; it names the place, never what stands there.
    pub(super) fn look(
        &mut self,
        source: Option<&SecretSource>,
        objects: &Objects,
        edge: &Edge,
        now: Timestamp,
    ) -> Result<(), String> {
        let ring = match source {
            None if self.place == Some(Place::Own) => return Ok(()),
            None => {
                let ring = KeyRing::new(now).map_err(|error| error.to_string())?;
                self.place = Some(Place::Own);
                ring
            }
            // Read each time: other processes may have put a new key in it, or its own time may have come.
            Some(SecretSource::File(file)) => self.take_file(file, now)?,
            Some(SecretSource::Env(name)) => {
                let text = std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?;
                match self.take_text(&text)? {
                    Some(ring) => ring,
                    None => return Ok(()),
                }
            }
            Some(SecretSource::SecretRef(key)) => {
                let (Some(namespace), Some(name)) = (&key.namespace, &key.name) else {
                    return Err("`secretRef` needs a namespace and a name".into());
                };
                let secret = objects.secrets.find(namespace, name);
                let secret = secret.ok_or_else(|| format!("there is no Secret {namespace}/{name}"))?;
                let value = secret.data.get(&*key.key);
                let value =
                    value.ok_or_else(|| format!("the Secret {namespace}/{name} has no key `{}`", key.key))?;
                let text = std::str::from_utf8(value.expose());
                let text = text.map_err(|_| format!("the Secret {namespace}/{name} holds no key ring"))?;
                match self.take_text(text)? {
                    Some(ring) => ring,
                    None => return Ok(()),
                }
            }
        };
        edge.set_session_keys(Arc::new(ring));
        Ok(())
    }

    fn take_file(&mut self, file: &Path, now: Timestamp) -> Result<KeyRing, String> {
        let ring = ring::from_file(file, now).map_err(|error| error.to_string())?;
        self.place = Some(Place::File(file.to_owned()));
        Ok(ring)
    }

    /// `None` when the text is the one in force.
    fn take_text(&mut self, text: &str) -> Result<Option<KeyRing>, String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().unwrap_or_default();
        if self.place == Some(Place::Text(digest)) {
            return Ok(None);
        }
        let ring = KeyRing::parse(text).map_err(|error| error.to_string())?;
        self.place = Some(Place::Text(digest));
        Ok(Some(ring))
    }
}

#[cfg(test)]
mod tests;
