use super::super::tests::{Authority, exact, host, use_of};
use super::*;
use crate::route::host::WildcardLabels;

#[test]
fn the_exact_name_wins_over_the_wildcard_and_the_wildcard_over_the_default() {
    let authority = Authority::new("server authority");
    let [wildcard, deep, name, other] =
        [&["*.example.com"], &["*.a.example.com"], &["a.example.com"], &["other.test"]]
            .map(|n| authority.issue(n));
    let uses = [&wildcard, &deep, &name].map(|certificate| use_of(certificate.clone()));
    let names = CertificateNames::new(&uses, Some(other.clone()));
    for (asked, shown) in [
        (Some("a.example.com"), &name),
        (Some("b.example.com"), &wildcard),
        (Some("b.a.example.com"), &deep),
        // The wildcard of a certificate covers one label, no more and no less.
        (Some("c.b.example.com"), &other),
        (Some("example.com"), &other),
        (Some("com"), &other),
        (None, &other),
    ] {
        assert_eq!(names.candidates(asked.map(host).as_ref()), std::slice::from_ref(shown), "{asked:?}");
    }
}

#[test]
fn without_a_default_unknown_names_have_no_certificate() {
    let certificate = Authority::new("server authority").issue(&["a.example.com"]);
    let names = CertificateNames::new(&[use_of(certificate)], None);
    for asked in [None, Some("b.example.com"), Some("example.com")] {
        assert_eq!(names.candidates(asked.map(host).as_ref()), [], "{asked:?}");
    }
}

#[test]
fn a_certificate_is_never_shown_for_a_host_that_it_was_not_given_to() {
    let authority = Authority::new("server authority");
    let thief = authority.issue(&["victim.example.com", "thief.example.com", "*.example.com"]);
    let victim = authority.issue(&["victim.example.com"]);
    let uses = [only(&thief, &[exact("thief.example.com")]), only(&victim, &[exact("victim.example.com")])];
    let names = CertificateNames::new(&uses, None);
    assert_eq!(names.candidates(Some(&host("victim.example.com"))), [victim]);
    assert_eq!(names.candidates(Some(&host("thief.example.com"))), [thief]);
    assert_eq!(names.candidates(Some(&host("third.example.com"))), []);
}

#[test]
fn a_certificate_is_shown_for_its_host_even_when_it_does_not_carry_the_name() {
    let authority = Authority::new("server authority");
    let [wrong, narrow, right] = [&["x.test"], &["y.test"], &["a.b.example.com"]].map(|n| authority.issue(n));
    let uses = [
        only(&wrong, &[any_labels(".example.com")]),
        only(&narrow, &[any_labels(".b.example.com")]),
        only(&right, &[any_labels(".example.com")]),
    ];
    let names = CertificateNames::new(&uses, None);
    assert_eq!(names.candidates(Some(&host("a.b.example.com"))), [right]);
    assert_eq!(names.candidates(Some(&host("c.b.example.com"))), std::slice::from_ref(&narrow));
    assert_eq!(names.candidates(Some(&host("d.c.b.example.com"))), [narrow]);
    assert_eq!(names.candidates(Some(&host("c.example.com")))[0], wrong);
    assert_eq!(names.candidates(Some(&host("example.com"))), []);
    assert_eq!(names.candidates(Some(&host("x.test"))), []);
}

#[test]
fn a_certificate_for_any_host_is_shown_where_nothing_else_fits() {
    let authority = Authority::new("server authority");
    let [any, name] = [&["any.test"], &["a.example.com"]].map(|n| authority.issue(n));
    let names = CertificateNames::new(&[only(&any, &[HostPattern::Any]), use_of(name.clone())], None);
    assert_eq!(names.candidates(Some(&host("a.example.com"))), [name]);
    assert_eq!(names.candidates(Some(&host("any.test"))), std::slice::from_ref(&any));
    assert_eq!(names.candidates(Some(&host("b.example.com"))), std::slice::from_ref(&any));
    assert_eq!(names.candidates(None), [any]);
}

#[test]
fn a_certificate_that_is_named_often_is_kept_once_and_different_ones_are_bounded() {
    let authority = Authority::new("server authority");
    let certificates =
        (0..=CERTIFICATES_PER_NAME_MAX).map(|_| authority.issue(&["a.example"])).collect::<Vec<_>>();
    let twice = certificates.iter().flat_map(|certificate| [certificate, certificate]);
    let uses = twice.map(|certificate| use_of(certificate.clone())).collect::<Vec<_>>();
    let names = CertificateNames::new(&uses, None);
    assert_eq!(names.candidates(Some(&host("a.example"))), &certificates[..CERTIFICATES_PER_NAME_MAX]);
}

fn only(certificate: &Arc<Certificate>, hosts: &[HostPattern]) -> CertificateUse {
    CertificateUse { certificate: certificate.clone(), hosts: Hosts::Only(hosts.to_vec()) }
}

fn any_labels(suffix: &str) -> HostPattern {
    HostPattern::Wildcard { suffix: suffix.into(), labels: WildcardLabels::OneOrMore }
}
