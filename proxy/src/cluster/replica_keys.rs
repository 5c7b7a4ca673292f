//! Keys that replicas share in a Secret, for calls between them and for sessions: filled, or made, by the replica that leads, and
//! rotated by it.
//!
//! The others read it by their watch of Secrets. What holds something else than our keys is left alone.

use std::sync::Arc;
use std::time::Duration;

use ::auth::session::{KeyRing, KeyRingError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::write::{self, WriteError};
use crate::replicas::key::{CallKeys, KeysError};

/// What the keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    Calls,
    Sessions,
}

/// Where keys stand, in the namespace of the Pod.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) ring: Ring,
    pub(crate) secret: Arc<str>,
    /// The key of the Secret.
    pub(crate) key: Arc<str>,
}

/// Why the keys are not as they should be. Nothing of them is shown.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Calls(#[from] KeysError),
    #[error(transparent)]
    Sessions(#[from] KeyRingError),
    #[error("what stands there is no text")]
    Text,
}

impl Ring {
    /// New keys, as they are stored.
    fn fresh(self, now: Timestamp) -> Result<String, KeepError> {
        Ok(match self {
            Ring::Calls => CallKeys::new(now)?.to_text(),
            Ring::Sessions => KeyRing::new(now)?.to_text(),
        })
    }

    /// What should take the place of these; `None` while there is nothing to do.
    fn rotated(self, text: &str, now: Timestamp) -> Result<Option<String>, KeepError> {
        Ok(match self {
            Ring::Calls => CallKeys::parse(text)?.rotated(now)?.map(|keys| keys.to_text()),
            Ring::Sessions => KeyRing::parse(text)?.rotated(now)?.map(|keys| keys.to_text()),
        })
    }

    /// What does not work without them.
    fn consequence(self) -> &'static str {
        match self {
            Ring::Calls => "replicas cannot speak with each other",
            Ring::Sessions => "nobody can log in",
        }
    }
}

/// Looks after the Secret whenever this replica leads, until the election ends.
pub(super) async fn keep(client: Client, shared: Shared, mut leads: watch::Receiver<bool>) {
    let namespace = client.default_namespace().to_owned();
    let mut told = false;
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let pause = match look(&client, &namespace, &shared, now()).await {
            Ok(()) => {
                told = false;
                LOOK_INTERVAL
            }
            Err(error) => {
                if !told {
                    let Shared { ring, secret, key } = &shared;
                    tracing::warn!(
                        "the keys in the Secret {namespace}/{secret}, key `{key}`: {error}; {} before that is mended",
                        ring.consequence()
                    );
                }
                // A conflict is no failure: somebody was faster.
                told |= !matches!(error, KeepError::Write(WriteError::Conflict));
                RETRY_INTERVAL
            }
        };
        sleep(pause).await;
    }
}

/// Makes of what is there what should be.
async fn look(client: &Client, namespace: &str, shared: &Shared, now: Timestamp) -> Result<(), KeepError> {
    let Shared { ring, secret: name, key } = shared;
    let (name, key) = (&**name, &**key);
    let path = |name: &str| write::path("v1", "secrets", namespace, name, "");
    let mut secret = match write::read(client, &path(name)).await {
        Ok(secret) => secret,
        Err(WriteError::Missing) => {
            let keys = BASE64_STANDARD.encode(ring.fresh(now)?);
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"namespace": namespace, "name": name},
                "data": {key: keys},
            });
            write::create(client, &path(""), &secret).await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = match &secret["data"][key] {
        Value::Null => Some(ring.fresh(now)?),
        text => {
            let bytes = text.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(KeepError::Text)?;
            ring.rotated(&text, now)?
        }
    };
    if let Some(keys) = wanted {
        secret["data"][key] = json!(BASE64_STANDARD.encode(keys));
        write::replace(client, &path(name), &secret).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the shell of this module, where time comes in")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The key of the Secret that holds the keys of calls.
pub(crate) const KEYS: &str = "keys";
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
