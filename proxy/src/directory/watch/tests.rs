use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Waits for the changes that `act` causes, for at most ten seconds.
fn after(watch: &mut Watch, act: impl FnOnce()) -> Changes {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        act();
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("no change was seen")
    })
}

/// Gathers until `done` is satisfied: one act may be reported in more than one piece.
fn until(watch: &mut Watch, act: impl FnOnce(), done: impl Fn(&Changes) -> bool) {
    let mut all = after(watch, act);
    while !done(&all) {
        let more = after(watch, || {});
        all.files.extend(more.files);
        all.everything |= more.everything;
        all.settings |= more.settings;
    }
}

#[test]
fn a_written_file_is_reported_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(Some(directory.path()), None).unwrap();
    let file = directory.path().join("a.yaml");
    let changes = after(&mut watch, || fs::write(&file, "kind: x").unwrap());
    assert_eq!(changes.files, [file.clone()].into());
    assert!(!changes.everything);
    let changes = after(&mut watch, || fs::remove_file(&file).unwrap());
    assert!(changes.files.contains(&file));
}

#[test]
fn what_is_no_manifest_is_not_reported() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(Some(directory.path()), None).unwrap();
    let file = directory.path().join("b.yml");
    let changes = after(&mut watch, || {
        fs::write(directory.path().join("notes.txt"), "x").unwrap();
        fs::write(directory.path().join(".b.yml.swp"), "x").unwrap();
        fs::write(&file, "x").unwrap();
    });
    assert_eq!(changes, Changes { files: [file].into(), ..Changes::default() });
}

#[test]
fn a_file_moved_into_place_and_a_new_directory_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(Some(directory.path()), None).unwrap();
    let file = directory.path().join("c.json");
    until(
        &mut watch,
        || {
            fs::write(directory.path().join("c.tmp"), "{}").unwrap();
            fs::rename(directory.path().join("c.tmp"), &file).unwrap();
        },
        |changes| changes.files.contains(&file),
    );
    until(
        &mut watch,
        || fs::create_dir(directory.path().join("more")).unwrap(),
        |changes| changes.everything,
    );
    let inner = directory.path().join("more/d.yaml");
    until(&mut watch, || fs::write(&inner, "").unwrap(), |c| c.everything || c.files.contains(&inner));
}

#[test]
fn a_swapped_config_map_means_everything() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for version in ["..1", "..2"] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), version).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let mut watch = Watch::start(Some(root), None).unwrap();
    until(
        &mut watch,
        || {
            symlink("..2", root.join("..data_tmp")).unwrap();
            fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        },
        |changes| changes.everything,
    );
}

#[test]
fn the_settings_file_is_watched_also_as_a_mounted_config_map() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("manifests");
    let config = directory.path().join("config");
    fs::create_dir(&manifests).unwrap();
    fs::create_dir(&config).unwrap();
    let settings = config.join("vestibule.yaml");
    fs::write(&settings, "").unwrap();
    let mut watch = Watch::start(Some(&manifests), Some(&settings)).unwrap();
    let changes = after(&mut watch, || fs::write(&settings, "drain: 1s").unwrap());
    assert_eq!(changes, Changes { settings: true, ..Changes::default() });
    until(&mut watch, || symlink("x", config.join("..data")).unwrap(), |changes| changes.settings);
}

#[test]
fn a_root_that_is_a_link_may_be_turned() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let root = directory.path().join("current");
    symlink("one", &root).unwrap();
    let mut watch = Watch::start(Some(&root), None).unwrap();
    until(
        &mut watch,
        || {
            symlink("two", directory.path().join("next")).unwrap();
            fs::rename(directory.path().join("next"), &root).unwrap();
        },
        |changes| changes.everything,
    );
    let file = root.join("a.yaml");
    until(&mut watch, || fs::write(&file, "x").unwrap(), |changes| changes.files.contains(&file));
}

#[test]
fn a_full_queue_means_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::start(Some(directory.path()), None).unwrap();
    let (sender, events) = mpsc::channel(1);
    let mut forward = forward(sender, watch.lost.clone());
    watch.events = events;
    for name in ["a.yaml", "b.yaml"] {
        let event = Event::new(EventKind::Remove(notify::event::RemoveKind::File));
        forward(Ok(event.add_path(directory.path().join(name))));
    }
    let changes = after(&mut watch, || {});
    assert!(changes.everything);
}
