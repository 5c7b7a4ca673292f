use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{pick, share_for};
use crate::route::WeightedBackend;
use crate::route::canary::{Canary, CanaryHeader, CanaryValue, Chance};
use crate::route::fixtures;

/// A share that is told by the status it answers.
fn share(weight: u32, status: StatusCode) -> WeightedBackend {
    WeightedBackend { weight, backend: Err(status), request_headers: None, response_headers: None }
}

fn status(share: Option<&WeightedBackend>) -> Option<StatusCode> {
    share.and_then(|share| share.backend.as_ref().err().copied())
}

#[test]
fn the_canary_is_asked_before_the_backends() {
    let header = HeaderName::from_static("x-canary");
    let canary = Canary {
        origin: fixtures::object("canary"),
        by_header: Some(CanaryHeader { name: header.clone(), value: CanaryValue::Word }),
        by_cookie: None,
        chance: Chance { weight: 0, total: 100 },
        share: share(0, StatusCode::IM_A_TEAPOT),
    };
    let backends = [share(1, StatusCode::BAD_GATEWAY)];
    let mut headers = HeaderMap::new();
    assert_eq!(status(share_for(&headers, Some(&canary), &backends)), Some(StatusCode::BAD_GATEWAY));
    headers.insert(header, HeaderValue::from_static("always"));
    assert_eq!(status(share_for(&headers, Some(&canary), &backends)), Some(StatusCode::IM_A_TEAPOT));
    assert_eq!(status(share_for(&headers, None, &backends)), Some(StatusCode::BAD_GATEWAY));
}

#[test]
fn a_share_without_weight_is_never_picked() {
    let backends = [share(0, StatusCode::BAD_GATEWAY), share(3, StatusCode::IM_A_TEAPOT)];
    assert!((0..100).all(|_| status(pick(&backends)) == Some(StatusCode::IM_A_TEAPOT)));
    assert_eq!(status(pick(&backends[..1])), None);
    assert_eq!(status(pick(&[])), None);
}
