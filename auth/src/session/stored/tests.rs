use super::*;
use crate::identity::Identity;
use crate::session::Lifetimes;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn stored() -> Stored {
    let session = Session::begin(Identity::named("ada"), Some("sid-1".into()), &Lifetimes::default(), at(0));
    let tokens = Tokens {
        refresh: Some(Secret::new("refresh-token")),
        id: Some(Secret::new("id-token")),
        access_until: Some(at(60)),
        refresh_at: Some(at(48)),
    };
    Stored { id: SessionId::random().expect("random bytes"), session, tokens }
}

#[test]
fn a_session_comes_out_of_the_store_as_it_went_in() {
    let ring = KeyRing::new(at(0)).expect("random bytes");
    let bare = Stored { tokens: Tokens::default(), ..stored() };
    for stored in [stored(), bare] {
        let write = stored.write(&ring, "dex", Manner::New, at(0)).expect("a write");
        assert_eq!(write.lifetime, Lifetimes::default().session);
        assert_eq!(write.found_by.len(), 2, "by its session at the provider, and by its account");
        assert_eq!(Stored::open(&ring, "dex", stored.id, write.value), Some(stored));
    }
}

#[test]
fn what_the_store_holds_says_nothing_and_cannot_be_moved() {
    let ring = KeyRing::new(at(0)).expect("random bytes");
    let stored = stored();
    let write = stored.write(&ring, "dex", Manner::New, at(0)).expect("a write");
    for word in ["ada", "refresh-token", "id-token", "sid-1"] {
        let shown = write.value.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(!shown && !write.key.contains(word) && !write.found_by.concat().contains(word), "{word}");
        assert!(!format!("{write:?}{:?}", stored.tokens).contains(word), "{word}");
    }
    let open = |ring: &KeyRing, provider: &str, id: SessionId, value: &[u8]| {
        Stored::open(ring, provider, id, value.to_vec()).is_some()
    };
    let other = SessionId::random().expect("random bytes");
    assert!(open(&ring, "dex", stored.id, &write.value));
    assert!(!open(&ring, "dex", other, &write.value), "under another key");
    assert!(!open(&ring, "other", stored.id, &write.value), "for another provider");
    assert!(!open(&KeyRing::new(at(0)).expect("random bytes"), "dex", stored.id, &write.value));
    for length in 0..write.value.len() {
        assert!(!open(&ring, "dex", stored.id, &write.value[..length]), "{length}");
    }
    let mut changed = write.value;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert!(!open(&ring, "dex", stored.id, &changed));
}

#[test]
fn a_session_that_is_too_large_is_refused_and_not_read() {
    let ring = KeyRing::new(at(0)).expect("random bytes");
    let mut large = stored();
    large.tokens.refresh = Some(Secret::new("x".repeat(STORED_BYTES_MAX)));
    assert!(matches!(large.write(&ring, "dex", Manner::New, at(0)), Err(StoredError::TooLarge(_))));
    assert_eq!(Stored::open(&ring, "dex", large.id, vec![1; STORED_BYTES_MAX + 1]), None);
    large.tokens.refresh = Some(Secret::new("x".repeat(STORED_BYTES_MAX / 2)));
    let write = large.write(&ring, "dex", Manner::New, at(0)).expect("it fits");
    assert_eq!(Stored::open(&ring, "dex", large.id, write.value), Some(large));
}

#[test]
fn a_handle_is_no_session_and_a_session_no_handle() {
    let handle = stored().handle();
    let bytes = handle.encode();
    assert_eq!(Handle::decode(&bytes), Some(handle));
    assert_eq!(Session::decode(&bytes), None);
    assert_eq!(Handle::decode(&stored().session.encode()), None);
    for length in 0..bytes.len() {
        assert_eq!(Handle::decode(&bytes[..length]), None, "{length}");
    }
    assert_eq!(Handle::decode(&[bytes, vec![0]].concat()), None);
}

#[test]
fn tokens_are_asked_for_before_they_are_needed() {
    let stored = stored();
    for (second, worth, expected) in [
        (0, Worth::Live, Refresh::No),
        (47, Worth::Live, Refresh::No),
        (48, Worth::Live, Refresh::Soon),
        (59, Worth::Renew, Refresh::Soon),
        (0, Worth::Renew, Refresh::Soon),
        (60, Worth::Live, Refresh::First),
        (60, Worth::Expired, Refresh::No),
    ] {
        assert_eq!(stored.refresh_due(worth, at(second)), expected, "{second} {worth:?}");
    }
    let without = Stored { tokens: Tokens { refresh: None, ..stored.tokens.clone() }, ..stored };
    assert_eq!(without.refresh_due(Worth::Renew, at(100)), Refresh::No);
}
