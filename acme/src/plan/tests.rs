use super::*;

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| Name::parse(text).expect(text)).collect()
}

fn id(text: &str) -> CertificateId {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    CertificateId { namespace: namespace.into(), name: name.into() }
}

fn request(of: &str, issuer: &str, of_names: &[&str]) -> Request {
    Request { id: id(of), issuer: issuer.into(), names: names(of_names) }
}

fn scope(issuer: &str, domains: &[&str], wildcards: &[&str]) -> Scope {
    let domains = domains.iter().map(|domain| (*domain).into()).collect();
    Scope { issuer: issuer.into(), domains, wildcards: names(wildcards) }
}

#[test]
fn one_wildcard_serves_what_it_can_in_every_namespace() {
    let scopes = [scope("le", &[], &["*.example.com", "*.unused.test"])];
    let requests = [
        request("shop/tls", "le", &["shop.example.com"]),
        request("blog/tls", "le", &["blog.example.com", "example.com", "a.b.example.com"]),
    ];
    let plan = plan(&requests, &scopes, "edge");
    assert_eq!(plan.refused, []);
    let wanted: Vec<(String, &[Name])> =
        plan.wanted.iter().map(|wanted| (wanted.id.to_string(), &*wanted.names)).collect();
    assert_eq!(
        wanted,
        [
            ("edge/vestibule-le-wildcard-example.com".to_owned(), &*names(&["*.example.com"])),
            ("blog/tls".to_owned(), &*names(&["a.b.example.com", "example.com"])),
        ]
    );
}

#[test]
fn nothing_is_ordered_that_no_issuer_allows() {
    let scopes = [scope("le", &["example.com"], &[])];
    let requests = [
        request("a/tls", "le", &["x.example.com", "bank.test"]),
        request("b/tls", "zerossl", &["y.example.com"]),
    ];
    let plan = plan(&requests, &scopes, "edge");
    assert_eq!(plan.wanted.len(), 1);
    assert_eq!(plan.wanted[0].names, names(&["x.example.com"]));
    let refused: Vec<String> = plan.refused.iter().map(|(id, refusal)| format!("{id}: {refusal}")).collect();
    assert_eq!(
        refused,
        [
            "a/tls: the issuer `le` may not order bank.test: its domains are example.com",
            "b/tls: there is no issuer `zerossl`; the settings have: le",
        ]
    );
    assert_eq!(super::plan(&[], &scopes, "edge"), Plan::default());
}

#[test]
fn requests_for_one_secret_are_one_certificate() {
    let scopes = [scope("le", &[], &[]), scope("other", &[], &[])];
    let requests = [
        request("a/tls", "le", &["b.test", "a.test"]),
        request("a/tls", "le", &["a.test", "*.c.test", "x.c.test"]),
        request("a/tls", "other", &["d.test", "e.test"]),
    ];
    let plan = plan(&requests, &scopes, "edge");
    assert_eq!(plan.wanted.len(), 1);
    assert_eq!(plan.wanted[0].names, names(&["*.c.test", "a.test", "b.test"]));
    assert_eq!(plan.refused.len(), 1, "{:?}", plan.refused);
}

#[test]
fn a_certificate_carries_at_most_a_hundred_names() {
    let many: Vec<String> = (0..NAMES_MAX + 1).map(|n| format!("n{n:03}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let scopes = [scope("le", &[], &[])];
    let full = plan(&[request("a/tls", "le", &many[..NAMES_MAX])], &scopes, "edge");
    assert_eq!((full.wanted[0].names.len(), full.refused.len()), (NAMES_MAX, 0));
    let over = plan(&[request("a/tls", "le", &many)], &scopes, "edge");
    assert_eq!((over.wanted[0].names.len(), over.refused.len()), (NAMES_MAX, 1));
    assert!(over.refused[0].1.to_string().contains("n100.test"));
}

#[test]
fn names_of_secrets_differ_and_are_bounded() {
    let name = |text| Name::parse(text).expect(text);
    assert_eq!(&*shared_secret("le", &name("a.test")), "vestibule-le-a.test");
    assert_eq!(&*shared_secret("le", &name("*.a.test")), "vestibule-le-wildcard-a.test");
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(50)].join(".");
    let secret = shared_secret("le", &name(&long));
    assert!(secret.len() <= 253 && secret.starts_with("vestibule-le-"), "{secret}");
}
