//! The settings files that scripts fill in are settings files.

use std::path::Path;

use proxy::settings::Settings;

#[test]
fn settings_of_the_benches_and_the_http2_suite_are_accepted() {
    for name in ["bench/peers/vestibule.yaml", "tests/conformance/h2spec/vestibule.yaml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let mut text = std::fs::read_to_string(&file).expect("the file is readable");
        // The benches fill in whole addresses, the suite's script ports.
        for (number, place) in ["PLAIN", "TLS", "ADMIN"].into_iter().enumerate() {
            let port = 20_000 + number;
            text = text.replace(&format!("127.0.0.1:@{place}@"), &format!("127.0.0.1:{port}"));
            text = text.replace(&format!("@{place}@"), &format!("127.0.0.1:{port}"));
        }
        let text = text.replace("@LOG@", "off");
        let settings = Settings::parse(&text, &file).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.classes.len(), 1, "{name}");
        assert_eq!(settings.classes[0].http[0].port(), 20_000, "{name}");
        assert_eq!(settings.admin.address.port(), 20_002, "{name}");
    }
}
