use http::{HeaderMap, Method};

use super::*;
use crate::config::problem::Kind;
use crate::route::fixtures::{get, object};

fn header(name: &'static str, value: &str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: ValueMatch::Exact(value.as_bytes().into()) }
}

fn header_regex(name: &'static str, text: &str) -> HeaderMatch {
    HeaderMatch {
        name: HeaderName::from_static(name),
        value: ValueMatch::Regex(RegexPattern::value(text).unwrap()),
    }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.as_bytes().into(), value: ValueMatch::Exact(value.as_bytes().into()) }
}

fn query_regex(name: &str, text: &str) -> QueryMatch {
    QueryMatch { name: name.as_bytes().into(), value: ValueMatch::Regex(RegexPattern::value(text).unwrap()) }
}

/// Names and values of header lines.
type Lines = &'static [(&'static str, &'static str)];

fn headers(lines: Lines) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        })
        .collect()
}

#[test]
fn a_method_matches_itself_only() {
    let conditions = Conditions::new(Some(Method::GET), vec![], vec![]);
    let mut request = get("a.com", "/");
    assert_eq!(conditions.check(&request.lookup()), Ok(()));
    for method in [Method::HEAD, Method::POST, Method::from_bytes(b"get").unwrap()] {
        request.method = method;
        assert_eq!(conditions.check(&request.lookup()), Err(Mismatch::Method(&Method::GET)));
    }
}

#[test]
fn headers_match() {
    let cases: [(HeaderMatch, Lines, bool); 13] = [
        (header("x-a", "1"), &[("x-a", "1")], true),
        (header("x-a", "1"), &[("x-a", "2")], false),
        (header("x-a", "1"), &[("x-a", "11")], false),
        (header("x-a", "a"), &[("x-a", "A")], false),
        (header("x-a", "1"), &[("x-b", "1")], false),
        (header("x-a", "1"), &[], false),
        (header("x-a", ""), &[], false),
        (header("x-a", ""), &[("x-a", "")], true),
        (header_regex("x-a", "[0-9]+"), &[("x-a", "42")], true),
        (header_regex("x-a", "[0-9]+"), &[("x-a", "42a")], false),
        // Repeated: one list, so that neither line passes alone.
        (header("x-a", "1"), &[("x-a", "1"), ("x-a", "2")], false),
        (header("x-a", "1, 2"), &[("x-a", "1"), ("x-a", "2")], true),
        (header_regex("x-a", "1, 2, 3"), &[("x-a", "1"), ("x-a", "2"), ("x-a", "3")], true),
    ];
    for (wanted, lines, holds) in cases {
        let mut request = get("a.com", "/");
        request.headers = headers(lines);
        let conditions = Conditions::new(None, vec![wanted.clone()], vec![]);
        let expected = if holds { Ok(()) } else { Err(Mismatch::Header(&wanted)) };
        assert_eq!(conditions.check(&request.lookup()), expected, "{wanted} {lines:?}");
    }
}

#[test]
fn an_empty_first_line_still_counts_when_lines_are_joined() {
    let mut request = get("a.com", "/");
    request.headers = headers(&[("x-a", ""), ("x-a", "1")]);
    for (value, holds) in [("1", false), (", 1", true)] {
        let conditions = Conditions::new(None, vec![header("x-a", value)], vec![]);
        assert_eq!(conditions.check(&request.lookup()).is_ok(), holds, "{value:?}");
    }
}

#[test]
fn query_parameters_match() {
    let cases = [
        (query("q", "1"), "/?q=1", true),
        (query("q", "1"), "/?a=2&q=1&b=3", true),
        (query("q", "1"), "/?q=2", false),
        (query("q", "1"), "/?Q=1", false),
        (query("q", "1"), "/?qq=1", false),
        (query("q", "1"), "/", false),
        (query("q", ""), "/?q", true),
        (query("q", ""), "/?q=", true),
        (query("q", ""), "/?", false),
        (query("", ""), "/?&&", false),
        // The first of several.
        (query("q", "1"), "/?q=1&q=2", true),
        (query("q", "2"), "/?q=1&q=2", false),
        // Both sides are compared decoded.
        (query("q", "a b"), "/?q=a%20b", true),
        (query("q", "a b"), "/?q=a+b", true),
        (query("q", "a+b"), "/?q=a%2Bb", true),
        (query("q", "a&b=c"), "/?q=a%26b=c", true),
        (query("q r", "1"), "/?q%20r=1", true),
        (query("q", "ü"), "/?q=%C3%bc", true),
        (query("q", "%"), "/?q=%", true),
        (query("q", "%4"), "/?q=%4", true),
        (query("q", "%zz"), "/?q=%zz", true),
        (query("q", "%A"), "/?q=%%41", true),
        (query_regex("q", "[0-9]+"), "/?q=17", true),
        (query_regex("q", "[0-9]+"), "/?q=17a", false),
        (query_regex("q", "a b"), "/?q=a%20b", true),
        (query_regex("q", "a b"), "/?q=a+b", true),
        (query_regex("q", ".*"), "/?r=1", false),
    ];
    for (wanted, target, holds) in cases {
        let conditions = Conditions::new(None, vec![], vec![wanted.clone()]);
        let expected = if holds { Ok(()) } else { Err(Mismatch::Query(&wanted)) };
        assert_eq!(conditions.check(&get("a.com", target).lookup()), expected, "{wanted} {target}");
    }
}

