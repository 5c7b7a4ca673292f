use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::route::fixtures::{host, pattern, pattern_of};

#[test]
fn hosts_are_normalised() {
    let cases = [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("my_service.default", "my_service.default"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7.", "192.0.2.7"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ("[::ffff:192.0.2.7]", "[::ffff:192.0.2.7]"),
        ("1password.example", "1password.example"),
        ("7.example", "7.example"),
    ];
    for (written, read) in cases {
        assert_eq!(Host::parse(written).unwrap().as_str(), read, "{written}");
    }
}

#[test]
fn what_is_no_host_is_refused_with_its_reason() {
    let cases = [
        ("", HostError::Empty),
        (".", HostError::Empty),
        ("a..b", HostError::EmptyLabel),
        (".a", HostError::EmptyLabel),
        ("a..", HostError::EmptyLabel),
        ("example.com:80", HostError::Port),
        ("[::1]:80", HostError::Port),
        ("::1", HostError::Port),
        ("bücher.example", HostError::NotAscii),
        ("*.example.com", HostError::Wildcard),
        ("a b", HostError::Character(' ')),
        ("a/b", HostError::Character('/')),
        ("user@a", HostError::Character('@')),
        ("a%2e", HostError::Character('%')),
        ("a\0", HostError::Character('\0')),
        ("256.1.1.1", HostError::Ipv4),
        ("1.2.3", HostError::Ipv4),
        ("01.2.3.4", HostError::Ipv4),
        ("127.1", HostError::Ipv4),
        ("2130706433", HostError::Ipv4),
        ("0x7f.0.0.0x1", HostError::Ipv4),
        ("a.0x", HostError::Ipv4),
        ("[::1", HostError::Ipv6),
        ("[]", HostError::Ipv6),
        ("[fe80::1%eth0]", HostError::Ipv6),
        ("[192.0.2.7]", HostError::Ipv6),
    ];
    for (written, error) in cases {
        assert_eq!(Host::parse(written), Err(error), "{written:?}");
    }
    assert_eq!(Host::parse(b"a\xff"), Err(HostError::NotAscii));
}

#[test]
fn a_host_has_253_bytes_at_most_and_a_label_63() {
    let label = "a".repeat(LABEL_BYTES_MAX);
    assert!(Host::parse(&label).is_ok());
    assert_eq!(Host::parse(format!("{label}a")), Err(HostError::LabelTooLong));
    assert_eq!(Host::parse(format!("{label}a.b")), Err(HostError::LabelTooLong));

    let longest = [&*label, &label, &label, &"b".repeat(61)].join(".");
    assert_eq!(longest.len(), HOST_BYTES_MAX);
    assert_eq!(Host::parse(&longest).unwrap().as_str(), longest);
    assert!(Host::parse(format!("{longest}.")).is_ok(), "the trailing dot is not counted");
    assert_eq!(Host::parse(format!("{longest}b")), Err(HostError::TooLong { bytes: 254 }));
}

#[test]
fn addresses_are_known() {
    for (name, address) in [("192.0.2.7", true), ("[::1]", true), ("a.b7", false), ("7.b", false)] {
        assert_eq!(host(name).is_address(), address, "{name}");
    }
}

#[test]
fn patterns_are_parsed() {
    assert_eq!(pattern("Example.com."), HostPattern::Exact("example.com".into()));
    let labels = WildcardLabels::One;
    assert_eq!(
        pattern_of("*.Example.com", labels),
        HostPattern::Wildcard { suffix: ".example.com".into(), labels }
    );
    assert_eq!(pattern("*.example.com").to_string(), "*.example.com");
    assert_eq!(HostPattern::Any.to_string(), "*");
    for (written, error) in [
        ("*", HostError::Wildcard),
        ("*.", HostError::Empty),
        ("*.*.com", HostError::Wildcard),
        ("a.*.com", HostError::Wildcard),
        ("*a.com", HostError::Wildcard),
        ("*.192.0.2.7", HostError::Wildcard),
        ("*.0.2.7", HostError::Ipv4),
        ("", HostError::Empty),
        ("a.com:80", HostError::Port),
    ] {
        assert_eq!(HostPattern::parse(written, labels), Err(error), "{written:?}");
    }
}

#[test]
fn a_wildcard_takes_one_label_or_more_as_its_source_says() {
    let cases = [
        ("a.example.com", true, true),
        ("a.b.example.com", false, true),
        ("a.b.c.example.com", false, true),
        ("example.com", false, false),
        ("aexample.com", false, false),
        ("a.example.org", false, false),
    ];
    for (name, one, more) in cases {
        assert_eq!(pattern_of("*.example.com", WildcardLabels::One).matches(&host(name)), one, "{name}");
        assert_eq!(
            pattern_of("*.example.com", WildcardLabels::OneOrMore).matches(&host(name)),
            more,
            "{name}"
        );
    }
}

#[test]
fn intersection_is_the_narrower_or_nothing() {
    // The examples of `HTTPRoute.spec.hostnames` and `Listener.hostname`, and the cases between them.
    let cases = [
        ("*", "*", Some("*")),
        ("*", "a.com", Some("a.com")),
        ("*", "*.a.com", Some("*.a.com")),
        ("a.com", "a.com", Some("a.com")),
        ("a.com", "b.com", None),
        ("test.example.com", "*.example.com", Some("test.example.com")),
        ("a.b.example.com", "*.example.com", Some("a.b.example.com")),
        ("example.com", "*.example.com", None),
        ("test.example.net", "*.example.com", None),
        ("*.example.com", "*.example.com", Some("*.example.com")),
        ("*.foo.example.com", "*.example.com", Some("*.foo.example.com")),
        ("*.fooexample.com", "*.example.com", None),
        ("*.com", "*.example.com", Some("*.example.com")),
    ];
    for (a, b, both) in cases {
        let both = both.map(pattern);
        assert_eq!(pattern(a).intersect(&pattern(b)), both, "{a} and {b}");
        assert_eq!(pattern(b).intersect(&pattern(a)), both, "{b} and {a}");
    }
}

#[test]
fn a_wildcard_of_one_label_holds_no_deeper_wildcard() {
    let one = pattern_of("*.example.com", WildcardLabels::One);
    assert_eq!(one.intersect(&pattern("*.a.example.com")), None);
    assert_eq!(one.intersect(&pattern("a.b.example.com")), None);
    assert_eq!(one.intersect(&pattern("*.example.com")), Some(one.clone()));
    let both = one.intersect(&pattern("*.com"));
    assert_eq!(both, Some(one));
}

#[test]
fn a_map_keeps_the_first_of_two_values_and_tells_what_it_holds() {
    let entries = ["a.com", "*.a.com", "*", "a.com"].map(pattern);
    let map: HostMap<usize> = entries.iter().cloned().zip(0..).collect();
    assert_eq!(map.len(), 3);
    assert!(!map.is_empty());
    for (at, entry) in entries[..3].iter().enumerate() {
        assert_eq!(map.at(entry), Some(&at));
    }
    assert_eq!(map.at(&pattern_of("*.a.com", WildcardLabels::One)), None);
    let mut listed: Vec<_> = map.iter().collect();
    listed.sort();
    let mut expected: Vec<_> = entries[..3].iter().cloned().zip([&0, &1, &2]).collect();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_map_grows_by_steps_and_the_one_before_stays_as_it_was() {
    let name = |number: usize| pattern(&format!("host-{number}.example.com"));
    let mut map: HostMap<usize> = HostMap::default();
    // Far enough that the shards are laid out anew more than once.
    let count = SHARD_NAMES_MAX * 5;
    for number in 0..count {
        let before = map.clone();
        map = map.with([(name(number), Some(number))]);
        assert_eq!((before.len(), before.at(&name(number))), (number, None));
    }
    assert!(map.exact.shards.len() > 1);
    assert!((0..count).all(|number| map.at(&name(number)) == Some(&number)));
    let less = map.with((0..count).filter(|number| number % 2 == 0).map(|number| (name(number), None)));
    assert_eq!(less.len(), count / 2);
    assert!((0..count).all(|number| less.at(&name(number)).is_some() == (number % 2 == 1)));
    assert_eq!(map.len(), count);
}

#[test]
fn what_does_not_change_is_shared() {
    let count = SHARD_NAMES * 20;
    let map: HostMap<usize> =
        (0..count).map(|number| (pattern(&format!("host-{number}.com")), number)).collect();
    let other = map.with([(pattern("new.com"), Some(0))]);
    let shared = map.exact.shards.iter().zip(&other.exact.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared, map.exact.shards.len() - 1);
}

#[test]
fn a_request_without_a_host_meets_any_only() {
    let map: HostMap<&str> = ["a.com", "*"].map(|text| (pattern(text), text)).into_iter().collect();
    assert_eq!(map.best(None), Some(&"*"));
    assert_eq!(map.best(Some(&host("b.com"))), Some(&"*"));
    let map: HostMap<()> = HostMap::default();
    assert_eq!(map.best(None), None);
}

#[test]
fn an_address_never_meets_a_wildcard() {
    let map: HostMap<()> = [(pattern("*.example.com"), ())].into_iter().collect();
    assert_eq!(map.best(Some(&host("192.0.2.7"))), None);
    assert_eq!(map.best(Some(&host("[::1]"))), None);
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..5)
        .prop_map(|labels| labels.join("."))
}

fn any_pattern() -> impl Strategy<Value = HostPattern> {
    let labels = prop::sample::select(vec![WildcardLabels::One, WildcardLabels::OneOrMore]);
    prop_oneof![
        1 => Just(HostPattern::Any),
        4 => name().prop_map(|name| pattern(&name)),
        4 => (name(), labels).prop_map(|(name, labels)| pattern_of(&format!("*.{name}"), labels)),
    ]
}

/// The rule of `HostPattern::matches` in other words: label by label.
fn takes(pattern: &HostPattern, name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let written = pattern.to_string();
    let wanted: Vec<&str> = written.split('.').collect();
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(_) => labels == wanted,
        HostPattern::Wildcard { labels: depth, .. } => {
            let length_fits = match depth {
                WildcardLabels::One => labels.len() == wanted.len(),
                WildcardLabels::OneOrMore => labels.len() >= wanted.len(),
            };
            length_fits && labels.ends_with(&wanted[1..])
        }
    }
}

