//! Settings of what sleeps and wakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use wake::schedule::Schedule;

use super::units;

/// Defaults of routes that wake, and the look of the waiting page.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Wake {
    /// Without a request for so long, a workload is put to sleep, where its route says nothing else. Default: 15m. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle: Duration,
    /// How long a request is held, where its route says nothing else. Default: 60s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    /// Declares that no other replica of this edge takes requests for the same workloads. Workloads of a cluster are put to sleep
    /// only where replicas can ask each other whether they are in use (`replicas`), or where this says that there is nobody to ask.
    /// Waking needs neither. Default: false. (restart)
    pub only_replica: bool,
    /// Windows of time in which volumes are backed up, such as `02:00-04:00 Europe/Berlin`. What has volumes and sleeps then gets an
    /// Event, because many tools back up only what runs; `vestibule.dev/wake-keep-awake` keeps it awake. Default: none. (live)
    #[serde(deserialize_with = "schedule")]
    #[schemars(with = "Option<String>")]
    pub backup: Schedule,
    /// What the waiting page looks like.
    pub page: WakePage,
}

/// What the waiting page looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WakePage {
    /// The colour of its bar, as `#rrggbb`. Default: `#2f6fde`. (live)
    pub color: Option<Color>,
    /// A sentence under the heading. Default: `It was asleep and is starting now. This page goes on by itself.` (live)
    pub words: Option<Arc<str>>,
}

/// `#rrggbb`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Color(#[schemars(regex(pattern = "^#[0-9a-fA-F]{6}$"))] Box<str>);

/// A program of this machine that can be put to sleep and woken. How it runs changes when it is started next.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// By this name routes wake it (`vestibule.dev/wake: process/NAME`); with `"true"`, those whose Service has the same name.
    /// (live)
    pub name: Arc<str>,
    /// The namespace of the routes that may wake it. Default: `default`. (live)
    #[serde(default = "default_namespace")]
    pub namespace: Arc<str>,
    /// The program and its arguments. (live)
    #[schemars(length(min = 1))]
    pub command: Vec<Arc<str>>,
    /// Where it runs; a relative path starts at the settings file's directory. Default: where this process runs. (live)
    #[serde(default)]
    pub working_directory: Option<PathBuf>,
    /// Variables besides those of this process. (live)
    #[serde(default)]
    pub environment: BTreeMap<Arc<str>, Arc<str>>,
    /// An address that takes connections once it is ready. Default: it is ready as soon as it runs, or, behind a Service, when an
    /// endpoint takes connections. (live)
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub listens: Option<SocketAddr>,
    /// What it is told to end by, it and all that it started. Default: `SIGTERM`. (live)
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// After so long it is killed. Default: 10s. (live)
    #[serde(default = "default_stop_timeout", deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub stop_timeout: Duration,
}

/// A signal that programs end by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum StopSignal {
    #[default]
    #[serde(rename = "SIGTERM")]
    Terminate,
    #[serde(rename = "SIGINT")]
    Interrupt,
    #[serde(rename = "SIGQUIT")]
    Quit,
    #[serde(rename = "SIGHUP")]
    HangUp,
    #[serde(rename = "SIGKILL")]
    Kill,
}

impl Default for Wake {
    fn default() -> Self {
        let defaults = wake::policy::Defaults::default();
        Wake {
            idle: defaults.idle,
            timeout: defaults.timeout,
            only_replica: false,
            backup: Schedule::default(),
            page: WakePage::default(),
        }
    }
}

impl Color {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Color {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let is_color = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_color { Ok(Color(text.into())) } else { Err("a colour is written as #rrggbb") }
    }
}

fn schedule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map_or_else(|| Ok(Schedule::default()), |text| Schedule::parse(&text).map_err(D::Error::custom))
}

fn default_namespace() -> Arc<str> {
    "default".into()
}

fn default_stop_timeout() -> Duration {
    Duration::from_secs(10)
}
