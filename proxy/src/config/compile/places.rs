//! Sections and their hosts: what each object adds to a host, and the routes that come of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use acme::http01::CHALLENGE_PATH;
use foldhash::fast::RandomState;
use http::StatusCode;
use smallvec::SmallVec;

use super::{Source, Sources};
use crate::config::ingress::{canary, path_field};
use crate::config::lower::{CanaryRule, Content, Lowered, Place};
use crate::config::objects::metadata::Seniority;
use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::config::providers::is_own_path;
use crate::route::client_certificates::ClientCertificates;
use crate::route::host::HostPattern;
use crate::route::matches::{Conditions, Precedence, Rule};
use crate::route::path::HostRoutes;
use crate::route::table::{HostFallback, HostTable, ListenerKey};
use crate::route::{Action, Handling, Origin, PathPattern, Refusal, Route};

/// All sections that some object adds to.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Arc<Place>, Section, RandomState>);

#[derive(Debug, Default)]
struct Section {
    hosts: HashMap<HostPattern, Host, RandomState>,
    /// Hosts that have the routes of another one: the other one, then those.
    aliases: HashMap<HostPattern, BTreeSet<HostPattern>, RandomState>,
    defaults: BTreeSet<ObjectRef>,
    default: Option<Arc<Route>>,
    default_problems: Vec<Problem>,
    touched: BTreeSet<HostPattern>,
    default_touched: bool,
    /// Hosts with problems.
    troubled: BTreeSet<HostPattern>,
    /// What came out, and a count of its changes.
    table: HostTable,
    version: u64,
}

#[derive(Debug, Default)]
struct Host {
    /// Each once, in no order that means anything.
    sources: SmallVec<[ObjectRef; 1]>,
    routes: Option<HostRoutes>,
    problems: Vec<Problem>,
}

impl Places {
    /// Notes what a lowered object adds.
    pub(super) fn link(&mut self, source: &ObjectRef, lowered: &Lowered) {
        for share in &lowered.shares {
            let section = self.0.entry(share.place.clone()).or_default();
            if let Content::Default(_) = share.content {
                section.defaults.insert(source.clone());
                section.default_touched = true;
                continue;
            }
            if let Content::Alias { of } = &share.content {
                section.aliases.entry(of.clone()).or_default().insert(share.host.clone());
            }
            let host = section.hosts.entry(share.host.clone()).or_default();
            if !host.sources.contains(source) {
                host.sources.push(source.clone());
            }
            section.touched.insert(share.host.clone());
        }
    }

    /// Takes back what it added.
    pub(super) fn unlink(&mut self, source: &ObjectRef, lowered: &Lowered) {
        for share in &lowered.shares {
            let Some(section) = self.0.get_mut(&*share.place) else { continue };
            if let Content::Default(_) = share.content {
                section.defaults.remove(source);
                section.default_touched = true;
                continue;
            }
            if let Some(host) = section.hosts.get_mut(&share.host) {
                host.sources.retain(|other| other != source);
            }
            section.touched.insert(share.host.clone());
        }
    }

    /// The objects that add to hosts of a class which this pattern covers.
    pub(super) fn sources_within(
        &self,
        class: &Arc<str>,
        pattern: &HostPattern,
        into: &mut BTreeSet<ObjectRef>,
    ) {
        let place =
            Place { listener: ListenerKey::Class { class: class.clone(), tls: false }, section: "".into() };
        let Some(section) = self.0.get(&place) else { return };
        if let HostPattern::Exact(_) = pattern {
            into.extend(section.hosts.get(pattern).into_iter().flat_map(|host| host.sources.iter().cloned()));
            return;
        }
        for (name, host) in &section.hosts {
            if name.intersect(pattern).as_ref() == Some(name) {
                into.extend(host.sources.iter().cloned());
            }
        }
    }

    /// Makes the routes of every host that was touched.
    pub(super) fn merge(&mut self, sources: &Sources) {
        self.0.retain(|place, section| {
            section.merge(place, sources);
            !(section.hosts.is_empty() && section.defaults.is_empty())
        });
    }

