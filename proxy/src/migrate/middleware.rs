//! Traefik's middlewares, as annotations.

use serde_json::Value;

use super::documents::{Documents, list, namespace_of, text, texts};
use super::guards::Wanted;
use super::{ObjectReport, Verdict};

/// A middleware is told where it is used; one that nothing uses is told by itself.
pub(super) fn look(object: &Value, documents: &Documents, report: &mut ObjectReport) {
    let (namespace, name) = (namespace_of(object), text(object, "/metadata/name"));
    let by_annotation = format!("{namespace}-{name}@kubernetescrd");
    let used = documents.iter().any(|other| {
        let annotated = super::documents::annotations(other)
            .any(|(key, value)| key.ends_with("router.middlewares") && value.contains(&by_annotation));
        let routed = list(other, "/spec/routes").iter().flat_map(|route| list(route, "/middlewares")).any(
            |reference| {
                text(reference, "/name") == name
                    && Some(text(reference, "/namespace"))
                        .filter(|n| !n.is_empty())
                        .unwrap_or(namespace_of(other))
                        == namespace
            },
        );
        let extended =
            list(other, "/spec/rules").iter().flat_map(|rule| list(rule, "/filters")).any(|filter| {
                text(filter, "/extensionRef/kind") == "Middleware"
                    && text(filter, "/extensionRef/name") == name
                    && namespace_of(other) == namespace
            });
        let chained = texts_of_chain(other).any(|link| link == name) && namespace_of(other) == namespace;
        annotated || routed || extended || chained
    });
    if !used {
        report.say(
            Verdict::Same,
            "spec",
            "nothing here uses this middleware; it has no counterpart by itself",
        );
    }
}

fn texts_of_chain(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "/spec/chain/middlewares").iter().map(|link| text(link, "/name"))
}

/// Puts what one middleware asks for into `wanted`.
pub(super) fn take(
    documents: &Documents,
    namespace: &str,
    name: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
    depth: usize,
) {
    let about = format!("Middleware {namespace}/{name}");
    let Some(object) = documents.find("Middleware", namespace, name) else {
        return wanted.close(&about, "it is not among the manifests, and may guard access", report);
    };
    let Some(spec) = object.get("spec").and_then(Value::as_object) else {
        return wanted.close(&about, "it says nothing that can be read", report);
    };
    for (sort, body) in spec {
        match sort.as_str() {
            "chain" if depth < CHAIN_DEPTH_MAX => {
                for link in list(body, "/middlewares") {
                    let space = Some(text(link, "/namespace")).filter(|space| !space.is_empty());
                    let space = space.unwrap_or(namespace);
                    take(documents, space, text(link, "/name"), wanted, report, depth + 1);
                }
            }
            "chain" => wanted.close(&about, "chains of middlewares are too deep", report),
            "basicAuth" => basic_auth(body, namespace, documents, &about, wanted, report),
            _ => take_one(sort, body, &about, wanted, report),
        }
    }
}

