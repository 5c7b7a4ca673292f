//! Visitors who wake nobody, and whose visits keep nobody awake: probes, monitors, crawlers, speculative loads.
//!
//! A user agent is what a visitor says of itself. It can make a request weaker here, never stronger: what is quiet passes the
//! same rules of access as everything else.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::workload::shorten;

/// The agents and paths that a route names, besides those that are known to everyone.
#[derive(Clone, Debug, Default)]
pub struct Quiet {
    agents: Option<Agents>,
    paths: Vec<PathPattern>,
    wakes_agents: bool,
}

#[derive(Clone, Debug)]
struct Agents {
    /// As written; two lists are the same when their texts are.
    text: Box<str>,
    pattern: Regex,
}

/// A path, or with a `*` at its end, all that begin like it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathPattern {
    start: Box<str>,
    is_prefix: bool,
}

/// What is known of a request when it is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor<'a> {
    pub user_agent: &'a [u8],
    /// Normalised, without the query.
    pub path: &'a [u8],
    /// A load that nobody asked for yet (`Sec-Purpose: prefetch`).
    pub speculative: bool,
}

/// Why a request wakes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A load balancer, or the node's own probes.
    Probe,
    /// A service that watches whether a site is up.
    Monitor,
    /// A search engine, or what makes previews of links.
    Crawler,
    /// What collects metrics.
    Scraper,
    Speculative,
    /// A path that browsers and crawlers ask for by themselves, or that the route names.
    Path,
    /// An agent that the route names.
    Agent,
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuietError {
    #[error("`{0}` is no path: begin it with `/`, and put `*` only at its end")]
    Path(Box<str>),
    #[error("the list has {0} entries, at most {ENTRIES_MAX} are taken")]
    TooMany(usize),
    #[error("`{0}` is too long: at most {ENTRY_LEN_MAX} bytes are taken")]
    TooLong(Box<str>),
}

impl Quiet {
    /// Adds agents, as a comma list of parts of their names, in any case. `none` first lets the known ones wake, too.
    pub fn with_agents(mut self, list: &str) -> Result<Self, QuietError> {
        let mut entries = entries(list)?;
        if entries.first().is_some_and(|first| first.eq_ignore_ascii_case("none")) {
            self.wakes_agents = true;
            entries.remove(0);
        }
        if entries.is_empty() {
            return Ok(self);
        }
        let escaped: Vec<String> = entries.iter().map(|entry| regex::escape(entry)).collect();
        let pattern = RegexBuilder::new(&escaped.join("|")).case_insensitive(true).unicode(false).build();
        // Bounded and escaped, so there is nothing in it that could not be compiled; if there were, nobody would be added.
        if let Ok(pattern) = pattern {
            self.agents = Some(Agents { text: entries.join(",").into(), pattern });
        }
        Ok(self)
    }

    /// Adds paths: `/metrics, /health*`.
    pub fn with_paths(mut self, list: &str) -> Result<Self, QuietError> {
        for entry in entries(list)? {
            self.paths.push(PathPattern::parse(entry)?);
        }
        Ok(self)
    }

    /// Why this visitor wakes nobody; `None`: it does.
    pub fn reason(&self, visitor: &Visitor<'_>) -> Option<Reason> {
        if visitor.speculative {
            return Some(Reason::Speculative);
        }
        let known = KNOWN_PATHS.iter().any(|pattern| matches(pattern, visitor.path));
        if known || self.paths.iter().any(|pattern| pattern.matches(visitor.path)) {
            return Some(Reason::Path);
        }
        let agent = visitor.user_agent;
        if self.agents.as_ref().is_some_and(|agents| agents.pattern.is_match(agent)) {
            return Some(Reason::Agent);
        }
        if self.wakes_agents || agent.is_empty() {
            return None;
        }
        KNOWN_AGENTS.matches(agent).iter().next().map(|index| AGENTS[index].0)
    }
}

impl PartialEq for Quiet {
    fn eq(&self, other: &Self) -> bool {
        let text = |quiet: &Self| quiet.agents.as_ref().map(|agents| agents.text.clone());
        text(self) == text(other) && self.paths == other.paths && self.wakes_agents == other.wakes_agents
    }
}

impl Eq for Quiet {}

impl PathPattern {
    fn parse(text: &str) -> Result<Self, QuietError> {
        let (start, is_prefix) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        if !start.starts_with('/') || start.contains('*') {
            return Err(QuietError::Path(shorten(text)));
        }
        Ok(PathPattern { start: start.into(), is_prefix })
    }

    fn matches(&self, path: &[u8]) -> bool {
        let start = self.start.as_bytes();
        if self.is_prefix { path.starts_with(start) } else { path == start }
    }
}

impl Reason {
    /// One word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Probe => "probe",
            Reason::Monitor => "monitor",
            Reason::Crawler => "crawler",
            Reason::Scraper => "scraper",
            Reason::Speculative => "speculative",
            Reason::Path => "path",
            Reason::Agent => "agent",
        }
    }
}

/// `/apple-touch-icon*` or a whole path.
fn matches(pattern: &str, path: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start.as_bytes()),
        None => path == pattern.as_bytes(),
    }
}

fn entries(list: &str) -> Result<Vec<&str>, QuietError> {
    let entries: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.len() > ENTRIES_MAX {
        return Err(QuietError::TooMany(entries.len()));
    }
    match entries.iter().find(|entry| entry.len() > ENTRY_LEN_MAX) {
        Some(long) => Err(QuietError::TooLong(shorten(long))),
        None => Ok(entries),
    }
}

/// Entries of one list.
pub const ENTRIES_MAX: usize = 64;
/// Bytes of one entry.
pub const ENTRY_LEN_MAX: usize = 128;

/// What browsers and crawlers ask for without being asked to.
const KNOWN_PATHS: [&str; 3] = ["/favicon.ico", "/robots.txt", "/apple-touch-icon*"];

/// The first that matches counts.
const AGENTS: [(Reason, &str); 4] = [
    (
        Reason::Probe,
        r"^kube-probe/|^GoogleHC/|^ELB-HealthChecker/|^Consul Health Check|^HAProxy|^nginx-probe",
    ),
    (
        Reason::Monitor,
        "uptime-kuma|uptimerobot|better ?uptime|betterstack|pingdom|statuscake|hetrixtools|blackbox[-_ ]exporter|^gatus/|healthchecks\\.io|site24x7|freshping|updown\\.io|checkly|nagios|check_http|zabbix",
    ),
    (
        Reason::Scraper,
        "^prometheus/|^victoriametrics|^vm_promscrape|^grafana-?agent|^grafanaalloy|^telegraf|^otelcol",
    ),
    (
        Reason::Crawler,
        // A telephone of the make Cubot is none: the word stands before a version, or ends the name.
        r"bot/|bot[;,)]|-bot\b|bot$|crawler|spider|slurp|slackbot|facebookexternalhit|facebookcatalog|whatsapp/|embedly|quora link preview|skypeuripreview|mastodon/|pinterest/0|vkshare|w3c_validator|google-inspectiontool|googleother|ia_archiver|ahrefs|semrush|censysinspect|expanse|zgrab|masscan",
    ),
];

#[expect(clippy::expect_used, reason = "constants, which a test compiles")]
static KNOWN_AGENTS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSetBuilder::new(AGENTS.map(|(_, pattern)| pattern))
        .case_insensitive(true)
        .unicode(false)
        .build()
        .expect("the patterns are valid")
});

#[cfg(test)]
mod tests;
