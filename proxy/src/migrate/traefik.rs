//! Traefik's own kinds. An IngressRoute becomes one Ingress for each of its routes.

use serde_json::{Map, Value, json};

use super::documents::{Documents, list, namespace_of, text, texts};
use super::guards::Wanted;
use super::middleware;
use super::rule::{self, Match, Path};
use super::{ObjectReport, Target, Verdict};

pub(super) fn http(object: &Value, documents: &Documents, target: &Target, report: &mut ObjectReport) {
    let entry_points = texts(object, "/spec/entryPoints");
    let strange: Vec<&str> =
        entry_points.iter().copied().filter(|name| !["web", "websecure"].contains(name)).collect();
    if !strange.is_empty() {
        let words = format!(
            "the entry points {} may be reached by other people than web and websecure: nothing was written. Give them a class \
             of their own in the settings, and an Ingress of that class",
            strange.join(", ")
        );
        return report.say(Verdict::ByHand, "spec.entryPoints", words);
    }
    for (index, route) in list(object, "/spec/routes").iter().enumerate() {
        one_route(object, index, route, documents, target, report);
    }
}

fn one_route(
    object: &Value,
    index: usize,
    route: &Value,
    documents: &Documents,
    target: &Target,
    report: &mut ObjectReport,
) {
    let about = format!("spec.routes[{index}]");
    let namespace = namespace_of(object);
    let mut wanted = Wanted::default();
    for reference in list(route, "/middlewares") {
        let space =
            Some(text(reference, "/namespace")).filter(|space| !space.is_empty()).unwrap_or(namespace);
        middleware::take(documents, space, text(reference, "/name"), &mut wanted, report, 0);
    }
    if let Some(options) = object.pointer("/spec/tls/options/name").and_then(Value::as_str) {
        tls_options(documents, object, options, &mut wanted, report);
    }
    if route.get("priority").is_some() {
        report.say(
            Verdict::Changes,
            format!("{about}.priority"),
            "the more exact host and the longer path go first",
        );
    }
    let matches = match rule::parse(text(route, "/match")) {
        Ok(matches) => matches,
        Err(reason) => {
            let mut words = format!("`{}`: {reason}; nothing was written", text(route, "/match"));
            if wanted.closed.is_some() || !wanted.keys.is_empty() {
                words.push_str(". Write the same guards on what you write for it");
            }
            return report.say(Verdict::ByHand, format!("{about}.match"), words);
        }
    };
    let [service] = list(route, "/services") else {
        let words = "several services with weights: write an HTTPRoute with `backendRefs` and weights; nothing was written";
        return report.say(Verdict::ByHand, format!("{about}.services"), words);
    };
    let Some(backends) = backends(service, namespace, documents, &about, &mut wanted, report) else { return };
    for (alternative, matched) in matches.iter().enumerate() {
        let mut wanted_here = Wanted { keys: wanted.keys.clone(), ..Wanted::default() };
        (wanted_here.closed, wanted_here.strip, wanted_here.add, wanted_here.replace) =
            (wanted.closed.clone(), wanted.strip.clone(), wanted.add.clone(), wanted.replace.clone());
        if !matched.clients.is_empty() {
            wanted_here.set("allow-from", matched.clients.join(", "), &about, report);
        }
        let mut name = text(object, "/metadata/name").to_owned();
        if list(object, "/spec/routes").len() > 1 {
            name = format!("{name}-{index}");
        }
        if matches.len() > 1 {
            name = format!("{name}-{alternative}");
        }
        let Some(paths) = paths(matched, &mut wanted_here, &about, report) else { continue };
        for (nth, backend) in backends.iter().enumerate() {
            let mut annotations = wanted_here.annotations();
            let mut name = name.clone();
            if nth > 0 {
                name.push_str("-canary");
                annotations.insert("vestibule.dev/canary".into(), "true".into());
                annotations.insert("vestibule.dev/canary-weight".into(), backend.weight.to_string().into());
                annotations
                    .insert("vestibule.dev/canary-weight-total".into(), backend.total.to_string().into());
            }
            report.written.push(ingress(
                object,
                &name,
                &annotations,
                matched,
                &paths,
                &backend.service,
                target,
            ));
        }
        if wanted_here.closed.is_none() {
            report.say(Verdict::Same, &about, format!("written as Ingress {namespace}/{name}"));
        }
    }
    tls_words(object, report);
}

fn tls_words(object: &Value, report: &mut ObjectReport) {
    if let Some(resolver) = object.pointer("/spec/tls/certResolver").and_then(Value::as_str) {
        let words = format!(
            "the resolver {resolver} got the certificate: name a Secret with one in `spec.tls`, or an issuer in `vestibule.dev/issuer`; \
             until then the default certificate is shown"
        );
        report.say(Verdict::ByHand, "spec.tls.certResolver", words);
    }
}

