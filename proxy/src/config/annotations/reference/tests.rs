use std::path::Path;

use super::*;

#[test]
fn the_page_in_the_manual_is_the_one_that_the_tables_make() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/annotations.md");
    let page = reference();
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&file, &page).expect("a writable page");
    }
    let written = std::fs::read_to_string(&file).expect("docs/annotations.md");
    assert!(written == page, "docs/annotations.md is not what the tables make: REGENERATE=1 makes it anew");
}

#[test]
fn every_key_has_a_row() {
    let page = reference();
    for name in KEYS.iter().flat_map(|key| key.names()) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    for key in &NGINX_KEYS {
        assert!(page.contains(&format!("| `{}` |", key.name)), "{}", key.name);
    }
}