proptest! {
    #[test]
    fn a_map_visits_what_matches_from_the_narrowest_to_the_widest(
        patterns in prop::collection::btree_set(any_pattern(), 0..12),
        name in name(),
    ) {
        let map: HostMap<HostPattern> =
            patterns.iter().map(|pattern| (pattern.clone(), pattern.clone())).collect();
        let mut visited = Vec::new();
        map.find_map(Some(&host(&name)), |hit| {
            assert_eq!(hit.pattern(), *hit.value);
            visited.push(hit.value.clone());
            None::<()>
        });
        let mut expected: Vec<_> = patterns.into_iter().filter(|pattern| takes(pattern, &name)).collect();
        expected.sort_by_key(|pattern| Reverse(pattern.specificity()));
        prop_assert_eq!(visited, expected);
    }

    #[test]
    fn a_changed_map_is_as_one_that_was_made_so(
        old in prop::collection::btree_map(any_pattern(), 0..3_u8, 0..8),
        changes in prop::collection::vec((any_pattern(), prop::option::of(0..3_u8)), 0..8),
    ) {
        let map: HostMap<u8> = old.clone().into_iter().collect();
        let changed = map.with(changes.clone());
        let mut wanted = old;
        for (pattern, value) in changes {
            match value {
                Some(value) => drop(wanted.insert(pattern, value)),
                None => drop(wanted.remove(&pattern)),
            }
        }
        let mut got: Vec<_> = changed.iter().map(|(pattern, value)| (pattern, *value)).collect();
        got.sort();
        prop_assert_eq!(changed.len(), got.len());
        prop_assert_eq!(got, wanted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_intersection_takes_exactly_what_both_take(a in any_pattern(), b in any_pattern(), name in name()) {
        let both = a.intersect(&b);
        prop_assert_eq!(&both, &b.intersect(&a));
        let taken = both.is_some_and(|both| both.matches(&host(&name)));
        prop_assert_eq!(taken, takes(&a, &name) && takes(&b, &name));
    }

    #[test]
    fn a_parsed_host_parses_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(host) = Host::parse(&bytes) {
            let again = Host::parse(host.as_str());
            prop_assert_eq!(again, Ok(host));
        }
    }
}
