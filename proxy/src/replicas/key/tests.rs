use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

const MONTH: i64 = 30 * 24 * 3600;

#[test]
fn what_is_written_is_read() {
    let keys = CallKeys::new(at(0)).expect("random bytes");
    let again = CallKeys::parse(&keys.to_text()).expect("our own text");
    assert_eq!(again.to_text(), keys.to_text());
    assert!(again.find(keys.keys[0].id()).is_some());
    assert_eq!(format!("{keys:?}"), "CallKeys(1 keys)");
}

#[test]
fn what_is_wrong_is_told_and_not_shown() {
    let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U";
    for (text, what) in [
        (String::new(), "line"),
        ("{}".to_owned(), "line"),
        (r#"{"version": 2, "keys": []}"#.to_owned(), "version"),
        (r#"{"version": 1, "keys": []}"#.to_owned(), "no key"),
        (
            format!(
                r#"{{"version": 1, "keys": [{{"id": "AAAA", "created": "{}", "secret": "{secret}"}}]}}"#,
                at(0)
            ),
            "length",
        ),
    ] {
        let error = CallKeys::parse(&text).expect_err(&text).to_string();
        assert!(error.contains(what), "{text}: {error}");
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn more_keys_than_the_bound_are_refused() {
    let key = CallKeys::new(at(0)).expect("random bytes").to_text();
    let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
    let ring = |count: usize| {
        let keys = vec![key["keys"][0].clone(); count];
        CallKeys::parse(&serde_json::json!({"version": 1, "keys": keys}).to_string())
    };
    assert!(ring(KEYS_LEN_MAX).is_ok());
    assert!(matches!(ring(KEYS_LEN_MAX + 1), Err(KeysError::TooMany)));
}

#[test]
fn a_new_key_is_believed_before_it_is_used_and_an_old_one_after() {
    let keys = CallKeys::new(at(0)).expect("random bytes");
    let first = keys.keys[0].id();
    assert_eq!(keys.calling(at(0)).map(CallKey::id), Some(first), "the only one is used at once");
    assert!(keys.rotated(at(MONTH - 1)).expect("random bytes").is_none());

    let keys = keys.rotated(at(MONTH)).expect("random bytes").expect("it is due");
    let second = keys.keys[0].id();
    assert_ne!(first, second);
    let overlap = i64::try_from(OVERLAP.as_secs()).expect("a short time");
    assert_eq!(keys.calling(at(MONTH + overlap - 1)).map(CallKey::id), Some(first));
    assert_eq!(keys.calling(at(MONTH + overlap)).map(CallKey::id), Some(second));
    assert!(keys.rotated(at(MONTH + 2 * overlap - 1)).expect("random bytes").is_none());
    assert!(keys.find(first).is_some());

    let keys = keys.rotated(at(MONTH + 2 * overlap)).expect("random bytes").expect("the old one goes");
    assert!(keys.find(first).is_none());
    assert!(keys.find(second).is_some());
}

#[test]
fn replicas_that_share_a_file_share_its_keys() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys");
    let one = CallKeys::from_file(&file, at(0)).expect("made");
    let other = CallKeys::from_file(&file, at(1)).expect("read");
    assert_eq!(one.to_text(), other.to_text());
    let rotated = CallKeys::from_file(&file, at(MONTH)).expect("rotated");
    assert_eq!(rotated.keys.len(), 2);
    assert_eq!(CallKeys::from_file(&file, at(MONTH)).expect("read").to_text(), rotated.to_text());
}
