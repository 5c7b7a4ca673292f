//! Readers of the keys about workloads that sleep and wake. Their errors follow "cannot be used:".

use wake::policy::{Idle, Wait, Wish, parse_probe, parse_title, timeout_within_bounds};
use wake::schedule::Schedule;

use crate::config::annotations::Annotations;
use crate::config::values::parse_seconds;

type Set = Result<(), String>;

pub(super) fn set_target(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.wake = Some(Wish::parse(value).map_err(text)?);
    Ok(())
}

pub(super) fn set_idle(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.idle = Some(match value {
        "never" => Idle::Never,
        _ => Idle::within_bounds(parse_seconds(value).ok_or("it is no duration")?).map_err(text)?,
    });
    Ok(())
}

pub(super) fn set_timeout(annotations: &mut Annotations, value: &str) -> Set {
    let timeout = parse_seconds(value).ok_or("it is no duration")?;
    annotations.wake.timeout = Some(timeout_within_bounds(timeout).map_err(text)?);
    Ok(())
}

pub(super) fn set_wait(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.wait = Some(Wait::parse(value).map_err(text)?);
    Ok(())
}

pub(super) fn set_keep_awake(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.keep_awake = Some(Schedule::parse(value).map_err(text)?);
    Ok(())
}

pub(super) fn set_sleep(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.sleep = Some(Schedule::parse(value).map_err(text)?);
    Ok(())
}

pub(super) fn set_quiet_agents(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.quiet = annotations.wake.quiet.clone().with_agents(value).map_err(text)?;
    Ok(())
}

pub(super) fn set_quiet_paths(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.quiet = annotations.wake.quiet.clone().with_paths(value).map_err(text)?;
    Ok(())
}

pub(super) fn set_title(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.title = Some(parse_title(value).map_err(text)?);
    Ok(())
}

pub(super) fn set_probe(annotations: &mut Annotations, value: &str) -> Set {
    annotations.wake.probe = Some(parse_probe(value).map_err(text)?);
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