fn tls_options(
    documents: &Documents,
    object: &Value,
    name: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) {
    let namespace =
        object.pointer("/spec/tls/options/namespace").and_then(Value::as_str).unwrap_or(namespace_of(object));
    let about = format!("TLSOption {namespace}/{name}");
    match documents.find("TLSOption", namespace, name) {
        None => {
            wanted.close(
                &about,
                "it is not among the manifests, and may ask for client certificates",
                report,
            );
        }
        Some(found) => option(found, namespace == namespace_of(object), wanted, report),
    }
}

/// What TLS options ask of clients; `is_near` where they are of the namespace of the route.
pub(super) fn option(option: &Value, is_near: bool, wanted: &mut Wanted, report: &mut ObjectReport) {
    let about = super::documents::name_of(option);
    if option.pointer("/spec/clientAuth").is_some() {
        client_auth(option, is_near, &about, wanted, report);
    }
    if option.pointer("/spec/minVersion").is_some() || option.pointer("/spec/cipherSuites").is_some() {
        let words = "protocol versions are set by `tls.minVersion` in the settings, for all hosts; cipher suites are fixed";
        report.say(Verdict::Changes, about, words);
    }
}

/// Client certificates, which are asked for by keys of the Ingress. Its Secret has to be of the same namespace.
fn client_auth(option: &Value, is_near: bool, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let verify = match text(option, "/spec/clientAuth/clientAuthType") {
        "RequireAndVerifyClientCert" => "on",
        "VerifyClientCertIfGiven" => "optional",
        "RequestClientCert" => "optional_no_ca",
        "" | "NoClientCert" => return,
        other => {
            return wanted.close(about, &format!("`clientAuthType: {other}` has no counterpart"), report);
        }
    };
    match &texts(option, "/spec/clientAuth/secretNames")[..] {
        [secret] if is_near => {
            wanted.set("auth-tls-secret", *secret, about, report);
            wanted.set("auth-tls-verify-client", verify, about, report);
            let words = format!(
                "the authorities are read from the key ca.crt of the Secret {secret} (not tls.ca); without a good certificate a client gets 400, \
                 and no broken connection"
            );
            report.say(Verdict::Changes, about, words);
        }
        [_] => wanted.close(
            about,
            "its Secret is of another namespace: copy it, and write `vestibule.dev/auth-tls-secret`",
            report,
        ),
        _ => wanted.close(
            about,
            "it names no Secret, or several: join the authorities in one `ca.crt`",
            report,
        ),
    }
}

/// What an Ingress names as its backend, with its share.
struct Backend {
    service: Value,
    weight: u64,
    total: u64,
}

fn backends(
    service: &Value,
    namespace: &str,
    documents: &Documents,
    about: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) -> Option<Vec<Backend>> {
    let about = &format!("{about}.services");
    let space = Some(text(service, "/namespace")).filter(|space| !space.is_empty()).unwrap_or(namespace);
    if space != namespace {
        let words = "a Service of another namespace: write an HTTPRoute, and a ReferenceGrant there; nothing was written";
        report.say(Verdict::ByHand, about, words);
        return None;
    }
    if text(service, "/kind") != "TraefikService" {
        transport(service, namespace, documents, about, wanted, report);
        return Some(vec![Backend { service: backend_of(service), weight: 1, total: 1 }]);
    }
    let name = text(service, "/name");
    let found = documents.find("TraefikService", namespace, name);
    let shares = found.map_or(&[][..], |found| list(found, "/spec/weighted/services"));
    let plain = shares
        .iter()
        .all(|share| text(share, "/kind") != "TraefikService" && share.get("namespace").is_none());
    match shares {
        [main, canary] if plain => {
            let weight = |share: &Value| share.get("weight").and_then(Value::as_u64).unwrap_or(1);
            let sum = weight(main) + weight(canary);
            // A total of less than a hundred counts as a hundred.
            let factor = if sum == 0 { 1 } else { 100_u64.div_ceil(sum) };
            for share in shares {
                transport(share, namespace, documents, about, wanted, report);
            }
            let share = |share: &Value| Backend {
                service: backend_of(share),
                weight: weight(share) * factor,
                total: (sum * factor).max(100),
            };
            Some(vec![share(main), share(canary)])
        }
        _ => {
            let words = format!(
                "the TraefikService {name} is not one of two weighted Services: write an HTTPRoute with `backendRefs` and weights, or a \
                 RequestMirror filter; nothing was written"
            );
            report.say(Verdict::ByHand, about, words);
            None
        }
    }
}

