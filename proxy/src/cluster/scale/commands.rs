//! What people ask for by annotations of a workload: to be awake until a moment, or to be put to sleep.
//!
//! Whoever may write them is asked of the API server, which knows the caller; nothing here decides that. `vestibule wake`,
//! `sleep` and `keep-awake` write them with the rights of whoever runs them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};
use wake::machine::Command;
use wake::scaler::{Observation, ScaleError};
use wake::workload::Workload;

use super::super::write;
use super::discover::Kinds;
use super::{fault, observation};

/// What the annotations of one object say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    awake_until: Option<Timestamp>,
    sleep_since: Option<Timestamp>,
}

impl Asked {
    /// What is no moment says nothing.
    pub(super) fn of(object: &Value) -> Self {
        let moment = |key: &str| object["metadata"]["annotations"][key].as_str()?.parse().ok();
        Asked { awake_until: moment(AWAKE_UNTIL), sleep_since: moment(SLEEP_SINCE) }
    }

    /// What that comes to for who knew `before`; `None`: nothing new. Old wishes to sleep are over.
    pub(super) fn command(self, before: Asked, now: Timestamp) -> Option<Command> {
        if self == before {
            return None;
        }
        let left = |until: Timestamp| Duration::try_from(until.duration_since(now)).unwrap_or_default();
        let awake = self.awake_until.map(left).filter(|time| !time.is_zero());
        let sleeps = self.sleep_since != before.sleep_since
            && self.sleep_since.is_some_and(|since| now.duration_since(since).abs() < SLEEP_AGE_MAX);
        match awake {
            Some(time) => Some(Command::KeepAwake(time.min(AWAKE_MAX))),
            None if sleeps => Some(Command::Sleep),
            None => before.awake_until.map(|_| Command::KeepAwake(Duration::ZERO)),
        }
    }
}

/// Writes a command on a workload, as whoever `client` is, and says how the workload is.
pub(crate) async fn ask(
    client: &Client,
    workload: &Workload,
    command: Command,
    now: Timestamp,
) -> Result<Observation, ScaleError> {
    let kind = &workload.reference.kind;
    let path = path(client, workload).await?;
    let until = |time: Duration| now + SignedDuration::try_from(time.min(AWAKE_MAX)).unwrap_or_default();
    let annotations = match command {
        Command::Wake => {
            let object = write::read(client, &path).await.map_err(|error| fault(workload, "get", &error))?;
            // Somebody may have asked for longer.
            let known = Asked::of(&object).awake_until;
            let until = known.map_or(until(WAKE_TIME), |known| known.max(until(WAKE_TIME)));
            json!({AWAKE_UNTIL: format!("{until:.0}"), SLEEP_SINCE: null})
        }
        Command::KeepAwake(time) if time.is_zero() => json!({AWAKE_UNTIL: null}),
        Command::KeepAwake(time) => json!({AWAKE_UNTIL: format!("{:.0}", until(time)), SLEEP_SINCE: null}),
        Command::Sleep => json!({AWAKE_UNTIL: null, SLEEP_SINCE: format!("{now:.3}")}),
    };
    let patch = json!({"metadata": {"annotations": annotations}});
    let path = format!("{path}?fieldManager=vestibule-command");
    let object =
        write::patch(client, &path, &patch).await.map_err(|error| fault(workload, "patch", &error))?;
    Ok(observation(kind, &object))
}

/// How a workload is.
pub(crate) async fn look(client: &Client, workload: &Workload) -> Result<Observation, ScaleError> {
    let path = path(client, workload).await?;
    let object = write::read(client, &path).await.map_err(|error| fault(workload, "get", &error))?;
    Ok(observation(&workload.reference.kind, &object))
}

async fn path(client: &Client, workload: &Workload) -> Result<String, ScaleError> {
    let resource = Kinds::default().of(client, &workload.reference.kind).await?;
    let name = &workload.reference.name;
    Ok(write::path(&resource.api_version, &resource.plural, &workload.namespace, name, ""))
}

/// Awake until this moment (RFC 3339).
pub(super) const AWAKE_UNTIL: &str = "vestibule.dev/awake-until";
/// To be put to sleep, asked for at this moment (RFC 3339).
pub(super) const SLEEP_SINCE: &str = "vestibule.dev/sleep-since";
/// What is woken by hand is left awake for so long, that somebody may use it.
const WAKE_TIME: Duration = Duration::from_secs(300);
/// A process that begins does not do again what was asked of another long ago.
const SLEEP_AGE_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Nobody means more.
const AWAKE_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

#[cfg(test)]
mod tests;
