use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn clean(fields: &[(&str, &str)]) -> Vec<String> {
    let mut headers = map(fields);
    sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Drop);
    names(&headers)
}

fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    names
}

/// An independent statement of what applications trust: exact names, and prefixes with `*`.
const TRUSTED_BY_APPLICATIONS: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-user",
    "x-forwarded-groups",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-real-ip",
    "x-scheme",
    "x-original-url",
    "x-original-method",
    "x-original-forwarded-for",
    "x-rewrite-url",
    "true-client-ip",
    "cf-connecting-ip",
    "client-ip",
    "x-client-ip",
    "x-auth-request-user",
    "x-auth-request-groups",
    "x-auth-request-access-token",
    "remote-user",
    "remote-groups",
    "remote-email",
    "remote-name",
    "x-remote-user",
    "x-remote-group",
    "x-remote-extra-scopes",
    "x-authentik-username",
    "x-authentik-jwt",
    "x-webauth-user",
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "ssl-client-cert",
    "x-ssl-client-cn",
    "x-client-cert",
    "x-client-cert-chain",
    "client-cert",
    "l5d-client-id",
    "l5d-dst-override",
    "x-envoy-original-path",
];

fn fold(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' }).collect()
}

#[test]
fn every_trusted_name_is_removed_in_every_spelling() {
    for name in TRUSTED_BY_APPLICATIONS {
        let underscores = name.replace('-', "_");
        let dots = name.replace('-', ".");
        let mixed = name.replacen('-', "_", 1).replacen('-', "~", 1);
        let upper = name.to_ascii_uppercase();
        for spelling in [*name, &underscores, &dots, &mixed, &upper] {
            for rule in [Underscores::Drop, Underscores::Keep] {
                let mut headers = map(&[(spelling, "spoofed"), ("accept", "*/*")]);
                sanitize(&mut headers, PeerTrust::Forwarded, rule);
                assert_eq!(names(&headers), ["accept"], "{spelling}");
            }
        }
    }
}

#[test]
fn hop_by_hop_fields_end_here() {
    let left = clean(&[
        ("connection", "keep-alive, upgrade"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authenticate", "Basic"),
        ("proxy", "http://evil"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("host", "a"),
        ("content-length", "3"),
    ]);
    assert_eq!(left, ["content-length", "host"]);
}

#[test]
fn te_keeps_trailers_and_nothing_else() {
    for (value, kept) in
        [("trailers", true), ("gzip, Trailers;q=1, trailers", true), ("gzip", false), ("", false)]
    {
        let mut headers = map(&[("te", value)]);
        sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Drop);
        assert_eq!(
            headers.get("te").map(HeaderValue::as_bytes),
            kept.then_some(b"trailers".as_slice()),
            "{value}"
        );
    }
}

#[test]
fn connection_removes_what_it_names_but_nothing_that_matters() {
    let left = clean(&[
        ("connection", "close, X-Hop , host, Authorization,cookie"),
        ("connection", "Content-Length, content-type, , bad token, Origin"),
        ("x-hop", "1"),
        ("host", "a"),
        ("authorization", "Bearer t"),
        ("cookie", "a=b"),
        ("content-length", "0"),
        ("content-type", "text/plain"),
        ("origin", "https://a"),
    ]);
    assert_eq!(left, ["authorization", "content-length", "content-type", "cookie", "host", "origin"]);
}

#[test]
fn underscores_are_dropped_unless_allowed() {
    let fields = [("x_custom", "1"), ("x-custom", "2"), ("x.custom", "3")];
    assert_eq!(clean(&fields), ["x-custom", "x.custom"]);
    let mut headers = map(&fields);
    sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Keep);
    assert_eq!(names(&headers), ["x-custom", "x.custom", "x_custom"]);
}

#[test]
fn ordinary_fields_stay() {
    let ordinary = [
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cache-control",
        "cf-ray",
        "content-type",
        "cookie",
        "forwarded-ish",
        "if-none-match",
        "priority",
        "referer",
        "remote-control",
        "sec-fetch-mode",
        "sec-websocket-key",
        "traceparent",
        "trailer",
        "upgrade-insecure-requests",
        "user-agent",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-forwardedness",
        "x-request-id",
        "x-requested-with",
    ];
    let fields: Vec<(&str, &str)> = ordinary.iter().map(|name| (*name, "v")).collect();
    assert_eq!(clean(&fields), ordinary);
}

