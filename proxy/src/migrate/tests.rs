use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::config::backend::Locality;
use crate::config::compile::Compiler;
use crate::config::objects::{Object, Objects};
use crate::config::problem::Kind;
use crate::settings::Settings;
use crate::tls::tickets::TicketSecret;

fn target() -> Target {
    let mut target = Target::new("vestibule", "vestibule");
    target.entry_points.insert("postgres".into(), 5432);
    target.entry_points.insert("postgres-tls".into(), 5433);
    target.entry_points.insert("dns".into(), 53);
    target
}

/// `tests/golden/migrate/NAME.in.yaml` → `NAME.report.txt` and `NAME.out.yaml`; `REGENERATE=1` writes them anew.
#[test]
fn every_input_comes_to_its_report_and_yaml() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/migrate");
    let inputs: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    assert!(inputs.len() >= 4, "only {} inputs", inputs.len());
    let mut failures = Vec::new();
    for input in inputs {
        let documents = Documents::open(&input).expect("readable manifests");
        let report = migrate(&documents, &target());
        let written: Vec<String> =
            report.written().map(|(_, object)| serde_saphyr::to_string(object).expect("YAML")).collect();
        let plan = plan(&report, &target());
        for (end, actual) in
            [("report.txt", render(&report, &plan, Format::Text)), ("out.yaml", written.join("---\n"))]
        {
            let output = PathBuf::from(input.to_string_lossy().replace("in.yaml", end));
            if std::env::var_os("REGENERATE").is_some() {
                std::fs::write(&output, &actual).expect("a writable output");
            }
            let expected = std::fs::read_to_string(&output).unwrap_or_default();
            if expected != actual {
                failures.push(format!("--- {}\n{expected}+++\n{actual}", output.display()));
            }
        }
        failures.extend(problems(&documents, &report));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What `check` says of the written objects, beside the Services that were there.
fn problems(documents: &Documents, report: &Report) -> Vec<String> {
    let mut objects = Objects::new();
    let services = documents.of_kind("Service").cloned();
    let written = report.written().map(|(_, object)| {
        let mut object = object.clone();
        // Secrets are not committed; that they are missing is no fault of what was written.
        if let Some(entries) = object.pointer_mut("/spec/tls").and_then(Value::as_array_mut) {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("secretName");
            }
        }
        object
    });
    let written: Vec<Value> = written.collect();
    let secrets: Vec<Value> = written.iter().flat_map(secrets_of).collect();
    for object in services.chain(secrets).chain(written) {
        let kind =
            Kind::from_api(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
        objects.apply(Object::deserialize(kind, object).expect("an object that can be read"));
    }
    let mut compiler = Compiler::new(TicketSecret::random(), None, Locality::default());
    let compiled = compiler.compile(&objects, &Settings::default());
    compiled.problems.iter().map(|problem| format!("check: {problem}")).collect()
}

/// Secrets that a written object names and cannot do without.
fn secrets_of(object: &Value) -> Vec<Value> {
    let authorities = object.pointer("/metadata/annotations/vestibule.dev~1auth-tls-secret");
    let listeners = object.pointer("/spec/listeners").and_then(Value::as_array).into_iter().flatten();
    let certificates = listeners.filter_map(|listener| listener.pointer("/tls/certificateRefs/0/name"));
    let backends = object.pointer("/metadata/annotations/vestibule.dev~1proxy-ssl-secret");
    let users = object.pointer("/metadata/annotations/vestibule.dev~1auth-secret");
    let named = [authorities, backends, users].into_iter().flatten();
    let names = named.chain(certificates).filter_map(Value::as_str);
    names
        .map(|name| {
            let made = rcgen::generate_simple_self_signed(vec!["sql.example.org".to_owned()]).expect("a certificate");
            serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": object["metadata"]["namespace"]},
                "stringData": {
                    "tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem(), "ca.crt": made.cert.pem(),
                    // "secret", as Traefik has it.
                    "users": "ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n",
                },
            })
        })
        .collect()
}

fn look(text: &str) -> Report {
    migrate(&Documents::parse(text, "test").unwrap(), &target())
}

#[test]
fn nothing_to_say_is_complete() {
    let report = look("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    assert!(report.objects.is_empty() && report.is_complete());
}

#[test]
fn every_guard_of_traefik_closes_what_it_cannot_translate() {
    for spec in [
        "forwardAuth: {address: http://a}",
        "basicAuth: {}",
        "digestAuth: {secret: a}",
        "plugin: {a: {}}",
        "passTLSClientCert: {pem: true}",
        "ipAllowList: {sourceRange: []}",
        "rateLimit: {average: 5, period: 7s}",
        "rateLimit: {average: 5, sourceCriterion: {a: b}}",
        "inFlightReq: {}",
        "headers: {allowedHosts: [a]}",
        "somethingNew: {}",
    ] {
        let report = look(&format!(
            "kind: Middleware\nmetadata: {{name: m}}\nspec: {{{spec}}}\n---\nkind: IngressRoute\nmetadata: {{name: r}}\nspec:\n  routes:\n  \
             - {{match: 'Host(`a.example`)', middlewares: [{{name: m}}], services: [{{name: web, port: 80}}]}}\n"
        ));
        let (_, ingress) = report.written().next().expect(spec);
        assert_eq!(
            ingress["metadata"]["annotations"]["vestibule.dev/deny-from"], "0.0.0.0/0, ::/0",
            "{spec}"
        );
        assert!(!report.is_complete(), "{spec}");
    }
}

#[test]
fn two_lists_of_addresses_are_not_joined() {
    let report = look(
        "kind: Middleware\nmetadata: {name: a}\nspec: {ipAllowList: {sourceRange: [10.0.0.0/8]}}\n---\nkind: Middleware\nmetadata: {name: b}\n\
         spec: {ipAllowList: {sourceRange: [192.0.2.0/24]}}\n---\nkind: IngressRoute\nmetadata: {name: r}\nspec:\n  routes:\n  \
         - {match: 'Host(`a.example`)', middlewares: [{name: a}, {name: b}], services: [{name: web, port: 80}]}\n",
    );
    let (_, ingress) = report.written().next().unwrap();
    assert!(ingress["metadata"]["annotations"]["vestibule.dev/deny-from"].is_string());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    assert!(Documents::parse("a: [", "some.yaml").unwrap_err().to_string().starts_with("some.yaml: "));
    assert!(Documents::open(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn the_report_is_json_and_markdown_too() {
    let report = look("kind: TLSOption\nmetadata: {name: a}\nspec: {sniStrict: true}\n");
    let json: Value = serde_json::from_str(&render(&report, &[], Format::Json)).unwrap();
    assert_eq!(json["complete"], false);
    assert_eq!(json["objects"][0]["findings"][0]["verdict"], "byHand");
    assert!(
        render(&report, &[], Format::Markdown).contains("| TLSOption default/a | by hand | spec.sniStrict |")
    );
}
