//! What the chart repeats of the binary is what the binary says. `UPDATE_CHART=1` writes it anew.

use std::path::Path;

use proxy::config::annotations::PREFIX;
use proxy::config::annotations::keys::KEYS;

#[test]
fn the_admission_policy_knows_every_annotation() {
    let mut names: Vec<String> =
        KEYS.iter().flat_map(|key| key.names()).map(|name| format!("- {PREFIX}{name}\n")).collect();
    names.sort_unstable();
    let head = "# The annotations that Vestibule knows; written by a test from the one table of them.\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vestibule/files/annotations.yaml");
    let wanted = head.to_owned() + &names.concat();
    if std::env::var_os("UPDATE_CHART").is_some() {
        std::fs::write(&file, &wanted).expect("the file is written");
    }
    let given = std::fs::read_to_string(&file).expect("the chart's list of annotations");
    assert!(given == wanted, "run: UPDATE_CHART=1 cargo test --package tests --test chart_files");
}

#[test]
fn every_alert_has_its_line_in_the_runbook() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vestibule");
    let read = |file: &str| std::fs::read_to_string(chart.join(file)).expect("a file of the chart");
    let (rules, runbook) = (read("files/rules.yaml"), read("README.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let headings: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(alerts, headings, "in the order of the file");
}

#[test]
fn alerts_on_certificates_are_about_series_that_there_are() {
    let rules = include_str!("../../charts/vestibule/files/rules.yaml");
    let series = include_str!("../../proxy/src/admin/metrics/certificates.rs");
    let named = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: Vec<&str> = named.filter_map(|word| word.strip_prefix("vestibule_certificate_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        let name = name.trim_end_matches("_total").trim_end_matches("_seconds");
        assert!(series.contains(&format!("\"certificate_{name}\"")), "{name}");
    }
}
