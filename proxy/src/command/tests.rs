use std::fs;

use clap::Parser;

use super::paint::WIDTH;
use super::*;
use crate::admin::metrics::Totals;
use crate::admin::status::{ListenerStatus, ProblemStatus, Status, WorkloadStatus};

const MANIFEST: &str = r#"apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 9000}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  tls: [{hosts: [shop.example.com], secretName: sealed}]
  rules:
    - host: shop.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: web, port: {number: 80}}}
---
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: sealed, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
"#;

fn outcome(words: &[&str]) -> (Result<Outcome, Failure>, String) {
    let options = Options::try_parse_from(["vestibule"].iter().chain(words)).unwrap();
    let mut out = Vec::new();
    let outcome = run(&options, &mut out);
    (outcome, String::from_utf8(out).unwrap())
}

fn manifests(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("web.yaml"), text).unwrap();
    directory
}

#[test]
fn good_manifests_are_printed_without_problems() {
    let directory = manifests(MANIFEST);
    let (outcome, out) = outcome(&["check", directory.path().to_str().unwrap()]);
    assert_eq!(outcome.unwrap(), Outcome::Done, "{out}");
    assert!(out.contains("shop.example.com\n"), "{out}");
    assert!(out.contains("/ -> shop/web:80\n"), "{out}");
    assert!(out.contains("Read 1 file, 1 Ingress, 1 Service, 1 EndpointSlice, 1 Secret\n"), "{out}");
    assert!(out.contains("1 Secret encrypted or kept elsewhere"), "{out}");
    assert!(out.contains("Not read: 1 Deployment (apps/v1)\nNo problems.\n"), "{out}");
}

#[test]
fn a_problem_has_the_line_of_its_field_and_exit_code_one() {
    let directory =
        manifests(&MANIFEST.replace("backend: {service: {name: web,", "backend: {service: {name: gone,"));
    let (outcome, out) = outcome(&["check", directory.path().to_str().unwrap()]);
    assert_eq!(outcome.unwrap(), Outcome::ProblemsFound);
    let place = format!("{}:24: ", directory.path().join("web.yaml").display());
    assert!(out.contains(&place), "{place} in {out}");
    assert!(out.ends_with("1 problem: 1 refused, 0 degraded, 0 warnings.\n"), "{out}");
    let narrow = |line: &str| line.chars().count() <= WIDTH || line.starts_with('/');
    assert!(out.lines().all(narrow), "{out}");
}

#[test]
fn standard_input_is_checked_too() {
    let options = crate::options::Check { manifests: "-".into(), settings: None };
    let mut out = Vec::new();
    let text = MANIFEST.replace("pathType: Prefix", "pathType: Perhaps");
    let outcome = check::run(&options, &mut text.as_bytes(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(outcome, Outcome::ProblemsFound);
    assert!(out.contains("<stdin>:23: "), "{out}");
}

#[test]
fn explain_tells_the_steps_by_files() {
    let directory = manifests(MANIFEST);
    let path = directory.path().to_str().unwrap();
    let (outcome_found, out) = outcome(&["explain", "https://shop.example.com/x", "--manifests", path]);
    assert_eq!(outcome_found.unwrap(), Outcome::Done);
    assert!(out.contains("  =>  forwarded to shop/web:80\n      by Ingress shop/web rule 0"), "{out}");
    let (outcome_missing, out) = outcome(&["explain", "https://other.example.com/", "--manifests", path]);
    assert_eq!(outcome_missing.unwrap(), Outcome::ProblemsFound);
    assert!(out.contains("=>  404 "), "{out}");
}

#[test]
fn what_cannot_be_done_is_one_line_with_place_and_mend() {
    let directory = manifests("classes: 7\n");
    let wrong = directory.path().join("web.yaml");
    let wrong = wrong.to_str().unwrap();
    for (words, start) in [
        (vec!["check", "/nonexistent"], "manifests: /nonexistent: "),
        (vec!["check", wrong], "manifests: "),
        (vec!["check", "/tmp", "--settings", wrong], "settings: "),
        (vec!["explain", "ftp://x", "--manifests", "/tmp"], "explain: `ftp://x`"),
        (vec!["why", "x", "--admin", "127.0.0.1:1"], "admin: 127.0.0.1:1: "),
        (vec!["serve", "--manifests", "/tmp", "--log", "=[["], "log: "),
        (vec!["serve", "--manifests", "/nonexistent"], "serve: "),
    ] {
        let (outcome, out) = outcome(&words);
        let line = outcome.unwrap_err().to_string();
        assert!(line.starts_with(start), "{line}");
        assert!(!line.contains('\n') && line.contains("; ") || line.contains("settings"), "{line}");
        assert_eq!(out, "");
    }
}

#[test]
fn schemas_are_json() {
    for of in ["settings", "annotations"] {
        let (_, out) = outcome(&["schema", of]);
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(!schema["properties"].as_object().unwrap().is_empty());
    }
}

#[test]
fn text_is_wrapped_and_harmless() {
    let text = paint::wrap("  a ", 4, &"word ".repeat(40));
    assert!(text.lines().count() > 2);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    assert!(text.lines().skip(1).all(|line| line.starts_with("    word")));
    assert_eq!(paint::plain("a\x1b[2J\nb"), "a [2J b");
    assert_eq!(paint::cut("abcdef", 4), "abc…");
    assert_eq!(paint::cut("abcd", 4), "abcd");
}

#[test]
fn the_fullest_status_fits_the_screen() {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let problem = ProblemStatus {
        severity: "refused".into(),
        object: Some("Ingress shop/web".into()),
        field: "spec".into(),
        reason: "X".into(),
        message: "a long message ".repeat(20),
        place: None,
    };
    let listener = ListenerStatus {
        name: "Gateway a-namespace-with-a-long-name/and-a-gateway-with-a-longer-one:443".into(),
        addresses: vec!["[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:8443".into(); 4],
        tls: true,
    };
    let workload = WorkloadStatus {
        name: "a-namespace-with-a-long-name/statefulset/and-a-workload-with-a-longer-one".into(),
        state: "waking".into(),
        trouble: Some("room: Pod x: 0/100 nodes are available".into()),
        asleep_seconds: 0,
    };
    let before = Status {
        version: "0.1.0".into(),
        now,
        started: "2026-02-01T12:00:00Z".parse().unwrap(),
        ready: true,
        workers: 128,
        config_version: 123_456,
        config_applied: Some(now),
        routes: 100_000,
        listeners: vec![listener; 20],
        problems: [5, 5, 5],
        worst: vec![problem; 8],
        certificates_expire: Some("2026-02-20T12:00:00Z".parse().unwrap()),
        totals: Totals::default(),
        workloads: ["asleep", "awake", "failed", "unknown", "waking"]
            .map(|state| (state.to_owned(), 1000))
            .into(),
        late: vec![workload; 8],
    };
    let mut after = before.clone();
    after.now = "2026-03-01T12:00:02Z".parse().unwrap();
    after.totals.requests = 3_000_000_000_001;
    after.totals.connections_open = 50_000;
    let screen = status::write_status(&before, &after);
    assert!(screen.lines().count() <= 24, "{} lines\n{screen}", screen.lines().count());
    assert!(screen.lines().all(|line| line.chars().count() <= WIDTH), "{screen}");
    assert!(screen.contains("certificates: the first ends 9d 0h AGO"), "{screen}");
    assert!(screen.contains("requests              1500000000000.5   3000000000001"), "{screen}");
}
