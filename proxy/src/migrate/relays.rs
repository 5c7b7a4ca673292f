//! IngressRouteTCP and IngressRouteUDP, as TCPRoute, TLSRoute and UDPRoute with the listeners that they need.
//!
//! Entry points have their ports in Traefik's own configuration, which is no manifest: those of web and websecure are known, the
//! rest has to be said. What guards access and has no counterpart is not written at all: nothing listens for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::documents::{Documents, list, namespace_of, text, texts};
use super::rule::{self, Match};
use super::{ObjectReport, Target, Verdict};

/// The listeners that routes of one namespace need, by their names. One Gateway has them all.
#[derive(Debug, Default)]
pub(super) struct Listeners(BTreeMap<String, BTreeMap<String, Value>>);

impl Listeners {
    fn add(&mut self, namespace: &str, name: String, listener: Value) {
        self.0.entry(namespace.to_owned()).or_default().insert(name, listener);
    }

    /// The Gateways, each with the report that it belongs to.
    pub(super) fn reports(self, target: &Target) -> Vec<ObjectReport> {
        self.0
            .into_iter()
            .map(|(namespace, listeners)| {
                let listeners: Vec<Value> = listeners.into_values().collect();
                let gateway = json!({
                    "apiVersion": "gateway.networking.k8s.io/v1",
                    "kind": "Gateway",
                    "metadata": {"name": GATEWAY, "namespace": namespace},
                    "spec": {"gatewayClassName": target.class, "listeners": listeners},
                });
                let object = format!("Gateway {namespace}/{GATEWAY}");
                let mut report = ObjectReport { object, findings: Vec::new(), written: vec![gateway] };
                let words = "listens for the routes that take the place of entry points; it has an address of its own, which clients \
                             have to be told";
                report.say(Verdict::Changes, "spec.listeners", words);
                for port in clashes(&report.written[0]) {
                    let words = format!(
                        "bytes with TLS and without it came in on port {port}, which two listeners cannot share: give one of them another port"
                    );
                    report.say(Verdict::ByHand, "spec.listeners", words);
                }
                report
            })
            .collect()
    }
}

pub(super) fn tcp(
    object: &Value,
    documents: &Documents,
    target: &Target,
    listeners: &mut Listeners,
    report: &mut ObjectReport,
) {
    let tls = object.pointer("/spec/tls");
    for (index, route) in list(object, "/spec/routes").iter().enumerate() {
        let about = format!("spec.routes[{index}]");
        if let Err((verdict, words)) = guarded(route, object) {
            report.say(verdict, &about, format!("{words}; nothing was written, and nothing listens for it"));
            continue;
        }
        let matches = match rule::parse(text(route, "/match")) {
            Ok(matches) => matches,
            Err(reason) => {
                report.say(
                    Verdict::ByHand,
                    &about,
                    format!("`{}`: {reason}; nothing was written", text(route, "/match")),
                );
                continue;
            }
        };
        if matches.iter().any(|matched| !matched.clients.is_empty()) {
            let words = "ClientIP: a route for bytes has no list of addresses; nothing was written, and nothing listens for it";
            report.say(Verdict::Closed, &about, words);
            continue;
        }
        let Some(backends) = backends(object, route, documents, &about, report) else { continue };
        let hosts = hosts(&matches);
        let name = name_of(object, index);
        let kind = if tls.is_some() { "TLSRoute" } else { "TCPRoute" };
        if tls.is_none() && !hosts.is_empty() {
            let words = "HostSNI names a host, which only TLS says: write `HostSNI(`*`)` or give the route TLS; nothing was written";
            report.say(Verdict::ByHand, &about, words);
            continue;
        }
        let Some(parents) = parents(object, tls, &hosts, target, listeners, &about, report) else { continue };
        let mut spec = json!({"parentRefs": parents, "rules": [{"backendRefs": backends}]});
        if kind == "TLSRoute" && !hosts.is_empty() {
            spec["hostnames"] = json!(hosts);
        }
        let mut metadata = json!({"name": name, "namespace": namespace_of(object)});
        match proxy_protocol(route) {
            None => {}
            Some(2) => metadata["annotations"] = json!({"vestibule.dev/send-proxy-protocol": "true"}),
            Some(version) => {
                let words = format!(
                    "backends are told the client's address by version 2 of the PROXY protocol, not {version}"
                );
                report.say(Verdict::ByHand, &about, words);
            }
        }
        report.written.push(
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}),
        );
        report.say(Verdict::Same, &about, format!("written as {kind} {}/{name}", namespace_of(object)));
    }
}

