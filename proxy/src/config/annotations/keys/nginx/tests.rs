use super::*;
use crate::config::annotations::{Dialect, Reading, read};
use crate::config::problem::{Kind, Severity};

/// All annotations of ingress-nginx 1.15.1, as its documentation lists them: those that most clusters use,
const CORE: &str = "affinity allowlist-source-range app-root auth-method auth-realm auth-response-headers auth-secret \
    auth-signin auth-snippet auth-tls-match-cn auth-tls-secret auth-tls-verify-client \
    auth-tls-verify-depth auth-type auth-url backend-protocol configuration-snippet custom-http-errors \
    denylist-source-range enable-global-auth force-ssl-redirect from-to-www-redirect limit-allowlist \
    limit-connections limit-rpm limit-rps proxy-body-size proxy-buffer-size proxy-buffering \
    proxy-connect-timeout proxy-read-timeout proxy-request-buffering proxy-send-timeout proxy-ssl-secret \
    proxy-ssl-verify rewrite-target satisfy server-snippet session-cookie-expires session-cookie-max-age \
    session-cookie-name ssl-passthrough ssl-redirect upstream-vhost use-regex";
/// the rest of what it does,
const NEXT: &str = "affinity-canary-behavior affinity-mode auth-always-set-cookie auth-cache-duration auth-cache-key \
    auth-keepalive auth-keepalive-requests auth-keepalive-share-vars auth-keepalive-timeout \
    auth-proxy-set-headers auth-request-redirect auth-secret-type auth-signin-redirect-param \
    auth-tls-error-page auth-tls-pass-certificate-to-upstream canary canary-by-cookie canary-by-header \
    canary-by-header-pattern canary-by-header-value canary-weight canary-weight-total \
    client-body-buffer-size connection-proxy-header cors-allow-credentials cors-allow-headers \
    cors-allow-methods cors-allow-origin cors-expose-headers cors-max-age custom-headers default-backend \
    disable-proxy-intercept-errors enable-access-log enable-cors enable-opentelemetry \
    limit-burst-multiplier limit-rate limit-rate-after load-balance mirror-host mirror-request-body \
    mirror-target opentelemetry-operation-name opentelemetry-trust-incoming-span permanent-redirect \
    permanent-redirect-code preserve-trailing-slash proxy-buffers-number proxy-busy-buffers-size \
    proxy-cookie-domain proxy-cookie-path proxy-http-version proxy-max-temp-file-size \
    proxy-next-upstream proxy-next-upstream-timeout proxy-next-upstream-tries proxy-redirect-from \
    proxy-redirect-to proxy-ssl-name proxy-ssl-protocols proxy-ssl-server-name proxy-ssl-verify-depth \
    relative-redirects server-alias service-upstream session-cookie-change-on-failure \
    session-cookie-conditional-samesite-none session-cookie-domain session-cookie-path \
    session-cookie-samesite session-cookie-secure temporal-redirect temporal-redirect-code \
    upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size use-port-in-redirects \
    x-forwarded-prefix";
/// and what is bound to nginx itself.
const BOUND: &str = "enable-modsecurity enable-owasp-core-rules enable-rewrite-log fastcgi-index fastcgi-params-configmap \
    http2-push-preload modsecurity-snippet modsecurity-transaction-id proxy-ssl-ciphers ssl-ciphers \
    ssl-prefer-server-ciphers stream-snippet";
/// Those of all three without which somebody might get in, or be spoken to in the clear.
const GUARDS: &str = "allowlist-source-range auth-method auth-proxy-set-headers auth-response-headers auth-secret \
    auth-secret-type auth-snippet auth-tls-match-cn auth-tls-secret auth-tls-verify-client \
    auth-tls-verify-depth auth-type auth-url configuration-snippet denylist-source-range \
    enable-global-auth enable-modsecurity enable-owasp-core-rules force-ssl-redirect modsecurity-snippet \
    proxy-ssl-name proxy-ssl-secret proxy-ssl-verify proxy-ssl-verify-depth satisfy server-snippet \
    ssl-redirect";

fn all() -> impl Iterator<Item = &'static str> {
    [CORE, NEXT, BOUND].into_iter().flat_map(str::split_ascii_whitespace)
}

fn written(name: &str, value: &str) -> Reading {
    let key = format!("nginx.ingress.kubernetes.io/{name}");
    let map = [(&*key, value)].into_iter().collect();
    read(&map, Kind::Ingress, Dialect::Nginx)
}

#[test]
fn all_136_keys_are_known_each_once() {
    assert_eq!(all().count(), 136);
    for name in all() {
        assert_eq!(NGINX_KEYS.iter().filter(|key| key.name == name).count(), 1, "{name}");
    }
    assert!(NGINX_KEYS.is_sorted_by(|a, b| a.name <= b.name));
}

