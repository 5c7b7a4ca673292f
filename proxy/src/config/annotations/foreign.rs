//! Keys of other controllers that guard access there. Here they are not in force, so whoever relies on them must be told by a
//! refusal, not by an open door.

use crate::config::values::{items, parse_flag};

/// What this key guards, in words that follow it (`asks for authentication`), or `None` when it guards nothing.
pub(super) fn guard(key: &str, value: &str) -> Option<&'static str> {
    let (prefix, name) = key.split_once('/')?;
    match prefix {
        "nginx.ingress.kubernetes.io" => nginx(name, value),
        "traefik.ingress.kubernetes.io" => traefik(name, value),
        "ingress.kubernetes.io" | "haproxy-ingress.github.io" => nginx(name, value).or_else(|| by_name(name)),
        "haproxy.org" => haproxy(name, value),
        "nginx.org" | "nginx.com" => nginx_inc(name),
        "alb.ingress.kubernetes.io" => alb(name),
        "konghq.com" | "configuration.konghq.com" => {
            (name == "plugins" && names_guard(value)).then_some(PLUGIN)
        }
        "appprotect.f5.com" | "appprotectdos.f5.com" => Some("switches on a firewall"),
        "projectcontour.io" => by_name(name),
        _ => None,
    }
}

/// What to write for a key that is recognised, in words that stand alone.
pub(crate) fn instead(key: &str, value: &str) -> Option<&'static str> {
    if key != "traefik.ingress.kubernetes.io/router.middlewares" {
        return None;
    }
    let value = value.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| value.contains(word));
    if names(&["authentik"]) {
        Some(AUTHENTIK)
    } else if names(&["authelia"]) {
        Some(AUTHELIA)
    } else if names(&["oauth2-proxy", "oauth2proxy", "oauth-proxy"]) {
        Some(OAUTH2_PROXY)
    } else if names(&["forward-auth", "forwardauth", "forward_auth"]) {
        Some(FORWARD_AUTH)
    } else {
        None
    }
}

fn nginx(name: &str, value: &str) -> Option<&'static str> {
    let on = parse_flag(value) != Some(false);
    match name {
        "allowlist-source-range" | "whitelist-source-range" | "denylist-source-range" => Some(ADDRESSES),
        "configuration-snippet" | "server-snippet" => Some("may restrict access"),
        // The default here too: what has TLS redirects, and so the key is in force or without effect.
        "ssl-redirect" => None,
        "force-ssl-redirect" => on.then_some("sends clients to https"),
        "satisfy" => Some(AUTHENTICATION),
        // The exemption from a rule that does not exist here opens nothing.
        "enable-global-auth" => on.then_some(AUTHENTICATION),
        "enable-modsecurity" | "enable-owasp-core-rules" => on.then_some("switches on a firewall"),
        "modsecurity-snippet" => Some("switches on a firewall"),
        "proxy-ssl-verify" => on.then_some(BACKEND),
        "proxy-ssl-secret" | "proxy-ssl-name" | "proxy-ssl-verify-depth" => Some(BACKEND),
        "limit-rps" | "limit-rpm" | "limit-connections" => Some(LIMITS),
        "auth-tls-verify-client" => on.then_some(CERTIFICATES),
        _ if name.starts_with("auth-tls-") => Some(CERTIFICATES),
        _ if name.starts_with("auth") => Some(AUTHENTICATION),
        _ => None,
    }
}

fn traefik(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "router.middlewares" => names_guard(value).then_some("names a middleware that guards access"),
        "router.tls.options" => Some(CERTIFICATES),
        // Traefik 1.
        "whitelist-source-range" | "white-list-source-range" => Some(ADDRESSES),
        _ if name.starts_with("auth") => Some(AUTHENTICATION),
        "rate-limit" => Some(LIMITS),
        _ => None,
    }
}