pub(super) fn udp(
    object: &Value,
    documents: &Documents,
    target: &Target,
    listeners: &mut Listeners,
    report: &mut ObjectReport,
) {
    for (index, route) in list(object, "/spec/routes").iter().enumerate() {
        let about = format!("spec.routes[{index}]");
        let Some(backends) = backends(object, route, documents, &about, report) else { continue };
        let mut parents = Vec::new();
        for entry in texts(object, "/spec/entryPoints") {
            let Some(port) = port(entry, target, &about, report) else { continue };
            let name = format!("{entry}-udp");
            listeners.add(
                namespace_of(object),
                name.clone(),
                json!({"name": name, "port": port, "protocol": "UDP"}),
            );
            parents.push(json!({"name": GATEWAY, "sectionName": name}));
        }
        if parents.is_empty() {
            report.say(
                Verdict::ByHand,
                "spec.entryPoints",
                "none of them has a port that is known; nothing was written",
            );
            continue;
        }
        let name = name_of(object, index);
        report.written.push(json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "UDPRoute",
            "metadata": {"name": name, "namespace": namespace_of(object)},
            "spec": {"parentRefs": parents, "rules": [{"backendRefs": backends}]},
        }));
        report.say(Verdict::Same, &about, format!("written as UDPRoute {}/{name}", namespace_of(object)));
    }
}

/// Why a route must not be written without somebody having looked at it.
fn guarded(route: &Value, object: &Value) -> Result<(), (Verdict, &'static str)> {
    if !list(route, "/middlewares").is_empty() {
        return Err((
            Verdict::Closed,
            "its middlewares restrict who may connect, which a route for bytes cannot",
        ));
    }
    if object.pointer("/spec/tls/options").is_some() {
        return Err((Verdict::Closed, "its TLS options may ask for client certificates"));
    }
    let through = |service: &Value| {
        service.get("tls") == Some(&Value::Bool(true)) || service.get("serversTransport").is_some()
    };
    if list(route, "/services").iter().any(through) {
        return Err((Verdict::ByHand, "its backends are spoken to in TLS: write a BackendTLSPolicy"));
    }
    Ok(())
}

/// The hosts of all alternatives; none: all.
fn hosts(matches: &[Match]) -> Vec<String> {
    let all = matches
        .iter()
        .any(|matched| matched.hosts.is_empty() || matched.hosts.iter().any(|host| host == "*"));
    if all { Vec::new() } else { matches.iter().flat_map(|matched| matched.hosts.iter().cloned()).collect() }
}

/// The listeners that carry the route, put up where they are missing.
fn parents(
    object: &Value,
    tls: Option<&Value>,
    hosts: &[String],
    target: &Target,
    listeners: &mut Listeners,
    about: &str,
    report: &mut ObjectReport,
) -> Option<Vec<Value>> {
    let namespace = namespace_of(object);
    let passes_through = tls.is_some_and(|tls| tls.get("passthrough") == Some(&Value::Bool(true)));
    let secret = tls.map_or("", |tls| text(tls, "/secretName"));
    if tls.is_some() && !passes_through && secret.is_empty() {
        let words = "TLS ends here, and no Secret with a certificate is named: name one in `spec.tls.secretName`; nothing was written";
        report.say(Verdict::ByHand, about, words);
        return None;
    }
    let mut parents = Vec::new();
    for entry in texts(object, "/spec/entryPoints") {
        let Some(port) = port(entry, target, about, report) else { continue };
        if tls.is_none() {
            let name = format!("{entry}-tcp");
            listeners.add(namespace, name.clone(), json!({"name": name, "port": port, "protocol": "TCP"}));
            parents.push(json!({"name": GATEWAY, "sectionName": name}));
            continue;
        }
        let wanted: Vec<Option<&String>> =
            if hosts.is_empty() { vec![None] } else { hosts.iter().map(Some).collect() };
        for host in wanted {
            let label = host.map_or("any".to_owned(), |host| host.replace('*', "wildcard").replace('.', "-"));
            let name = format!("{entry}-{label}");
            let mode = if passes_through {
                json!({"mode": "Passthrough"})
            } else {
                json!({"mode": "Terminate", "certificateRefs": [{"name": secret}]})
            };
            let mut listener = json!({"name": name, "port": port, "protocol": "TLS", "tls": mode});
            if let Some(host) = host {
                listener["hostname"] = host.clone().into();
            }
            listeners.add(namespace, name.clone(), listener);
            parents.push(json!({"name": GATEWAY, "sectionName": name}));
        }
    }
    if parents.is_empty() {
        report.say(
            Verdict::ByHand,
            "spec.entryPoints",
            "none of them has a port that is known; nothing was written",
        );
        return None;
    }
    Some(parents)
}

