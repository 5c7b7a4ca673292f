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
fn alerts_and_the_dashboard_are_about_series_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut series = std::fs::read_to_string(root.join("proxy/src/admin/metrics.rs")).expect("read");
    for file in std::fs::read_dir(root.join("proxy/src/admin/metrics")).expect("a directory") {
        let file = file.expect("an entry").path();
        if file.is_file() {
            series.push_str(&std::fs::read_to_string(file).expect("read"));
        }
    }
    for file in ["files/rules.yaml", "files/dashboard.json"] {
        let text = std::fs::read_to_string(root.join("charts/vestibule").join(file)).expect("read");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = words.filter_map(|word| word.strip_prefix("vestibule_")).collect();
        assert!(named.len() >= 10, "{file}: {named:?}");
        for name in named {
            // What the format adds: the kind of series, then the unit.
            let mut bare = name;
            for suffix in ["_total", "_bucket", "_count", "_sum", "_info", "_seconds", "_bytes"] {
                bare = bare.strip_suffix(suffix).unwrap_or(bare);
            }
            let is_there = [name, bare].iter().any(|name| series.contains(&format!("\"{name}\"")));
            assert!(is_there, "{file} is about vestibule_{name}, which there is not");
        }
    }
}
