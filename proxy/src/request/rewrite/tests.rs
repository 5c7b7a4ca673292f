use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::route::expression::LetterCase;

fn regex(expression: &str) -> PathPattern {
    PathPattern::regex(expression, LetterCase::Sensitive).unwrap()
}

fn prefix(prefix: &str) -> PathPattern {
    PathPattern::Prefix(prefix.into())
}

fn run(rule: &PathRewrite, pattern: &PathPattern, target: &str) -> Result<String, Reject> {
    let current =
        PathAndQuery::parse(&Bytes::copy_from_slice(target.as_bytes()), EncodedSlash::Keep).unwrap();
    rewrite(rule, pattern, &current).map(|rewritten| rewritten.as_str().to_owned())
}

#[test]
fn prefixes_are_replaced_as_gateway_api_says() {
    // Request path, prefix (stored without its trailing slash), replacement, result.
    let table = [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo", "/foo", "/xyz/", "/xyz/"),
        ("/foo/bar?a=b", "/foo", "/xyz", "/xyz/bar?a=b"),
        ("/foo?", "/foo", "/xyz", "/xyz?"),
        ("/a/b", "", "/xyz", "/xyz/a/b"),
        ("/", "", "/xyz", "/xyz/"),
        ("/foo/a%20b/c", "/foo", "/x", "/x/a%20b/c"),
    ];
    for (target, matched, replacement, result) in table {
        let rule = PathRewrite::Prefix(replacement.into());
        assert_eq!(
            run(&rule, &prefix(matched), target),
            Ok(result.to_owned()),
            "{target} {matched} {replacement}"
        );
    }
}

#[test]
fn a_full_path_replaces_the_path_and_keeps_the_query() {
    let full = |path: &str, target| run(&PathRewrite::Full(path.into()), &prefix("/a"), target);
    assert_eq!(full("/one", "/a/b?c=d"), Ok("/one?c=d".to_owned()));
    assert_eq!(full("/one?x=y", "/a/b?c=d"), Ok("/one?x=y&c=d".to_owned()));
    assert_eq!(full("/one?x=y", "/a"), Ok("/one?x=y".to_owned()));
    assert_eq!(full("", "/a/b"), Ok("/".to_owned()));
    assert_eq!(full("one", "/a/b"), Ok("/one".to_owned()));
    assert_eq!(full("/one/two//", "/a/b"), Ok("/one/two/".to_owned()));
}

#[test]
fn captures_fill_the_template_and_become_the_whole_path() {
    let fill = |template: &str, expression, target| {
        run(&PathRewrite::Captures(template.into()), &regex(expression), target)
    };
    assert_eq!(fill("/$2", "^/api(/|$)(.*)", "/api/users/7?q=1"), Ok("/users/7?q=1".to_owned()));
    assert_eq!(fill("/$2", "^/api(/|$)(.*)", "/api"), Ok("/".to_owned()));
    assert_eq!(fill("/v$1/$2?id=$2", "^/(\\d+)/(\\w+)", "/3/x/y?z"), Ok("/v3/x?id=x&z".to_owned()));
    assert_eq!(fill("/fixed", "^/api", "/api/users"), Ok("/fixed".to_owned()));
    assert_eq!(fill("/$7/$", "^/api", "/api"), Ok("/$".to_owned()));
    assert_eq!(fill("/$1", "^/other/(.*)", "/api?q"), Ok("/api?q".to_owned()));
    assert_eq!(fill("/$0", "^/api", "/api/x"), Ok("/api".to_owned()));
    let no_groups = run(&PathRewrite::Captures("/x/$1".into()), &prefix("/api"), "/api/y");
    assert_eq!(no_groups, Ok("/x/".to_owned()));
}

#[test]
fn a_rewrite_never_leaves_its_route() {
    let escapes = Err(Reject::BadTarget(TargetError::DotSegment));
    let captures = PathRewrite::Captures("/app/$1".into());
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x../secret"), escapes);
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x./secret"), escapes);
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x.."), escapes);
    let cut = PathRewrite::Prefix("/v1".into());
    assert_eq!(run(&cut, &regex("^/api"), "/api../admin"), escapes);
    assert_eq!(run(&cut, &regex("^/api"), "/api/users"), Ok("/v1/users".to_owned()));
    assert_eq!(run(&PathRewrite::Full("/a/../b".into()), &prefix(""), "/x"), escapes);
    let hidden = Err(Reject::BadTarget(TargetError::HiddenSegment));
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x..;/secret"), hidden);
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x..%3B/secret"), hidden);
    assert_eq!(run(&captures, &regex("^/x(.*)"), "/x..%2Fsecret"), hidden);
    // By path element there is nothing to escape with.
    assert_eq!(run(&cut, &prefix("/api"), "/api/..x"), Ok("/v1/..x".to_owned()));
}

#[test]
fn an_asterisk_is_no_path_to_rewrite() {
    let target = crate::request::target::Target::parse(
        &http::Method::OPTIONS,
        &Bytes::from_static(b"*"),
        None,
        Some(b"a"),
        crate::request::target::Scheme::Http,
        EncodedSlash::Refuse,
    );
    let asterisk = target.unwrap().path_and_query;
    let rule = PathRewrite::Prefix("/x".into());
    assert_eq!(rewrite(&rule, &prefix(""), &asterisk).unwrap().as_str(), "*");
}

#[test]
fn the_result_is_bounded() {
    let long = format!("/a/{}", "b".repeat(crate::request::target::TARGET_BYTES_MAX - 10));
    let rule = PathRewrite::Prefix("/0123456789/0123456789".into());
    assert_eq!(run(&rule, &prefix("/a"), &long), Err(Reject::BadTarget(TargetError::TooLong)));
}

proptest! {
    #[test]
    fn every_result_is_normal(
        template in "(/|\\$[0-9]|\\.|a|//|%2e){0,8}",
        expression in prop_oneof![Just("^/a(.*)"), Just("^/([^/]*)(.*)"), Just("^/(a|b)?(/.*)?$"), Just("^(.)(.)")],
        target in "/[a-c./]{0,12}",
    ) {
        let Ok(current) = PathAndQuery::parse(&Bytes::from(target), EncodedSlash::Refuse) else { return Ok(()) };
        for rule in [PathRewrite::Captures(template.as_str().into()), PathRewrite::Prefix(template.as_str().into())] {
            if let Ok(rewritten) = rewrite(&rule, &regex(expression), &current) {
                let path = std::str::from_utf8(rewritten.path()).unwrap();
                prop_assert!(path.starts_with('/') && !path.contains("//"), "{path}");
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
            }
        }
    }
}
