//! Ingresses that were written for another controller.

use serde_json::Value;

use super::documents::{Documents, annotations, name_of, namespace_of, text};
use super::guards::Wanted;
use super::{ObjectReport, Target, Verdict, middleware, traefik};
use crate::config::annotations::keys;
use crate::config::annotations::keys::nginx::{self, Does};
use crate::config::annotations::{Dialect, foreign, read};
use crate::config::problem::{Kind, Severity};

pub(super) fn look(object: &Value, documents: &Documents, target: &Target, report: &mut ObjectReport) {
    of_nginx(object, report);
    if annotations(object).any(|(key, _)| key.starts_with(TRAEFIK)) {
        of_traefik(object, documents, target, report);
    }
    for (key, value) in annotations(object) {
        match key.split_once('/') {
            Some(("cert-manager.io" | "acme.cert-manager.io", name)) => {
                cert_manager(key, name, value, report);
            }
            Some((
                "haproxy.org"
                | "nginx.org"
                | "konghq.com"
                | "alb.ingress.kubernetes.io"
                | "projectcontour.io",
                _,
            )) => {
                report.say(
                    Verdict::ByHand,
                    key,
                    "a key of another controller: `vestibule check` says whether it guards access",
                );
            }
            _ => {}
        }
    }
    if text(object, "/metadata/annotations/kubernetes.io~1ingress.class").is_empty()
        && text(object, "/spec/ingressClassName").is_empty()
    {
        report.say(
            Verdict::ByHand,
            "spec.ingressClassName",
            "it names no class: the default class takes it, and only one may be the default",
        );
    }
}

fn of_nginx(object: &Value, report: &mut ObjectReport) {
    for (key, value) in annotations(object) {
        let Some(name) = key.strip_prefix(NGINX) else { continue };
        let map = [(key, value)].into_iter().collect();
        let reading = read(&map, Kind::Ingress, Dialect::Nginx);
        for finding in &reading.findings {
            let verdict = match finding.severity {
                Severity::Refused => Verdict::Closed,
                Severity::Degraded => Verdict::ByHand,
                Severity::Warning => Verdict::Changes,
            };
            report.say(verdict, key, &*finding.message);
        }
        if !reading.findings.is_empty() {
            continue;
        }
        match nginx::find(name).map(|known| known.does) {
            Some(Does::Same(own)) => match keys::find(own) {
                None => {}
                Some(_) if ["use-regex", "rewrite-target"].contains(&name) => {
                    let words = "makes expressions of the paths of this Ingress; others of the same host keep theirs as they are written";
                    report.say(Verdict::Changes, key, words);
                }
                Some(_) => report.say(
                    Verdict::Same,
                    key,
                    "does the same in a class that takes the place of ingress-nginx",
                ),
            },
            Some(Does::Nothing(why)) => report.say(Verdict::Same, key, why),
            Some(Does::Only(..) | Does::Refused(_)) => {
                report.say(Verdict::Same, key, "asks for what is so anyway");
            }
            None => {}
        }
    }
}