fn port(entry: &str, target: &Target, about: &str, report: &mut ObjectReport) -> Option<u16> {
    let known = target.entry_points.get(entry).copied();
    if known.is_none() {
        let words = format!(
            "the port of the entry point {entry} stands in Traefik's own configuration: say it by `--entry-point {entry}=PORT`"
        );
        report.say(Verdict::ByHand, about, words);
    }
    known
}

fn backends(
    object: &Value,
    route: &Value,
    documents: &Documents,
    about: &str,
    report: &mut ObjectReport,
) -> Option<Vec<Value>> {
    let namespace = namespace_of(object);
    let mut backends = Vec::new();
    for service in list(route, "/services") {
        let space = Some(text(service, "/namespace")).filter(|space| !space.is_empty()).unwrap_or(namespace);
        let name = text(service, "/name");
        let Some(port) = service_port(service, space, documents) else {
            let words = format!(
                "the port of the Service {space}/{name} has a name, and the Service is not among the manifests: write its number"
            );
            report.say(Verdict::ByHand, about, words);
            return None;
        };
        let mut reference = json!({"name": name, "port": port});
        if space != namespace {
            reference["namespace"] = space.into();
            let words = format!("a ReferenceGrant in {space} has to let the route name the Service {name}");
            report.say(Verdict::ByHand, about, words);
        }
        if let Some(weight) = service.get("weight").and_then(Value::as_u64) {
            reference["weight"] = weight.into();
        }
        backends.push(reference);
    }
    Some(backends)
}

fn service_port(service: &Value, namespace: &str, documents: &Documents) -> Option<u64> {
    match service.get("port")? {
        Value::Number(number) => number.as_u64(),
        Value::String(name) => name.parse().ok().or_else(|| {
            let found = documents.find("Service", namespace, text(service, "/name"))?;
            let port = list(found, "/spec/ports").iter().find(|port| text(port, "/name") == name)?;
            port.get("port")?.as_u64()
        }),
        _ => None,
    }
}

/// Ports on which two listeners speak different protocols.
fn clashes(gateway: &Value) -> Vec<u64> {
    let ports = |protocol: &'static str| {
        let listeners = list(gateway, "/spec/listeners").iter();
        let spoken = listeners.filter(move |listener| text(listener, "/protocol") == protocol);
        spoken.filter_map(|listener| listener.get("port").and_then(Value::as_u64))
    };
    let mut clashing: Vec<u64> =
        ports("TCP").filter(|port| ports("TLS").any(|other| other == *port)).collect();
    clashing.dedup();
    clashing
}

/// The version of the PROXY protocol that its backends are spoken to by.
fn proxy_protocol(route: &Value) -> Option<u64> {
    let asked = list(route, "/services").iter().find_map(|service| service.get("proxyProtocol"))?;
    Some(asked.get("version").and_then(Value::as_u64).unwrap_or(2))
}

fn name_of(object: &Value, index: usize) -> String {
    let name = text(object, "/metadata/name");
    if list(object, "/spec/routes").len() > 1 { format!("{name}-{index}") } else { name.to_owned() }
}

/// Of what is written in each namespace.
const GATEWAY: &str = "entry-points";