#[test]
fn forwarding_headers_are_reported_and_cloudflares_own_stays_for_cloudflare() {
    let judge = |fields: &[(&str, &str)], trust| {
        let mut headers = map(fields);
        let sanitized = sanitize(&mut headers, trust, Underscores::Drop);
        (sanitized.forwarding, names(&headers))
    };
    let cloudflare = [("cf-connecting-ip", "192.0.2.1")];
    assert_eq!(judge(&cloudflare, PeerTrust::Untrusted), (true, vec![]));
    assert_eq!(judge(&cloudflare, PeerTrust::Forwarded), (true, vec![]));
    assert_eq!(judge(&cloudflare, PeerTrust::Cloudflare), (false, vec!["cf-connecting-ip".to_owned()]));
    assert!(judge(&[("X_Forwarded_For", "1.2.3.4")], PeerTrust::Untrusted).0);
    assert!(!judge(&[("remote-user", "root"), ("x_a", "b")], PeerTrust::Untrusted).0);
    // Removed by `Connection` or not, it was sent.
    assert!(judge(&[("connection", "x-real-ip"), ("x-real-ip", "1.2.3.4")], PeerTrust::Untrusted).0);
}

#[test]
fn an_answer_loses_only_what_belongs_to_the_hop() {
    let mut headers = map(&[
        ("connection", "close, x-hop, set-cookie"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("content-length", "3"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("x_odd", "kept"),
        ("trailer", "x-sum"),
    ]);
    sanitize_response(&mut headers);
    assert_eq!(names(&headers), ["content-length", "set-cookie", "trailer", "x_odd"]);
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
}

#[test]
fn trailers_bring_nothing_that_belongs_before_the_body() {
    let mut trailers = map(&[
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("host", "b"),
        ("authorization", "x"),
        ("set-cookie", "a=b"),
        ("X_Auth_Request_User", "root"),
        ("x-forwarded-for", "1.2.3.4"),
        ("grpc-status", "0"),
        ("grpc-message", ""),
        ("x-checksum", "abc"),
    ]);
    sanitize_trailers(&mut trailers);
    assert_eq!(names(&trailers), ["grpc-message", "grpc-status", "x-checksum"]);
}

#[test]
fn names_longer_than_the_fold_are_judged_by_their_prefix() {
    let long = format!("x_forwarded.{}", "a".repeat(FOLDED_BYTES_MAX * 2));
    let harmless = format!("x.custom.{}", "a".repeat(FOLDED_BYTES_MAX * 2));
    assert_eq!(clean(&[(&long, "1"), (&harmless, "2")]), [harmless.as_str()]);
    let longest = TRUSTED_BY_APPLICATIONS.iter().map(|name| name.len()).max().unwrap();
    assert!(longest < FOLDED_BYTES_MAX);
}

proptest! {
    #[test]
    fn nothing_that_is_left_folds_to_a_trusted_name(
        picks in proptest::collection::vec((0..TRUSTED_BY_APPLICATIONS.len(), "[-_.!#$%&'*+^`|~]{1,6}", any::<bool>()), 0..8),
        others in proptest::collection::vec("[a-z][a-z_.-]{0,30}", 0..8),
        connection in "[a-z_, -]{0,40}",
    ) {
        let mut headers = map(&[("connection", &connection)]);
        for (index, separators, upper) in picks {
            let mut cycle = separators.chars().cycle();
            let name: String = TRUSTED_BY_APPLICATIONS[index]
                .chars()
                .map(|character| if character == '-' { cycle.next().unwrap() } else { character })
                .collect();
            let name = if upper { name.to_ascii_uppercase() } else { name };
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("spoofed"));
        }
        for name in others {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Keep);
        for name in headers.keys() {
            let folded = fold(name.as_str());
            prop_assert!(!TRUSTED_BY_APPLICATIONS.contains(&folded.as_str()), "{name}");
            prop_assert!(!folded.starts_with("x-forwarded-") && !folded.starts_with("x-auth-request-"), "{name}");
            prop_assert!(!is_hop_by_hop(&folded) || folded == "te", "{name}");
        }
        let once = names(&headers);
        sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Keep);
        prop_assert_eq!(names(&headers), once);
    }
}

#[test]
fn names_with_an_underscore_are_told_of_where_they_are_refused() {
    for (names, told) in [
        (&["x-a", "accept"][..], false),
        (&["x-a", "x_a"], true),
        // Removed in any case, and refused all the same: the rule is about the name, not about what it may stand for.
        (&["x_auth_request_user"], true),
    ] {
        let fields: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
        let mut headers = map(&fields);
        let sanitized = sanitize(&mut headers, PeerTrust::Untrusted, Underscores::Refuse);
        assert_eq!(sanitized.underscore, told, "{names:?}");
        assert!(headers.keys().all(|name| !name.as_str().contains('_')));
        assert!(!sanitize(&mut map(&fields), PeerTrust::Untrusted, Underscores::Drop).underscore);
    }
}
