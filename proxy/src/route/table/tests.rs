mod oracle;

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};

use super::*;
use crate::route::fixtures::{
    self, Request, exact, get, host, object, pattern, pattern_of, prefix, rule, rule_with,
};
use crate::route::host::WildcardLabels;
use crate::route::matches::{Conditions, HeaderMatch, Precedence, QueryMatch, Rule, ValueMatch};

fn hosts(rules: Vec<(HostPattern, Rule)>, fallback: HostFallback, default: Option<Arc<Route>>) -> HostTable {
    let mut by_host: BTreeMap<HostPattern, Vec<Rule>> = BTreeMap::new();
    for (pattern, rule) in rules {
        by_host.entry(pattern).or_default().push(rule);
    }
    let hosts = by_host.into_iter().map(|(pattern, rules)| (pattern, HostRoutes::new(rules)));
    HostTable::new(hosts, fallback, default)
}

/// A Gateway API section with rules of host and name.
fn gateway(rules: impl IntoIterator<Item = (&'static str, Rule)>) -> HostTable {
    let rules = rules.into_iter().map(|(host, rule)| (pattern(host), rule)).collect();
    hosts(rules, HostFallback::LessSpecific, None)
}

/// An Ingress class with rules of host and name, and a default backend named `default`.
fn class(rules: impl IntoIterator<Item = (&'static str, Rule)>) -> HostTable {
    let one = WildcardLabels::One;
    let rules = rules.into_iter().map(|(host, rule)| (pattern_of(host, one), rule)).collect();
    hosts(rules, HostFallback::Never, Some(fixtures::route("default", &prefix("/"))))
}

/// The object of the route that answers, or what else was found.
fn answer<'t>(found: Found<'t>) -> &'t str {
    match found {
        Found::Route(route) => &route.origin.object.name,
        Found::NoRoute => "NoRoute",
        Found::NoHost => "NoHost",
    }
}

fn post(name: &str, target: &str) -> Request {
    Request { method: Method::POST, ..get(name, target) }
}

fn method(method: Method) -> Conditions {
    Conditions::new(Some(method), vec![], vec![])
}

fn header(name: &'static str, value: &str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: ValueMatch::Exact(value.as_bytes().into()) }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.as_bytes().into(), value: ValueMatch::Exact(value.as_bytes().into()) }
}

#[test]
fn a_rule_whose_conditions_fail_gives_way_to_the_next_over_all_paths_and_hosts() {
    let table = gateway([
        ("a.example.com", rule_with("exact-post", exact("/x/y"), method(Method::POST))),
        ("a.example.com", rule_with("long-put", prefix("/x"), method(Method::PUT))),
        ("a.example.com", rule_with("short-delete", prefix("/"), method(Method::DELETE))),
        ("*.example.com", rule_with("wildcard-get", prefix("/x"), method(Method::GET))),
        ("*", rule("any", prefix("/x"))),
    ]);
    let with = |method| Request { method, ..get("a.example.com", "/x/y") };
    for (method, name) in [
        (Method::POST, "exact-post"),
        (Method::PUT, "long-put"),
        (Method::DELETE, "short-delete"),
        (Method::GET, "wildcard-get"),
        (Method::PATCH, "any"),
    ] {
        assert_eq!(answer(table.find(&with(method.clone()).lookup())), name, "{method}");
    }
    assert_eq!(answer(table.find(&get("a.example.com", "/z").lookup())), "NoRoute");
}

#[test]
fn the_narrower_host_wins_over_every_other_rule_of_precedence() {
    let table = gateway([
        ("a.b.example.com", rule("exact", prefix("/"))),
        ("*.b.example.com", rule("near", prefix("/x"))),
        ("*.example.com", rule_with("far", exact("/x/y"), method(Method::GET))),
        ("*", rule_with("any", exact("/x/y"), method(Method::GET))),
    ]);
    for (host, name) in [
        ("a.b.example.com", "exact"),
        ("z.b.example.com", "near"),
        ("z.z.b.example.com", "near"),
        ("b.example.com", "far"),
        ("z.z.example.com", "far"),
        ("example.com", "any"),
        ("example.org", "any"),
    ] {
        assert_eq!(answer(table.find(&get(host, "/x/y").lookup())), name, "{host}");
    }
}