fn take_one(sort: &str, body: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let about = &format!("{about} ({sort})");
    match sort {
        "ipAllowList" | "ipWhiteList" => {
            let networks = texts(body, "/sourceRange");
            if networks.is_empty() {
                return wanted.close(about, "it allows no address", report);
            }
            if body.get("ipStrategy").is_some() {
                report.say(
                    Verdict::Changes,
                    about,
                    "ipStrategy: whose X-Forwarded-For counts is said by `trust` in the settings",
                );
            }
            wanted.set("allow-from", networks.join(", "), about, report);
        }
        "rateLimit" => rate_limit(body, about, wanted, report),
        "inFlightReq" => match (body.get("amount").and_then(Value::as_u64), by(body, "route")) {
            (Some(amount), Some(by)) if amount > 0 => {
                wanted.set("concurrency-limit", format!("{amount} per {by}"), about, report);
            }
            _ => wanted.close(about, "its amount or sourceCriterion cannot be translated", report),
        },
        "buffering" => {
            if let Some(bytes) = body.get("maxRequestBodyBytes").and_then(Value::as_u64) {
                wanted.set("proxy-body-size", bytes.to_string(), about, report);
            }
            report.say(Verdict::Changes, about, "bodies stream and are not collected first");
        }
        "headers" => headers(body, about, wanted, report),
        "redirectScheme" if text(body, "/scheme") == "https" => {
            wanted.set("force-ssl-redirect", "true", about, report);
        }
        "stripPrefix" => wanted.strip.extend(texts(body, "/prefixes").into_iter().map(str::to_owned)),
        "addPrefix" => wanted.add = Some(text(body, "/prefix").trim_end_matches('/').to_owned()),
        "replacePath" => wanted.replace = Some(text(body, "/path").to_owned()),
        "retry" => {
            let attempts = body.get("attempts").and_then(Value::as_u64).unwrap_or(1);
            wanted.set("proxy-next-upstream-tries", attempts.to_string(), about, report);
        }
        "compress" => report.say(Verdict::Changes, about, "answers are not compressed by the edge"),
        "contentType" => report.say(Verdict::Same, about, "content types are never guessed"),
        "circuitBreaker" => {
            report.say(
                Verdict::Changes,
                about,
                "endpoints that fail are left alone for a while; there is nothing to write",
            );
        }
        "errors" => report.say(Verdict::Changes, about, "the application's own error pages are shown"),
        "redirectScheme" | "redirectRegex" | "replacePathRegex" | "stripPrefixRegex" | "grpcWeb" => {
            report.say(
                Verdict::ByHand,
                about,
                "write an Ingress with rewrite-target or permanent-redirect, or an HTTPRoute filter",
            );
        }
        "forwardAuth" if asks_plainly(body) => {
            let address = text(body, "/address");
            wanted.set("auth-url", address, about, report);
            let copied = texts(body, "/authResponseHeaders");
            if !copied.is_empty() {
                wanted.set("auth-response-headers", copied.join(", "), about, report);
            }
            if body.get("authRequestHeaders").is_some() {
                report.say(Verdict::Changes, about, "the server is asked with all headers of the request");
            }
            if body.get("trustForwardHeader").is_some() {
                report.say(
                    Verdict::Changes,
                    about,
                    "whose X-Forwarded headers count is said by `trust` in the settings",
                );
            }
        }
        "forwardAuth" => {
            let address = text(body, "/address");
            let copied = texts(body, "/authResponseHeaders").join(", ");
            let words = format!(
                "every request is asked about at {address}: write `vestibule.dev/auth-url: {address}`{} in place of deny-from",
                if copied.is_empty() {
                    String::new()
                } else {
                    format!(" and `vestibule.dev/auth-response-headers: {copied}`")
                }
            );
            wanted.close(about, &words, report);
        }
        "digestAuth" => {
            let words = format!(
                "it asks for a password from the Secret {} in a way that is not spoken here: write `vestibule.dev/auth-type: basic` and \
                 `vestibule.dev/auth-secret` in place of deny-from, with new hashes of the passwords",
                text(body, "/secret")
            );
            wanted.close(about, &words, report);
        }
        "plugin" => {
            let names: Vec<&str> =
                body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let names = names.join(", ");
            if names.contains("sablier") {
                let words = "the application is woken by a plugin: write `vestibule.dev/wake: \"true\"` and `wake-idle` in its place";
                report.say(Verdict::ByHand, about, words);
            } else {
                wanted.close(about, &format!("what the plugin {names} guards cannot be known"), report);
            }
        }
        "passTLSClientCert" => {
            if !wanted.keys.contains_key("auth-tls-secret") {
                let words =
                    "no TLS options here ask for client certificates, and the application may rely on them";
                return wanted.close(about, words, report);
            }
            if body.get("pem") == Some(&Value::Bool(true)) {
                wanted.set("auth-tls-pass-certificate-to-upstream", "true", about, report);
            }
            let words = "the application reads X-Forwarded-Tls-Client-Cert and -Info, which nobody can send it any more: have it read \
                         ssl-client-subject-dn, ssl-client-issuer-dn and ssl-client-cert (PEM, percent-encoded)";
            report.say(Verdict::ByHand, about, words);
        }
        _ => wanted.close(about, "it is not known, and may guard access", report),
    }
}

