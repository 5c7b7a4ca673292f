//! What the author of a route asked for.

use std::time::Duration;

use crate::plan::{Plan, PlanError};
use crate::quiet::Quiet;
use crate::schedule::Schedule;
use crate::workload::{is_subdomain, shorten};

/// How the workloads behind a route sleep and wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub target: Target,
    /// Without a request for so long, they sleep. `None`: nobody puts them to sleep.
    pub idle: Option<Duration>,
    /// A request is held for so long at most.
    pub timeout: Duration,
    pub wait: Wait,
    /// Within these windows they are awake.
    pub keep_awake: Schedule,
    /// Within these windows they sleep as soon as nobody uses them, and no request wakes them.
    pub sleep: Schedule,
    pub quiet: Quiet,
    /// What the waiting page calls the application; `None`: by its host.
    pub title: Option<Box<str>>,
    /// This path has to answer before requests are let through; `None`: to accept a connection is enough.
    pub probe: Option<Box<str>>,
}

/// Which workloads are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Those that the Service of the route stands before.
    Own,
    /// Those that carry the label `sablier.group` with this name.
    Group(Box<str>),
    Plan(Plan),
}

/// What a visitor gets while the workloads wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wait {
    /// Navigations of browsers get the page after a short hold, everything else is held.
    #[default]
    Auto,
    /// As `Auto`, without the short hold.
    Page,
    /// Everything is held.
    Hold,
}

/// What one object says, key by key; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    pub wake: Option<Wish>,
    pub idle: Option<Idle>,
    pub timeout: Option<Duration>,
    pub wait: Option<Wait>,
    pub keep_awake: Option<Schedule>,
    pub sleep: Option<Schedule>,
    pub quiet: Quiet,
    pub title: Option<Box<str>>,
    pub probe: Option<Box<str>>,
}

/// Whether to wake, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Off,
    On(Target),
}

/// How long without requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    For(Duration),
    Never,
}

/// Where an object says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub idle: Duration,
    pub timeout: Duration,
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("`{0}` is no name of a group: use lower-case letters, digits, `-` and `.`")]
    Group(Box<str>),
    #[error("`{0}` is none of auto, page and hold")]
    Wait(Box<str>),
    #[error("an idle time of {0:?} is out of bounds: between {IDLE_MIN:?} and {IDLE_MAX:?}, or `never`")]
    Idle(Duration),
    #[error("a timeout of {0:?} is out of bounds: between {TIMEOUT_MIN:?} and {TIMEOUT_MAX:?}")]
    Timeout(Duration),
    #[error("it is longer than {TITLE_CHARS_MAX} characters")]
    Title,
    #[error("`{0}` is no path: begin it with `/`, and use no spaces")]
    Probe(Box<str>),
}

impl Words {
    /// The policy that the words come to; `None` when nothing is to be woken.
    pub fn policy(&self, defaults: &Defaults) -> Option<Policy> {
        let Some(Wish::On(target)) = &self.wake else { return None };
        let idle = match self.idle {
            None => Some(defaults.idle),
            Some(Idle::For(idle)) => Some(idle),
            Some(Idle::Never) => None,
        };
        Some(Policy {
            target: target.clone(),
            idle,
            timeout: self.timeout.unwrap_or(defaults.timeout),
            wait: self.wait.unwrap_or_default(),
            keep_awake: self.keep_awake.clone().unwrap_or_default(),
            sleep: self.sleep.clone().unwrap_or_default(),
            quiet: self.quiet.clone(),
            title: self.title.clone(),
            probe: self.probe.clone(),
        })
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { idle: Duration::from_secs(15 * 60), timeout: Duration::from_secs(60) }
    }
}

impl Wish {
    /// `true`, `false`, `group/NAME`, or a plan.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => return Ok(Wish::On(Target::Own)),
            "false" | "off" | "0" => return Ok(Wish::Off),
            _ => {}
        }
        Ok(Wish::On(match text.strip_prefix("group/") {
            Some(name) if is_subdomain(name) => Target::Group(name.into()),
            Some(name) => return Err(PolicyError::Group(shorten(name))),
            None => Target::Plan(Plan::parse(text)?),
        }))
    }
}

impl Wait {
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        match text.trim() {
            "auto" => Ok(Wait::Auto),
            "page" => Ok(Wait::Page),
            "hold" => Ok(Wait::Hold),
            other => Err(PolicyError::Wait(shorten(other))),
        }
    }
}

impl Idle {
    /// Between [`IDLE_MIN`] and [`IDLE_MAX`].
    pub fn within_bounds(idle: Duration) -> Result<Self, PolicyError> {
        if (IDLE_MIN..=IDLE_MAX).contains(&idle) { Ok(Idle::For(idle)) } else { Err(PolicyError::Idle(idle)) }
    }
}

/// A timeout between [`TIMEOUT_MIN`] and [`TIMEOUT_MAX`].
pub fn timeout_within_bounds(timeout: Duration) -> Result<Duration, PolicyError> {
    let fits = (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout);
    if fits { Ok(timeout) } else { Err(PolicyError::Timeout(timeout)) }
}

/// The name of an application, as people read it.
pub fn parse_title(text: &str) -> Result<Box<str>, PolicyError> {
    let text = text.trim();
    if text.chars().count() > TITLE_CHARS_MAX { Err(PolicyError::Title) } else { Ok(text.into()) }
}

/// The path of a probe: what may stand in a request line.
pub fn parse_probe(text: &str) -> Result<Box<str>, PolicyError> {
    let text = text.trim();
    let fits =
        text.starts_with('/') && text.len() <= PROBE_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.into()) } else { Err(PolicyError::Probe(shorten(text))) }
}

/// Shorter, and a workload would sleep between the page and its images.
pub const IDLE_MIN: Duration = Duration::from_secs(1);
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 60);
pub const TITLE_CHARS_MAX: usize = 80;
const PROBE_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests;
