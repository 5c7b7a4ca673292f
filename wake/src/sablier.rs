//! The labels by which Sablier knows workloads, so that they need not be written anew.
//!
//! On Kubernetes each may be a label or an annotation, and the annotation wins, save for `sablier.enable`, which counts as
//! a label only.

use crate::schedule::{Schedule, ScheduleError, parse_days};
use crate::workload::shorten;

/// What the labels of a workload that Sablier manages say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Never empty.
    pub groups: Vec<Box<str>>,
    /// How many replicas it wakes to; `None`: as many as it had.
    pub active_replicas: Option<u32>,
    /// Within these windows it is awake.
    pub keep_awake: Schedule,
    /// Labels that mean something to Sablier and nothing here.
    pub ignored: Vec<Box<str>>,
}

/// Which label cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("sablier.active.replicas: `{0}` is no number of replicas")]
    Replicas(Box<str>),
    #[error("sablier.running-hours: {0}")]
    Hours(ScheduleError),
    #[error("sablier.running-days: {0}")]
    Days(ScheduleError),
}

impl Labels {
    /// Reads the labels and annotations of a workload. `Ok(None)`: Sablier does not manage it.
    pub fn read<'a>(
        label: impl Fn(&str) -> Option<&'a str>,
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, LabelError> {
        if label("sablier.enable") != Some("true") {
            return Ok(None);
        }
        let value = |key: &str| annotation(key).or_else(|| label(key));
        let groups: Vec<Box<str>> = value("sablier.group")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|group| !group.is_empty())
            .map(Into::into)
            .collect();
        let active_replicas = value("sablier.active.replicas")
            .map(|text| match text.trim().parse() {
                Ok(replicas @ 1..=REPLICAS_MAX) => Ok(replicas),
                Ok(_) | Err(_) => Err(LabelError::Replicas(shorten(text))),
            })
            .transpose()?;
        Ok(Some(Labels {
            groups: if groups.is_empty() { vec![DEFAULT_GROUP.into()] } else { groups },
            active_replicas,
            keep_awake: running(value("sablier.running-hours"), value("sablier.running-days"))?,
            ignored: IGNORED.iter().filter(|key| value(key).is_some()).map(|key| (*key).into()).collect(),
        }))
    }
}

/// Sablier's windows are in the time of its own process, which is UTC unless somebody changed it.
fn running(hours: Option<&str>, days: Option<&str>) -> Result<Schedule, LabelError> {
    if hours.is_none() && days.is_none() {
        return Ok(Schedule::default());
    }
    let days = days.unwrap_or_default();
    parse_days(days).map_err(LabelError::Days)?;
    let hours = hours.unwrap_or("00:00-24:00");
    Schedule::parse(&format!("{days} {hours}")).map_err(LabelError::Hours)
}

const DEFAULT_GROUP: &str = "default";
/// More than any workload has; a slip of the hand must not fill a cluster.
const REPLICAS_MAX: u32 = 1000;
const IGNORED: [&str; 7] = [
    "sablier.anti-affinity",
    "sablier.idle.replicas",
    "sablier.idle.cpu",
    "sablier.idle.memory",
    "sablier.active.cpu",
    "sablier.active.memory",
    "sablier.ready-on-start",
];

#[cfg(test)]
mod tests;
