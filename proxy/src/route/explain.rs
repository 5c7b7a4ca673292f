//! Why a request gets the route it gets, in words: the same search as the request's own, with its steps written down.

use std::fmt;
use std::sync::Arc;

use super::host::HostPattern;
use super::matches::{Conditions, Lookup, Mismatch};
use super::path::HostRoutes;
use super::table::{Found, HostTable, Listener, Passed, Section};
use super::{PathPattern, Route};

/// What a look-up found, and how.
#[derive(Debug)]
pub struct Explanation<'t> {
    pub steps: Vec<Step<'t>>,
    pub found: Found<'t>,
}

/// One step of a look-up. `Display` puts it into a sentence.
#[derive(Debug)]
pub enum Step<'t> {
    /// The section whose routes are used.
    Section(&'t Section),
    /// No section takes the host.
    NoSection,
    /// The routes of this host are tried.
    Host(HostPattern),
    /// A path of the host that is not the request's. At most [`OTHER_PATHS_MAX`] are told, and only for a host where no rule
    /// was taken.
    OtherPath { path: PathPattern, route: &'t Arc<Route> },
    /// That many further paths were left out.
    MoreOtherPaths(usize),
    /// A rule whose path matches, and whether it was taken.
    Rule { route: &'t Arc<Route>, conditions: &'t Conditions, verdict: Result<(), Mismatch<'t>> },
    /// No rule was taken; the default backend is.
    Default(&'t Arc<Route>),
    /// Nothing was taken.
    Nothing,
}

impl Listener {
    /// [`Listener::find`] with its steps.
    pub fn explain(&self, lookup: &Lookup<'_>) -> Explanation<'_> {
        match self.section(lookup.host) {
            None => Explanation { steps: vec![Step::NoSection, Step::Nothing], found: Found::NoHost },
            Some(section) => {
                let mut explanation = section.hosts.explain(lookup);
                explanation.steps.insert(0, Step::Section(section));
                explanation
            }
        }
    }
}

impl HostTable {
    /// [`HostTable::find`] with its steps.
    pub fn explain(&self, lookup: &Lookup<'_>) -> Explanation<'_> {
        let mut steps = Vec::new();
        // The host whose rules are being tried. Its other paths are told when it is left without an answer.
        let mut trying = None;
        let found = self.search(lookup, |passed| match passed {
            Passed::Host(hit) => {
                tell_other_paths(&mut steps, trying.replace(hit.value), lookup.path);
                steps.push(Step::Host(hit.pattern()));
            }
            Passed::Candidate(candidate, verdict) => {
                if verdict.is_ok() {
                    trying = None;
                }
                let (route, conditions) = (&candidate.route, &candidate.conditions);
                steps.push(Step::Rule { route, conditions, verdict });
            }
            Passed::Default(route) => {
                tell_other_paths(&mut steps, trying.take(), lookup.path);
                steps.push(Step::Default(route));
            }
        });
        tell_other_paths(&mut steps, trying, lookup.path);
        if !matches!(found, Found::Route(_)) {
            steps.push(Step::Nothing);
        }
        Explanation { steps, found }
    }
}

fn tell_other_paths<'t>(steps: &mut Vec<Step<'t>>, routes: Option<&'t HostRoutes>, requested: &[u8]) {
    let Some(routes) = routes else { return };
    let mut others = routes.list();
    others.retain(|(path, _)| !path.matches(requested));
    let more = others.len().saturating_sub(OTHER_PATHS_MAX);
    others.truncate(OTHER_PATHS_MAX);
    steps.extend(
        others.into_iter().map(|(path, candidate)| Step::OtherPath { path, route: &candidate.route }),
    );
    if more > 0 {
        steps.push(Step::MoreOtherPaths(more));
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Section(section) if section.name.is_empty() => {
                write!(f, "the routes of this listener are used")
            }
            Step::Section(section) => {
                write!(f, "listener {} ({}) takes this host, and no other does", section.name, section.host)
            }
            Step::NoSection => write!(f, "no listener on this port takes this host"),
            Step::Host(HostPattern::Any) => write!(f, "rules for any host:"),
            Step::Host(pattern) => write!(f, "rules for {pattern}:"),
            Step::OtherPath { path, route } => write!(f, "path {path} ({}): another path", route.origin),
            Step::MoreOtherPaths(count) => write!(f, "and {count} more paths that are not this one"),
            Step::Rule { route, conditions, verdict } => {
                write!(f, "path {}", route.origin.path)?;
                if !conditions.is_empty() {
                    write!(f, " with {conditions}")?;
                }
                write!(f, " ({}): ", route.origin)?;
                match verdict {
                    Ok(()) => write!(f, "taken"),
                    Err(mismatch) => write!(f, "not taken, {mismatch}"),
                }
            }
            Step::Default(route) => {
                write!(f, "no rule takes it; the default backend does ({})", route.origin)
            }
            Step::Nothing => write!(f, "nothing takes this request: 404"),
        }
    }
}

/// Most paths told of one host that are not the request's.
pub const OTHER_PATHS_MAX: usize = 20;

#[cfg(test)]
mod tests;
