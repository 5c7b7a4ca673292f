//! Traefik's own kinds. An IngressRoute becomes one Ingress for each of its routes.

use serde_json::{Map, Value, json};

use super::documents::{Documents, list, namespace_of, text, texts};
use super::guards::Wanted;
use super::middleware;
use super::rule::{self, Match, Path};
use super::services;
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
    let mut wanted = Wanted::of(namespace);
    // First: what is passed on of a client's certificate hangs on whether one is asked for.
    if let Some(options) = object.pointer("/spec/tls/options/name").and_then(Value::as_str) {
        tls_options(documents, object, options, &mut wanted, report);
    }
    for reference in list(route, "/middlewares") {
        let space =
            Some(text(reference, "/namespace")).filter(|space| !space.is_empty()).unwrap_or(namespace);
        middleware::take(documents, space, text(reference, "/name"), &mut wanted, report, 0);
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
    let services = list(route, "/services");
    let Some(backend) = services::backend(services, namespace, documents, &about, &mut wanted, report) else {
        return;
    };
    for (alternative, matched) in matches.iter().enumerate() {
        let mut wanted_here = Wanted { keys: wanted.keys.clone(), ..Wanted::of(namespace) };
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
        let annotations = wanted_here.annotations();
        report.written.push(ingress(object, &name, &annotations, matched, &paths, &backend, target));
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
        report.say(Verdict::Same, "spec.mirroring", "its words are on the routes that use it");
    }
    if object.pointer("/spec/weighted/sticky").is_some() {
        report.say(Verdict::Changes, "spec.weighted.sticky", "clients are not kept on one share");
    }
}
