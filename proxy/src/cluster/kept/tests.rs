use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn keep(root: &Path, kind: Kind) -> Keep {
    let directories = Directories { objects: root.join("objects"), secrets: root.join("secrets") };
    Keep::new(&directories, &Scope { kind, namespace: None })
}

fn object(name: &str, value: &str) -> Box<RawValue> {
    let text = format!(r#"{{"metadata":{{"name":"{name}","namespace":"a"}},"data":{{"key":"{value}"}}}}"#);
    RawValue::from_string(text).unwrap()
}

fn line(kind: &str, object: &RawValue) -> String {
    format!(r#"{{"type":"{kind}","object":{}}}"#, object.get())
}

/// The names that are there after all events.
fn names(keep: &Keep) -> Vec<String> {
    let mut names = std::collections::BTreeSet::new();
    for event in keep.read().expect("something is kept") {
        match event {
            Event::Applied(sent) => drop(names.insert(sent.unwrap().reference().name.to_string())),
            Event::Deleted(name) => drop(names.remove(&*name.name)),
            Event::Bookmark => {}
        }
    }
    names.into_iter().collect()
}

#[test]
fn a_list_and_its_changes_are_read_back_by_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let mut first = keep(root.path(), Kind::ConfigMap);
    assert!(!first.is_there());
    first.begin();
    first.put(&object("one", "1"));
    first.put(&object("two", "2"));
    assert!(!first.is_there(), "half a list is none");
    first.commit();
    first.append(line("ADDED", &object("three", "3")).as_bytes());
    first.append(line("DELETED", &object("one", "1")).as_bytes());
    // Cut in the middle with the process.
    first.append(br#"{"type":"ADDED","object":{"metadata":{"na"#);
    assert_eq!(names(&keep(root.path(), Kind::ConfigMap)), ["three", "two"]);
    // The next list takes its place.
    first.begin();
    first.put(&object("four", "4"));
    first.commit();
    assert_eq!(names(&keep(root.path(), Kind::ConfigMap)), ["four"]);
}

#[test]
fn secrets_have_a_directory_of_their_own_and_nobody_else_may_read_any() {
    let root = tempfile::tempdir().unwrap();
    for kind in [Kind::Secret, Kind::ConfigMap] {
        let mut keep = keep(root.path(), kind);
        keep.begin();
        keep.commit();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keep.path), 0o600);
        assert_eq!(mode(keep.path.parent().unwrap()), 0o700);
    }
    assert!(root.path().join("secrets/secrets.v1").exists());
    assert!(!root.path().join("objects/secrets.v1").exists());
}

#[test]
fn a_file_that_grows_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let mut keep = keep(root.path(), Kind::ConfigMap);
    keep.begin();
    keep.commit();
    let large = "x".repeat(64 << 10);
    for _ in 0..200 {
        keep.append(line("MODIFIED", &object("one", &large)).as_bytes());
        keep.append(line("ADDED", &object("gone", &large)).as_bytes());
        keep.append(line("DELETED", &object("gone", &large)).as_bytes());
    }
    assert!(fs::metadata(&keep.path).unwrap().len() < 2 * COMPACTION_BYTES_MIN);
    assert_eq!(names(&keep), ["one"]);
}

#[test]
fn what_cannot_be_written_costs_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("objects"), "in the way").unwrap();
    let mut keep = keep(root.path(), Kind::ConfigMap);
    keep.begin();
    keep.put(&object("one", "1"));
    keep.commit();
    keep.append(b"{}");
    assert!(keep.has_failed && keep.read().is_none());
}