fn haproxy(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "allow-list" | "whitelist" | "deny-list" | "blacklist" => Some(ADDRESSES),
        "client-ca" | "client-crt-optional" => Some(CERTIFICATES),
        "backend-config-snippet" | "frontend-config-snippet" => Some("may restrict access"),
        "server-ca" => Some(BACKEND),
        "ssl-redirect" => (parse_flag(value) == Some(true)).then_some("sends clients to https"),
        _ if name.starts_with("auth") => Some(AUTHENTICATION),
        _ if name.starts_with("rate-limit") => Some(LIMITS),
        _ => None,
    }
}

fn nginx_inc(name: &str) -> Option<&'static str> {
    match name {
        "location-snippets" | "server-snippets" | "policies" => Some("may restrict access"),
        "basic-auth-secret" | "basic-auth-realm" | "jwt-key" | "jwt-realm" | "jwt-token"
        | "jwt-login-url" => Some(AUTHENTICATION),
        "limit-req-rate" | "limit-req-key" => Some(LIMITS),
        _ => None,
    }
}

fn alb(name: &str) -> Option<&'static str> {
    match name {
        "inbound-cidrs" | "security-groups" | "security-group-prefix-lists" => Some(ADDRESSES),
        "mutual-authentication" => Some(CERTIFICATES),
        "wafv2-acl-arn" | "waf-acl-id" | "web-acl-id" => Some("switches on a firewall"),
        _ if name.starts_with("auth-") => Some(AUTHENTICATION),
        _ => None,
    }
}

fn by_name(name: &str) -> Option<&'static str> {
    let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if starts(&["auth", "oauth"]) {
        Some(AUTHENTICATION)
    } else if starts(&["allow", "deny", "whitelist", "blacklist"]) {
        Some(ADDRESSES)
    } else if starts(&["limit-", "rate-limit"]) {
        Some(LIMITS)
    } else {
        None
    }
}

/// Whether a list of middlewares or plugins names one that guards access. Their definitions are not read, so their names must
/// do; where namespaces stand in front (`shop-basic-auth@kubernetescrd`), those are read with them.
fn names_guard(value: &str) -> bool {
    items(value).any(|item| {
        let name = item.split('@').next().unwrap_or_default().to_ascii_lowercase();
        GUARD_WORDS.iter().any(|word| name.contains(word))
    })
}

const AUTHENTICATION: &str = "asks for authentication";
const ADDRESSES: &str = "restricts client addresses";
const CERTIFICATES: &str = "asks for client certificates";
const LIMITS: &str = "limits requests";
const BACKEND: &str = "verifies the backend";
const PLUGIN: &str = "names a plugin that guards access";

const AUTHENTIK: &str = "write `vestibule.dev/auth-url: http://OUTPOST.NAMESPACE.svc:9000/outpost.goauthentik.io/auth/traefik` and \
    `vestibule.dev/auth-response-headers: X-authentik-username, X-authentik-groups, X-authentik-email`";
const AUTHELIA: &str = "write `vestibule.dev/auth-url: http://authelia.NAMESPACE.svc:9091/api/authz/forward-auth` and \
    `vestibule.dev/auth-response-headers: Remote-User, Remote-Groups, Remote-Email, Remote-Name`";
const OAUTH2_PROXY: &str = "write `vestibule.dev/auth-url: http://oauth2-proxy.NAMESPACE.svc:4180/oauth2/auth`, \
    `vestibule.dev/auth-signin: https://$host/oauth2/start` and \
    `vestibule.dev/auth-response-headers: X-Auth-Request-User, X-Auth-Request-Email, X-Auth-Request-Groups`";
const FORWARD_AUTH: &str = "write the address of its server in `vestibule.dev/auth-url`, and the headers that it sets in \
    `vestibule.dev/auth-response-headers`";

/// Parts of the names that people give to middlewares which guard access.
const GUARD_WORDS: [&str; 29] = [
    "auth",
    "oidc",
    "sso",
    "login",
    "signin",
    "jwt",
    "saml",
    "ldap",
    "keycloak",
    "dex",
    "allow",
    "whitelist",
    "white-list",
    "ipwl",
    "deny",
    "block",
    "blacklist",
    "ban",
    "limit",
    "throttle",
    "crowdsec",
    "waf",
    "acl",
    "geo",
    "internal",
    "private",
    "restrict",
    "mtls",
    "bouncer",
];