/// Names and passwords of a Secret. What cannot be read from here, or is written in a way that is not, lets nobody in.
fn basic_auth(
    body: &Value,
    namespace: &str,
    documents: &Documents,
    about: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) {
    let about = &format!("{about} (basicAuth)");
    let secret = text(body, "/secret");
    let found = documents.find("Secret", namespace, secret);
    let fault = match (secret, found.map_or("", |found| text(found, "/type"))) {
        ("", _) => Some("it names no Secret".to_owned()),
        _ if namespace != wanted.namespace => Some(format!(
            "the Secret {namespace}/{secret} is of another namespace: copy it to {}",
            wanted.namespace
        )),
        (_, "kubernetes.io/basic-auth") => Some(format!(
            "the Secret {secret} holds a password in the clear: write its hash (htpasswd -nB NAME) into the key `users` of another one"
        )),
        (_, _) => None,
    };
    if let Some(fault) = fault {
        let words = format!(
            "{fault}, and write `vestibule.dev/auth-type: basic` and `vestibule.dev/auth-secret` in place of deny-from"
        );
        return wanted.close(about, &words, report);
    }
    wanted.set("auth-type", "basic", about, report);
    wanted.set("auth-secret", secret, about, report);
    let realm = Some(text(body, "/realm")).filter(|realm| !realm.is_empty()).unwrap_or("traefik");
    wanted.set("auth-realm", realm, about, report);
    if !text(body, "/headerField").is_empty() {
        let name = text(body, "/headerField");
        let words = format!(
            "who asks is told in {name}: allow the name in the settings (`auth.customHeaders`), and write `vestibule.dev/auth-headers: \
             {name}=user`"
        );
        report.say(Verdict::ByHand, about, words);
    }
    report.say(
        Verdict::Changes,
        about,
        "hashes are bcrypt, argon2 or apr1; with another one in the Secret nobody may enter until it is made anew (htpasswd -B)",
    );
    if body.get("removeHeader") != Some(&Value::Bool(true)) {
        report.say(Verdict::Changes, about, "the password is not passed on to the application");
    }
}

/// True for a server that can be found from here, and of which nothing is asked that has no key.
fn asks_plainly(body: &Value) -> bool {
    let address = text(body, "/address");
    let host = address
        .split_once("://")
        .map_or("", |(_, rest)| rest.split(['/', ':', '?']).next().unwrap_or_default());
    let known = ["address", "authResponseHeaders", "authRequestHeaders", "trustForwardHeader"];
    let plain =
        body.as_object().is_some_and(|fields| fields.keys().all(|field| known.contains(&field.as_str())));
    // A name without a dot is looked up in the namespace of whoever asks, which was Traefik's.
    plain && host.contains('.') && (address.starts_with("http://") || address.starts_with("https://"))
}

fn rate_limit(body: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let average = body.get("average").and_then(Value::as_u64).unwrap_or(0);
    if average == 0 {
        return report.say(Verdict::Same, about, "an average of 0 limits nothing");
    }
    let burst = body.get("burst").and_then(Value::as_u64).unwrap_or(1).max(1);
    let period = match body.get("period") {
        None => Some("s"),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Some("s"),
        Some(value) => match value.as_str().unwrap_or_default() {
            "1s" => Some("s"),
            "1m" | "60s" | "1m0s" => Some("m"),
            "1h" | "60m" | "1h0m0s" => Some("h"),
            _ => None,
        },
    };
    match (period, by(body, "ip")) {
        (Some(period), Some(by)) => {
            wanted.set("rate-limit", format!("{average}/{period} burst {burst} per {by}"), about, report);
        }
        _ => wanted.close(
            about,
            "its period or sourceCriterion cannot be translated; write `vestibule.dev/rate-limit`",
            report,
        ),
    }
}

/// `sourceCriterion` in our words.
fn by(body: &Value, default: &str) -> Option<String> {
    let Some(criterion) = body.get("sourceCriterion").and_then(Value::as_object) else {
        return Some(default.into());
    };
    let header = criterion.get("requestHeaderName").and_then(Value::as_str);
    match (header, criterion.contains_key("ipStrategy"), criterion.get("requestHost")) {
        (Some(header), _, _) => Some(format!("header {header}")),
        (None, true, _) => Some("ip".into()),
        (None, false, Some(Value::Bool(true))) => Some("route".into()),
        (None, false, _) if criterion.is_empty() => Some(default.into()),
        (None, false, _) => None,
    }
}

