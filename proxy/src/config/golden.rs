//! Golden tests: `tests/golden/NAME.in.yaml` holds objects, `NAME.out.txt` what they compile to. After a change that is
//! meant, `REGENERATE=1 cargo test -p proxy --lib golden` writes the outputs anew, and the difference is reviewed.
//!
//! A document of kind `Settings` is the operator's file. In Secrets and ConfigMaps, `(certificate NAME…)` as a value of
//! `tls.crt` stands for a new self-signed certificate for these names, and `(its key)` for its key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use super::backend::Locality;
use super::compile::{Compiled, Compiler, describe};
use super::objects::{Object, Objects};
use super::problem::Kind;
use super::status::{Condition, ListenerStatus};
use crate::route::host::Host;
use crate::route::{Action, Route};
use crate::settings::Settings;
use crate::tls::tickets::TicketSecret;
use crate::upstream::{Backend, EndpointAddress};

#[test]
fn every_input_compiles_to_its_output() {
    let mut failures = Vec::new();
    let mut count = 0;
    for input in inputs() {
        count += 1;
        let text = std::fs::read_to_string(&input).expect("a readable input");
        let actual = run(&text);
        let name = input.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        let output = input.with_file_name(name.replace(".in.yaml", ".out.txt"));
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&output, &actual).expect("a writable output");
            continue;
        }
        let expected = std::fs::read_to_string(&output).unwrap_or_default();
        if expected != actual {
            failures.push(format!("--- {name}: expected\n{expected}+++ {name}: got\n{actual}"));
        }
    }
    assert!(count >= CASES_MIN, "only {count} cases in {}", directory().display());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Objects and settings of one input.
pub(super) fn read(text: &str) -> (Objects, Settings) {
    let mut objects = Objects::new();
    let mut settings = Settings::default();
    for document in text.split("\n---\n") {
        let mut value: Value = crate::yaml::from_str(document).expect("YAML");
        let Some(fields) = value.as_object_mut() else { continue };
        let kind = fields.get("kind").and_then(Value::as_str).expect("a kind").to_owned();
        if kind == "Settings" {
            fields.remove("kind");
            settings = Settings::deserialize(value).expect("settings");
            continue;
        }
        let version = fields.get("apiVersion").and_then(Value::as_str).expect("an apiVersion");
        let kind = Kind::from_api(version, &kind).unwrap_or_else(|| panic!("{version} {kind} is not read"));
        fill_certificates(&mut value);
        objects.apply(Object::deserialize(kind, value).expect("an object"));
    }
    (objects, settings)
}

fn run(text: &str) -> String {
    let (objects, settings) = read(text);
    let locality = Locality { zone: Some("zone-a".into()), node: Some("node-a".into()) };
    let mut compiler = Compiler::new(TicketSecret::random(), None, locality);
    let compiled = compiler.compile(&objects, &settings);
    let mut out = describe(&compiled.table);
    section(&mut out, "endpoints", endpoints(&compiled));
    section(&mut out, "certificates", certificates(&compiled));
    section(&mut out, "status", status(&compiled, &compiler));
    section(&mut out, "problems", compiled.problems.iter().map(ToString::to_string));
    out
}

fn section(out: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        writeln!(out, "{title}").expect("a String");
        for line in lines {
            writeln!(out, "  {line}").expect("a String");
        }
    }
}

fn endpoints(compiled: &Compiled) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for route in routes(compiled) {
        let Action::Forward(shares) = &route.action else { continue };
        let mirrors = route.mirrors.iter().map(|mirror| &mirror.backend);
        let shares = shares.iter().chain(route.canary.iter().map(|canary| &canary.share));
        for backend in shares.filter_map(|share| share.backend.as_ref().ok()).chain(mirrors) {
            lines.insert(endpoints_of(backend));
        }
    }
    lines.into_iter().collect()
}

fn endpoints_of(backend: &Backend) -> String {
    let key = &backend.key;
    let mut line = format!("{}/{}:{}", key.namespace, key.service, key.port);
    for endpoint in backend.endpoints().iter() {
        match &endpoint.spec.address {
            EndpointAddress::Socket(address) => write!(line, " {address}").expect("a String"),
            EndpointAddress::Name(name, port) => write!(line, " {name}:{port}").expect("a String"),
        }
        if !endpoint.spec.local {
            line.push_str(" (far)");
        }
    }
    line
}

fn routes(compiled: &Compiled) -> Vec<std::sync::Arc<Route>> {
    let mut routes = Vec::new();
    for section in compiled.table.listeners.iter().flat_map(|listener| listener.sections()) {
        for (_, host) in section.hosts.hosts().iter() {
            routes.extend(host.list().into_iter().map(|(_, candidate)| candidate.route.clone()));
        }
        routes.extend(section.hosts.default_route().cloned());
    }
    routes
}