#[test]
fn every_rule_of_precedence_decides_when_those_before_it_are_even() {
    let created = |seconds| Some(jiff::Timestamp::from_second(seconds).unwrap());
    let path = || prefix("/x");
    let two_headers = || vec![header("x-a", "1"), header("x-b", "1")];
    let aged = |name, seconds| {
        let rule = rule(name, path());
        Rule { precedence: Precedence { created: created(seconds), ..rule.precedence.clone() }, ..rule }
    };
    let placed = |name: &'static str, at, entry| {
        let rule = rule(name, path());
        Rule { precedence: Precedence { object: object("same"), rule: at, entry, ..rule.precedence }, ..rule }
    };
    let conditions =
        |name, method, headers, query| rule_with(name, path(), Conditions::new(method, headers, query));
    let cases: Vec<(Rule, Rule)> = vec![
        (rule("exact", exact("/x")), conditions("prefix", Some(Method::GET), two_headers(), vec![])),
        (rule("longer", path()), rule_with("shorter", prefix("/"), method(Method::GET))),
        (
            conditions("method", Some(Method::GET), vec![], vec![]),
            conditions("none", None, two_headers(), vec![]),
        ),
        (
            conditions("two headers", None, two_headers(), vec![]),
            conditions("one", None, vec![header("x-a", "1")], vec![query("q", "1"), query("r", "1")]),
        ),
        (
            conditions("two parameters", None, vec![], vec![query("q", "1"), query("r", "1")]),
            conditions("one", None, vec![], vec![query("q", "1")]),
        ),
        (aged("z-older", 1), aged("a-younger", 2)),
        (aged("z-dated", 1), rule("a-undated", path())),
        (rule("a", path()), rule("b", path())),
        (placed("first rule", 0, 1), placed("second rule", 1, 0)),
        (placed("first match", 0, 0), placed("second match", 0, 1)),
    ];
    let mut request = get("a.com", "/x?q=1&r=1");
    request.headers.insert("x-a", HeaderValue::from_static("1"));
    request.headers.insert("x-b", HeaderValue::from_static("1"));
    for (winner, loser) in cases {
        let name = Arc::clone(&winner.route.origin.object.name);
        for rules in [[winner.clone(), loser.clone()], [loser.clone(), winner.clone()]] {
            assert!(rules.iter().all(|rule| rule.conditions.check(&request.lookup()).is_ok()), "both match");
            let table = gateway(rules.map(|rule| ("a.com", rule)));
            assert_eq!(answer(table.find(&request.lookup())), &*name);
        }
    }
}

#[test]
fn a_host_of_a_class_is_one_closed_server() {
    let table = class([
        ("a.example.com", rule("exact", prefix("/x"))),
        ("*.example.com", rule("wildcard", prefix("/"))),
        ("*", rule("any", prefix("/y"))),
    ]);
    for (host, path, name) in [
        ("a.example.com", "/x", "exact"),
        ("a.example.com", "/y", "default"),
        ("b.example.com", "/y", "wildcard"),
        ("b.b.example.com", "/y", "any"),
        ("example.com", "/y", "any"),
        ("example.com", "/z", "default"),
    ] {
        assert_eq!(answer(table.find(&get(host, path).lookup())), name, "{host}{path}");
    }
}

#[test]
fn without_a_default_backend_a_class_tells_an_unknown_host_from_an_unknown_path() {
    let rules = vec![(pattern("a.com"), rule("a", prefix("/x")))];
    let table = hosts(rules, HostFallback::Never, None);
    assert_eq!(answer(table.find(&get("a.com", "/y").lookup())), "NoRoute");
    assert_eq!(answer(table.find(&get("b.com", "/x").lookup())), "NoHost");
}

#[test]
fn a_request_without_a_host_takes_the_rules_for_any() {
    let table = gateway([("a.com", rule("a", prefix("/"))), ("*", rule("any", prefix("/")))]);
    let request = Request { host: None, ..get("a.com", "/") };
    assert_eq!(answer(table.find(&request.lookup())), "any");
}

#[test]
fn hosts_that_did_not_change_are_shared_with_the_next_table() {
    let routes = HostRoutes::new(vec![rule("a", prefix("/"))]);
    let table =
        |routes: &HostRoutes| HostTable::new([(pattern("a.com"), routes.clone())], HostFallback::Never, None);
    let (old, new) = (table(&routes), table(&routes));
    let (Found::Route(a), Found::Route(b)) =
        (old.find(&get("a.com", "/").lookup()), new.find(&get("a.com", "/").lookup()))
    else {
        panic!("both tables answer");
    };
    assert!(Arc::ptr_eq(a, b));
}