fn backend_of(service: &Value) -> Value {
    let port = match service.get("port") {
        Some(Value::Number(number)) => json!({"number": number}),
        Some(Value::String(name)) => match name.parse::<u16>() {
            Ok(number) => json!({"number": number}),
            Err(_) => json!({"name": name}),
        },
        _ => json!({"number": 80}),
    };
    json!({"service": {"name": text(service, "/name"), "port": port}})
}

/// How the backend is spoken to.
fn transport(
    service: &Value,
    namespace: &str,
    documents: &Documents,
    about: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) {
    let secure = text(service, "/scheme") == "https"
        || service.get("port").is_some_and(|port| port == 443 || port == "https");
    match text(service, "/scheme") {
        "h2c" => wanted.set("backend-protocol", "H2C", about, report),
        _ if secure => wanted.set("backend-protocol", "HTTPS", about, report),
        _ => {}
    }
    if service.get("passHostHeader") == Some(&Value::Bool(false)) {
        report.say(
            Verdict::ByHand,
            about,
            "passHostHeader: write the name that the backend wants in `vestibule.dev/upstream-vhost`",
        );
    }
    sticky(service, about, wanted, report);
    if service.get("nativeLB") == Some(&Value::Bool(true)) {
        wanted.set("service-upstream", "true", about, report);
    }
    let name = text(service, "/serversTransport");
    if name.is_empty() {
        if secure {
            wanted.set("proxy-ssl-verify", "true", about, report);
        }
        return;
    }
    let about = &format!("ServersTransport {namespace}/{name}");
    let Some(found) = documents.find("ServersTransport", namespace, name) else {
        return wanted.close(
            about,
            "it is not among the manifests, and says whom the backend is verified by",
            report,
        );
    };
    let spec = &found["spec"];
    if !text(spec, "/serverName").is_empty() {
        wanted.set("proxy-ssl-name", text(spec, "/serverName"), about, report);
    }
    let verified = spec.get("insecureSkipVerify") != Some(&Value::Bool(true));
    if secure && verified {
        wanted.set("proxy-ssl-verify", "true", about, report);
    }
    match &texts(spec, "/rootCAsSecrets")[..] {
        [] => {}
        [secret] => wanted.set("proxy-ssl-secret", *secret, about, report),
        _ => wanted.close(about, "several Secrets of authorities: join them in one `ca.crt`", report),
    }
    if !list(spec, "/rootCAs").is_empty() {
        wanted.close(about, "rootCAs: put the authorities in the `ca.crt` of one Secret, and write `vestibule.dev/proxy-ssl-secret`", report);
    }
    if !list(spec, "/certificatesSecrets").is_empty() {
        report.say(Verdict::ByHand, about, "backends are not shown a client certificate yet");
    }
    for (field, key) in [
        ("/forwardingTimeouts/dialTimeout", "proxy-connect-timeout"),
        ("/forwardingTimeouts/responseHeaderTimeout", "proxy-read-timeout"),
    ] {
        if !text(spec, field).is_empty() {
            wanted.set(key, text(spec, field), about, report);
        }
    }
}

/// A cookie that keeps clients on one endpoint.
fn sticky(service: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let Some(cookie) = service.pointer("/sticky/cookie") else { return };
    wanted.set("affinity", "cookie", about, report);
    for (field, key) in [
        ("/name", "session-cookie-name"),
        ("/sameSite", "session-cookie-samesite"),
        ("/path", "session-cookie-path"),
        ("/domain", "session-cookie-domain"),
    ] {
        if !text(cookie, field).is_empty() {
            wanted.set(key, text(cookie, field), about, report);
        }
    }
    if let Some(seconds) = cookie.get("maxAge").and_then(Value::as_u64).filter(|seconds| *seconds > 0) {
        wanted.set("session-cookie-max-age", seconds.to_string(), about, report);
    }
    if cookie.get("secure") == Some(&Value::Bool(true)) {
        wanted.set("session-cookie-secure", "true", about, report);
    }
    report.say(Verdict::Changes, about, "sessions begin anew: the cookie's value is another one");
}

