use http::HeaderValue;

use super::*;

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn value(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn edits_set_then_add_then_remove() {
    let mut headers = HeaderMap::new();
    for (field, text) in
        [("x-set", "old"), ("x-set", "older"), ("x-add", "old"), ("x-gone", "1"), ("x-stay", "1")]
    {
        headers.append(name(field), value(text));
    }
    let edits = HeaderEdits {
        set: vec![(name("x-set"), value("new")), (name("x-made"), value("set"))],
        add: vec![
            (name("x-add"), value("new")),
            (name("x-made"), value("added")),
            (name("x-gone"), value("2")),
        ],
        remove: vec![name("x-gone"), name("x-never")],
    };
    apply(&edits, &mut headers);
    assert_eq!(values(&headers, "x-set"), ["new"]);
    assert_eq!(values(&headers, "x-add"), ["old", "new"]);
    assert_eq!(values(&headers, "x-made"), ["set", "added"]);
    assert_eq!(values(&headers, "x-stay"), ["1"]);
    assert!(!headers.contains_key("x-gone"));
}

#[test]
fn framing_and_host_are_out_of_reach() {
    let guarded = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "keep-alive",
        "trailer",
    ];
    for field in guarded {
        let mut headers = HeaderMap::new();
        headers.insert(name(field), value("kept"));
        let set = vec![(name(field), value("broken"))];
        let edits = HeaderEdits { set: set.clone(), add: set, remove: vec![name(field)] };
        apply(&edits, &mut headers);
        assert_eq!(values(&headers, field), ["kept"]);
    }
    assert!(is_editable(&name("x-forwarded-prefix")) && is_editable(&name("authorization")));
}
