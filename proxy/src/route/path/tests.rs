use super::*;
use crate::route::fixtures::{exact, prefix, regex, rule, rule_with};

/// Names of the rules whose path matches, in the order in which they are tried.
fn tried(routes: &HostRoutes, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    routes.find_map(path.as_bytes(), |candidate| {
        names.push(candidate.route.origin.object.name.to_string());
        None::<()>
    });
    names
}

fn routes(paths: impl IntoIterator<Item = PathPattern>) -> HostRoutes {
    HostRoutes::new(paths.into_iter().map(|path| rule(&path.to_string(), path)).collect())
}

#[test]
fn prefixes_match_by_element() {
    // The table of Ingress v1, `pathType: Prefix`, and of Gateway API v1, `PathPrefix`.
    let cases = [
        ("/", "/", true),
        ("/", "/any/path", true),
        ("/", "*", true),
        ("/abc", "/abc", true),
        ("/abc", "/abc/", true),
        ("/abc", "/abc/def", true),
        ("/abc", "/abcd", false),
        ("/abc", "/ab", false),
        ("/abc", "/ABC", false),
        ("/abc", "/x/abc", false),
        ("/abc/", "/abc", true),
        ("/abc/", "/abc/", true),
        ("/abc/", "/abcd", false),
        ("/aaa/bb", "/aaa/bbb", false),
        ("/aaa/bbb", "/aaa/bbb/ccc", true),
        ("/aaa/bbb/", "/aaa/bbb", true),
        ("/aaa/bbb", "/aaa/bbbxyz", false),
    ];
    for (written, path, matches) in cases {
        let pattern = prefix(written);
        assert_eq!(pattern.matches(path.as_bytes()), matches, "{written} and {path}");
        // With a second rule, so that the index is used too.
        let routes = routes([pattern, exact("/unrelated")]);
        assert_eq!(!tried(&routes, path).is_empty(), matches, "{written} and {path}, indexed");
    }
}

#[test]
fn an_exact_path_matches_byte_for_byte() {
    for (path, matches) in
        [("/foo", true), ("/foo/", false), ("/FOO", false), ("/foo/bar", false), ("/fo", false)]
    {
        assert_eq!(exact("/foo").matches(path.as_bytes()), matches, "{path}");
        assert_eq!(!tried(&routes([exact("/foo")]), path).is_empty(), matches, "{path}");
    }
    assert_eq!(tried(&routes([exact("/foo/"), exact("/foo")]), "/foo/"), ["= /foo/"]);
    assert_eq!(tried(&routes([exact("/"), prefix("/")]), "/"), ["= /", "/"]);
}

#[test]
fn exact_comes_first_then_prefixes_and_expressions_by_length() {
    let routes = routes([
        regex("/a.*"),
        prefix("/"),
        regex("/a/b/c"),
        prefix("/a/b"),
        prefix("/a"),
        exact("/a/b/c"),
        prefix("/a/b/c"),
    ]);
    assert_eq!(tried(&routes, "/a/b/c"), ["= /a/b/c", "/a/b/c", "~ /a/b/c", "/a/b", "~ /a.*", "/a", "/"]);
    assert_eq!(tried(&routes, "/a/b/c/d"), ["/a/b/c", "~ /a/b/c", "/a/b", "~ /a.*", "/a", "/"]);
    assert_eq!(tried(&routes, "/a/bc"), ["~ /a.*", "/a", "/"]);
    assert_eq!(tried(&routes, "/ab"), ["~ /a.*", "/"]);
    assert_eq!(tried(&routes, "/x"), ["/"]);
}

#[test]
fn a_path_that_sorts_between_a_prefix_and_the_request_hides_nothing() {
    // In plain byte order `-` and `.` stand before `/`, and these would come between `/a` and `/a/x`.
    let routes = routes([prefix("/a"), prefix("/a-b"), prefix("/a.b"), exact("/a/w"), prefix("/a/b/c")]);
    assert_eq!(tried(&routes, "/a/x"), ["/a"]);
    assert_eq!(tried(&routes, "/a/b/x"), ["/a"]);
    assert_eq!(tried(&routes, "/a-b/x"), ["/a-b"]);
    assert_eq!(tried(&routes, "/a-c"), [""; 0]);
}

#[test]
fn of_two_expressions_the_longer_text_comes_first_and_then_the_alphabetically_last() {
    let routes = routes([regex("/.*"), regex("/[a-c]"), regex("/[a-b]"), regex("/a")]);
    assert_eq!(tried(&routes, "/a"), ["~ /[a-c]", "~ /[a-b]", "~ /.*", "~ /a"]);
}

#[test]
fn the_rules_of_one_path_keep_their_precedence() {
    let with_method =
        |name, method| rule_with(name, prefix("/a"), Conditions::new(Some(method), vec![], vec![]));
    let rules = vec![
        rule("z", prefix("/a")),
        with_method("y", http::Method::GET),
        rule("b", prefix("/a/")),
        rule("c", exact("/a")),
    ];
    assert_eq!(tried(&HostRoutes::new(rules), "/a"), ["c", "y", "b", "z"]);
}

#[test]
fn a_host_without_rules_matches_nothing() {
    assert_eq!(tried(&routes([]), "/"), [""; 0]);
}

#[test]
fn one_rule_for_the_whole_host_is_tried_for_every_path() {
    let routes = routes([prefix("/")]);
    assert!(matches!(routes.0, Layout::Whole(_)));
    assert_eq!(tried(&routes, "/a"), ["/"]);
    assert_eq!(routes.list().len(), 1);
}

#[test]
fn the_list_is_in_the_order_of_precedence() {
    let routes = routes([regex("/r"), prefix("/"), prefix("/a/b"), prefix("/a"), exact("/a"), exact("/z")]);
    let list: Vec<String> = routes.list().into_iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(list, ["= /a", "= /z", "/a/b", "/a", "~ /r", "/"]);
}

#[test]
fn a_deep_path_costs_no_more_than_the_index_is_deep() {
    let routes = routes((1..=200).map(|depth| prefix(&"/a".repeat(depth))));
    assert_eq!(tried(&routes, &"/a".repeat(4000)).len(), 200);
    assert_eq!(tried(&routes, &format!("{}b", "/a".repeat(150))).len(), 149);
}

#[test]
fn paths_begin_with_a_slash() {
    for text in ["", "abc", "*"] {
        assert_eq!(PathPattern::exact(text), Err(PathError::Relative(text.into())));
        assert_eq!(PathPattern::prefix(text), Err(PathError::Relative(text.into())));
    }
    assert!(matches!(PathPattern::regex("(", LetterCase::Sensitive), Err(PathError::Regex(_))));
}

#[test]
fn most_hosts_need_little_memory() {
    // 10,000 hosts have 40 MiB for everything; the index of a host is to be the least part of it.
    assert!(size_of::<HostRoutes>() <= 48, "{}", size_of::<HostRoutes>());
    assert!(size_of::<Node>() <= 32, "{}", size_of::<Node>());
    assert!(size_of::<Candidate>() <= 16, "{}", size_of::<Candidate>());
}
