//! The oracle: the words of the specifications over a flat list, sharing no code with the table.

use std::cmp::Reverse;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::{answer, header, hosts};
use crate::config::problem::ObjectRef;
use crate::route::PathPattern;
use crate::route::expression::{LetterCase, RegexPattern};
use crate::route::fixtures::{self, Request, exact, host, object, pattern, pattern_of, prefix};
use crate::route::host::{HostPattern, WildcardLabels};
use crate::route::matches::{Conditions, Precedence, QueryMatch, Rule, ValueMatch};
use crate::route::table::HostFallback;

/// One generated rule with the plain facts that the oracle goes by.
#[derive(Clone, Debug)]
struct Written {
    /// Without `*.` for a wildcard; `None` for any.
    host: Option<(bool, String)>,
    path: WrittenPath,
    method: Option<Method>,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
    created: Option<i64>,
    namespace: &'static str,
    name: &'static str,
}

#[derive(Clone, Debug)]
enum WrittenPath {
    Exact(String),
    Prefix(String),
    Regex(&'static str, LetterCase),
}

/// One generated request with its headers and parameters as lists.
#[derive(Clone, Debug)]
struct Asked {
    host: Option<String>,
    path: String,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

impl Written {
    fn rule(&self, at: usize, labels: WildcardLabels) -> (HostPattern, Rule) {
        let host = match &self.host {
            None => HostPattern::Any,
            Some((false, name)) => pattern(name),
            Some((true, name)) => pattern_of(&format!("*.{name}"), labels),
        };
        let path = match &self.path {
            WrittenPath::Exact(path) => exact(path),
            WrittenPath::Prefix(path) => prefix(path),
            WrittenPath::Regex(text, case) => PathPattern::regex(text, *case).unwrap(),
        };
        let headers = self.headers.iter().map(|(name, value)| header(name, value)).collect();
        let query = self.query.iter().map(|(name, value)| QueryMatch {
            name: name.as_bytes().into(),
            value: ValueMatch::Regex(RegexPattern::value(&regex::escape(value)).unwrap()),
        });
        let conditions = Conditions::new(self.method.clone(), headers, query.collect());
        let object = ObjectRef { namespace: self.namespace.into(), ..object(self.name) };
        let created = self.created.map(|seconds| jiff::Timestamp::from_second(seconds).unwrap());
        let precedence = Precedence { created, object, rule: at / 3, entry: at % 3 };
        let route = fixtures::route(&at.to_string(), &path);
        (host, Rule { path, conditions, precedence, route })
    }

    fn takes_host(&self, asked: &Asked, labels: WildcardLabels) -> bool {
        let Some((wildcard, name)) = &self.host else { return true };
        let Some(host) = &asked.host else { return false };
        if !wildcard {
            return host == name;
        }
        let Some(front) = host.strip_suffix(&format!(".{name}")) else { return false };
        labels == WildcardLabels::OneOrMore || front.split('.').count() == 1
    }

    fn takes_path(&self, asked: &Asked) -> bool {
        match &self.path {
            WrittenPath::Exact(path) => asked.path == *path,
            WrittenPath::Prefix(path) => {
                let wanted: Vec<&str> = path.split('/').filter(|element| !element.is_empty()).collect();
                let elements: Vec<&str> = asked.path.split('/').skip(1).collect();
                elements.starts_with(&wanted)
            }
            WrittenPath::Regex(text, case) => {
                let flags = if *case == LetterCase::Insensitive { "(?i)" } else { "" };
                let found = regex::Regex::new(&format!("{flags}{text}")).unwrap().find(&asked.path);
                found.is_some_and(|found| found.start() == 0)
            }
        }
    }

    fn takes_rest(&self, asked: &Asked) -> bool {
        let all = |name| -> Vec<&str> {
            asked.headers.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value).collect()
        };
        let headers = self.headers.iter().all(|(name, value)| {
            let values = all(*name);
            !values.is_empty() && values.join(", ") == *value
        });
        let query = self.query.iter().all(|(name, value)| {
            asked.query.iter().find(|(other, _)| other == name).is_some_and(|(_, first)| first == value)
        });
        headers && query && self.method.as_ref().is_none_or(|method| *method == asked.method)
    }

    fn host_rank(&self) -> (u8, usize) {
        match &self.host {
            Some((false, _)) => (2, 0),
            Some((true, name)) => (1, name.len()),
            None => (0, 0),
        }
    }

    fn rank(&self, at: usize) -> impl Ord {
        // Exact paths, then by length, a prefix before an expression of the same length.
        let nothing = (Reverse(LetterCase::Sensitive), Reverse(String::new()));
        let path = match &self.path {
            WrittenPath::Exact(_) => (0, Reverse(0), 0, nothing),
            WrittenPath::Prefix(path) => (1, Reverse(path.trim_end_matches('/').len()), 0, nothing),
            WrittenPath::Regex(text, case) => {
                (1, Reverse(text.len()), 1, (Reverse(*case), Reverse(text.to_string())))
            }
        };
        let counts = (self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()));
        let age = self.created.unwrap_or(i64::MAX);
        (Reverse(self.host_rank()), path, counts, age, format!("{}/{}", self.namespace, self.name), at)
    }
}

