//! Routes and Gateways of the Gateway API that were written for Traefik: its filters become keys, its ports the usual ones.

use serde_json::{Map, Value, json};

use super::documents::{Documents, annotations, list, name_of, namespace_of, text};
use super::guards::Wanted;
use super::{ObjectReport, Target, Verdict, middleware};
use crate::config::annotations::keys;
use crate::config::problem::Kind;

/// A Gateway on Traefik's own ports is written with those that clients use, in the class of ours.
pub(super) fn gateway(object: &Value, target: &Target, report: &mut ObjectReport) {
    let mut written = object.clone();
    let mut moved = false;
    for listener in written.pointer_mut("/spec/listeners").and_then(Value::as_array_mut).into_iter().flatten()
    {
        let usual = match listener.get("port").and_then(Value::as_u64) {
            Some(8000) => 80,
            Some(8443) => 443,
            _ => continue,
        };
        let words =
            format!("the listener {} is on Traefik's own port: written as {usual}", text(listener, "/name"));
        listener["port"] = usual.into();
        report.say(Verdict::Changes, "spec.listeners", words);
        moved = true;
    }
    if let Some(listeners) = written.pointer_mut("/spec/listeners").and_then(Value::as_array_mut) {
        listeners.retain(|listener| {
            let ends_tls = ["HTTPS", "TLS"].contains(&text(listener, "/protocol"))
                && text(listener, "/tls/mode") != "Passthrough";
            let has_certificate = !list(listener, "/tls/certificateRefs").is_empty();
            if ends_tls && !has_certificate {
                let words = format!(
                    "the listener {} shows a certificate that Traefik has of its own: name a Secret in `tls.certificateRefs`; it was not written",
                    text(listener, "/name")
                );
                report.say(Verdict::ByHand, "spec.listeners", words);
            }
            has_certificate || !ends_tls
        });
    }
    let class = text(object, "/spec/gatewayClassName");
    if class == "traefik" {
        written["spec"]["gatewayClassName"] = target.class.clone().into();
        let words = format!(
            "written for the class {}; it has an address of its own then, which names in DNS have to follow",
            target.class
        );
        report.say(Verdict::Changes, "spec.gatewayClassName", words);
        moved = true;
    }
    if moved {
        report.written.push(cleaned(written));
    }
}

/// A route whose filters are middlewares is written with keys in their place: the same keys hold for a whole object, so rules that
/// ask for different ones become routes of their own.
pub(super) fn route(object: &Value, documents: &Documents, report: &mut ObjectReport) {
    let rules = list(object, "/spec/rules");
    let extended =
        |rule: &Value| list(rule, "/filters").iter().any(|filter| text(filter, "/type") == "ExtensionRef");
    if !rules.iter().any(extended) {
        return;
    }
    let lowered: Vec<(Value, Map<String, Value>)> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| one_rule(object, index, rule, documents, report))
        .collect();
    let alike = lowered.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let name = text(object, "/metadata/name");
    if alike {
        let keys = lowered.first().map(|(_, keys)| keys.clone()).unwrap_or_default();
        let rules = lowered.into_iter().map(|(rule, _)| rule).collect();
        write(object, name.to_owned(), rules, keys, report);
    } else {
        for (index, (rule, keys)) in lowered.into_iter().enumerate() {
            write(object, format!("{name}-{index}"), vec![rule], keys, report);
        }
        let words = "its rules became routes of their own: delete this one when they are there";
        report.say(Verdict::ByHand, "metadata.name", words);
    }
}

/// Writes the route by this name, with these rules and keys.
fn write(
    object: &Value,
    name: String,
    rules: Vec<Value>,
    keys: Map<String, Value>,
    report: &mut ObjectReport,
) {
    let mut written = cleaned(object.clone());
    written["spec"]["rules"] = Value::Array(rules);
    written["metadata"]["name"] = name.into();
    let mut all: Map<String, Value> =
        annotations(&written).map(|(key, value)| (key.to_owned(), value.into())).collect();
    all.extend(keys);
    if !all.is_empty() {
        written["metadata"]["annotations"] = Value::Object(all);
    }
    report.say(Verdict::Same, "spec.rules", format!("written as {}", name_of(&written)));
    report.written.push(written);
}

