use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber};

use super::*;

/// A chain for `names` from a made CA.
pub(crate) fn issue(names: &[&str], not_before: Timestamp, not_after: Timestamp) -> Chain {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "Made Root");
    let authority = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .expect("names");
    leaf.use_authority_key_identifier_extension = true;
    leaf.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65, 0x43, 0x21]));
    leaf.not_before = std::time::SystemTime::from(not_before).into();
    leaf.not_after = std::time::SystemTime::from(not_after).into();
    let certificate = leaf.signed_by(&key, &authority).expect("signed");
    let secret = Secret::new(key.serialize_pem());
    Chain::parse(&certificate.pem(), &secret).expect("a chain")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

#[test]
fn a_chain_says_what_it_is_for() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
    let chain = issue(&["example.com", "*.example.com"], from, to);
    assert_eq!(
        chain.facts.names,
        ["example.com", "*.example.com"].map(|name| Name::parse(name).expect(name))
    );
    assert_eq!((chain.facts.not_before, chain.facts.not_after), (from, to));
    // RFC 9773 §4.1: the serial's DER bytes, with the zero that keeps it positive.
    let id = chain.facts.renewal_id.as_deref().expect("it says who signed it");
    assert!(id.ends_with(".AIdlQyE"), "{id}");
    assert_eq!(issuer_names(&chain.pem), ["Made Root"]);
    assert!((chain.facts.share_left(at("2026-02-15T00:00:00Z")) - 0.5).abs() < 0.01);
    assert!(!format!("{chain:?}").contains("PRIVATE"), "a key is never shown");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
    let (one, other) = (issue(&["a.test"], from, to), issue(&["a.test"], from, to));
    assert_eq!(Chain::parse(&one.pem, &other.key), Err(ChainError::KeyMismatch));
    assert_eq!(Chain::parse(&one.pem, &Secret::new("x")), Err(ChainError::Key));
    assert_eq!(Chain::parse("", &one.key), Err(ChainError::Empty));
    assert!(matches!(
        Chain::parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &one.key),
        Err(ChainError::Unreadable(_))
    ));
}

#[test]
fn what_was_issued_has_every_name_and_is_valid() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
    let chain = issue(&["example.com"], from, to);
    let name = |text| Name::parse(text).expect(text);
    let now = at("2026-01-02T00:00:00Z");
    assert_eq!(chain.check_issued(&[name("example.com")], now), Ok(()));
    assert_eq!(
        chain.check_issued(&[name("example.com"), name("www.example.com")], now),
        Err(ChainError::NameMissing(name("www.example.com")))
    );
    // A clock that is five minutes behind the CA's is borne.
    assert_eq!(chain.check_issued(&[name("example.com")], at("2025-12-31T23:55:00Z")), Ok(()));
    assert_eq!(
        chain.check_issued(&[name("example.com")], at("2025-12-31T23:54:59Z")),
        Err(ChainError::NotYet(from))
    );
    assert_eq!(chain.check_issued(&[name("example.com")], to), Err(ChainError::Expired(to)));
}
