use super::*;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn rules() -> Cors {
    Cors {
        origins: vec![
            OriginPattern::Exact(Bytes::from_static(b"https://www.foo.com")),
            OriginPattern::Wildcard {
                scheme: Bytes::from_static(b"https"),
                suffix: Bytes::from_static(b".bar.com"),
                port: None,
            },
        ],
        methods: vec![Method::GET, Method::OPTIONS],
        headers: vec![HeaderName::from_static("x-header-1"), HeaderName::from_static("x-header-2")],
        expose: vec![HeaderName::from_static("x-header-3")],
        credentials: true,
        max_age: Some(3600),
        ..Cors::default()
    }
}

fn any() -> Cors {
    Cors {
        origins: vec![OriginPattern::Any],
        any_method: true,
        any_header: true,
        any_expose: true,
        ..Cors::default()
    }
}

fn ask(cors: &Cors, origin: &'static str) -> HeaderMap {
    let request = map(&[
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a, authorization"),
    ]);
    let answer = preflight(cors, &Method::OPTIONS, &request).unwrap();
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(answer.body.is_empty());
    answer.headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_preflight_of_an_allowed_origin_gets_the_permissions() {
    for origin in ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"] {
        let headers = ask(&rules(), origin);
        assert_eq!(text(&headers, "access-control-allow-origin"), Some(origin));
        assert_eq!(text(&headers, "access-control-allow-methods"), Some("GET, OPTIONS"));
        assert_eq!(text(&headers, "access-control-allow-headers"), Some("x-header-1, x-header-2"));
        assert_eq!(text(&headers, "access-control-expose-headers"), Some("x-header-3"));
        assert_eq!(text(&headers, "access-control-allow-credentials"), Some("true"));
        assert_eq!(text(&headers, "access-control-max-age"), Some("3600"));
        assert!(text(&headers, "vary").unwrap().contains("origin"));
    }
}

#[test]
fn other_origins_get_no_permission() {
    for origin in [
        "https://foobar.com",
        "http://www.foo.com",
        "https://www.foo.com:444",
        "https://www.foo.com.evil.example",
        "https://bar.com",
        "https://.bar.com",
        "https://evilbar.com",
        "http://www.bar.com",
        "https://www.bar.com:8443",
        "https://evil.example/.bar.com",
        "https://evil.example#.bar.com",
        "https://evil.example?.bar.com",
        "https://user@www.bar.com",
        "https://evil.example\\.bar.com",
        "null",
        "",
        "*",
    ] {
        let headers = ask(&rules(), origin);
        assert!(
            headers.keys().all(|name| !name.as_str().starts_with("access-control-")),
            "{origin}: {headers:?}"
        );
    }
}

#[test]
fn wildcard_ports_are_compared() {
    let wildcard = OriginPattern::Wildcard {
        scheme: Bytes::from_static(b"https"),
        suffix: Bytes::from_static(b".bar.com"),
        port: Some(8443),
    };
    let cors = Cors { origins: vec![wildcard], ..Cors::default() };
    assert!(decide(&cors, &map(&[("origin", "https://a.bar.com:8443")])).allowed.is_some());
    assert!(decide(&cors, &map(&[("origin", "https://a.bar.com")])).allowed.is_none());
    assert!(decide(&cors, &map(&[("origin", "https://a.bar.com:08x")])).allowed.is_none());
}

#[test]
fn with_any_the_request_is_echoed() {
    for credentials in [false, true] {
        let headers = ask(&Cors { credentials, ..any() }, "https://other.example:12345");
        assert_eq!(text(&headers, "access-control-allow-origin"), Some("https://other.example:12345"));
        assert_eq!(text(&headers, "access-control-allow-methods"), Some("PUT"));
        assert_eq!(text(&headers, "access-control-allow-headers"), Some("x-a, authorization"));
        assert_eq!(text(&headers, "access-control-allow-credentials"), credentials.then_some("true"));
        assert_eq!(text(&headers, "access-control-expose-headers"), (!credentials).then_some("*"));
        assert_eq!(text(&headers, "access-control-max-age"), None);
    }
    assert!(ask(&any(), "null").contains_key("access-control-allow-origin"));
    assert!(!ask(&any(), "not an origin").contains_key("access-control-allow-origin"));
}

#[test]
fn what_is_echoed_is_checked() {
    let request = map(&[
        ("origin", "https://a.example"),
        ("access-control-request-method", "G(T"),
        ("access-control-request-headers", "x-a, b c"),
    ]);
    let headers = preflight(&any(), &Method::OPTIONS, &request).unwrap().headers;
    assert!(!headers.contains_key("access-control-allow-methods"));
    assert!(!headers.contains_key("access-control-allow-headers"));
}

#[test]
fn only_preflights_are_answered() {
    let full = [("origin", "https://www.foo.com"), ("access-control-request-method", "GET")];
    assert!(preflight(&rules(), &Method::GET, &map(&full)).is_none());
    assert!(preflight(&rules(), &Method::OPTIONS, &map(&full[..1])).is_none());
    assert!(preflight(&rules(), &Method::OPTIONS, &map(&full[1..])).is_none());
}

#[test]
fn the_routes_permissions_replace_the_applications() {
    let mut response = map(&[
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-secret"),
        ("vary", "accept-encoding"),
    ]);
    let decision = decide(&rules(), &map(&[("origin", "https://www.foo.com")]));
    apply(&rules(), &decision, &mut response);
    assert_eq!(text(&response, "access-control-allow-origin"), Some("https://www.foo.com"));
    assert_eq!(text(&response, "access-control-expose-headers"), Some("x-header-3"));
    let vary: Vec<_> = response.get_all("vary").iter().collect();
    assert_eq!(vary, ["accept-encoding", "origin"]);
    // An origin that may not read loses the application's permission as well.
    let decision = decide(&rules(), &map(&[("origin", "https://evil.example")]));
    apply(&rules(), &decision, &mut response);
    assert!(response.keys().all(|name| !name.as_str().starts_with("access-control-")));
    assert_eq!(response.get_all("vary").iter().count(), 2);
}

#[test]
fn two_origins_are_none() {
    let twice = map(&[("origin", "https://www.foo.com"), ("origin", "https://www.foo.com")]);
    assert!(decide(&rules(), &twice).allowed.is_none());
}
