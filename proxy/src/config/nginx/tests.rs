use super::*;

fn defaults(pairs: &[(&str, &str)]) -> (Defaults, Vec<Fault>) {
    let mut defaults = Defaults::of_the_controller();
    let mut hsts = Hsts::default();
    let mut faults = Vec::new();
    for (key, value) in pairs {
        let result = hsts.take(key, value).unwrap_or_else(|| defaults.take_key(key, value));
        faults.extend(result.err());
    }
    defaults.words.hsts = hsts.header();
    (defaults, faults)
}

fn filled(pairs: &[(&str, &str)]) -> Annotations {
    let (defaults, faults) = defaults(pairs);
    assert!(faults.is_empty(), "{}", faults[0].message);
    let mut words = Annotations::default();
    defaults.fill(&mut words);
    words
}

#[test]
fn the_defaults_are_those_of_the_controller() {
    let words = filled(&[]);
    assert_eq!(words.body_bytes_max, Some(1 << 20));
    assert_eq!(words.hsts.unwrap(), "max-age=31536000; includeSubDomains");
    assert_eq!(words.next_upstream_tries, Some(3));
    assert_eq!(words.balance, Some(Balance::RoundRobin));
    assert_eq!(words.limits.rate_status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(words.ssl_redirect, None);
}

#[test]
fn the_config_map_changes_them() {
    let words = filled(&[
        ("proxy-body-size", "8m"),
        ("hsts-max-age", "60"),
        ("hsts-include-subdomains", "false"),
        ("hsts-preload", "true"),
        ("http-redirect-code", "301"),
        ("force-ssl-redirect", "true"),
        ("limit-req-status-code", "429"),
        ("whitelist-source-range", "10.0.0.0/8, 192.0.2.1"),
        ("denylist-source-range", "10.1.0.0/16"),
        ("proxy-read-timeout", "600"),
        ("proxy-next-upstream", "error http_502"),
        ("load-balance", "ewma"),
    ]);
    assert_eq!(words.body_bytes_max, Some(8 << 20));
    assert_eq!(words.hsts.unwrap(), "max-age=60; preload");
    assert_eq!(words.https_redirect_status, Some(StatusCode::MOVED_PERMANENTLY));
    assert_eq!(words.force_ssl_redirect, Some(true));
    assert_eq!(words.limits.rate_status, Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!((words.allow.len(), words.deny.len()), (2, 1));
    assert_eq!(words.balance, Some(Balance::PowerOfTwo));
    assert_eq!(filled(&[("hsts", "false")]).hsts, None);
}

#[test]
fn an_annotation_wins() {
    let (defaults, _) = defaults(&[("whitelist-source-range", "10.0.0.0/8"), ("proxy-body-size", "8m")]);
    let own = "192.0.2.0/24".parse().unwrap();
    let mut words = Annotations { allow: vec![own], body_bytes_max: Some(0), ..Annotations::default() };
    defaults.fill(&mut words);
    assert_eq!((words.allow, words.body_bytes_max), (vec![own], Some(0)));
}

#[test]
fn authentication_for_all_is_that_of_one_which_says_nothing() {
    let (defaults, faults) = defaults(&[
        ("global-auth-url", "http://auth.shop.svc/check"),
        ("global-auth-method", "POST"),
        ("global-auth-response-headers", "X-User, X-Groups"),
        ("custom-http-errors", "404,503"),
    ]);
    assert!(faults.is_empty());
    let mut words = Annotations::default();
    defaults.fill(&mut words);
    assert_eq!(words.auth.url.as_deref(), Some("http://auth.shop.svc/check"));
    assert_eq!((words.auth.method.clone(), words.auth.response_headers.len()), (Some(http::Method::POST), 2));
    assert_eq!(words.errors.codes.map(|codes| codes.len()), Some(2));
    for change in [
        |words: &mut Annotations| words.auth.use_default = Some(false),
        |words: &mut Annotations| words.auth.basic = Some(()),
        |words: &mut Annotations| words.auth.url = Some("http://own.shop.svc/".into()),
    ] {
        let mut words = Annotations::default();
        change(&mut words);
        defaults.fill(&mut words);
        assert_ne!(words.auth.url.as_deref(), Some("http://auth.shop.svc/check"));
        assert_eq!(words.auth.method, None);
    }
}

#[test]
fn what_guards_and_cannot_be_enforced_closes_the_class() {
    for (key, value) in [
        ("global-auth-method", "FETCH ME"),
        ("global-auth-everything", "true"),
        ("whitelist-source-range", "everybody"),
        ("block-user-agents", "~bot"),
        ("enable-modsecurity", "true"),
        ("http-snippet", "deny all;"),
    ] {
        let (_, faults) = defaults(&[(key, value)]);
        assert_eq!(faults.len(), 1, "{key}");
        assert_eq!(faults[0].severity, Severity::Refused, "{key}");
    }
}

#[test]
fn what_has_no_effect_is_told_and_what_needs_none_is_not() {
    for (key, value) in
        [("use-forwarded-headers", "true"), ("keep-alive", "10"), ("use-gzip", "true"), ("no-such-key", "x")]
    {
        let (_, faults) = defaults(&[(key, value)]);
        assert_eq!(
            faults.iter().map(|fault| fault.severity).collect::<Vec<_>>(),
            [Severity::Warning],
            "{key}"
        );
    }
    for (key, value) in [
        ("worker-processes", "4"),
        ("enable-modsecurity", "false"),
        ("global-auth-url", ""),
        ("generate-request-id", "true"),
    ] {
        assert!(defaults(&[(key, value)]).1.is_empty(), "{key}");
    }
}

#[test]
fn a_bad_value_is_told_and_the_default_holds() {
    let (defaults, faults) =
        defaults(&[("proxy-body-size", "much"), ("hsts-max-age", "long"), ("limit-req-status-code", "200")]);
    assert!(faults.iter().all(|fault| fault.severity == Severity::Degraded) && faults.len() == 3);
    assert_eq!(defaults.words.body_bytes_max, Some(1 << 20));
}
