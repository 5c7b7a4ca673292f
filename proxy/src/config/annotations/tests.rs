use std::collections::BTreeSet;

use super::*;

fn map(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().copied().collect()
}

fn on_ingress(pairs: &[(&str, &str)]) -> Reading {
    read(&map(pairs), Kind::Ingress, Dialect::Own)
}

fn own(name: &str, value: &str) -> Reading {
    on_ingress(&[(&format!("{PREFIX}{name}"), value)])
}

#[test]
fn every_key_and_alias_stands_in_the_table_once_and_is_documented() {
    let mut names = BTreeSet::new();
    for key in KEYS {
        for name in key.names() {
            assert!(names.insert(name), "{name} stands there twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
        assert!(key.doc.ends_with('.'), "the words for {} are no sentence", key.name);
    }
}

/// The AC keys of ingress-nginx, as far as they have the same name here.
#[test]
fn what_ingress_nginx_guards_with_is_a_guard_here() {
    for name in [
        "allowlist-source-range",
        "whitelist-source-range",
        "denylist-source-range",
        "auth-url",
        "auth-secret",
        "auth-type",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "auth-tls-match-cn",
        "satisfy",
        "ssl-redirect",
        "force-ssl-redirect",
        "proxy-ssl-verify",
        "proxy-ssl-secret",
        "proxy-ssl-name",
    ] {
        assert!(keys::find(name).is_some_and(|key| key.guards_access), "{name}");
    }
}

/// No value of a key that guards access may be read as something, and be in force as nothing, in silence.
#[test]
fn a_guard_with_a_value_that_cannot_be_used_refuses() {
    for key in KEYS.iter().filter(|key| key.guards_access) {
        for name in key.names() {
            let reading = own(name, "\u{1}");
            assert!(reading.refusal.is_some(), "{name}");
            assert!(reading.findings.iter().all(|finding| finding.severity == Severity::Refused), "{name}");
        }
    }
}

#[test]
fn a_bad_value_of_another_key_is_told_and_serves_the_default() {
    let reading = own("proxy-read-timeout", "soon");
    assert_eq!(reading.refusal, None);
    assert_eq!(reading.annotations, Annotations::default());
    assert_eq!(reading.findings.len(), 1);
    assert_eq!(reading.findings[0].severity, Severity::Degraded);
    assert!(reading.findings[0].message.contains("`vestibule.dev/proxy-read-timeout: soon`"));
}

#[test]
fn unknown_keys_refuse_when_they_look_like_a_guard() {
    for name in
        ["auth-proxy", "authorization", "allow-ips", "deny-ip", "allowfrom", "satisfi", "rate-limt", "Auth"]
    {
        assert!(own(name, "x").refusal.is_some(), "{name}");
    }
    for name in ["proxy-body-sise", "colour", "upstream-vhosts", "compression"] {
        let reading = own(name, "x");
        assert!(reading.refusal.is_none(), "{name}");
        assert_eq!(reading.findings[0].severity, Severity::Warning, "{name}");
    }
    let message = &own("proxy-body-sise", "x").findings[0].message;
    assert!(message.ends_with("did you mean `vestibule.dev/proxy-body-size`?"), "{message}");
}

#[test]
fn edits_are_counted_with_swapped_neighbours() {
    assert_eq!(keys::distance("allow-from", "allow-from"), 0);
    assert_eq!(keys::distance("allow-form", "allow-from"), 1);
    assert_eq!(keys::distance("alow-form", "allow-from"), 2);
    assert_eq!(keys::distance("", "abc"), 3);
    assert!(keys::distance("a", "abcdefgh") > 3);
}

#[test]
fn what_the_author_declares_to_be_without_effect_is_not_asked_about() {
    let auth = ("nginx.ingress.kubernetes.io/auth-url", "https://auth.example.com");
    assert!(on_ingress(&[auth]).refusal.is_some());
    assert!(on_ingress(&[auth, (IGNORE, "a/b, nginx.ingress.kubernetes.io/auth-url")]).refusal.is_none());
    assert!(on_ingress(&[auth, (IGNORE, "nginx.ingress.kubernetes.io/*")]).refusal.is_none());
    assert!(on_ingress(&[auth, (IGNORE, "nginx.ingress.kubernetes.io/auth")]).refusal.is_some());
    // Own keys are in force or not there.
    assert!(on_ingress(&[("vestibule.dev/auth", "de x"), (IGNORE, "vestibule.dev/*")]).refusal.is_some());
}

#[test]
fn guards_of_other_controllers_are_known() {
    for (key, value) in [
        ("traefik.ingress.kubernetes.io/router.middlewares", "strip@file, team-forward-auth@kubernetescrd"),
        ("traefik.ingress.kubernetes.io/router.middlewares", "default-RateLimit@kubernetescrd"),
        ("traefik.ingress.kubernetes.io/router.middlewares", "default-ip-allowlist@kubernetescrd"),
        ("traefik.ingress.kubernetes.io/router.tls.options", "default-mtls@kubernetescrd"),
        ("nginx.ingress.kubernetes.io/auth-tls-secret", "ns/ca"),
        ("nginx.ingress.kubernetes.io/configuration-snippet", "deny all;"),
        ("nginx.ingress.kubernetes.io/force-ssl-redirect", "true"),
        ("nginx.ingress.kubernetes.io/enable-modsecurity", "true"),
        ("nginx.ingress.kubernetes.io/auth-anything-new", "x"),
        ("haproxy.org/deny-list", "10.0.0.0/8"),
        ("haproxy-ingress.github.io/oauth", "oauth2_proxy"),
        ("nginx.org/jwt-key", "secret"),
        ("alb.ingress.kubernetes.io/inbound-cidrs", "10.0.0.0/8"),
        ("konghq.com/plugins", "key-auth"),
    ] {
        let reading = on_ingress(&[(key, value)]);
        assert!(reading.refusal.is_some(), "{key}: {value}");
        assert_eq!(reading.findings[0].reason, "ForeignAnnotation");
    }
    for (key, value) in [
        ("traefik.ingress.kubernetes.io/router.middlewares", "default-strip-prefix@kubernetescrd"),
        ("traefik.ingress.kubernetes.io/router.entrypoints", "websecure"),
        ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
        ("nginx.ingress.kubernetes.io/ssl-redirect", "true"),
        ("nginx.ingress.kubernetes.io/force-ssl-redirect", "false"),
        ("nginx.ingress.kubernetes.io/enable-modsecurity", "false"),
        ("nginx.ingress.kubernetes.io/proxy-ssl-verify", "off"),
        ("cert-manager.io/cluster-issuer", "letsencrypt"),
        ("example.com/auth", "x"),
        ("plain", "x"),
    ] {
        let reading = on_ingress(&[(key, value)]);
        assert!(reading.refusal.is_none() && reading.findings.is_empty(), "{key}: {value}");
    }
}

#[test]
fn a_guard_on_an_object_without_routes_refuses_what_is_behind_it() {
    let misplaced = read_bystander(&map(&[("vestibule.dev/allow-from", "10.0.0.0/8")]), Kind::Service);
    assert!(misplaced.refusal.is_some());
    let typo = read_bystander(&map(&[("vestibule.dev/authn", "x")]), Kind::Namespace);
    assert!(typo.refusal.is_some());
    let harmless = [("vestibule.dev/proxy-body-size", "1m"), ("nginx.ingress.kubernetes.io/auth-url", "x")];
    assert!(read_bystander(&map(&harmless), Kind::Service).refusal.is_none());
}

#[test]
fn origins_that_cannot_be_read_let_nobody_in() {
    let pairs =
        [("vestibule.dev/enable-cors", "true"), ("vestibule.dev/cors-allow-origin", "app.example.com")];
    let rules = on_ingress(&pairs).annotations.cors.rules().expect("switched on");
    assert!(rules.origins.is_empty());
    let default = own("enable-cors", "true").annotations.cors.rules().expect("switched on");
    assert_eq!(default.origins, [OriginPattern::Any]);
    assert!(own("cors-allow-origin", "*").annotations.cors.rules().is_none());
}

#[test]
fn hsts_is_written_in_its_usual_spelling() {
    let header = |value: &str| own("hsts", value).annotations.hsts;
    assert_eq!(header("true").expect("on"), "max-age=31536000");
    assert_eq!(header("MAX-AGE=1 ; includesubdomains").expect("on"), "max-age=1; includeSubDomains");
    assert_eq!(header("false"), None);
    for bad in ["max-age", "max-age=x", "includeSubDomains", "max-age=1; forever"] {
        assert_eq!(own("hsts", bad).findings.len(), 1, "{bad}");
    }
}

#[test]
fn redirects_lead_to_web_addresses_alone() {
    assert!(own("permanent-redirect", "https://example.com/a?b").annotations.permanent_redirect.is_some());
    for bad in
        ["javascript:alert(1)", "//evil.example", "/path", "ftp://example.com", "https:///x", "https://e x"]
    {
        let reading = own("permanent-redirect", bad);
        assert!(reading.annotations.permanent_redirect.is_none(), "{bad}");
        assert_eq!(reading.findings.len(), 1, "{bad}");
    }
    assert!(own("app-root", "//evil.example").annotations.app_root.is_none());
}

#[test]
fn tries_are_bounded() {
    let tries = |value: &str| own("proxy-next-upstream-tries", value).annotations.next_upstream_tries;
    assert_eq!(tries(&keys::TRIES_MAX.to_string()), Some(keys::TRIES_MAX));
    assert_eq!(tries(&(keys::TRIES_MAX + 1).to_string()), None);
}

#[test]
fn a_long_value_is_shown_in_part() {
    let reading = own("proxy-read-timeout", &"é".repeat(1000));
    assert!(reading.findings[0].message.chars().count() < 250);
}
