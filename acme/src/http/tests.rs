use http::HeaderMap;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn header(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, value.parse().expect(value));
    headers
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = at("2026-11-21T12:00:00Z");
    assert_eq!(retry_after(&header("90"), now), Some(at("2026-11-21T12:01:30Z")));
    assert_eq!(retry_after(&header("Sat, 21 Nov 2026 13:00:00 GMT"), now), Some(at("2026-11-21T13:00:00Z")));
    // A date that is over means now.
    assert_eq!(retry_after(&header("Sat, 21 Nov 2026 11:00:00 GMT"), now), Some(now));
    for nonsense in ["", "soon", "-5", "99999999999"] {
        assert_eq!(retry_after(&header(nonsense), now), None, "{nonsense:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn only_links_to_alternates_count() {
    assert_eq!(
        alternate(r#"<https://ca.test/cert/1/1>;rel="alternate""#).as_deref(),
        Some("https://ca.test/cert/1/1")
    );
    assert_eq!(
        alternate("<https://ca.test/c>; title=x; rel=alternate").as_deref(),
        Some("https://ca.test/c")
    );
    assert_eq!(alternate(r#"<https://ca.test/dir>;rel="index""#), None);
    assert_eq!(alternate("https://ca.test/dir"), None);
}
