use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Canary, CanaryHeader, CanaryValue, Chance};
use crate::route::expression::RegexPattern;
use crate::route::{WeightedBackend, fixtures};

fn canary(weight: u32) -> Canary {
    Canary {
        origin: fixtures::object("canary"),
        by_header: None,
        by_cookie: None,
        chance: Chance { weight, total: 100 },
        share: WeightedBackend {
            weight: 1,
            backend: Err(StatusCode::SERVICE_UNAVAILABLE),
            request_headers: None,
            response_headers: None,
        },
    }
}

fn by_header(value: CanaryValue) -> Canary {
    let header = CanaryHeader { name: HeaderName::from_static("x-canary"), value };
    Canary { by_header: Some(header), by_cookie: Some("canary".into()), ..canary(0) }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// Chance says no, so that only what decides can say yes.
fn chosen(canary: &Canary, fields: &[(&'static str, &'static str)]) -> bool {
    canary.is_chosen(&headers(fields), |total| total - 1)
}

#[test]
fn the_header_decides_before_the_cookie_and_the_cookie_before_chance() {
    let canary = Canary { chance: Chance { weight: 100, total: 100 }, ..by_header(CanaryValue::Word) };
    assert!(!chosen(&canary, &[("x-canary", "never"), ("cookie", "canary=always")]));
    assert!(!chosen(&canary, &[("x-canary", "perhaps"), ("cookie", "canary=never")]));
    assert!(chosen(&canary, &[("x-canary", "perhaps"), ("cookie", "canary=perhaps")]));
    let canary = by_header(CanaryValue::Word);
    assert!(chosen(&canary, &[("x-canary", "always"), ("cookie", "canary=never")]));
    assert!(chosen(&canary, &[("cookie", "a=b; canary=always")]));
    assert!(!chosen(&canary, &[]));
}

#[test]
fn a_header_value_replaces_the_words() {
    let exact = by_header(CanaryValue::Exact(b"beta".as_slice().into()));
    assert!(chosen(&exact, &[("x-canary", "beta")]));
    assert!(!chosen(&exact, &[("x-canary", "always")]));
    // What does not match leaves it to the cookie.
    assert!(chosen(&exact, &[("x-canary", "never"), ("cookie", "canary=always")]));
    let repeated = {
        let mut headers = headers(&[("x-canary", "alpha")]);
        headers.append("x-canary", HeaderValue::from_static("beta"));
        headers
    };
    assert!(!exact.is_chosen(&repeated, |total| total - 1));
}

#[test]
fn a_pattern_is_searched_in_the_value() {
    let pattern = by_header(CanaryValue::Pattern(RegexPattern::search("DE|AT").unwrap()));
    assert!(chosen(&pattern, &[("x-canary", "de-AT")]));
    assert!(!chosen(&pattern, &[("x-canary", "fr")]));
}

#[test]
fn a_cookie_is_found_by_its_whole_name() {
    let canary = by_header(CanaryValue::Word);
    assert!(!chosen(&canary, &[("cookie", "xcanary=always; canary2=always; canary")]));
    assert!(chosen(&canary, &[("cookie", "a=1;canary=always")]));
}

#[test]
fn chance_takes_its_share_and_nothing_at_zero() {
    let drawn = |weight, number| canary(weight).is_chosen(&HeaderMap::new(), |_| number);
    assert!(drawn(10, 0) && drawn(10, 9) && !drawn(10, 10));
    assert!(!drawn(0, 0));
    assert!(drawn(100, 99));
}

#[test]
fn a_canary_without_endpoints_takes_nothing() {
    use crate::upstream::{Backend, BackendKey, EndpointAddress, EndpointSpec};
    let key = BackendKey {
        namespace: "shop".into(),
        service: "web".into(),
        port: 80,
        protocol: Default::default(),
        tls: None,
        balance: Default::default(),
    };
    let backend = std::sync::Arc::new(Backend::new(key, &Default::default()));
    let canary = Canary { share: WeightedBackend::whole(backend.clone()), ..canary(100) };
    assert!(!canary.takes(&HeaderMap::new()));
    let address = EndpointAddress::Socket("192.0.2.1:80".parse().unwrap());
    backend.publish(&[EndpointSpec { address, local: true }]);
    assert!(canary.takes(&HeaderMap::new()));
}
