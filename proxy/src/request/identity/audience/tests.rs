use http::HeaderValue;

use super::*;

fn of(method: Method, fields: &[(&'static str, &'static str)]) -> Audience {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    audience_of(&method, &headers)
}

#[test]
fn a_person_is_who_changes_pages() {
    let page = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let navigate = ("sec-fetch-mode", "navigate");
    for (method, fields, expected) in [
        (Method::GET, vec![page], Audience::Navigation),
        (Method::HEAD, vec![page], Audience::Navigation),
        (Method::GET, vec![navigate], Audience::Navigation),
        (Method::GET, vec![navigate, ("sec-fetch-dest", "document")], Audience::Navigation),
        (Method::GET, vec![navigate, ("sec-fetch-dest", "iframe"), page], Audience::Program),
        (Method::GET, vec![("sec-fetch-mode", "cors"), page], Audience::Program),
        (Method::GET, vec![("sec-fetch-mode", "no-cors"), page], Audience::Program),
        (Method::GET, vec![("sec-fetch-mode", "websocket"), page], Audience::Program),
        (Method::GET, vec![page, ("x-requested-with", "XMLHttpRequest")], Audience::Program),
        (Method::POST, vec![navigate, page], Audience::Program),
        (Method::GET, vec![("accept", "*/*")], Audience::Program),
        (Method::GET, vec![("accept", "application/json")], Audience::Program),
        (Method::GET, vec![], Audience::Program),
        (Method::POST, vec![("content-type", "application/grpc+proto")], Audience::Grpc),
    ] {
        assert_eq!(of(method.clone(), &fields), expected, "{method} {fields:?}");
    }
}