/// The paths of the Ingress, with what rewrites ask of them.
fn paths(
    matched: &Match,
    wanted: &mut Wanted,
    about: &str,
    report: &mut ObjectReport,
) -> Option<Vec<(String, &'static str)>> {
    let written =
        if matched.paths.is_empty() { vec![Path::Prefix("/".into())] } else { matched.paths.clone() };
    let by_hand = |report: &mut ObjectReport, words: &str| {
        report.say(Verdict::ByHand, about, format!("{words}; nothing was written"));
        None
    };
    if let Some(replace) = wanted.replace.take() {
        wanted.set("rewrite-target", replace, about, report);
    }
    if wanted.strip.is_empty() && wanted.add.is_none() {
        let expressions = written.iter().filter(|path| matches!(path, Path::Expression(_))).count();
        if expressions > 0 && expressions < written.len() {
            return by_hand(report, "paths and expressions in one rule");
        }
        if expressions > 0 {
            wanted.set("use-regex", "true", about, report);
        }
        return Some(written.into_iter().map(plain_path).collect());
    }
    let [Path::Prefix(prefix)] = &written[..] else {
        return by_hand(report, "a prefix is cut off or put in front of paths that are no single prefix");
    };
    let prefix = prefix.trim_end_matches('/');
    let cut = wanted.strip.iter().map(|strip| strip.trim_end_matches('/')).find(|strip| {
        prefix == *strip || prefix.strip_prefix(*strip).is_some_and(|rest| rest.starts_with('/'))
    });
    if cut.is_none() && !wanted.strip.is_empty() {
        return by_hand(report, "the prefix that is cut off is not the one of the rule");
    }
    let cut = cut.unwrap_or_default().to_owned();
    let add = wanted.add.clone().unwrap_or_default();
    if !add.is_empty() && !add.starts_with('/') {
        return by_hand(report, "the prefix that is put in front does not begin with a slash");
    }
    // What stays of the path is a group without its first slash, which stands in the template.
    let (path, rewrite) = match prefix[cut.len()..].strip_prefix('/') {
        None => (format!("{}(/|$)(.*)", escape(&cut)), format!("{add}/$2")),
        Some(rest) => (format!("{}/({}(/.*)?)$", escape(&cut), escape(rest)), format!("{add}/$1")),
    };
    wanted.set("use-regex", "true", about, report);
    wanted.set("rewrite-target", rewrite, about, report);
    Some(vec![(path, "ImplementationSpecific")])
}

fn plain_path(path: Path) -> (String, &'static str) {
    match path {
        Path::Exact(path) => (path, "Exact"),
        Path::Prefix(path) => (path, "Prefix"),
        Path::Expression(path) => (path.trim_start_matches('^').to_owned(), "ImplementationSpecific"),
    }
}

fn escape(path: &str) -> String {
    regex::escape(path)
}

fn ingress(
    object: &Value,
    name: &str,
    annotations: &Map<String, Value>,
    matched: &Match,
    paths: &[(String, &'static str)],
    backend: &Value,
    target: &Target,
) -> Value {
    let paths: Vec<Value> = paths
        .iter()
        .map(|(path, sort)| json!({"path": path, "pathType": sort, "backend": backend}))
        .collect();
    let rule = |host: Option<&String>| match host {
        Some(host) => json!({"host": host, "http": {"paths": paths}}),
        None => json!({"http": {"paths": paths}}),
    };
    let rules: Vec<Value> = match &matched.hosts[..] {
        [] => vec![rule(None)],
        hosts => hosts.iter().map(|host| rule(Some(host))).collect(),
    };
    let mut spec = json!({"ingressClassName": target.class, "rules": rules});
    if let Some(tls) = object.pointer("/spec/tls")
        && !matched.hosts.is_empty()
    {
        let mut entry = json!({"hosts": matched.hosts});
        if !text(tls, "/secretName").is_empty() {
            entry["secretName"] = text(tls, "/secretName").into();
        }
        spec["tls"] = json!([entry]);
    }
    let mut metadata = json!({"name": name, "namespace": namespace_of(object)});
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations.clone());
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec})
}

pub(super) fn tls_option(object: &Value, report: &mut ObjectReport) {
    if object.pointer("/spec/clientAuth").is_some() {
        report.say(Verdict::Same, "spec.clientAuth", "its words are on the routes that use it");
    }
    if object.pointer("/spec/minVersion").is_some() || object.pointer("/spec/cipherSuites").is_some() {
        report.say(
            Verdict::Changes,
            "spec",
            "`tls.minVersion` in the settings holds for all hosts; cipher suites are fixed",
        );
    }
    if object.pointer("/spec/sniStrict") == Some(&Value::Bool(true)) {
        report.say(
            Verdict::ByHand,
            "spec.sniStrict",
            "write `tls: {defaultCertificate: refuse}` in the settings",
        );
    }
}

pub(super) fn servers_transport(_: &Value, report: &mut ObjectReport) {
    report.say(Verdict::Same, "spec", "its words are on the routes that use it");
}

pub(super) fn service(object: &Value, report: &mut ObjectReport) {
    if object.pointer("/spec/mirroring").is_some() {
        report.say(Verdict::ByHand, "spec.mirroring", "write an HTTPRoute with a RequestMirror filter");
    }
    if object.pointer("/spec/weighted/sticky").is_some() {
        report.say(Verdict::Changes, "spec.weighted.sticky", "clients are not kept on one share");
    }
}
