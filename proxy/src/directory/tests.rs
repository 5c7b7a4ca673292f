use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports: [{{port: {port}}}]\n"
    )
}

fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, namespace: "default".into(), name: name.into() }
}

fn port_of(directory: &Directory, name: &str) -> Option<u16> {
    Some(directory.objects().services.find("default", name)?.spec.ports[0].port)
}

fn changed(path: &Path) -> Changes {
    Changes { files: [path.to_owned()].into(), ..Changes::default() }
}

fn everything() -> Changes {
    Changes { everything: true, ..Changes::default() }
}

#[test]
fn manifests_are_found_at_any_depth_and_hidden_ones_are_not() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::create_dir(root.path().join(".git")).unwrap();
    fs::write(root.path().join("a/b/one.yaml"), service("one", 1)).unwrap();
    fs::write(root.path().join("two.YML"), service("two", 2)).unwrap();
    fs::write(root.path().join(".git/three.yaml"), service("three", 3)).unwrap();
    fs::write(root.path().join(".four.yaml"), service("four", 4)).unwrap();
    fs::write(root.path().join("five.txt"), service("five", 5)).unwrap();
    symlink(".", root.path().join("loop")).unwrap();
    let directory = Directory::open(root.path()).unwrap();
    assert_eq!(directory.problems(), []);
    assert_eq!(directory.objects().len(), 2);
    assert_eq!(directory.counts().files, 2);
    assert_eq!(directory.counts().read, BTreeMap::from([(Kind::Service, 2)]));
}

#[test]
fn a_mounted_config_map_shows_each_file_once_and_follows_the_swap() {
    let root = tempfile::tempdir().unwrap();
    for (version, port) in [("..1", 1), ("..2", 2)] {
        fs::create_dir(root.path().join(version)).unwrap();
        fs::write(root.path().join(version).join("a.yaml"), service("a", port)).unwrap();
    }
    symlink("..1", root.path().join("..data")).unwrap();
    symlink("..data/a.yaml", root.path().join("a.yaml")).unwrap();
    let mut directory = Directory::open(root.path()).unwrap();
    assert_eq!((directory.problems(), port_of(&directory, "a")), (vec![], Some(1)));
    symlink("..2", root.path().join("..new")).unwrap();
    fs::rename(root.path().join("..new"), root.path().join("..data")).unwrap();
    assert!(directory.refresh(&everything()));
    assert_eq!(port_of(&directory, "a"), Some(2));
    assert!(!directory.refresh(&everything()));
}

#[test]
fn a_file_that_does_not_parse_keeps_its_last_objects_and_the_others_go_on() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one.yaml"), root.path().join("two.yaml"));
    fs::write(&one, service("one", 1) + &service("extra", 9)).unwrap();
    fs::write(&two, service("two", 2)).unwrap();
    let mut directory = Directory::open(root.path()).unwrap();

    fs::write(&one, service("one", 11) + "---\nkind: [\n").unwrap();
    fs::write(&two, service("two", 22)).unwrap();
    assert!(directory.refresh(&everything()));
    assert_eq!(port_of(&directory, "one"), Some(1));
    assert_eq!(port_of(&directory, "extra"), Some(9));
    assert_eq!(port_of(&directory, "two"), Some(22));
    let problems = directory.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, "Unparsable");
    assert_eq!(*problems[0].place.as_ref().unwrap().file, one);
    assert!(problems[0].place.as_ref().unwrap().line >= 9, "{problems:?}");
    assert!(problems[0].message.ends_with("what the file held before stays in use"), "{problems:?}");

    fs::write(&one, service("one", 12)).unwrap();
    assert!(directory.refresh(&changed(&one)));
    assert_eq!(port_of(&directory, "one"), Some(12));
    assert_eq!(port_of(&directory, "extra"), None);
    assert_eq!(directory.problems(), []);

    fs::remove_file(&one).unwrap();
    assert!(directory.refresh(&changed(&one)));
    assert_eq!(port_of(&directory, "one"), None);
    assert_eq!(directory.counts().files, 1);
}

