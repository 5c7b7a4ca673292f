//! What stands beside routes and decides whether they go on working: policies, certificates, sleepers, webhooks.

use serde_json::{Value, json};

use super::documents::{Documents, annotations, list, namespace_of, text};
use super::{ObjectReport, Target, Verdict};
use crate::config::ingress::INGRESS_CONTROLLER;
use crate::config::nginx::NGINX_CONTROLLER;

/// Whether the backends behind a policy can be reached from our namespace, and the patch if not.
pub(super) fn network_policy(
    object: &Value,
    documents: &Documents,
    target: &Target,
    report: &mut ObjectReport,
) {
    let types = list(object, "/spec/policyTypes");
    let about_ingress = types.is_empty() || types.iter().any(|sort| sort == "Ingress");
    let backends: Vec<&str> = documents
        .of_kind("Service")
        .filter(|service| namespace_of(service) == namespace_of(object) && selects(object, service))
        .map(|service| text(service, "/metadata/name"))
        .collect();
    if !about_ingress || backends.is_empty() {
        return;
    }
    let admits = list(object, "/spec/ingress").iter().any(|rule| {
        let from = list(rule, "/from");
        from.is_empty() || from.iter().any(|peer| admits_namespace(peer, &target.namespace))
    });
    if admits {
        return report.say(
            Verdict::Same,
            "spec.ingress",
            format!("admits the namespace {}", target.namespace),
        );
    }
    let patch = json!([{
        "op": "add",
        "path": if list(object, "/spec/ingress").is_empty() { "/spec/ingress" } else { "/spec/ingress/-" },
        "value": if list(object, "/spec/ingress").is_empty() { json!([our_rule(target)]) } else { our_rule(target) },
    }]);
    let words = format!(
        "{} would not be reached from the namespace {}: kubectl -n {} patch networkpolicy {} --type=json -p '{patch}'",
        backends.join(", "),
        target.namespace,
        namespace_of(object),
        text(object, "/metadata/name"),
    );
    report.say(Verdict::ByHand, "spec.ingress", words);
}

fn our_rule(target: &Target) -> Value {
    json!({"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": target.namespace}}}]})
}

fn selects(policy: &Value, service: &Value) -> bool {
    let labels = service.pointer("/spec/selector").and_then(Value::as_object);
    let wanted = policy.pointer("/spec/podSelector/matchLabels").and_then(Value::as_object);
    let Some(labels) = labels else { return false };
    wanted.into_iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
}

fn admits_namespace(peer: &Value, namespace: &str) -> bool {
    // A range of addresses may or may not hold those of our pods; whoever wrote it has to look.
    let Some(selector) = peer.get("namespaceSelector") else { return false };
    let labels = selector.pointer("/matchLabels").and_then(Value::as_object);
    let expressions = !list(selector, "/matchExpressions").is_empty();
    let named = labels
        .into_iter()
        .flatten()
        .all(|(name, value)| name == "kubernetes.io/metadata.name" && value == namespace);
    named && !expressions && peer.get("podSelector").is_none()
}

/// Policies of a mesh: those of Istio with the patch that admits us, the others in words.
pub(super) fn mesh(object: &Value, documents: &Documents, target: &Target, report: &mut ObjectReport) {
    let (namespace, name) = (namespace_of(object), text(object, "/metadata/name"));
    let istio = text(object, "/apiVersion").starts_with("security.istio.io/");
    let selected: Vec<&str> = documents
        .of_kind("Service")
        .filter(|service| namespace_of(service) == namespace && chosen_by(object, service))
        .map(|service| text(service, "/metadata/name"))
        .collect();
    let whom = if selected.is_empty() { "what it selects".to_owned() } else { selected.join(", ") };
    match (super::documents::kind_of(object), text(object, "/spec/action")) {
        ("AuthorizationPolicy", "" | "ALLOW") if istio => {
            let ours = json!({"from": [{"source": {"namespaces": [target.namespace]}}]});
            let none = list(object, "/spec/rules").is_empty();
            let admitted = list(object, "/spec/rules").iter().any(|rule| {
                let from = list(rule, "/from");
                from.is_empty()
                    || from.iter().any(|peer| {
                        list(peer, "/source/namespaces").iter().any(|own| *own == *target.namespace)
                    })
            });
            if admitted {
                return report.say(
                    Verdict::Same,
                    "spec.rules",
                    format!("admits the namespace {}", target.namespace),
                );
            }
            let (path, value) = if none { ("/spec/rules", json!([ours])) } else { ("/spec/rules/-", ours) };
            let patch = json!([{"op": "add", "path": path, "value": value}]);
            let words = format!(
                "{whom} would not be reached from the namespace {}, whose pods have to be part of the mesh: kubectl -n {namespace} patch \
                 authorizationpolicies.security.istio.io {name} --type=json -p '{patch}'",
                target.namespace
            );
            report.say(Verdict::ByHand, "spec.rules", words);
        }
        ("PeerAuthentication", _) if text(object, "/spec/mtls/mode") == "STRICT" => {
            let patch = json!({"spec": {"mtls": {"mode": "PERMISSIVE"}}});
            let words = format!(
                "{whom} takes connections of the mesh alone: make the pods of Vestibule part of it, or kubectl -n {namespace} patch \
                 peerauthentications.security.istio.io {name} --type=merge -p '{patch}'"
            );
            report.say(Verdict::ByHand, "spec.mtls", words);
        }
        ("PeerAuthentication", _) => {}
        ("ServerAuthorization", _) => {
            let account = json!({"name": "vestibule", "namespace": target.namespace});
            let patch =
                json!([{"op": "add", "path": "/spec/client/meshTLS/serviceAccounts/-", "value": account}]);
            let words = format!(
                "{whom} may not be reached from the namespace {}: kubectl -n {namespace} patch serverauthorizations.policy.linkerd.io {name} \
                 --type=json -p '{patch}'",
                target.namespace
            );
            report.say(Verdict::ByHand, "spec.client", words);
        }
        _ => report.say(
            Verdict::ByHand,
            "spec",
            "a policy of a service mesh: it has to admit the service account of Vestibule, or its namespace",
        ),
    }
}

