use super::*;
use crate::route::fixtures::{exact, get, prefix, route};

fn challenges() -> Challenges {
    Challenges::new([("a.example.com".into(), "print".into())]).expect("a name")
}

fn asked(host: &str, path: &str, found: &Found<'_>) -> Option<String> {
    challenges().answer(&get(host, path).lookup(), found)
}

const QUESTION: &str = "/.well-known/acme-challenge/token";

#[test]
fn a_name_that_is_ordered_for_is_answered_for_whatever_its_routes_are() {
    let broad = route("web", &prefix("/.well-known"));
    for found in [Found::NoHost, Found::NoRoute, Found::Route(&broad)] {
        assert_eq!(asked("a.example.com", QUESTION, &found).as_deref(), Some("token.print"));
    }
    assert_eq!(asked("b.example.com", QUESTION, &Found::NoHost), None);
    assert_eq!(asked("a.example.com", "/.well-known/acme-challenge/", &Found::NoHost), None);
    assert_eq!(asked("a.example.com", "/.well-known/acme-challenge/a.b", &Found::NoHost), None);
    assert_eq!(asked("a.example.com", "/token", &Found::NoHost), None);
}

#[test]
fn a_route_for_just_that_token_is_left_alone() {
    for pattern in [exact(QUESTION), prefix(QUESTION)] {
        let solver = route("solver", &pattern);
        assert_eq!(asked("a.example.com", QUESTION, &Found::Route(&solver)), None);
    }
}

#[test]
fn only_reading_is_a_question() {
    let mut request = get("a.example.com", QUESTION);
    request.method = Method::POST;
    assert_eq!(challenges().answer(&request.lookup(), &Found::NoHost), None);
}

#[test]
fn without_names_there_is_nothing_to_answer() {
    assert_eq!(Challenges::new([]), None);
}