#[test]
fn an_object_in_two_files_is_a_problem_that_names_both() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a.yaml"), root.path().join("b.yaml"));
    fs::write(&b, service("web", 2)).unwrap();
    let mut directory = Directory::open(root.path()).unwrap();
    fs::write(&a, service("web", 1)).unwrap();
    assert!(directory.refresh(&changed(&a)));
    assert_eq!(port_of(&directory, "web"), Some(1));
    let problems = directory.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, "Duplicate");
    assert_eq!(*problems[0].place.as_ref().unwrap().file, b);
    assert!(problems[0].message.contains(&format!("{}:2", a.display())), "{problems:?}");

    fs::remove_file(&a).unwrap();
    assert!(directory.refresh(&changed(&a)));
    assert_eq!((port_of(&directory, "web"), directory.problems()), (Some(2), vec![]));

    fs::write(&b, service("web", 3) + &service("web", 4)).unwrap();
    directory.refresh(&changed(&b));
    assert_eq!((port_of(&directory, "web"), directory.problems().len()), (Some(3), 1));
}

#[test]
fn problems_are_placed_at_the_line_of_their_field() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.yaml");
    fs::write(&file, service("one", 1) + &service("two", 2)).unwrap();
    let list = root.path().join("list.yaml");
    fs::write(
        &list,
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: three}\n  spec:\n    type: x\n",
    )
    .unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let problem = |name: &str, field: &str| Problem {
        severity: Severity::Warning,
        object: Some(reference(Kind::Service, name)),
        field: field.into(),
        reason: "Test",
        message: "".into(),
        place: None,
    };
    let mut problems =
        [problem("two", "spec.ports[0].port"), problem("three", "spec.type"), problem("nobody", "spec")];
    directory.locate(&mut problems, |path| fs::read_to_string(path).ok());
    let places: Vec<_> = problems.iter().map(|problem| problem.place.clone()).collect();
    let place = |file: &Path, line| Some(Place { file: Arc::new(file.to_owned()), line });
    assert_eq!(places, [place(&file, 14), place(&list, 8), None]);
    assert_eq!(directory.place(&reference(Kind::Service, "two")), place(&file, 9));
}

#[test]
fn standard_input_is_read_like_a_file() {
    let text = service("a", 1)
        + "---\nkind: Deployment\napiVersion: apps/v1\n---\nkind: Deployment\napiVersion: apps/v1\n";
    let (directory, _) = Directory::from_reader("<stdin>", text.as_bytes()).unwrap();
    assert_eq!(port_of(&directory, "a"), Some(1));
    let foreign: Vec<_> =
        directory.counts().foreign.into_iter().map(|(kind, n)| (kind.to_string(), n)).collect();
    assert_eq!(foreign, [("Deployment (apps/v1)".to_owned(), 2)]);
}

#[test]
fn a_missing_directory_is_one_clear_line() {
    let error = Directory::open(Path::new("/nonexistent")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent: ") && !error.contains('\n'), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Directory::open(file.path()), Err(DirectoryError::NotADirectory { .. })));
}

#[test]
fn a_file_that_is_too_large_is_a_problem_and_keeps_what_it_held() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.yaml");
    fs::write(&path, service("a", 1)).unwrap();
    let mut directory = Directory::open(root.path()).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(manifest::FILE_BYTES_MAX + 1).unwrap();
    assert!(directory.refresh(&changed(&path)));
    assert_eq!(port_of(&directory, "a"), Some(1));
    assert!(directory.problems()[0].message.contains("larger than"), "{:?}", directory.problems());
    fs::write(&path, service("a", 2)).unwrap();
    assert!(directory.refresh(&changed(&path)));
    assert_eq!((port_of(&directory, "a"), directory.problems()), (Some(2), vec![]));
}

#[test]
fn a_directory_too_deep_is_a_problem() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("d/".repeat(scan::DIRECTORY_DEPTH_MAX + 1));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.yaml"), service("a", 1)).unwrap();
    let directory = Directory::open(root.path()).unwrap();
    assert_eq!(directory.problems()[0].reason, "TooDeep");
    assert_eq!(directory.objects().len(), 0);
}

#[test]
fn more_files_than_the_bound_are_a_problem() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.path().join(format!("{name}.yaml")), "").unwrap();
    }
    assert!(scan::scan(root.path(), 3).faults.is_empty());
    let found = scan::scan(root.path(), 2);
    assert_eq!(found.files, [root.path().join("a.yaml"), root.path().join("b.yaml")].into());
    assert_eq!(found.faults[0].reason, "TooManyFiles");
}