#[test]
fn a_value_longer_than_the_inline_space_is_decoded_whole() {
    let long = "a ".repeat(VALUE_INLINE_BYTES);
    let conditions = Conditions::new(None, vec![], vec![query_regex("q", "(a )+b")]);
    let target = format!("/?q={}b", long.replace(' ', "+"));
    assert_eq!(conditions.check(&get("a.com", &target).lookup()), Ok(()));
}

#[test]
fn all_conditions_must_hold() {
    let conditions = Conditions::new(
        Some(Method::GET),
        vec![header("x-a", "1"), header("x-b", "2")],
        vec![query("q", "3")],
    );
    let mut request = get("a.com", "/?q=3");
    request.headers = headers(&[("x-a", "1")]);
    assert_eq!(conditions.check(&request.lookup()), Err(Mismatch::Header(&header("x-b", "2"))));
    request.headers = headers(&[("x-a", "1"), ("x-b", "2")]);
    assert_eq!(conditions.check(&request.lookup()), Ok(()));
    request.query = None;
    assert_eq!(conditions.check(&request.lookup()), Err(Mismatch::Query(&query("q", "3"))));
}

#[test]
fn of_two_entries_for_one_name_the_first_counts() {
    let conditions = Conditions::new(
        None,
        vec![header("x-a", "1"), header("x-a", "2"), header("x-b", "1")],
        vec![query("q", "1"), query("q", "2")],
    );
    assert_eq!(conditions.headers(), [header("x-a", "1"), header("x-b", "1")]);
    assert_eq!(conditions.query(), [query("q", "1")]);
}

#[test]
fn no_conditions_cost_nothing() {
    let conditions = Conditions::new(None, vec![], vec![]);
    assert!(conditions.is_empty());
    assert_eq!(conditions, Conditions::default());
    assert_eq!(conditions.to_string(), "");
}

#[test]
fn conditions_are_told_in_words() {
    let conditions =
        Conditions::new(Some(Method::GET), vec![header_regex("x-a", "a.*")], vec![query("q", "\u{1}\"")]);
    assert_eq!(conditions.to_string(), r#"GET, header x-a ~ "a.*", query q = "\x01\"""#);
    assert_eq!(Mismatch::Method(&Method::GET).to_string(), "the method is not GET");
    assert_eq!(Mismatch::Header(&header("x-a", "1")).to_string(), "header x-a = \"1\" does not hold");
}

#[test]
fn conditions_are_ranked_by_method_then_headers_then_query() {
    let many_headers: Vec<_> = ["x-a", "x-b", "x-c"].map(|name| header(name, "1")).into();
    let many_queries: Vec<_> = ["q", "r"].map(|name| query(name, "1")).into();
    let ranked = [
        Conditions::new(Some(Method::GET), vec![header("x-a", "1")], vec![]),
        Conditions::new(Some(Method::GET), vec![], many_queries.clone()),
        Conditions::new(Some(Method::GET), vec![], vec![]),
        Conditions::new(None, many_headers.clone(), vec![query("q", "1")]),
        Conditions::new(None, many_headers, vec![]),
        Conditions::new(None, vec![header("x-a", "1")], many_queries.clone()),
        Conditions::new(None, vec![], many_queries),
        Conditions::new(None, vec![], vec![query("q", "1")]),
        Conditions::default(),
    ];
    for (at, first) in ranked.iter().enumerate() {
        assert_eq!(first.cmp_precedence(first), Ordering::Equal);
        for second in &ranked[at + 1..] {
            assert_eq!(first.cmp_precedence(second), Ordering::Less, "{first} before {second}");
            assert_eq!(second.cmp_precedence(first), Ordering::Greater, "{first} before {second}");
        }
    }
}

#[test]
fn ties_are_broken_by_age_then_name_then_place() {
    let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    let named = |namespace: &str, name: &str| ObjectRef { namespace: namespace.into(), ..object(name) };
    let ranked = [
        Precedence { created: at(1), object: named("z", "z"), rule: 9, entry: 9 },
        Precedence { created: at(2), object: named("a-b", "x"), rule: 0, entry: 0 },
        Precedence { created: at(2), object: named("a", "x"), rule: 0, entry: 0 },
        Precedence { created: at(2), object: named("a", "y"), rule: 0, entry: 1 },
        Precedence { created: at(2), object: named("a", "y"), rule: 1, entry: 0 },
        Precedence {
            created: None,
            object: ObjectRef { kind: Kind::Ingress, ..named("a", "a") },
            rule: 5,
            entry: 0,
        },
        Precedence { created: None, object: named("a", "a"), rule: 0, entry: 0 },
    ];
    for (at, first) in ranked.iter().enumerate() {
        for second in &ranked[at + 1..] {
            assert!(first < second, "{first:?} before {second:?}");
            assert!(second > first, "{first:?} before {second:?}");
        }
    }
}