    /// What came out of the sections as a whole.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.0.values().flat_map(|section| {
            let hosts = section.troubled.iter().filter_map(|name| section.hosts.get(name));
            let hosts = hosts.flat_map(|host| host.problems.iter());
            hosts.chain(&section.default_problems).cloned()
        })
    }

    /// Changes with every change of the section's routes; 0 for a section without any.
    pub(super) fn version(&self, place: &Place) -> u64 {
        self.0.get(place).map_or(0, |section| section.version)
    }

    /// The routes of a section.
    pub(super) fn table(&self, place: &Place) -> HostTable {
        match self.0.get(place) {
            Some(section) => section.table.clone(),
            None => HostTable::new([], fallback(place), None),
        }
    }
}

impl Section {
    fn merge(&mut self, place: &Place, sources: &Sources) {
        if !self.default_touched && self.touched.is_empty() {
            return;
        }
        if self.default_touched {
            self.merge_default(sources);
        }
        let touched = std::mem::take(&mut self.touched);
        let mut aliases: BTreeSet<HostPattern> = BTreeSet::new();
        for name in &touched {
            aliases.extend(self.aliases.get(name).into_iter().flatten().cloned());
            self.troubled.remove(name);
            let Some(host) = self.hosts.get_mut(name) else { continue };
            if host.sources.is_empty() {
                self.hosts.remove(name);
                continue;
            }
            if !host.merge(place, name, sources) {
                aliases.insert(name.clone());
            }
            if !host.problems.is_empty() {
                self.troubled.insert(name.clone());
            }
        }
        // These last, because they show the routes of the others.
        for name in &aliases {
            self.merge_alias(place, name, sources);
        }
        self.tabulate(place, touched.union(&aliases));
        let hosts = &self.hosts;
        self.aliases.retain(|_, names| {
            names.retain(|name| hosts.contains_key(name));
            !names.is_empty()
        });
    }

    /// Puts the hosts that changed into the table.
    fn tabulate<'a>(&mut self, place: &Place, changed: impl Iterator<Item = &'a HostPattern>) {
        self.version = next_version();
        let routes = |name: &HostPattern| self.hosts.get(name).and_then(|host| host.routes.clone());
        let changed: Vec<_> = changed.map(|name| (name.clone(), routes(name))).collect();
        let default = self.default.clone();
        // With most hosts new it is cheaper to begin anew.
        self.table = if changed.len() * 2 >= self.hosts.len() {
            let hosts = self.hosts.iter();
            let hosts = hosts.filter_map(|(name, host)| Some((name.clone(), host.routes.clone()?)));
            HostTable::new(hosts, fallback(place), default)
        } else {
            self.table.with(changed, default)
        };
    }

    /// The routes of a host that nobody has rules for, when it is another name for one that has.
    fn merge_alias(&mut self, place: &Place, name: &HostPattern, sources: &Sources) {
        let Some(host) = self.hosts.get(name) else { return };
        if host.has_rules(place, name, sources) {
            return;
        }
        let mut wishes: Vec<(&Source, &HostPattern)> = host
            .contents(place, name, sources)
            .filter_map(|(_, source, content)| match content {
                Content::Alias { of } => Some((source, of)),
                _ => None,
            })
            .collect();
        wishes.sort_by(|(a, _), (b, _)| a.seniority.cmp(&b.seniority));
        let routes = wishes.first().and_then(|(_, of)| self.hosts.get(*of)?.routes.clone());
        if let Some(host) = self.hosts.get_mut(name) {
            host.routes = routes;
        }
    }

    fn merge_default(&mut self, sources: &Sources) {
        self.default_touched = false;
        let mut wishes: Vec<(&ObjectRef, &Source, &Arc<Route>)> = self
            .defaults
            .iter()
            .filter_map(|reference| {
                let source = &**sources.get(reference)?;
                let route = source.lowered.shares.iter().find_map(|share| match &share.content {
                    Content::Default(route) => Some(route),
                    _ => None,
                })?;
                Some((reference, source, route))
            })
            .collect();
        wishes.sort_by(|(_, a, _), (_, b, _)| a.seniority.cmp(&b.seniority));
        self.default = wishes.first().map(|(_, _, route)| Arc::clone(route));
        let winner = wishes.first().map(|(reference, ..)| (*reference).clone());
        self.default_problems = wishes
            .iter()
            .skip(1)
            .filter_map(|(loser, ..)| {
                let winner = winner.as_ref()?;
                let message = format!("the default backend of the class is that of {winner}, which is older");
                Some(conflict(loser, "spec.defaultBackend".into(), message))
            })
            .collect();
    }
}

