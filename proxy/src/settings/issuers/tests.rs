use std::path::Path;

use crate::settings::Settings;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("vestibule.yaml")).map_err(|error| error.to_string())
}

const ISSUER: &str = "issuers:
  - name: le
    default: true
    directory: https://acme-v02.api.letsencrypt.org/directory
    contact: [ops@example.com]
    wildcards: ['*.Example.com']
    solvers:
      - zones: [Example.com.]
        provider:
          rfc2136: {server: 192.0.2.1:53, keyName: acme, key: {secretRef: {name: dns, key: tsig}}}
        propagation: {servers: ['192.0.2.1:53'], timeout: 1m}
";

#[test]
fn an_issuer_orders_within_the_zones_of_its_solvers() {
    let settings = parse(ISSUER).expect("it parses");
    let issuer = &settings.issuers[0];
    let scope = issuer.scope();
    assert_eq!(scope.domains, [std::sync::Arc::<str>::from("example.com")]);
    assert_eq!(scope.wildcards[0].as_str(), "*.example.com");
    assert_eq!(issuer.staging(), Some("https://acme-staging-v02.api.letsencrypt.org/directory"));
    let open = parse(&ISSUER.replace("zones: [Example.com.]", "zones: []")).expect("it parses");
    assert!(open.issuers[0].scope().domains.is_empty(), "a solver for any zone is for any name");
}

#[test]
fn contradictions_are_told_with_their_place() {
    let twice = format!("{ISSUER}{}", &ISSUER["issuers:\n".len()..]);
    let two_defaults = twice.replacen("name: le", "name: zerossl", 1);
    for (text, expected) in [
        (
            twice.as_str(),
            "vestibule.yaml:12:5: issuers[1].name: the issuer `le` is written twice; rename one",
        ),
        (&two_defaults, "`zerossl` is the default already"),
        (
            &ISSUER.replace("https://acme", "http://acme"),
            "issuers[0].directory: is no URL that begins with https://",
        ),
        (&ISSUER.replace("name: le", "name: Let's Encrypt"), "issuers[0].name: is not 1 to 40"),
        (
            &ISSUER.replace("'*.Example.com'", "example.com"),
            "issuers[0].wildcards[0]: `example.com` is no name like",
        ),
        (&ISSUER.replace("timeout: 1m", "timeout: 0s"), "propagation.timeout: is 0"),
        (&ISSUER.replace("rfc2136:", "rfc1035:"), "rfc1035"),
        (
            &ISSUER.replace("key: {secretRef: {name: dns, key: tsig}}", "key: c2VjcmV0"),
            "a credential is not written here",
        ),
    ] {
        let error = parse(text).expect_err(expected);
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
        assert!(!error.contains("c2VjcmV0"), "a secret that was written by mistake is not repeated: {error}");
    }
}
