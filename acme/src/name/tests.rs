use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).expect(text)
}

#[test]
fn case_and_the_final_dot_do_not_matter() {
    assert_eq!(name("Shop.Example.COM."), name("shop.example.com"));
    assert_eq!(name("*.Example.com").base(), "example.com");
    assert_eq!(name("*.example.com").challenge_record(), "_acme-challenge.example.com");
    assert_eq!(name("example.com").challenge_record(), "_acme-challenge.example.com");
}

#[test]
fn what_is_no_name_is_refused() {
    let long_label = "a".repeat(64);
    let longest = ["a".repeat(63).as_str(); 4].join(".");
    for (text, error) in [
        ("", NameError::Empty),
        ("*.", NameError::Wildcard),
        (".", NameError::Empty),
        ("*", NameError::Wildcard),
        ("*.*.example.com", NameError::Wildcard),
        ("a*.example.com", NameError::Wildcard),
        ("192.0.2.1", NameError::Address),
        ("2001:db8::1", NameError::Address),
        ("a..b", NameError::Label),
        ("-a.example.com", NameError::Label),
        ("a_b.example.com", NameError::Label),
        ("bücher.example", NameError::Label),
        (&long_label, NameError::Label),
        (&longest, NameError::TooLong),
    ] {
        assert_eq!(Name::parse(text), Err(error), "{text:?}");
    }
    assert!(Name::parse(&longest[..NAME_LEN_MAX]).is_ok(), "the bound itself is allowed");
}

#[test]
fn a_wildcard_covers_one_label() {
    let wildcard = name("*.example.com");
    assert!(wildcard.covers(&name("a.example.com")));
    assert!(wildcard.covers(&name("*.example.com")));
    assert!(!wildcard.covers(&name("example.com")));
    assert!(!wildcard.covers(&name("a.b.example.com")));
    assert!(!wildcard.covers(&name("*.b.example.com")));
    assert!(!name("a.example.com").covers(&name("b.example.com")));
}

#[test]
fn a_domain_holds_what_lies_under_it_and_not_what_ends_like_it() {
    assert!(name("a.example.com").is_within("example.com"));
    assert!(name("example.com").is_within("example.com"));
    assert!(name("*.example.com").is_within("example.com"));
    assert!(!name("badexample.com").is_within("example.com"));
    assert!(!name("example.com").is_within("a.example.com"));
}