/// Per TLS listener and host, the names of the certificate that a client is shown.
fn certificates(compiled: &Compiled) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in &compiled.table.listeners {
        let Some(tls) = &listener.tls else { continue };
        let mut shown = BTreeMap::new();
        for section in listener.sections() {
            for (host, _) in section.hosts.hosts().iter() {
                let name = host.to_string().replace('*', "any");
                let certificate = tls.certificate(Host::parse(&name).ok().as_ref());
                let names = certificate.map_or("none".to_owned(), |certificate| {
                    certificate.names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                });
                shown.insert(name, names);
            }
        }
        if shown.values().all(|names| names == "none") {
            continue;
        }
        lines.extend(shown.into_iter().map(|(host, names)| format!("{:?} {host}: {names}", listener.key)));
    }
    lines
}

fn status(compiled: &Compiled, compiler: &Compiler) -> Vec<String> {
    let mut lines = Vec::new();
    for gateway in &compiled.statuses.gateways {
        let accepted = condition("accepted", &gateway.accepted);
        let programmed = condition("programmed", &gateway.programmed);
        lines.push(format!("{}: {accepted}, {programmed}", gateway.gateway));
        if let Some(resolved) = &gateway.resolved_refs {
            lines.push(format!("  {}", condition("resolved", resolved)));
        }
        if !gateway.addresses.is_empty()
            && gateway.addresses[..] != [std::sync::Arc::<str>::from("127.0.0.1")]
        {
            lines.push(format!("  at {}", gateway.addresses.join(" ")));
        }
        if gateway.attached_listener_sets > 0 {
            lines.push(format!("  {} ListenerSets", gateway.attached_listener_sets));
        }
        if gateway.insecure_frontend_validation.is_some() {
            lines.push("  lets in clients without a valid certificate".into());
        }
        lines.extend(gateway.listeners.iter().map(describe_listener));
    }
    for set in &compiled.statuses.sets {
        let accepted = condition("accepted", &set.accepted);
        let programmed = condition("programmed", &set.programmed);
        lines.push(format!("{}: {accepted}, {programmed}", set.set));
        lines.extend(set.listeners.iter().map(describe_listener));
    }
    for policy in &compiled.statuses.policies {
        let accepted = condition("accepted", &policy.accepted);
        let resolved = condition("resolved", &policy.resolved_refs);
        let ancestors: Vec<String> = policy.ancestors.iter().map(ToString::to_string).collect();
        lines.push(format!("{}: {accepted}, {resolved} [{}]", policy.policy, ancestors.join(", ")));
    }
    for route in compiler.route_statuses() {
        lines.push(route.route.to_string());
        for parent in &route.parents {
            let section = parent.parent.section_name.as_deref().unwrap_or("*");
            let accepted = condition("accepted", &parent.accepted);
            let resolved = condition("resolved", &parent.resolved_refs);
            let partial = parent.partially_invalid.as_ref();
            let partial =
                partial.map_or(String::new(), |partial| format!(", partially invalid: {}", partial.message));
            let listeners = parent.listeners.join(" ");
            let name = &parent.parent.name;
            lines.push(format!("  {name} {section}: {accepted}, {resolved}{partial} [{listeners}]"));
        }
    }
    lines
}

fn condition(name: &str, condition: &Condition) -> String {
    let holds = if condition.holds { "" } else { "not " };
    format!("{holds}{name} ({})", condition.reason)
}

fn describe_listener(listener: &ListenerStatus) -> String {
    format!(
        "  {}: {} routes of {:?}; {}, {}, {}, {}",
        listener.name,
        listener.attached_routes,
        listener.supported_kinds,
        condition("accepted", &listener.accepted),
        condition("programmed", &listener.programmed),
        condition("resolved", &listener.resolved_refs),
        condition("conflicted", &listener.conflicted),
    )
}

fn fill_certificates(value: &mut Value) {
    for field in ["stringData", "data"] {
        let Some(data) = value.get_mut(field).and_then(Value::as_object_mut) else { continue };
        let mut key = String::new();
        for name in ["tls.crt", "ca.crt", "tls.key"] {
            let Some(text) = data.get_mut(name) else { continue };
            let written = text.as_str().unwrap_or_default().to_owned();
            if let Some(names) = written.strip_prefix("(certificate ").and_then(|rest| rest.strip_suffix(')'))
            {
                let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
                let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
                *text = made.cert.pem().into();
                key = made.signing_key.serialize_pem();
            } else if written == "(its key)" {
                *text = key.clone().into();
            }
        }
    }
}

fn inputs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory()).expect("the directory of golden tests");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut inputs: Vec<_> =
        paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(".in.yaml"))).collect();
    inputs.sort();
    inputs
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// So that a moved directory does not pass for a good one.
const CASES_MIN: usize = 40;