impl Host {
    /// Makes the routes from rules; false when there are none, and the host is at most another name for one.
    fn merge(&mut self, place: &Place, name: &HostPattern, sources: &Sources) -> bool {
        let owned = self.has_rules(place, name, sources);
        let mut rules: Vec<Rule> = Vec::new();
        let mut problems = Vec::new();
        let mut twins = false;
        let mut canaries: Vec<(&Seniority, &[CanaryRule])> = Vec::new();
        let mut demands: Vec<(&Seniority, &Result<Arc<ClientCertificates>, Refusal>)> = Vec::new();
        for (reference, source, content) in self.contents(place, name, sources) {
            match content {
                Content::Rules(own) => rules.extend_from_slice(own),
                Content::Twin(own) if !owned => {
                    twins = true;
                    rules.extend_from_slice(own);
                }
                Content::Alias { of } if owned => {
                    let message =
                        format!("{name} is a host of its own and does not become another name for {of}");
                    let field = "metadata.annotations['vestibule.dev/server-alias']";
                    problems.push(conflict(reference, field.into(), message));
                }
                Content::Canary(own) => canaries.push((&source.seniority, own)),
                Content::ClientCertificates(demand) => demands.push((&source.seniority, demand)),
                Content::Twin(_) | Content::Alias { .. } | Content::Default(_) => {}
            }
        }
        if let ListenerKey::Class { .. } = place.listener {
            rules.sort_by(|a, b| a.precedence.cmp(&b.precedence));
            problems.extend(drop_duplicates(name, &mut rules));
            canaries.sort_by_key(|(seniority, _)| *seniority);
            let canaries: Vec<&CanaryRule> = canaries.iter().flat_map(|(_, own)| *own).collect();
            problems.extend(canary::join(name, &mut rules, &canaries));
            demands.sort_by_key(|(seniority, _)| *seniority);
            if let Some((_, demand)) = demands.first() {
                demand_certificates(&mut rules, demand);
            }
        }
        problems.extend(mixed_access(name, &rules));
        self.problems = problems;
        self.routes = (owned || twins).then(|| HostRoutes::new(rules));
        owned || twins
    }

    fn has_rules(&self, place: &Place, name: &HostPattern, sources: &Sources) -> bool {
        self.contents(place, name, sources).any(|(_, _, content)| matches!(content, Content::Rules(_)))
    }

    /// What the objects of this host add to it.
    fn contents<'a>(
        &'a self,
        place: &'a Place,
        name: &'a HostPattern,
        sources: &'a Sources,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a Source, &'a Content)> {
        self.sources.iter().filter_map(|reference| sources.get_key_value(reference)).flat_map(
            move |(reference, source)| {
                let source = &**source;
                let own = source.lowered.shares.iter();
                own.filter(move |share| share.host == *name && *share.place == *place)
                    .map(move |share| (reference, source, &share.content))
            },
        )
    }
}

