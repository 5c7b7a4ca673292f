//! The Secret with the keys of calls between replicas: filled, or made, by the replica that leads, and rotated by it.
//!
//! The others read it by their watch of Secrets. One that holds something else than our keys is left alone.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::write::{self, WriteError};
use crate::replicas::key::{CallKeys, KeysError};

/// Why the keys are not as they should be. Nothing of them is shown.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("its key `{KEYS}` is no text")]
    Text,
}

/// Looks after the Secret whenever this replica leads, until the election ends.
pub(super) async fn keep(client: Client, name: Arc<str>, mut leads: watch::Receiver<bool>) {
    let namespace = client.default_namespace().to_owned();
    let mut told = false;
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let pause = match look(&client, &namespace, &name, now()).await {
            Ok(()) => {
                told = false;
                LOOK_INTERVAL
            }
            Err(error) => {
                if !told {
                    tracing::warn!(
                        "the Secret {namespace}/{name} with the keys of calls between replicas: {error}; replicas cannot speak \
                         with each other before that is mended"
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
async fn look(client: &Client, namespace: &str, name: &str, now: Timestamp) -> Result<(), KeepError> {
    let path = |name: &str| write::path("v1", "secrets", namespace, name, "");
    let mut secret = match write::read(client, &path(name)).await {
        Ok(secret) => secret,
        Err(WriteError::Missing) => {
            let keys = CallKeys::new(now)?;
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"namespace": namespace, "name": name},
                "data": {KEYS: BASE64_STANDARD.encode(keys.to_text())},
            });
            write::create(client, &path(""), &secret).await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = match &secret["data"][KEYS] {
        Value::Null => Some(CallKeys::new(now)?),
        text => {
            let bytes = text.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(KeepError::Text)?;
            CallKeys::parse(&text)?.rotated(now)?
        }
    };
    if let Some(keys) = wanted {
        secret["data"][KEYS] = json!(BASE64_STANDARD.encode(keys.to_text()));
        write::replace(client, &path(name), &secret).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the shell of this module, where time comes in")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The key of the Secret that holds the ring.
pub(crate) const KEYS: &str = "keys";
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