fn listener(sections: impl IntoIterator<Item = (&'static str, HostTable)>) -> Listener {
    let key = ListenerKey::Gateway { namespace: "ns".into(), name: "gw".into(), port: 443 };
    let sections = sections
        .into_iter()
        .map(|(host, hosts)| Section { name: host.into(), host: pattern(host), hosts })
        .collect();
    Listener::new(key, vec![], None, sections)
}

#[test]
fn misdirected_requests_are_told_by_the_sections_of_both_names() {
    // The matrix of the conformance test HTTPRouteHTTPSListenerDetectMisdirectedRequests.
    let all = |name| [("*", rule(name, prefix("/")))];
    let listener = listener([
        ("*", gateway([("example.org", rule("any", prefix("/")))])),
        ("second-example.org", gateway(all("second"))),
        ("*.wildcard.org", gateway(all("wildcard"))),
        ("fourth-example.wildcard.org", gateway(all("fourth"))),
    ]);
    let (first, second, unknown) = ("example.org", "second-example.org", "unknown-example.org");
    let (third, fourth, fifth) =
        ("third-example.wildcard.org", "fourth-example.wildcard.org", "fifth-example.wildcard.org");
    let cases = [
        (first, first, "any"),
        (first, second, "421"),
        (first, unknown, "NoHost"),
        (second, second, "second"),
        (second, first, "421"),
        (second, unknown, "421"),
        (third, third, "wildcard"),
        (third, fifth, "wildcard"),
        (third, fourth, "421"),
        (third, second, "421"),
        (third, unknown, "421"),
        (fourth, fourth, "fourth"),
        (fourth, third, "421"),
        (fourth, fifth, "421"),
        (unknown, first, "any"),
        (unknown, unknown, "NoHost"),
    ];
    for (server_name, name, expected) in cases {
        let request = get(name, "/");
        let got = if listener.is_misdirected(Some(&host(server_name)), request.host.as_ref()) {
            "421"
        } else {
            answer(listener.find(&request.lookup()))
        };
        assert_eq!(got, expected, "SNI {server_name}, Host {name}");
    }
    assert!(!listener.is_misdirected(None, Some(&host(unknown))), "no name is any name");
    assert!(listener.is_misdirected(None, Some(&host(second))));
}

#[test]
fn a_request_uses_the_routes_of_one_section_only() {
    // The matrix of the conformance test GatewayHTTPListenerIsolation.
    let at = |path: &'static str| [("*", rule(path, prefix(path)))];
    let listener = listener([
        ("*", gateway(at("/empty"))),
        ("*.example.com", gateway(at("/wildcard"))),
        ("*.foo.example.com", gateway(at("/foo"))),
        ("abc.foo.example.com", gateway(at("/abc"))),
    ]);
    let paths = ["/empty", "/wildcard", "/foo", "/abc"];
    for (name, section) in [
        ("bar.com", "/empty"),
        ("example.com", "/empty"),
        ("bar.example.com", "/wildcard"),
        ("foo.example.com", "/wildcard"),
        ("bar.foo.example.com", "/foo"),
        ("a.bar.foo.example.com", "/foo"),
        ("abc.foo.example.com", "/abc"),
    ] {
        for path in paths {
            let expected = if path == section { path } else { "NoRoute" };
            assert_eq!(answer(listener.find(&get(name, path).lookup())), expected, "{name}{path}");
        }
    }
}

#[test]
fn a_host_that_no_section_takes_is_not_found() {
    let listener = listener([("a.com", gateway([("a.com", rule("a", prefix("/")))]))]);
    assert!(listener.section(Some(&host("b.com"))).is_none());
    assert!(listener.section(None).is_none());
    assert_eq!(answer(listener.find(&get("b.com", "/").lookup())), "NoHost");
    assert_eq!(answer(listener.find(&post("a.com", "/").lookup())), "a");
    assert_eq!(listener.sections().len(), 1);
}

#[test]
fn a_table_finds_its_listener() {
    let listener = Arc::new(listener([]));
    let table = Table { listeners: vec![Arc::clone(&listener)], challenges: None };
    assert!(table.listener(&listener.key).is_some_and(|found| Arc::ptr_eq(found, &listener)));
    assert!(table.listener(&ListenerKey::Class { class: "a".into(), tls: true }).is_none());
}