/// Puts what a host asks of client certificates on all its routes, and on whatever else is asked of it: a default backend that
/// anybody reaches has no place on such a host.
fn demand_certificates(rules: &mut Vec<Rule>, demand: &Result<Arc<ClientCertificates>, Refusal>) {
    let whole = PathPattern::Prefix("".into());
    if let Some(last) = rules.iter().max_by(|a, b| a.precedence.cmp(&b.precedence))
        && !rules.iter().any(|rule| rule.path == whole && rule.conditions == Conditions::default())
    {
        let origin = Origin {
            path: whole.clone(),
            name: Some("client certificates".into()),
            ..last.route.origin.clone()
        };
        let route = Route {
            refusal: None,
            action: Action::Status(StatusCode::NOT_FOUND),
            canary: None,
            https_redirect: last.route.https_redirect,
            handling: Handling::plain(),
            wake: None,
            metrics: Default::default(),
            origin,
        };
        rules.push(Rule {
            path: whole,
            conditions: Conditions::default(),
            precedence: Precedence { entry: usize::MAX, ..last.precedence.clone() },
            route: Arc::new(route),
        });
    }
    for rule in rules {
        let mut route = Route::clone(&rule.route);
        match demand {
            // Who proves to a certificate authority that the host is his has no certificate yet (RFC 8555 §8.3).
            Ok(_) if is_challenge(&rule.path) => {}
            Ok(certificates) => {
                let client_certificates = Some(certificates.clone());
                route.handling =
                    Arc::new(Handling { client_certificates, ..Handling::clone(&route.handling) });
            }
            Err(refusal) => route.refusal = route.refusal.or_else(|| Some(refusal.clone())),
        }
        rule.route = Arc::new(route);
    }
}

fn is_challenge(path: &PathPattern) -> bool {
    match path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) => {
            path.starts_with(CHALLENGE_PATH) || **path == *CHALLENGE_PATH.trim_end_matches('/')
        }
        PathPattern::Regex(_) => false,
    }
}

/// Of several Ingress paths that are the same the first stays, which is the oldest; the others are told of.
fn drop_duplicates(host: &HostPattern, rules: &mut Vec<Rule>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    let mut seen: HashMap<String, usize, RandomState> = HashMap::default();
    for rule in rules.drain(..) {
        match seen.get(&rule.path.to_string()) {
            // Every guarded object of a host adds the paths of its authentication server, and one of them is enough.
            Some(_) if is_own_path(&rule.route) => {}
            Some(&winner) => {
                let winner = &kept[winner].precedence.object;
                let message = format!("the path {} of {host} is already served by {winner}", rule.path);
                let field = path_field(rule.precedence.rule, rule.precedence.entry);
                problems.push(conflict(&rule.precedence.object, field, message));
            }
            None => {
                seen.insert(rule.path.to_string(), kept.len());
                kept.push(rule);
            }
        }
    }
    *rules = kept;
    problems
}

/// A host of which some objects ask who it is and others do not, without having said that nobody has to be known: what is meant to
/// be guarded is easily reached by an open path of the same application.
fn mixed_access(host: &HostPattern, rules: &[Rule]) -> Vec<Problem> {
    let Some(guarded) = rules.iter().find(|rule| rule.route.auth.is_some()) else { return Vec::new() };
    let guarded = &guarded.precedence.object;
    let is_open = |rule: &&Rule| {
        let route = &rule.route;
        route.auth.is_none()
            && route.refusal.is_none()
            && !route.declared_open
            && matches!(route.action, Action::Forward(_))
            && !is_own_path(route)
            && rule.precedence.object != *guarded
    };
    let mut open: Vec<&Rule> = rules.iter().filter(is_open).collect();
    open.sort_by(|a, b| a.precedence.object.cmp(&b.precedence.object));
    open.dedup_by(|a, b| a.precedence.object == b.precedence.object);
    let tell = |rule: &Rule| {
        Problem {
        severity: Severity::Warning,
        object: Some(rule.precedence.object.clone()),
        field: "".into(),
        reason: "MixedAccess",
        message: format!(
            "{} of {host} is open to everyone, while {guarded} asks who it is: write `vestibule.dev/auth: none` if that is meant",
            rule.path
        )
        .into(),
        place: None,
    }
    };
    open.into_iter().map(tell).collect()
}

fn fallback(place: &Place) -> HostFallback {
    match place.listener {
        ListenerKey::Class { .. } => HostFallback::Never,
        ListenerKey::Gateway { .. } | ListenerKey::Datagrams { .. } => HostFallback::LessSpecific,
    }
}

fn conflict(object: &ObjectRef, field: String, message: String) -> Problem {
    Problem {
        severity: Severity::Degraded,
        object: Some(object.clone()),
        field: field.into(),
        reason: "Conflicted",
        message: message.into(),
        place: None,
    }
}

/// Never the same twice, so that a section that went and came back is not taken for the old one.
fn next_version() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
