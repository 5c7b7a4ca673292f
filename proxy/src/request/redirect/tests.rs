use bytes::Bytes;
use http::Method;

use super::*;
use crate::request::target::EncodedSlash;
use crate::route::PathRewrite;

fn target(scheme: Scheme, host: &str, path: &str) -> Target {
    let raw = Bytes::copy_from_slice(path.as_bytes());
    let method = if path == "*" { Method::OPTIONS } else { Method::GET };
    Target::parse(&method, &raw, None, Some(host.as_bytes()), scheme, EncodedSlash::Refuse).unwrap()
}

fn hostless() -> Target {
    Target { host: None, ..target(Scheme::Http, "a", "/x?y") }
}

fn to(response: &Response) -> (u16, &str) {
    (response.status.as_u16(), response.headers[LOCATION].to_str().unwrap())
}

const RULE: Redirect =
    Redirect { scheme: None, host: None, port: None, path: None, status: StatusCode::FOUND };

#[test]
fn plain_http_is_sent_to_https() {
    let rule = HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port: None };
    let answer = to_https(&rule, &target(Scheme::Http, "A.example:8080", "/x/../y?z")).unwrap();
    assert_eq!(to(&answer), (308, "https://a.example/y?z"));
    let other = HttpsRedirect { status: StatusCode::MOVED_PERMANENTLY, port: Some(8443) };
    let answer = to_https(&other, &target(Scheme::Http, "a.example", "/")).unwrap();
    assert_eq!(to(&answer), (301, "https://a.example:8443/"));
    let usual = HttpsRedirect { port: Some(443), ..rule };
    assert_eq!(to(&to_https(&usual, &target(Scheme::Http, "a", "/")).unwrap()).1, "https://a/");
    assert_eq!(
        to(&to_https(&rule, &target(Scheme::Http, "a", "//evil.example/..")).unwrap()).1,
        "https://a/"
    );
}

#[test]
fn https_and_acme_challenges_stay() {
    let rule = HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port: None };
    for stays in [
        target(Scheme::Https, "a.example", "/"),
        target(Scheme::Http, "a.example", "/.well-known/acme-challenge/token"),
        target(Scheme::Http, "a.example", "*"),
        hostless(),
    ] {
        assert!(to_https(&rule, &stays).is_none(), "{stays:?}");
    }
    assert!(to_https(&rule, &target(Scheme::Http, "a", "/.well-known/acme-challenge/../x")).is_some());
}

#[test]
fn the_port_of_a_redirect_follows_gateway_api() {
    use Scheme::{Http, Https};
    // Rule scheme, rule port, request scheme, the port the client connected to, result.
    let table = [
        (None, None, Http, 80, "http://a.example/x"),
        (None, None, Http, 8080, "http://a.example:8080/x"),
        (None, None, Https, 443, "https://a.example/x"),
        (None, None, Https, 8443, "https://a.example:8443/x"),
        (Some(Https), None, Http, 8080, "https://a.example/x"),
        (Some(Http), None, Https, 8443, "http://a.example/x"),
        (Some(Https), Some(443), Http, 80, "https://a.example/x"),
        (Some(Https), Some(8443), Http, 80, "https://a.example:8443/x"),
        (Some(Http), Some(80), Https, 443, "http://a.example/x"),
        (Some(Http), Some(443), Http, 80, "http://a.example:443/x"),
        (None, Some(80), Http, 8080, "http://a.example/x"),
        (None, Some(8080), Http, 80, "http://a.example:8080/x"),
        (None, Some(443), Https, 8443, "https://a.example/x"),
    ];
    for (scheme, port, own, client_port, location) in table {
        let rule = Redirect { scheme, port, ..RULE };
        let answer =
            redirect(&rule, &PathPattern::Prefix("".into()), &target(own, "a.example", "/x"), client_port)
                .unwrap();
        assert_eq!(to(&answer), (302, location), "{rule:?} {own:?} {client_port}");
    }
}

#[test]
fn host_and_path_of_a_redirect_are_replaced() {
    let go = |rule: Redirect, pattern: &str, path: &str| {
        let answer =
            redirect(&rule, &PathPattern::Prefix(pattern.into()), &target(Scheme::Http, "a", path), 80);
        answer.map(|answer| to(&answer).1.to_owned())
    };
    let host = Redirect { host: Some("b.example".into()), status: StatusCode::SEE_OTHER, ..RULE };
    assert_eq!(go(host, "", "/x?y=z"), Ok("http://b.example/x?y=z".to_owned()));
    let prefix = Redirect { path: Some(PathRewrite::Prefix("/new".into())), ..RULE };
    assert_eq!(go(prefix.clone(), "/old", "/old/x?y"), Ok("http://a/new/x?y".to_owned()));
    assert_eq!(go(prefix, "/old", "/old"), Ok("http://a/new".to_owned()));
    let full = Redirect { path: Some(PathRewrite::Full("/one".into())), ..RULE };
    assert_eq!(go(full, "/old", "/old/x?y"), Ok("http://a/one?y".to_owned()));
    let bad = Redirect { path: Some(PathRewrite::Full("/../x".into())), ..RULE };
    assert!(go(bad, "", "/").is_err());
}

#[test]
fn an_asterisk_never_grows_onto_the_host_and_no_host_means_a_relative_place() {
    let pattern = PathPattern::Prefix("".into());
    let answer = redirect(&RULE, &pattern, &target(Scheme::Http, "a", "*"), 80).unwrap();
    assert_eq!(to(&answer).1, "http://a/");
    assert_eq!(to(&redirect(&RULE, &pattern, &hostless(), 80).unwrap()).1, "/x?y");
}

#[test]
fn the_application_root_is_named_for_the_root_only() {
    let root = target(Scheme::Https, "a:8443", "/?q");
    assert_eq!(to(&to_app_root("/app", &root).unwrap()), (302, "https://a:8443/app"));
    assert!(to_app_root("/app", &target(Scheme::Https, "a", "/app")).is_none());
}

#[test]
fn the_twin_of_a_host_and_fixed_addresses_are_named() {
    let twin =
        to_host("www.a.example", StatusCode::PERMANENT_REDIRECT, &target(Scheme::Https, "a.example", "/x?y"));
    assert_eq!(to(&twin), (308, "https://www.a.example/x?y"));
    let fixed = to_fixed(&HeaderValue::from_static("https://b.example/?z"), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(to(&fixed), (301, "https://b.example/?z"));
}
