use super::rule::{parse_at_once, parse_rates};
use super::*;

fn limiting(rates: &str, at_once: &str) -> Arc<Limiting> {
    let written = WrittenLimits {
        rates: parse_rates(rates).unwrap_or_default(),
        at_once: parse_at_once(at_once).unwrap_or_default(),
        ..WrittenLimits::default()
    };
    Limiting::new(&written, "Ingress shop/web").expect("a limit")
}

fn address(text: &str) -> Value<'static> {
    Value::Address(network_of(text.parse().unwrap()))
}

#[test]
fn an_ipv6_client_is_its_network() {
    let limiter = Limiter::new(KEYS_DEFAULT);
    let limit = &limiting("1/m", "").on_arrival.rates[0];
    let now = Duration::ZERO;
    assert_eq!(limiter.count(limit, address("2001:db8:0:1::1"), now), Decision::Passes);
    assert_ne!(limiter.count(limit, address("2001:db8:0:1:ffff::2"), now), Decision::Passes);
    assert_eq!(limiter.count(limit, address("2001:db8:0:2::1"), now), Decision::Passes);
    assert_eq!(limiter.count(limit, address("192.0.2.1"), now), Decision::Passes);
    assert_ne!(limiter.count(limit, address("::ffff:192.0.2.1"), now), Decision::Passes);
}

#[test]
fn rules_count_apart_and_outlive_the_configuration() {
    let limiter = Limiter::new(KEYS_DEFAULT);
    let now = Duration::ZERO;
    let first = limiting("1/m per ip; 1/m per route; 1/m per header X-Key", "");
    for limit in &first.on_arrival.rates {
        assert_eq!(limiter.count(limit, Value::All, now), Decision::Passes, "{limit:?}");
    }
    let again = limiting("1/m per ip; 1/m per route; 1/m per header X-Key", "");
    for limit in &again.on_arrival.rates {
        assert_ne!(limiter.count(limit, Value::All, now), Decision::Passes, "{limit:?}");
    }
    let other = Limiting::new(
        &WrittenLimits { rates: parse_rates("1/m").unwrap(), ..Default::default() },
        "Ingress shop/api",
    );
    assert_eq!(limiter.count(&other.unwrap().on_arrival.rates[0], Value::All, now), Decision::Passes);
}

#[test]
fn a_text_is_no_address() {
    let limiter = Limiter::new(KEYS_DEFAULT);
    let limit = &limiting("1/m", "").on_arrival.rates[0];
    for value in [
        Value::All,
        Value::Account(""),
        Value::Text(b""),
        Value::Text(b"\0\0\0\0"),
        address("0.0.0.0"),
        address("::"),
    ] {
        assert_eq!(limiter.count(limit, value, Duration::ZERO), Decision::Passes, "{value:?}");
    }
}

#[test]
fn places_are_given_back() {
    let limiter = Arc::new(Limiter::new(KEYS_DEFAULT));
    let limit = &limiting("", "2 per ip").on_arrival.at_once[0];
    let first = limiter.enter(limit, address("192.0.2.1")).expect("a place");
    let _second = limiter.enter(limit, address("192.0.2.1")).expect("a place");
    assert!(limiter.enter(limit, address("192.0.2.1")).is_none());
    let other = limiter.enter(limit, address("192.0.2.2")).expect("a place");
    drop(first);
    let _third = limiter.enter(limit, address("192.0.2.1")).expect("a place");
    assert_eq!(limiter.flights.len(), 2);
    drop(other);
    assert_eq!(limiter.flights.len(), 1);
}

#[test]
fn the_table_is_made_with_the_first_request() {
    let limiter = Limiter::new(0);
    assert!(limiter.cells.get().is_none());
    limiter.count(&limiting("1/m", "").on_arrival.rates[0], Value::All, Duration::ZERO);
    assert!(limiter.cells.get().is_some());
    assert_eq!(Limiter::new(usize::MAX).keys, KEYS_MAX);
}

#[test]
fn what_needs_an_identity_is_judged_apart() {
    let limits = limiting("1/m per ip; 1/m per user; 1/m per claim tenant", "5 per group; 5 per route");
    let rules: Vec<Vec<String>> = limits
        .bounds()
        .map(|bounds| bounds.answers().map(|(answer, _)| answer.rule.to_string()).collect())
        .into();
    assert_eq!(
        rules,
        [
            vec!["5 at once per route", "1/m per ip"],
            vec!["5 at once per group", "1/m per user", "1/m per claim tenant"]
        ]
    );
}
