use super::super::tests::{Authority, exact, host, params};
use super::*;

#[test]
fn a_chain_and_its_key_are_read() {
    let authority = Authority::new("authority");
    let (leaf, key) =
        authority.sign(params(&["WWW.Example.com", "*.example.com", "192.0.2.1", "2001:db8::1"]));
    let certificate = parse(&(leaf + &authority.pem()), &key).unwrap();
    assert_eq!(certificate.certified_key().cert.len(), 2);
    let wildcard = HostPattern::Wildcard { suffix: ".example.com".into(), labels: WildcardLabels::One };
    assert_eq!(certificate.names(), [exact("www.example.com"), wildcard]);
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(certificate.addresses(), addresses);
    assert!(certificate.carries(&host("www.example.com")));
    assert!(certificate.carries(&host("a.example.com")));
    assert!(!certificate.carries(&host("example.com")));
    assert!(!certificate.carries(&host("b.a.example.com")));
}

#[test]
fn the_older_forms_of_keys_are_read() {
    let cases =
        [(&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY"), (&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY")];
    for (algorithm, label) in cases {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let chain = params(&["a.example"]).self_signed(&key).unwrap().pem();
        let older = older_form(&key.serialize_der());
        assert!(parse(&chain, &pem(label, &older)).unwrap().carries(&host("a.example")), "{label}");
    }
}

#[test]
fn wildcards_that_are_not_a_whole_label_match_nothing() {
    for name in ["*", "*.", "w*.example.com", "*.*.example.com", "a.*.example.com", "**.example.com", ""] {
        assert_eq!(parse_name(name), None, "{name}");
    }
    assert_eq!(parse_name("Example.com."), Some(exact("example.com")));
}

#[test]
fn each_mistake_has_its_own_words() {
    let authority = Authority::new("authority");
    let (chain, key) = authority.sign(params(&["a.example"]));
    let (other_chain, other_key) = authority.sign(params(&["b.example"]));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unknown = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let error = |chain: &str, key: &str| parse(chain, key).unwrap_err();
    assert_eq!(error("", &key), CertificateError::NoCertificate);
    assert_eq!(error("just text", &key), CertificateError::NoCertificate);
    assert_eq!(error(&key, &key), CertificateError::NoCertificate);
    assert!(matches!(error("-----BEGIN CERTIFICATE-----\nAA", &key), CertificateError::ChainNotPem(_)));
    assert!(matches!(error(garbage, &key), CertificateError::BadCertificate { position: 1, .. }));
    assert!(matches!(
        error(&format!("{chain}{garbage}"), &other_key),
        CertificateError::BadCertificate { position: 2, .. }
    ));
    assert_eq!(error(&chain, ""), CertificateError::NoKey);
    assert_eq!(error(&chain, &chain), CertificateError::NoKey);
    assert_eq!(error(&chain, encrypted), CertificateError::EncryptedKey);
    assert_eq!(error(&chain, unknown), CertificateError::UnsupportedKey);
    assert_eq!(error(&chain, &other_key), CertificateError::KeyMismatch);
    assert_eq!(
        error(&format!("{}{chain}", authority.pem()), &key),
        CertificateError::ChainOrder { position: 2 }
    );
    assert_eq!(error(&format!("{other_chain}{chain}"), &key), CertificateError::ChainOrder { position: 2 });
}

#[test]
fn input_is_bounded_by_what_a_secret_can_hold() {
    let (chain, key) = Authority::new("authority").sign(params(&["a.example"]));
    let fill = |text: &str, length: usize| format!("{}{text}", "\n".repeat(length - text.len()));
    assert!(parse(&fill(&chain, PEM_BYTES_MAX), &fill(&key, PEM_BYTES_MAX)).is_ok());
    assert_eq!(parse(&fill(&chain, PEM_BYTES_MAX + 1), &key), Err(CertificateError::TooLarge));
    assert_eq!(parse(&chain, &fill(&key, PEM_BYTES_MAX + 1)), Err(CertificateError::TooLarge));
}

#[test]
fn neither_errors_nor_debug_show_the_key() {
    let (chain, key) = Authority::new("authority").sign(params(&["a.example"]));
    let line = key.lines().nth(1).unwrap();
    let broken = [
        key.replace("-----END", "----- END"),
        key.replace('\n', "!\n"),
        key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----x"),
        key.replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY"),
        format!("-----BEGIN {line}"),
    ];
    for broken in broken {
        let text = parse(&chain, &broken).unwrap_err().to_string();
        assert!(!text.contains(&line[..8]), "{text}");
    }
    let certificate = parse(&chain, &key).unwrap();
    let text = format!("{certificate:?}");
    assert!(text.contains("a.example"));
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let bytes = format!("{:?}", &der.secret_der()[40..48]);
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

#[test]
fn an_expired_certificate_is_served_and_reported() {
    let mut params = params(&["a.example"]);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let (chain, key) = Authority::new("authority").sign(params);
    let certificate = parse(&chain, &key).unwrap();
    let (not_before, not_after) = (at("2020-01-01T00:00:00Z"), at("2020-04-01T00:00:00Z"));
    assert_eq!(certificate.not_after(), not_after);
    assert_eq!(certificate.validity(at("2019-12-31T00:00:00Z")), Validity::NotYet { not_before });
    assert_eq!(certificate.validity(not_before), Validity::Valid);
    assert_eq!(certificate.validity(not_after), Validity::Valid);
    assert_eq!(certificate.validity(at("2020-04-01T00:00:01Z")), Validity::Expired { not_after });
}

#[test]
fn equal_chains_have_equal_digests() {
    let authority = Authority::new("authority");
    let (chain, key) = authority.sign(params(&["a.example"]));
    assert_eq!(parse(&chain, &key).unwrap(), parse(&chain, &key).unwrap());
    assert_ne!(parse(&chain, &key).unwrap(), parse(&(chain.clone() + &authority.pem()), &key).unwrap());
}

#[test]
fn a_self_signed_certificate_carries_its_names_for_a_year() {
    let now = at("2026-11-21T12:00:00Z");
    let certificate = Certificate::self_signed(&["localhost", "127.0.0.1", "::1"], now).unwrap();
    assert_eq!(certificate.names(), [exact("localhost")]);
    assert_eq!(certificate.addresses().len(), 2);
    assert_eq!(certificate.validity(now), Validity::Valid);
    assert_eq!(certificate.not_after(), at("2027-11-21T12:00:00Z"));
    assert!(matches!(Certificate::self_signed(&["\u{e9}"], now), Err(CertificateError::SelfSigned(_))));
}

fn parse(chain: &str, key: &str) -> Result<Certificate, CertificateError> {
    Certificate::from_pem(chain.as_bytes(), key.as_bytes())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What PKCS#8 wraps: the content of its first OCTET STRING, behind a version and an algorithm (RFC 5958 §2).
fn older_form(pkcs8: &[u8]) -> Vec<u8> {
    let body = content(pkcs8).0;
    let after_version = content(body).1;
    let after_algorithm = content(after_version).1;
    content(after_algorithm).0.to_vec()
}

/// The content of the DER value at the start, and what follows it.
fn content(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        short => (2, usize::from(short)),
    };
    der[start..].split_at(length)
}

fn pem(label: &str, der: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk.iter().enumerate().map(|(i, byte)| u32::from(*byte) << (16 - 8 * i)).sum::<u32>();
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { alphabet[value as usize] as char } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