/// Whether a policy of a mesh is about the pods of a Service.
fn chosen_by(policy: &Value, service: &Value) -> bool {
    let labels = service.pointer("/spec/selector").and_then(Value::as_object);
    let wanted = policy.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let Some(labels) = labels else { return false };
    wanted.into_iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
}

/// Certificates that pods mount have to stay with cert-manager: only Secrets of routes are ours.
pub(super) fn certificate(object: &Value, documents: &Documents, report: &mut ObjectReport) {
    let secret = text(object, "/spec/secretName");
    let mounted = documents.iter().find(|other| {
        namespace_of(other) == namespace_of(object)
            && list(other, "/spec/template/spec/volumes")
                .iter()
                .chain(list(other, "/spec/volumes"))
                .any(|volume| text(volume, "/secret/secretName") == secret)
    });
    match mounted {
        Some(workload) => {
            let words =
                format!("{} mounts {secret}: keep cert-manager for it", super::documents::name_of(workload));
            report.say(Verdict::Same, "spec.secretName", words);
        }
        None => report.say(
            Verdict::Same,
            "spec.secretName",
            format!("routes may go on naming {secret}; cert-manager goes on writing it"),
        ),
    }
}

pub(super) fn workload(object: &Value, report: &mut ObjectReport) {
    for container in list(object, "/spec/template/spec/containers") {
        let image = text(container, "/image");
        if image.contains("oauth2-proxy") {
            let per_application =
                list(container, "/args").iter().filter_map(Value::as_str).filter(|argument| {
                    ["--allowed-group", "--email-domain", "--authenticated-emails-file", "--skip-auth-route"]
                        .iter()
                        .any(|flag| argument.starts_with(flag))
                });
            let rules: Vec<&str> = per_application.collect();
            let mut words = "an OAuth2-Proxy: keep it and name it in `vestibule.dev/auth-url`, or let `vestibule.dev/auth` take its place".to_owned();
            if !rules.is_empty() {
                words.push_str(&format!("; its own rules do not come along: {}", rules.join(" ")));
            }
            report.say(Verdict::ByHand, "image", words);
        }
        if image.contains("authentik") && image.contains("proxy") {
            report.say(
                Verdict::ByHand,
                "image",
                "an outpost: its policies for each application stay in it and do not come along",
            );
        }
    }
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let sablier = labels.into_iter().flatten().any(|(name, _)| name.starts_with("sablier."));
    if sablier || annotations(object).any(|(key, _)| key.starts_with("sablier.")) {
        report.say(
            Verdict::ByHand,
            "metadata.labels",
            "woken by Sablier: write `vestibule.dev/wake` and `vestibule.dev/wake-idle` on its routes",
        );
    }
}

pub(super) fn webhook(object: &Value, report: &mut ObjectReport) {
    let ours = list(object, "/webhooks").iter().any(|webhook| {
        list(webhook, "/rules")
            .iter()
            .any(|rule| list(rule, "/resources").iter().any(|name| name == "ingresses"))
    });
    if ours {
        let words = "it is asked about every Ingress; when its controller is gone, Ingresses cannot be changed: delete it last";
        report.say(Verdict::ByHand, "webhooks", words);
    }
}

pub(super) fn class(object: &Value, target: &Target, report: &mut ObjectReport) {
    let default = annotations(object)
        .any(|(key, value)| key == "ingressclass.kubernetes.io/is-default-class" && value == "true");
    let name = text(object, "/metadata/name");
    match text(object, "/spec/controller") {
        NGINX_CONTROLLER => {
            let words = format!(
                "list it in the settings: `classes: [{{name: {name}, ingressNginx: {{}}}}]`; the object stays as it is"
            );
            report.say(Verdict::Same, "spec.controller", words);
        }
        INGRESS_CONTROLLER => {}
        other => {
            let words =
                format!("it is {other}'s: its Ingresses stay there until their class is {}", target.class);
            report.say(Verdict::Changes, "spec.controller", words);
        }
    }
    if default {
        report.say(
            Verdict::ByHand,
            "metadata.annotations",
            "it is the default class: Ingresses without a class follow the annotation, so move it last",
        );
    }
}
