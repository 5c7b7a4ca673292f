use std::path::Path;

use super::*;
use crate::directory::Directory;

const ISSUERS: &str = "
issuers:
  - name: le
    directory: https://ca.test/dir
    externalAccount: {keyId: one, key: {secretRef: {name: eab, key: key}}}
    certificateAuthorities: {secretRef: {name: authorities, key: ca.crt}}
    solvers:
      - provider: {cloudflare: {token: {secretRef: {name: cloudflare, key: token}}}}
      - provider: {rfc2136: {server: '127.0.0.1:53', keyName: acme, key: {file: tsig}}}
";

fn problems(certificates: &str, secrets: &[(&str, &str)]) -> Vec<String> {
    let settings = Settings::parse(&format!("{ISSUERS}{certificates}"), Path::new("vestibule.yaml"));
    let manifests: String = secrets
        .iter()
        .map(|(namespace, name)| {
            format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
        })
        .collect();
    let (directory, _) = Directory::from_reader("test", manifests.as_bytes()).expect("manifests");
    let problems = exposed(directory.objects(), &settings.expect("settings"));
    problems
        .iter()
        .map(|problem| problem.message.split(" can be").next().expect("words").to_owned())
        .collect()
}

#[test]
fn what_the_process_can_read_is_told() {
    let all =
        [("vestibule", "eab"), ("vestibule", "cloudflare"), ("vestibule", "authorities"), ("shop", "web")];
    assert_eq!(
        problems("", &all),
        [
            "the Secret vestibule/eab with credentials of the issuer `le`",
            "the Secret vestibule/cloudflare with credentials of the issuer `le`"
        ],
        "authorities are no secret"
    );
}

#[test]
fn what_stands_elsewhere_or_cannot_be_read_is_not() {
    assert!(problems("", &[("shop", "cloudflare"), ("vestibule", "other")]).is_empty());
    let private = "certificates: {privateNamespace: edge-private}\n";
    assert!(problems(private, &[("vestibule", "cloudflare")]).is_empty());
    assert_eq!(problems(private, &[("edge-private", "cloudflare")]).len(), 1);
}
