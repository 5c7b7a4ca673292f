use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::request::target::{EncodedSlash, Scheme};

fn filled(text: &str, distinct: bool) -> Vec<u8> {
    let method = Method::PUT;
    let raw = Bytes::from_static(b"/a%20b//c?q=1&r=x%2Fy&s=");
    let host = Some(&b"app.example:8443"[..]);
    let target =
        Target::parse(&method, &raw, None, host, Scheme::Https, EncodedSlash::Refuse).expect("a target");
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    headers.append("cookie", HeaderValue::from_static("a=1; session=abc"));
    headers.append("cookie", HeaderValue::from_static("session=second"));
    let address = "2001:db8::1".parse().expect("an address");
    let subject =
        Subject { method: &method, target: &target, headers: &headers, host: b"app.example:8443", address };
    let template = Template::parse_text(text).expect("a template");
    if distinct { template.fill_distinct(subject) } else { template.fill(subject) }
}

#[test]
fn variables_stand_for_the_normalised_request() {
    for (text, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("$request_method $scheme", "PUT https"),
        ("https://$host/x", "https://app.example/x"),
        ("$http_host|$best_http_host", "app.example:8443|app.example:8443"),
        ("$request_uri", "/a%20b/c?q=1&r=x%2Fy&s="),
        ("$uri?$args", "/a%20b/c?q=1&r=x%2Fy&s="),
        ("rd=$escaped_request_uri", "rd=%2Fa%2520b%2Fc%3Fq%3D1%26r%3Dx%252Fy%26s%3D"),
        ("$http_authorization$http_x_absent", "Bearer x"),
        ("${cookie_session}-$cookie_absent-", "abc--"),
        ("$arg_r,$arg_q,$arg_s,$arg_t", "x%2Fy,1,,"),
        ("$remote_addr", "2001:db8::1"),
    ] {
        assert_eq!(String::from_utf8(filled(text, false)).expect("text"), expected, "{text}");
    }
}

#[test]
fn what_is_no_template_says_why() {
    for (text, error) in [
        ("$", TemplateError::Bare),
        ("a$-b", TemplateError::Bare),
        ("${host", TemplateError::Bare),
        ("$secret", TemplateError::Unknown("secret".into())),
        ("$cookie_", TemplateError::Unknown("cookie_".into())),
        ("a\r\nb", TemplateError::Character),
        ("ä", TemplateError::Character),
    ] {
        assert_eq!(Template::parse_text(text), Err(error), "{text}");
    }
    assert_eq!(Template::parse("a b"), Err(TemplateError::Character));
    assert!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX)).is_ok());
    assert_eq!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX + 1)), Err(TemplateError::TooLong));
}

#[test]
fn two_sets_of_values_never_make_one_key() {
    // Side by side, `abc` and nothing would read like nothing and `abc`.
    assert_ne!(filled("$cookie_session$cookie_absent", true), filled("$cookie_absent$cookie_session", true));
    assert_eq!(
        filled("$cookie_session$cookie_absent", false),
        filled("$cookie_absent$cookie_session", false)
    );
}