#[test]
fn what_guards_access_there_guards_it_here() {
    for name in GUARDS.split_ascii_whitespace() {
        assert!(find(name).is_some_and(|key| key.guards_access), "{name}");
    }
}

#[test]
fn every_key_that_does_the_same_has_its_own_key() {
    for key in &NGINX_KEYS {
        if let Does::Same(name) = key.does {
            assert!(key.same().is_some(), "{} → {name}", key.name);
        }
    }
}

/// No key is ignored in silence: with a value that nothing can make sense of each one has a finding, save for those that need
/// nothing whatever their value is; and where it guards access, the routes refuse.
#[test]
fn a_value_that_cannot_be_used_is_told_of_every_key() {
    for key in &NGINX_KEYS {
        let reading = written(key.name, "\u{1}");
        if let Does::Nothing(why) = key.does {
            assert!(reading.findings.is_empty() && !why.is_empty(), "{}", key.name);
            continue;
        }
        // Any text is a header's value, or a canary's cookie.
        let takes_any_text = ["canary-by-header-value", "canary-by-header-pattern"].contains(&key.name);
        assert!(takes_any_text || !reading.findings.is_empty(), "{} is ignored in silence", key.name);
        assert!(!key.guards_access || reading.refusal.is_some(), "{} opens the route", key.name);
        for finding in &reading.findings {
            assert!(finding.message.contains(key.name), "{}", finding.message);
        }
    }
}

#[test]
fn what_is_refused_says_what_to_write_instead() {
    for key in &NGINX_KEYS {
        let words = match key.does {
            Does::Same(_) => continue,
            Does::Nothing(words) | Does::Only(_, words) | Does::Refused(words) => words,
        };
        assert!(words.len() > 15, "{}: {words}", key.name);
    }
    let reading = written("configuration-snippet", "more_set_headers \"X-A: b\";");
    assert!(reading.refusal.unwrap().message.contains("custom-response-headers"));
}

#[test]
fn the_values_that_ask_for_nothing_are_silent() {
    for (name, value) in [
        ("enable-modsecurity", "false"),
        ("proxy-http-version", "1.1"),
        ("proxy-cookie-path", "off"),
        ("satisfy", "all"),
        ("enable-global-auth", "false"),
        ("proxy-ssl-protocols", "TLSv1.2 TLSv1.3"),
    ] {
        assert!(written(name, value).findings.is_empty(), "{name}: {value}");
    }
}

#[test]
fn those_that_guard_and_are_not_built_yet_close_the_route() {
    for (name, value) in [
        ("enable-modsecurity", "true"),
        ("modsecurity-snippet", "SecRuleEngine On"),
        ("server-snippet", "return 403;"),
        ("backend-protocol", "FCGI"),
        ("denylist-source-range", "everybody"),
        ("limit-rps", "many"),
        ("auth-snippet", "x"),
    ] {
        let reading = written(name, value);
        assert!(reading.refusal.is_some(), "{name}: {value}");
        assert_eq!(reading.findings[0].severity, Severity::Refused);
    }
}

#[test]
fn keys_that_never_were_are_told() {
    let reading = written("client-max-body-size", "8m");
    assert_eq!((reading.refusal, reading.findings[0].severity), (None, Severity::Warning));
    assert!(written("auth-everything", "yes").refusal.is_some());
}

#[test]
fn our_own_key_beside_it_wins() {
    let map =
        [("nginx.ingress.kubernetes.io/proxy-body-size", "1m"), ("vestibule.dev/proxy-body-size", "2m")];
    let reading = read(&map.into_iter().collect(), Kind::Ingress, Dialect::Nginx);
    assert_eq!(reading.annotations.body_bytes_max, Some(2 << 20));
}

#[test]
fn outside_of_such_a_class_nothing_of_it_is_in_force() {
    let map = [("nginx.ingress.kubernetes.io/proxy-body-size", "1m")].into_iter().collect();
    assert_eq!(read(&map, Kind::Ingress, Dialect::Own).annotations.body_bytes_max, None);
}

/// How many of the keys that most clusters use do what they did.
#[test]
fn most_of_the_core_does_the_same() {
    let works = |name: &&str| match find(name).map(|key| key.does) {
        Some(Does::Same(_) | Does::Nothing(_)) => true,
        Some(Does::Only(..) | Does::Refused(_)) | None => false,
    };
    let count = CORE.split_ascii_whitespace().filter(works).count();
    assert_eq!((count, CORE.split_ascii_whitespace().count()), (42, 45));
}
