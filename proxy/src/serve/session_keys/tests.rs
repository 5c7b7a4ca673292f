use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

#[test]
fn a_file_is_made_and_shared_and_rotated() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys.json");
    let mut keys = SessionKeys::default();
    keys.take_file(&file, at(0)).expect("made");
    let text = std::fs::read_to_string(&file).expect("a file");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
    SessionKeys::default().take_file(&file, at(1)).expect("read");
    assert_eq!(
        std::fs::read_to_string(&file).expect("a file"),
        text,
        "the second process takes what is there"
    );

    let month = 30 * 24 * 3600;
    keys.take_file(&file, at(month)).expect("rotated");
    let rotated = std::fs::read_to_string(&file).expect("a file");
    assert!(rotated.matches("secret").count() == 2 && rotated != text);
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1, "no draft is left");

    std::fs::write(&file, "{}").expect("written");
    let error = keys.take_file(&file, at(month)).expect_err("not a ring");
    assert!(error.contains("keys.json"), "{error}");
}

#[test]
fn a_text_is_taken_up_when_it_changes() {
    let one = KeyRing::new(at(0)).expect("a ring").to_text();
    let two = KeyRing::new(at(0)).expect("a ring").to_text();
    let mut keys = SessionKeys::default();
    assert!(keys.take_text(&one).expect("a ring").is_some());
    assert!(keys.take_text(&one).expect("a ring").is_none());
    assert!(keys.take_text("broken").is_err());
    assert!(keys.take_text(&two).expect("a ring").is_some());
}
