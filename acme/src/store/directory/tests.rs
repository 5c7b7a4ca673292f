use std::os::unix::fs::PermissionsExt;

use super::super::{export, import};
use super::*;
use crate::chain::tests::issue;

fn id(name: &str) -> CertificateId {
    CertificateId { namespace: "shop".into(), name: name.into() }
}

fn kept(names: &[&str], from: &str, to: &str) -> Kept {
    let moment = |text: &str| text.parse().expect(text);
    let chain = issue(names, moment(from), moment(to));
    Kept { issuer: Some("le".to_owned()), chain: chain.pem, key: chain.key }
}

fn open(root: &Path) -> DirectoryStore {
    let store = DirectoryStore::open(root, "vestibule").expect("it opens");
    assert!(store.try_acquire());
    store
}

#[tokio::test]
async fn what_is_written_is_read_again_and_closed_to_others() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path().join("store");
    let store = open(&root);
    let certificate = kept(&["a.test"], "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z");
    assert_eq!(store.load(&id("tls")).await, Ok(Stored::default()));
    store.save_certificate(&id("tls"), &certificate).await.expect("written");
    let state = State { failures: 2, ..State::default() };
    store.save_state(&id("tls"), &state).await.expect("written");
    store.save_account("0a", &Secret::new("{}")).await.expect("written");
    drop(store);

    let store = open(&root);
    assert_eq!(store.load(&id("tls")).await, Ok(Stored { certificate: Some(certificate), state }));
    assert_eq!(store.load_account("0a").await, Ok(Some(Secret::new("{}"))));
    assert_eq!(store.states().await, Ok(vec![id("tls")]));
    for file in ["certificates/shop.tls.json", ".orders/shop.tls.json", ".accounts/0a.json"] {
        let mode = fs::metadata(root.join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for directory in [".", "certificates", ".orders", ".accounts"] {
        let mode = fs::metadata(root.join(directory)).expect(directory).permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory}");
    }
    let left: Vec<_> = fs::read_dir(root.join(CERTIFICATES)).expect("a directory").collect();
    assert_eq!(left.len(), 1, "nothing is left beside it");
    store.remove_state(&id("tls")).await.expect("removed");
    store.remove_state(&id("tls")).await.expect("removing twice is as good");
    assert_eq!(store.states().await, Ok(vec![]));
}

#[tokio::test]
async fn one_process_holds_the_lock_and_only_it_writes() {
    let root = tempfile::tempdir().expect("a directory");
    let first = open(root.path());
    let second = DirectoryStore::open(root.path(), "vestibule").expect("it opens");
    assert!(!second.try_acquire());
    assert_eq!(second.save_state(&id("tls"), &State::default()).await, Err(StoreError::Lost));
    drop(first);
    second.acquire().await;
    assert!(second.is_held());
    assert_eq!(second.save_state(&id("tls"), &State::default()).await, Ok(()));
}

#[tokio::test]
async fn a_write_that_fails_leaves_what_was_there() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path());
    store.save_state(&id("tls"), &State { failures: 1, ..State::default() }).await.expect("written");
    // Nobody can write into a directory; not even root.
    fs::create_dir(root.path().join(".orders/.shop.tls.new")).expect("in the way");
    let error = store.save_state(&id("tls"), &State::default()).await.expect_err("it is in the way");
    assert!(error.to_string().contains(".orders/shop.tls.json"), "{error}");
    assert_eq!(store.load(&id("tls")).await.expect("read").state.failures, 1);
}

#[test]
fn a_full_disk_is_told_as_one() {
    // 28 is ENOSPC.
    let error = unavailable(Path::new("/store/x"), &std::io::Error::from_raw_os_error(28));
    assert_eq!(error, StoreError::Full { place: "/store/x".to_owned() });
    assert_eq!(
        error.to_string(),
        "no space is left for /store/x; make room, or raise the limits of the process"
    );
}

#[tokio::test]
async fn a_torn_file_is_told_by_place_and_shows_nothing_of_itself() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path());
    fs::write(root.path().join(".accounts/0a.json"), "\"-----BEGIN PRIVATE").expect("written");
    let error = store.load_account("0a").await.expect_err("it is torn").to_string();
    assert!(error.contains(".accounts/0a.json") && !error.contains("BEGIN"), "{error}");
}

#[tokio::test]
async fn no_name_leaves_the_directory() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path());
    for name in ["../x", "/etc/x", ".x", "", "a b", "x\u{e9}", &"x".repeat(201)] {
        let id = CertificateId { namespace: "shop".into(), name: name.into() };
        assert!(store.save_state(&id, &State::default()).await.is_err(), "{name:?}");
    }
    assert!(store.save_account("../x", &Secret::new("")).await.is_err());
}

#[tokio::test]
async fn a_backup_is_put_back_without_loss() {
    let (from, to) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
    let (old, new) = (open(from.path()), open(to.path()));
    let now = "2026-02-01T00:00:00Z".parse().expect("a time");
    let newer = kept(&["a.test"], "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z");
    let older = kept(&["b.test"], "2025-12-01T00:00:00Z", "2026-03-01T00:00:00Z");
    let there = kept(&["b.test"], "2025-12-01T00:00:00Z", "2026-03-02T00:00:00Z");
    old.save_account("0a", &Secret::new("{\"id\": 1}")).await.expect("written");
    for (name, certificate) in [("a", &newer), ("b", &older)] {
        old.save_certificate(&id(name), certificate).await.expect("written");
        old.save_state(&id(name), &State { issuer: Some("le".to_owned()), ..State::default() })
            .await
            .expect("written");
    }
    new.save_certificate(&id("b"), &there).await.expect("written");
    let text = serde_json::to_string(&export(&old, now).await.expect("exported")).expect("JSON");
    let bundle = serde_json::from_str(&text).expect("JSON");
    let imported = import(&new, &bundle).await.expect("imported");
    assert_eq!((imported.accounts, &*imported.certificates), (1, &[id("a")][..]));
    assert_eq!(imported.kept, [(id("b"), "what is there lasts as long".to_owned())]);
    assert_eq!(new.load(&id("a")).await.expect("read").certificate, Some(newer));
    assert_eq!(new.load_account("0a").await, Ok(Some(Secret::new("{\"id\": 1}"))));
}
