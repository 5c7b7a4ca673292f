use super::external::told_names;
use super::*;

#[test]
fn cookies_are_left_out_of_what_is_told_and_bad_names_refuse() {
    let told = told_names(["Remote-User", "Set-Cookie", "X-Team-*"].into_iter(), "x").expect("names");
    assert_eq!(told.len(), 2);
    for bad in ["Content-Length", "X-Forwarded-For", "x*", "a b", "Host", "Connection", "X-Forwarded-*"] {
        assert!(told_names([bad].into_iter(), "x").is_err(), "{bad}");
    }
    let many: Vec<String> = (0..65).map(|number| format!("x-{number}")).collect();
    assert!(told_names(many.iter().take(64).map(String::as_str), "x").is_ok());
    assert!(told_names(many.iter().map(String::as_str), "x").is_err());
}

#[test]
fn a_provider_that_cannot_be_used_says_what_is_wrong() {
    let check = |text: &str| {
        let written: ExternalProvider =
            crate::yaml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        check_external(&written)
    };
    for good in [
        "{preset: authentik, service: {namespace: a, name: b, port: 9000}}",
        "{url: \"https://auth.example.com/verify\", cache: {key: $cookie_s}}",
        "{url: \"http://a/\", timeout: 60s, forwardBody: 1m, setHeaders: {X-Sent-From: the edge}}",
        "{url: \"http://a/\", signin: /login, signinParameter: next, ownPaths: [/login]}",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (bad, word) in [
        ("{url: a}", "url"),
        ("{url: \"http://a/\", timeout: 0s}", "timeout"),
        ("{url: \"http://a/\", timeout: 61s}", "timeout"),
        ("{url: \"http://a/\", forwardBody: 1048577}", "forwardBody"),
        ("{url: \"http://a/\", responseHeaders: [Content-Length]}", "content-length"),
        ("{url: \"http://a/\", requireHeaders: [\"a b\"]}", "requireHeaders"),
        ("{url: \"http://a/\", setHeaders: {Host: x}}", "host"),
        ("{url: \"http://a/\", setHeaders: {X: $nothing}}", "nothing"),
        ("{url: \"http://a/\", signin: \"//evil.example\"}", "sign-in"),
        ("{url: \"http://a/\", signin: \"javascript:x\"}", "sign-in"),
        ("{url: \"http://a/\", signin: /x, signinParameter: \"a&b\"}", "parameter"),
        ("{url: \"http://a/\", ownPaths: [x]}", "ownPaths"),
        ("{url: \"http://a/\", path: x}", "path"),
        ("{url: \"http://a/\", cache: {key: $nothing}}", "cache.key"),
        ("{url: \"http://a/\", cache: {key: $host, duration: 2h}}", "cache.duration"),
        ("{url: \"http://a/\", identity: {groupsSeparator: ä}}", "groupsSeparator"),
    ] {
        let error = check(bad).expect_err(bad);
        assert!(error.contains(word), "{bad}: {error}");
    }
}