/// The rule without its middlewares, and the keys that take their place.
fn one_rule(
    object: &Value,
    index: usize,
    rule: &Value,
    documents: &Documents,
    report: &mut ObjectReport,
) -> (Value, Map<String, Value>) {
    let about = format!("spec.rules[{index}].filters");
    let kind = if text(object, "/kind") == "GRPCRoute" { Kind::GRPCRoute } else { Kind::HTTPRoute };
    let mut wanted = Wanted::of(namespace_of(object));
    let mut kept = Vec::new();
    for filter in list(rule, "/filters") {
        let reference = &filter["extensionRef"];
        match (text(filter, "/type"), text(reference, "/kind")) {
            ("ExtensionRef", "Middleware") => {
                let name = text(reference, "/name");
                middleware::take(documents, namespace_of(object), name, &mut wanted, report, 0);
            }
            ("ExtensionRef", other) => {
                let words = format!(
                    "the filter {other} {} is not known, and may guard access",
                    text(reference, "/name")
                );
                wanted.close(&about, &words, report);
            }
            _ => kept.push(filter.clone()),
        }
    }
    if !wanted.strip.is_empty() {
        match strip(rule, &wanted.strip) {
            Some(filter) => kept.push(filter),
            None => report.say(
                Verdict::ByHand,
                &about,
                "the prefix that is cut off is not the one path of the rule: write a URLRewrite filter",
            ),
        }
    }
    if let Some(path) = &wanted.replace {
        kept.push(json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": path}}}));
    }
    if wanted.add.is_some() {
        report.say(Verdict::ByHand, &about, "a prefix is put in front: write a URLRewrite filter");
    }
    // What an Ingress says by a key, a route says in another way or not at all.
    let misplaced: Vec<String> = wanted
        .keys
        .keys()
        .filter(|name| keys::find(name).is_none_or(|key| !key.takes.includes(kind)))
        .cloned()
        .collect();
    for name in misplaced {
        let value = wanted.keys.remove(&name).unwrap_or_default();
        if keys::find(&name).is_some_and(|key| key.guards_access) {
            wanted.close(&about, &format!("`{name}: {value}` cannot be said on a route"), report);
        } else {
            report.say(
                Verdict::ByHand,
                &about,
                format!("`{name}: {value}` is written as a filter of the route"),
            );
        }
    }
    let mut rule = rule.clone();
    if kept.is_empty() {
        if let Some(fields) = rule.as_object_mut() {
            fields.remove("filters");
        }
    } else {
        rule["filters"] = Value::Array(kept);
    }
    (rule, wanted.annotations())
}

/// The filter that cuts off the prefix which is the one path of the rule.
fn strip(rule: &Value, prefixes: &[String]) -> Option<Value> {
    let [matched] = list(rule, "/matches") else { return None };
    let value = text(matched, "/path/value");
    let is_prefix = ["PathPrefix", ""].contains(&text(matched, "/path/type"));
    let cut = prefixes.iter().any(|prefix| prefix.trim_end_matches('/') == value.trim_end_matches('/'));
    (is_prefix && cut && !value.is_empty()).then(|| {
        json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}})
    })
}

/// Without what a server has written into it.
fn cleaned(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let kept: Map<String, Value> = annotations(&object)
        .filter(|(key, _)| *key != "kubectl.kubernetes.io/last-applied-configuration")
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let mut metadata = json!({"name": text(&object, "/metadata/name"), "namespace": namespace_of(&object)});
    if !kept.is_empty() {
        metadata["annotations"] = Value::Object(kept);
    }
    object["metadata"] = metadata;
    object
}
