//! Canary Ingresses: alternatives for the paths of other Ingresses, never routes of their own (ingress-nginx, `canary`).

use std::sync::Arc;

use http::StatusCode;

use super::{Lowering, path_field};
use crate::config::annotations::{Annotations, CanaryWords, WrittenProtocol};
use crate::config::lower::{CanaryRule, Content};
use crate::config::objects::ingress::{IngressPath, IngressRule, PathType};
use crate::config::objects::metadata::Known;
use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::route::canary::{CANARY_WEIGHT_TOTAL_MIN, Canary, CanaryHeader, CanaryValue, Chance};
use crate::route::host::HostPattern;
use crate::route::matches::Rule;
use crate::route::{Action, AddressRules, PathPattern, Route, WeightedBackend};

impl Lowering<'_, '_> {
    /// The rules of a canary: each waits for the rule of another Ingress with the same host, path and type of path.
    pub(super) fn canary_rule(&mut self, index: usize, rule: &IngressRule) {
        let Some(host) = self.host(index, rule) else { return };
        let Some(http) = &rule.http else { return };
        let rules = http.paths.iter().enumerate().filter_map(|(entry, path)| {
            let share = self.canary_share(index, entry, path)?;
            Some(CanaryRule {
                path: path.path.as_deref().unwrap_or("/").into(),
                exact: path.path_type == Some(Known::Value(PathType::Exact)),
                rule: index as u32,
                entry: entry as u32 + 1,
                access: AddressRules {
                    allow: self.reading.annotations.allow.clone(),
                    deny: self.reading.annotations.deny.clone(),
                },
                auth: self.guard.auth.clone(),
                canary: canary(self.scope.source.clone(), &self.reading.annotations, share),
            })
        });
        let rules: Box<[CanaryRule]> = rules.collect();
        if !rules.is_empty() {
            self.share(host, Content::Canary(rules));
        }
    }

    /// Tells of `canary-*` keys on an Ingress that is no canary.
    pub(super) fn idle_canary_keys(&mut self) {
        if self.reading.annotations.canary_words != CanaryWords::default() {
            let message = "the canary keys have no effect without `canary: \"true\"`";
            let field = "metadata.annotations['vestibule.dev/canary']";
            self.scope.problem(Severity::Warning, field, "NoCanary", message);
        }
    }

    /// Where the requests of a canary go. `None` when that cannot be had: they stay with the other Ingress.
    fn canary_share(&mut self, rule: usize, entry: usize, path: &IngressPath) -> Option<WeightedBackend> {
        let field = format!("{}.backend", path_field(rule, entry + 1));
        let known = self.scope.problems.len();
        if self.reading.annotations.backend_protocol == Some(WrittenProtocol::AutoHttp) {
            let message = "AUTO_HTTP: the backend of a canary is asked without TLS; write HTTP or HTTPS";
            self.scope.problem(Severity::Degraded, field.clone(), "UnsupportedValue", message);
        }
        let (backend, refusal) = self.service_backend(&path.backend, &field);
        let Some(backend) = backend else {
            for problem in &mut self.scope.problems[known..] {
                // Nothing answers 503 because of it.
                problem.severity = Severity::Degraded;
            }
            return None;
        };
        let mut share = WeightedBackend::whole(backend);
        if refusal.is_some() || self.reading.refusal.is_some() {
            // A rule that guards what goes there cannot be enforced.
            share.backend = Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Some(share)
    }
}

fn canary(origin: ObjectRef, words: &Annotations, share: WeightedBackend) -> Canary {
    let words = &words.canary_words;
    let value = match (&words.header_value, &words.header_pattern) {
        (Some(value), _) => Some(CanaryValue::Exact(value.as_bytes().into())),
        (None, Some(pattern)) => Some(CanaryValue::Pattern(pattern.clone())),
        // What was meant by a pattern that cannot be read is not known; certainly not `always`.
        (None, None) => (!words.header_pattern_is_bad).then_some(CanaryValue::Word),
    };
    let header = words.header.clone().zip(value);
    Canary {
        origin,
        by_header: header.map(|(name, value)| CanaryHeader { name, value }),
        by_cookie: words.cookie.clone(),
        chance: Chance {
            weight: words.weight.unwrap_or(0),
            total: words.weight_total.unwrap_or(0).max(CANARY_WEIGHT_TOTAL_MIN),
        },
        share,
    }
}

/// Puts canaries to the rules that they belong to; `canaries` with the oldest Ingress first. Returns what is wrong.
pub(crate) fn join(host: &HostPattern, rules: &mut [Rule], canaries: &[&CanaryRule]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for wish in canaries {
        let mut tell = |severity, reason, message: String| {
            problems.push(Problem {
                severity,
                object: Some(wish.canary.origin.clone()),
                field: path_field(wish.rule as usize, wish.entry as usize).into(),
                reason,
                message: message.into(),
                place: None,
            });
        };
        let Some(rule) = rules.iter_mut().find(|rule| wish.belongs_to(&rule.route)) else {
            let message = format!(
                "the canary serves nothing: no other Ingress has the path {} of {host} with this type",
                wish.path
            );
            tell(Severity::Degraded, "NoMainIngress", message);
            continue;
        };
        let main = &rule.route;
        if let Some(other) = &main.canary {
            let message = format!("the path has a canary already, that of {}, which is older", other.origin);
            tell(Severity::Degraded, "Conflicted", message);
            continue;
        }
        let Action::Forward(shares) = &main.action else {
            let message = format!("the canary serves nothing: {} forwards no requests", main.origin.object);
            tell(Severity::Degraded, "NoMainIngress", message);
            continue;
        };
        let mut canary = wish.canary.clone();
        if let (Ok(own), [WeightedBackend { backend: Ok(backend), .. }]) = (&canary.share.backend, &**shares)
        {
            if Arc::ptr_eq(own, backend) {
                let message = format!("the canary has the same Service as {}", main.origin.object);
                tell(Severity::Degraded, "SameService", message);
                continue;
            }
            if (own.key.protocol, own.key.tls.is_some()) != (backend.key.protocol, backend.key.tls.is_some())
            {
                let message = format!("the canary is spoken to in another way than {}", main.origin.object);
                tell(Severity::Warning, "OtherProtocol", message);
            }
        }
        let has_access = !wish.access.allow.is_empty() || !wish.access.deny.is_empty();
        if has_access && wish.access != main.access {
            let message = format!(
                "the address rules of the canary are not those of {}, which are in force: its requests are refused; \
                 write the same rules on both",
                main.origin.object
            );
            tell(Severity::Refused, "MisplacedAnnotation", message);
            canary.share.backend = Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        if wish.auth.is_some() && wish.auth != main.auth {
            let message = format!(
                "the authentication of the canary is not that of {}, which is in force: its requests are refused; \
                 write the same keys on both",
                main.origin.object
            );
            tell(Severity::Refused, "MisplacedAnnotation", message);
            canary.share.backend = Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        rule.route = Arc::new(Route { canary: Some(Arc::new(canary)), ..Route::clone(main) });
    }
    problems
}

impl CanaryRule {
    /// By the path as it is written, whether it is an expression there or not.
    fn belongs_to(&self, route: &Route) -> bool {
        let exact = matches!(route.origin.path, PathPattern::Exact(_));
        // The redirects that an Ingress adds of itself have names, too, but no path has such a name.
        exact == self.exact && route.origin.name.as_deref() == Some(&*self.path)
    }
}