fn headers(body: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let Some(fields) = body.as_object() else { return };
    let mut answer = Vec::new();
    for (field, value) in fields {
        let flag = value.as_bool() == Some(true);
        let words = value.as_str().unwrap_or_default();
        match field.as_str() {
            "customRequestHeaders" | "customResponseHeaders" => {
                let pairs = value.as_object().into_iter().flatten();
                let (set, gone): (Vec<_>, Vec<_>) = pairs.partition(|(_, value)| value.as_str() != Some(""));
                let lines: Vec<String> = set
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default()))
                    .collect();
                if field == "customRequestHeaders" && !lines.is_empty() {
                    wanted.set("custom-request-headers", lines.join("\n"), about, report);
                } else {
                    answer.extend(lines);
                }
                for (name, _) in gone {
                    report.say(
                        Verdict::ByHand,
                        about,
                        format!("{name} is to be removed: write an HTTPRoute filter"),
                    );
                }
            }
            "stsSeconds" => {
                let set = |name: &str, words: &'static str| {
                    if fields.get(name).and_then(Value::as_bool) == Some(true) { words } else { "" }
                };
                let age = value.as_u64().unwrap_or(0);
                let subdomains = set("stsIncludeSubdomains", "; includeSubDomains");
                let preload = set("stsPreload", "; preload");
                if age > 0 {
                    wanted.set("hsts", format!("max-age={age}{subdomains}{preload}"), about, report);
                }
            }
            "stsIncludeSubdomains"
            | "stsPreload"
            | "forceSTSHeader"
            | "isDevelopment"
            | "sslProxyHeaders" => {}
            "sslRedirect" if flag => wanted.set("force-ssl-redirect", "true", about, report),
            "frameDeny" if flag => answer.push("X-Frame-Options: DENY".into()),
            "customFrameOptionsValue" => answer.push(format!("X-Frame-Options: {words}")),
            "contentTypeNosniff" if flag => answer.push("X-Content-Type-Options: nosniff".into()),
            "browserXssFilter" if flag => answer.push("X-XSS-Protection: 1; mode=block".into()),
            "contentSecurityPolicy" => answer.push(format!("Content-Security-Policy: {words}")),
            "referrerPolicy" => answer.push(format!("Referrer-Policy: {words}")),
            "permissionsPolicy" => answer.push(format!("Permissions-Policy: {words}")),
            "accessControlAllowOriginList" => {
                wanted.set("enable-cors", "true", about, report);
                wanted.set(
                    "cors-allow-origin",
                    texts(body, "/accessControlAllowOriginList").join(", "),
                    about,
                    report,
                );
                if fields.get("accessControlAllowCredentials").and_then(Value::as_bool) != Some(true) {
                    wanted.set("cors-allow-credentials", "false", about, report);
                }
            }
            "accessControlAllowMethods" => {
                wanted.set(
                    "cors-allow-methods",
                    texts(body, "/accessControlAllowMethods").join(", "),
                    about,
                    report,
                );
            }
            "accessControlAllowHeaders" => {
                wanted.set(
                    "cors-allow-headers",
                    texts(body, "/accessControlAllowHeaders").join(", "),
                    about,
                    report,
                );
            }
            "accessControlExposeHeaders" => {
                wanted.set(
                    "cors-expose-headers",
                    texts(body, "/accessControlExposeHeaders").join(", "),
                    about,
                    report,
                );
            }
            "accessControlMaxAge" => {
                wanted.set("cors-max-age", value.as_u64().unwrap_or(0).to_string(), about, report);
            }
            "accessControlAllowCredentials" | "addVaryHeader" => {}
            "allowedHosts" => wanted.close(about, "allowedHosts: write the hosts in the rule", report),
            _ if value.as_bool() == Some(false) => {}
            _ => report.say(Verdict::ByHand, about, format!("`{field}` has no counterpart")),
        }
    }
    if !answer.is_empty() {
        wanted.set("custom-response-headers", answer.join("\n"), about, report);
    }
}

/// Middlewares in chains in chains.
const CHAIN_DEPTH_MAX: usize = 8;
