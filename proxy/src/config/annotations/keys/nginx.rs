//! The 136 keys of ingress-nginx (v1.15.1), and what becomes of each in a class that takes its place.
//!
//! None is ignored in silence: a key does what it did there, or has nothing to do here and the table says why, or its object has
//! a problem that says what to write instead. A key that guards access and cannot be enforced closes the routes of its
//! object.

use super::{KEYS, Key};

/// One key under `nginx.ingress.kubernetes.io/`.
#[derive(Clone, Copy, Debug)]
pub struct NginxKey {
    pub name: &'static str,
    /// Without it somebody might get in, or be spoken to in the clear: what cannot be enforced refuses.
    pub guards_access: bool,
    pub does: Does,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// What the key of this name under our own prefix does.
    Same(&'static str),
    /// Nothing, with any value, because of what the text says.
    Nothing(&'static str),
    /// Nothing with one of these values, which ask for what is so anyway. With any other the object has a problem; the text
    /// says what to write instead.
    Only(&'static [&'static str], &'static str),
    /// A problem, with any value.
    Refused(&'static str),
}

impl NginxKey {
    /// The key under our own prefix that does the same.
    pub fn same(&self) -> Option<&'static Key> {
        match self.does {
            Does::Same(name) => super::find(name),
            Does::Nothing(_) | Does::Only(..) | Does::Refused(_) => None,
        }
    }
}

/// The key of this name, or of the older name that ingress-nginx takes too.
pub fn find(name: &str) -> Option<&'static NginxKey> {
    let name = match name {
        "whitelist-source-range" => "allowlist-source-range",
        "limit-whitelist" => "limit-allowlist",
        _ => name,
    };
    NGINX_KEYS.iter().find(|key| key.name == name)
}

/// The words of a table row in the manual: what it does, and what to write where it does not.
pub fn describe(key: &NginxKey) -> (&'static str, String) {
    match key.does {
        Does::Same(name) => match KEYS.iter().find(|own| own.name == name) {
            Some(own) => ("does the same", own.doc.to_owned()),
            None => ("refused", String::new()),
        },
        Does::Nothing(why) => ("needs nothing", why.to_owned()),
        Does::Only(values, instead) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            ("only its default", format!("{} asks for nothing; else: {instead}", values.join(" or ")))
        }
        Does::Refused(instead) => ("refused", instead.to_owned()),
    }
}

const fn same(name: &'static str) -> NginxKey {
    NginxKey { name, guards_access: false, does: Does::Same(name) }
}

const fn as_own(name: &'static str, own: &'static str) -> NginxKey {
    NginxKey { name, guards_access: false, does: Does::Same(own) }
}

const fn nothing(name: &'static str, why: &'static str) -> NginxKey {
    NginxKey { name, guards_access: false, does: Does::Nothing(why) }
}

