use std::sync::Arc;

use http::Method;

use super::*;
use crate::route::fixtures::{exact, get, pattern, prefix, regex, route, rule, rule_with};
use crate::route::matches::Rule;
use crate::route::table::{HostFallback, ListenerKey};

fn listener(name: &str, host: &str, hosts: HostTable) -> Listener {
    let key = ListenerKey::Class { class: "public".into(), tls: false };
    let section = Section { name: name.into(), host: pattern(host), hosts };
    Listener::new(key, vec![], None, vec![section])
}

fn table(fallback: HostFallback, default: Option<Arc<Route>>, hosts: Vec<(&str, Vec<Rule>)>) -> HostTable {
    let hosts = hosts.into_iter().map(|(host, rules)| (pattern(host), HostRoutes::new(rules)));
    HostTable::new(hosts, fallback, default)
}

fn words(explanation: &Explanation<'_>) -> Vec<String> {
    explanation.steps.iter().map(Step::to_string).collect()
}

#[test]
fn every_step_to_the_route_is_told() {
    let post = Conditions::new(Some(Method::POST), vec![], vec![]);
    let hosts = vec![
        ("a.example.com", vec![rule_with("form", exact("/x"), post), rule("images", prefix("/images"))]),
        ("*.example.com", vec![rule("other", regex("/y")), rule("shop", prefix("/"))]),
    ];
    let listener = listener("web", "*.example.com", table(HostFallback::LessSpecific, None, hosts));
    let request = get("a.example.com", "/x");
    let explanation = listener.explain(&request.lookup());
    assert!(matches!(explanation.found, Found::Route(route) if &*route.origin.object.name == "shop"));
    assert_eq!(
        words(&explanation),
        [
            "listener web (*.example.com) takes this host, and no other does",
            "rules for a.example.com:",
            "path = /x with POST (HTTPRoute default/form rule 0): not taken, the method is not POST",
            "path /images (HTTPRoute default/images rule 0): another path",
            "rules for *.example.com:",
            "path / (HTTPRoute default/shop rule 0): taken",
        ]
    );
}

#[test]
fn the_default_backend_is_told() {
    let default = route("default", &prefix("/"));
    let hosts = vec![("*", vec![rule("x", prefix("/x"))])];
    let listener = listener("", "*", table(HostFallback::Never, Some(default), hosts));
    let request = get("a.com", "/y");
    let explanation = listener.explain(&request.lookup());
    assert!(matches!(explanation.found, Found::Route(route) if &*route.origin.object.name == "default"));
    assert_eq!(
        words(&explanation),
        [
            "the routes of this listener are used",
            "rules for any host:",
            "path /x (HTTPRoute default/x rule 0): another path",
            "no rule takes it; the default backend does (HTTPRoute default/default rule 0)",
        ]
    );
}

#[test]
fn nothing_found_is_told() {
    let listener = listener("web", "a.com", table(HostFallback::LessSpecific, None, vec![]));
    let request = get("a.com", "/");
    let explanation = listener.explain(&request.lookup());
    assert!(matches!(explanation.found, Found::NoHost));
    assert_eq!(words(&explanation)[1..], ["nothing takes this request: 404"]);

    let request = get("b.com", "/");
    let explanation = listener.explain(&request.lookup());
    assert!(matches!(explanation.found, Found::NoHost));
    assert_eq!(
        words(&explanation),
        ["no listener on this port takes this host", "nothing takes this request: 404"]
    );
}

#[test]
fn no_more_other_paths_are_told_than_the_bound() {
    for (paths, told, more) in
        [(OTHER_PATHS_MAX, OTHER_PATHS_MAX, None), (OTHER_PATHS_MAX + 2, OTHER_PATHS_MAX, Some(2))]
    {
        let rules = (0..paths).map(|at| rule("a", exact(&format!("/{at}")))).collect();
        let table = table(HostFallback::Never, None, vec![("a.com", rules)]);
        let request = get("a.com", "/");
        let steps = table.explain(&request.lookup()).steps;
        let others = steps.iter().filter(|step| matches!(step, Step::OtherPath { .. })).count();
        assert_eq!(others, told);
        let left_out = steps.iter().find_map(|step| match step {
            Step::MoreOtherPaths(count) => Some(*count),
            _ => None,
        });
        assert_eq!(left_out, more);
    }
}
