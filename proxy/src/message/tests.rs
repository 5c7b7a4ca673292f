use super::*;

#[test]
fn a_request_that_lets_go_of_its_buffer_says_the_same() {
    let buffer = Bytes::from_static(b"/path?query shop.test:80 first second");
    let slice =
        |from: usize, to: usize| HeaderValue::from_maybe_shared(buffer.slice(from..to)).expect("a value");
    let mut secret = slice(25, 30);
    secret.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.append("x-first", secret);
    headers.append("x-twice", slice(31, 37));
    headers.append("x-twice", HeaderValue::from_static("third"));
    headers.append("x-empty", HeaderValue::from_static(""));
    let mut request = Request {
        method: Method::GET,
        target: buffer.slice(..11),
        authority: Some(buffer.slice(12..24)),
        protocol: Protocol::Http11,
        headers: headers.clone(),
        body: Body::Empty,
        upgrade: None,
        interim: Interim::default(),
    };
    request.detach();
    assert_eq!(request.target, "/path?query");
    assert_eq!(request.authority.as_deref(), Some(&b"shop.test:80"[..]));
    assert_eq!(request.headers, headers);
    assert!(request.headers["x-first"].is_sensitive() && !request.headers["x-twice"].is_sensitive());
    let held = buffer.as_ptr_range();
    let own = |bytes: &[u8]| bytes.is_empty() || !held.contains(&bytes.as_ptr());
    assert!(own(&request.target) && request.authority.as_deref().is_some_and(own));
    assert!(request.headers.values().all(|value| own(value.as_bytes())));
}

#[test]
fn a_copied_value_is_a_value_of_its_own() {
    let buffer = Bytes::from_static(b"first second");
    let mut value = HeaderValue::from_maybe_shared(buffer.slice(6..)).expect("a value");
    value.set_sensitive(true);
    detach(&mut value);
    assert_eq!(value, "second");
    assert!(value.is_sensitive());
    assert!(!buffer.as_ptr_range().contains(&value.as_bytes().as_ptr()));
}

#[test]
fn rest_is_said_once() {
    let told = Interim::default();
    let path = told.clone();
    assert!(!told.take_rest());
    path.rest();
    assert!(told.take_rest());
    assert!(!told.take_rest());
}