/// Rewrites an Ingress of Traefik as one of ours.
fn of_traefik(object: &Value, documents: &Documents, target: &Target, report: &mut ObjectReport) {
    let namespace = namespace_of(object);
    let mut wanted = Wanted::of(namespace);
    // Middlewares come last: what is passed on of a client's certificate hangs on whether one is asked for.
    let (last, first): (Vec<_>, Vec<_>) =
        annotations(object).partition(|(key, _)| key.ends_with("/router.middlewares"));
    for (key, value) in first.into_iter().chain(last) {
        let Some(name) = key.strip_prefix(TRAEFIK) else { continue };
        match name {
            "router.middlewares" => {
                for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                    by_reference(item, documents, &mut wanted, report);
                }
            }
            "router.entrypoints" => {
                let strange =
                    value.split(',').map(str::trim).find(|name| !["web", "websecure"].contains(name));
                if let Some(name) = strange {
                    let words = format!(
                        "the entry point {name} may be reached by other people: give it a class of its own; nothing was written"
                    );
                    return report.say(Verdict::ByHand, key, words);
                }
                report.say(
                    Verdict::Same,
                    key,
                    "plain HTTP and https are served on the addresses of the class",
                );
            }
            "router.tls" => report.say(Verdict::Same, key, "hosts in `spec.tls` have TLS"),
            "router.tls.options" => {
                let joined = value.trim_end_matches("@kubernetescrd");
                let found = documents.of_kind("TLSOption").find(|option| {
                    format!("{}-{}", namespace_of(option), text(option, "/metadata/name")) == joined
                });
                match found {
                    Some(option) => {
                        traefik::option(option, namespace_of(option) == namespace, &mut wanted, report);
                    }
                    None => wanted.close(
                        key,
                        "the TLS options are not among the manifests, and may ask for client certificates",
                        report,
                    ),
                }
            }
            "router.tls.certresolver" => {
                report.say(
                    Verdict::ByHand,
                    key,
                    "name a Secret in `spec.tls`, or an issuer in `vestibule.dev/issuer`",
                );
            }
            "router.priority" => {
                report.say(Verdict::Changes, key, "the more exact host and the longer path go first");
            }
            "router.pathmatcher" => {
                report.say(Verdict::ByHand, key, "write `pathType`, or `vestibule.dev/use-regex`");
            }
            _ if name.contains("auth") || name.contains("whitelist") => {
                wanted.close(key, "it guards access and is not known", report);
            }
            _ => report.say(Verdict::ByHand, key, "it has no counterpart"),
        }
    }
    if !wanted.strip.is_empty() || wanted.add.is_some() || wanted.replace.is_some() {
        report.say(
            Verdict::ByHand,
            "router.middlewares",
            "paths are changed: write `vestibule.dev/use-regex` and `vestibule.dev/rewrite-target`",
        );
    }
    let mut written = object.clone();
    let metadata = &mut written["metadata"];
    let kept = annotations(object)
        .filter(|(key, _)| !key.starts_with(TRAEFIK) && *key != "kubernetes.io/ingress.class")
        .filter(|(key, _)| *key != "kubectl.kubernetes.io/last-applied-configuration");
    let mut all = wanted.annotations();
    all.extend(kept.map(|(key, value)| (key.to_owned(), value.into())));
    *metadata = serde_json::json!({"name": text(object, "/metadata/name"), "namespace": namespace});
    if !all.is_empty() {
        metadata["annotations"] = Value::Object(all);
    }
    written["spec"]["ingressClassName"] = target.class.clone().into();
    if let Some(fields) = written.as_object_mut() {
        fields.remove("status");
    }
    report.written.push(written);
    if wanted.closed.is_none() {
        report.say(Verdict::Same, "metadata.annotations", format!("written as {}", name_of(object)));
    }
}

/// `shop-basic-auth@kubernetescrd`: the namespace and the name with a dash between them, which both may hold, too.
fn by_reference(item: &str, documents: &Documents, wanted: &mut Wanted, report: &mut ObjectReport) {
    let Some(joined) = item.strip_suffix("@kubernetescrd") else {
        return wanted.close(
            item,
            "a middleware that no object defines cannot be looked at, and may guard access",
            report,
        );
    };
    let found = documents
        .of_kind("Middleware")
        .find(|object| format!("{}-{}", namespace_of(object), text(object, "/metadata/name")) == joined);
    match found {
        Some(object) => {
            let (namespace, name) = (namespace_of(object), text(object, "/metadata/name"));
            middleware::take(documents, namespace, name, wanted, report, 0);
        }
        None if joined.contains("authentik")
            || joined.contains("forward-auth")
            || joined.contains("forwardauth") =>
        {
            let instead = foreign::instead("traefik.ingress.kubernetes.io/router.middlewares", joined);
            let words = format!(
                "it asks another server about every request, and is not among the manifests: in place of deny-from, {}",
                instead.unwrap_or_default()
            );
            wanted.close(item, &words, report);
        }
        None => wanted.close(item, "it is not among the manifests, and may guard access", report),
    }
}

fn cert_manager(key: &str, name: &str, value: &str, report: &mut ObjectReport) {
    match name {
        "cluster-issuer" | "issuer" => report.say(
            Verdict::Same,
            key,
            format!("cert-manager goes on writing the Secret that `spec.tls` names; later `vestibule.dev/issuer` may take the place of {value}"),
        ),
        _ => report.say(Verdict::Same, key, "it is cert-manager's, which goes on reading it"),
    }
}

const NGINX: &str = "nginx.ingress.kubernetes.io/";
const TRAEFIK: &str = "traefik.ingress.kubernetes.io/";