impl Asked {
    fn request(&self) -> Request {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = (!pairs.is_empty()).then(|| pairs.join("&").replace(' ', "%20").into_bytes());
        let mut request = Request {
            host: self.host.as_deref().map(host),
            path: self.path.clone().into(),
            method: self.method.clone(),
            headers: Default::default(),
            query,
        };
        request.headers.extend(headers);
        request
    }
}

/// The index of the rule that the specifications name.
fn oracle(rules: &[Written], asked: &Asked, fallback: HostFallback) -> Option<usize> {
    let labels = labels_of(fallback);
    let mut sorted: Vec<(usize, &Written)> = rules.iter().enumerate().collect();
    sorted.sort_by_key(|(at, rule)| rule.rank(*at));
    sorted.retain(|(_, rule)| rule.takes_host(asked, labels));
    if fallback == HostFallback::Never
        && let Some(narrowest) = sorted.first().map(|(_, rule)| rule.host_rank())
    {
        sorted.retain(|(_, rule)| rule.host_rank() == narrowest);
    }
    let mut matching =
        sorted.into_iter().filter(|(_, rule)| rule.takes_path(asked) && rule.takes_rest(asked));
    matching.next().map(|(at, _)| at)
}

fn labels_of(fallback: HostFallback) -> WildcardLabels {
    match fallback {
        HostFallback::LessSpecific => WildcardLabels::OneOrMore,
        HostFallback::Never => WildcardLabels::One,
    }
}

fn any_name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4).prop_map(|labels| labels.join("."))
}

fn any_path() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec!["a", "b", "a-b", "ab", "A"]);
    (prop::collection::vec(element, 0..4), any::<bool>()).prop_map(|(elements, slash)| {
        let path: String = elements.iter().map(|element| format!("/{element}")).collect();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

fn any_written() -> impl Strategy<Value = Written> {
    let expression =
        prop::sample::select(vec!["/a", "/b", "/a.*", "/[ab]/.", "/b|/a/a", ".*", "/a/a$", "^/b"]);
    let case = prop::sample::select(vec![LetterCase::Sensitive, LetterCase::Insensitive]);
    let path = prop_oneof![
        2 => any_path().prop_map(WrittenPath::Exact),
        4 => any_path().prop_map(WrittenPath::Prefix),
        1 => (expression, case).prop_map(|(text, case)| WrittenPath::Regex(text, case)),
    ];
    let headers = prop::sample::subsequence(vec![("x-a", "1"), ("x-b", "1"), ("x-c", "1, 2")], 0..3);
    let query = prop::sample::subsequence(vec![("q", "1"), ("r", "a b")], 0..3);
    (
        prop::option::weighted(0.8, (any::<bool>(), any_name())),
        path,
        prop::option::weighted(0.3, any_method()),
        prop_oneof![2 => Just(vec![]), 1 => headers],
        prop_oneof![2 => Just(vec![]), 1 => query],
        prop::option::weighted(0.7, 0..3_i64),
        prop::sample::select(vec!["a", "a-b"]),
        prop::sample::select(vec!["x", "y"]),
    )
        .prop_map(|(host, path, method, headers, query, created, namespace, name)| Written {
            host,
            path,
            method,
            headers,
            query,
            created,
            namespace,
            name,
        })
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let headers =
        prop::sample::select(vec![("x-a", "1"), ("x-b", "1"), ("x-b", "2"), ("x-c", "1"), ("x-c", "2")]);
    let query = prop::sample::select(vec![("q", "1"), ("q", "2"), ("r", "a b"), ("s", "")]);
    (
        prop::option::weighted(0.9, any_name()),
        any_path(),
        any_method(),
        prop::collection::vec(headers, 0..5),
        prop::collection::vec(query, 0..4),
    )
        .prop_map(|(host, path, method, headers, query)| Asked { host, path, method, headers, query })
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::POST])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_look_up_finds_what_the_specifications_name(
        rules in prop::collection::vec(any_written(), 0..24),
        requests in prop::collection::vec(any_asked(), 1..8),
        fallback in prop::sample::select(vec![HostFallback::LessSpecific, HostFallback::Never]),
    ) {
        let labels = labels_of(fallback);
        let table = rules.iter().enumerate().map(|(at, rule)| rule.rule(at, labels)).collect();
        let table = hosts(table, fallback, None);
        for asked in &requests {
            let expected = oracle(&rules, asked, fallback).map(|at| at.to_string());
            let request = asked.request();
            let lookup = request.lookup();
            let found = answer(table.find(&lookup));
            match &expected {
                Some(expected) => prop_assert_eq!(found, expected, "{:?}", asked),
                None => {
                    let known = rules.iter().any(|rule| rule.takes_host(asked, labels));
                    prop_assert_eq!(found, if known { "NoRoute" } else { "NoHost" }, "{:?}", asked);
                }
            }
            prop_assert_eq!(answer(table.explain(&lookup).found), found);
        }
    }
}