const fn only(name: &'static str, values: &'static [&'static str], instead: &'static str) -> NginxKey {
    NginxKey { name, guards_access: false, does: Does::Only(values, instead) }
}

const fn refused(name: &'static str, instead: &'static str) -> NginxKey {
    NginxKey { name, guards_access: false, does: Does::Refused(instead) }
}

const fn guard(key: NginxKey) -> NginxKey {
    NginxKey { guards_access: true, ..key }
}

const NO: &[&str] = &["false", "off", "0"];
const BUFFERS: &str = "answers and requests stream, and nothing is written to disk";
const KEEPALIVE: &str = "connections to the server that is asked are kept open anyway";
const TRACING: &str = "traces are not written yet; a client's `traceparent` passes";
const BANDWIDTH: &str = "answers are not slowed down; limit requests with `vestibule.dev/rate-limit`";
const SNIPPET: &str = "there is no nginx that could run it. Write `vestibule.dev/custom-response-headers` for add_header and more_set_headers, \
    `vestibule.dev/custom-request-headers` for proxy_set_header, `vestibule.dev/allow-from` and `vestibule.dev/deny-from` for allow and \
    deny, `rewrite-target` or `permanent-redirect` for rewrite and return, and remove the key";
const FIREWALL: &str =
    "there is no firewall here; put one in front or into the application, and remove the key";
const CIPHERS: &str = "the suites are fixed: those of TLS 1.3, and of TLS 1.2 those with forward secrecy and AEAD. Remove the key";
const FASTCGI: &str = "FastCGI is not spoken; put a web server beside the application, and remove the key";
const COOKIES: &str =
    "cookies of the backend pass as they are; let the application name the domain and path that clients see";
const LOCATION: &str = "`Location` of the backend passes as it is; the application sees the client's host and scheme in X-Forwarded-*";

/// All of them, in the order of the alphabet.
pub static NGINX_KEYS: [NginxKey; 136] = [
    same("affinity"),
    same("affinity-canary-behavior"),
    same("affinity-mode"),
    guard(as_own("allowlist-source-range", "allow-from")),
    same("app-root"),
    nothing(
        "auth-always-set-cookie",
        "every cookie that the server sets reaches the browser, whatever the status",
    ),
    guard(same("auth-cache-duration")),
    guard(same("auth-cache-key")),
    nothing("auth-keepalive", KEEPALIVE),
    nothing("auth-keepalive-requests", KEEPALIVE),
    nothing("auth-keepalive-share-vars", "both requests have one X-Request-ID anyway"),
    nothing("auth-keepalive-timeout", KEEPALIVE),
    guard(same("auth-method")),
    guard(same("auth-proxy-set-headers")),
    same("auth-realm"),
    same("auth-request-redirect"),
    guard(same("auth-response-headers")),
    guard(same("auth-secret")),
    guard(same("auth-secret-type")),
    guard(same("auth-signin")),
    same("auth-signin-redirect-param"),
    guard(refused("auth-snippet", SNIPPET)),
    same("auth-tls-error-page"),
    guard(same("auth-tls-match-cn")),
    guard(same("auth-tls-pass-certificate-to-upstream")),
    guard(same("auth-tls-secret")),
    guard(same("auth-tls-verify-client")),
    guard(same("auth-tls-verify-depth")),
    guard(same("auth-type")),
    guard(same("auth-url")),
    same("backend-protocol"),
    same("canary"),
    same("canary-by-cookie"),
    same("canary-by-header"),
    same("canary-by-header-pattern"),
    same("canary-by-header-value"),
    same("canary-weight"),
    same("canary-weight-total"),
    nothing("client-body-buffer-size", BUFFERS),
    guard(refused("configuration-snippet", SNIPPET)),
    only("connection-proxy-header", &["keep-alive"], "connections to backends are kept, and upgrades pass"),
    same("cors-allow-credentials"),
    same("cors-allow-headers"),
    same("cors-allow-methods"),
    same("cors-allow-origin"),
    same("cors-expose-headers"),
    same("cors-max-age"),
    refused(
        "custom-headers",
        "a ConfigMap of headers is not read; write the headers in `vestibule.dev/custom-response-headers`",
    ),
    same("custom-http-errors"),
    same("default-backend"),
    guard(as_own("denylist-source-range", "deny-from")),
    same("disable-proxy-intercept-errors"),
    only(
        "enable-access-log",
        &["true"],
        "the access log is written for all routes or none; set `accessLog` in the settings",
    ),
    same("enable-cors"),
    guard(same("enable-global-auth")),
    guard(only("enable-modsecurity", NO, FIREWALL)),
    only("enable-opentelemetry", NO, TRACING),
    guard(only("enable-owasp-core-rules", NO, FIREWALL)),
    only("enable-rewrite-log", NO, "rewrites are not logged; `vestibule explain` shows them"),
    refused("fastcgi-index", FASTCGI),
    refused("fastcgi-params-configmap", FASTCGI),
    guard(same("force-ssl-redirect")),
    same("from-to-www-redirect"),
    only("http2-push-preload", NO, "browsers no longer take pushed answers; remove the key"),
    same("limit-allowlist"),
    same("limit-burst-multiplier"),
    guard(same("limit-connections")),
    only("limit-rate", &["0"], BANDWIDTH),
    only("limit-rate-after", &["0"], BANDWIDTH),
    guard(same("limit-rpm")),
    guard(same("limit-rps")),
    same("load-balance"),
    same("mirror-host"),
    same("mirror-request-body"),
    same("mirror-target"),
    guard(refused("modsecurity-snippet", FIREWALL)),
    refused("modsecurity-transaction-id", FIREWALL),
    refused("opentelemetry-operation-name", TRACING),
    only("opentelemetry-trust-incoming-span", &["true"], TRACING),
    same("permanent-redirect"),
    same("permanent-redirect-code"),
    nothing("preserve-trailing-slash", "the redirect to https keeps path and query as they are"),
    same("proxy-body-size"),
    nothing(
        "proxy-buffer-size",
        "the head of an answer may have 64k, more than nginx takes by default (`upstream.responseHeadBytes`)",
    ),
    nothing("proxy-buffering", BUFFERS),
    nothing("proxy-buffers-number", BUFFERS),
    nothing("proxy-busy-buffers-size", BUFFERS),
    same("proxy-connect-timeout"),
    only("proxy-cookie-domain", &["off"], COOKIES),
    only("proxy-cookie-path", &["off"], COOKIES),
    only("proxy-http-version", &["1.1"], "HTTP/1.1 is spoken, or HTTP/2 by `backend-protocol`"),
    nothing("proxy-max-temp-file-size", BUFFERS),
    same("proxy-next-upstream"),
    same("proxy-next-upstream-timeout"),
    same("proxy-next-upstream-tries"),
    same("proxy-read-timeout"),
    only("proxy-redirect-from", &["off"], LOCATION),
    only("proxy-redirect-to", &["off"], LOCATION),
    nothing("proxy-request-buffering", "requests stream; up to 64 kB are kept so that a try can be repeated"),
    same("proxy-send-timeout"),
    refused("proxy-ssl-ciphers", CIPHERS),
    guard(same("proxy-ssl-name")),
    only(
        "proxy-ssl-protocols",
        &["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"],
        "TLS 1.2 and 1.3 are spoken to backends",
    ),
    guard(same("proxy-ssl-secret")),
    nothing("proxy-ssl-server-name", "the name is always sent to TLS backends"),
    guard(same("proxy-ssl-verify")),
    guard(refused(
        "proxy-ssl-verify-depth",
        "the length of a chain is bounded by the library alone; remove the key",
    )),
    only("relative-redirects", NO, "`Location` has scheme and host"),
    same("rewrite-target"),
    guard(same("satisfy")),
    same("server-alias"),
    guard(refused("server-snippet", SNIPPET)),
    same("service-upstream"),
    same("session-cookie-change-on-failure"),
    only(
        "session-cookie-conditional-samesite-none",
        NO,
        "browsers that take `SameSite=None` for Strict are of 2019 and older and are not told apart; remove the key",
    ),
    same("session-cookie-domain"),
    same("session-cookie-expires"),
    same("session-cookie-max-age"),
    same("session-cookie-name"),
    same("session-cookie-path"),
    same("session-cookie-samesite"),
    same("session-cookie-secure"),
    refused("ssl-ciphers", CIPHERS),
    guard(same("ssl-passthrough")),
    refused("ssl-prefer-server-ciphers", CIPHERS),
    guard(same("ssl-redirect")),
    refused("stream-snippet", "write a TCPRoute or UDPRoute"),
    same("temporal-redirect"),
    same("temporal-redirect-code"),
    same("upstream-hash-by"),
    same("upstream-hash-by-subset"),
    same("upstream-hash-by-subset-size"),
    same("upstream-vhost"),
    only("use-port-in-redirects", NO, "the port that clients use is named where it is not the usual one"),
    same("use-regex"),
    same("x-forwarded-prefix"),
];

#[cfg(test)]
mod tests;
