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
