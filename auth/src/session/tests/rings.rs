use super::super::ring::{KEYS_LEN_MAX, RETIRE_AFTER};
use super::*;

const BINDING: Binding<'static> =
    Binding { purpose: Purpose::Session, name: "__Host-vb_1", scope: "app.example", provider: "dex" };

fn ring() -> KeyRing {
    KeyRing::new(at(0)).expect("a ring")
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("a number")
}

#[test]
fn what_was_sealed_is_opened_by_every_replica() {
    let ring = ring();
    let sealed = ring.seal(&BINDING, b"hello", at(0)).expect("sealed");
    assert_eq!(ring.open(&BINDING, &sealed).as_deref(), Some(&b"hello"[..]));
    let other_replica = KeyRing::parse(&ring.to_text()).expect("a ring");
    assert_eq!(other_replica.open(&BINDING, &sealed).as_deref(), Some(&b"hello"[..]));
    let another = KeyRing::new(at(0)).expect("a ring");
    assert_eq!(another.open(&BINDING, &sealed), None, "another installation's keys");
    let again = ring.seal(&BINDING, b"hello", at(0)).expect("sealed");
    assert_ne!(sealed, again, "each has a nonce of its own");
}

#[test]
fn sealed_text_is_good_for_one_thing_only() {
    let ring = ring();
    let sealed = ring.seal(&BINDING, b"hello", at(0)).expect("sealed");
    for other in [
        Binding { purpose: Purpose::Flow, ..BINDING },
        Binding { purpose: Purpose::Ticket, ..BINDING },
        Binding { name: "vb_1", ..BINDING },
        Binding { scope: "evil.example", ..BINDING },
        Binding { provider: "other", ..BINDING },
        // The parts must not run into each other.
        Binding { name: "__Host-vb_1a", scope: "pp.example", ..BINDING },
        Binding { scope: "app.exampled", provider: "ex", ..BINDING },
    ] {
        assert_eq!(ring.open(&other, &sealed), None, "{other:?}");
    }
}

#[test]
fn what_is_not_sealed_is_not_opened() {
    let ring = ring();
    let sealed = ring.seal(&BINDING, b"hello", at(0)).expect("sealed");
    for text in [
        "",
        ".",
        "AAAA",
        "\u{e9}",
        &"A".repeat(100),
        &"A".repeat(20_000),
        &sealed[1..],
        &format!("{sealed}AA"),
    ] {
        assert_eq!(ring.open(&BINDING, text), None, "{text}");
    }
    for index in 0..sealed.len() {
        let mut bytes = sealed.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(ring.open(&BINDING, &changed), None, "byte {index}");
    }
}

#[test]
fn a_new_key_opens_before_it_seals() {
    let old = ring();
    let now = at(seconds(ROTATE_AFTER));
    let new = old.rotated(now).expect("random").expect("a new key is due");
    let early = new.seal(&BINDING, b"x", now + OVERLAP - Duration::from_secs(1)).expect("sealed");
    assert!(old.open(&BINDING, &early).is_some(), "a replica that has not heard yet can read it");
    let late = new.seal(&BINDING, b"x", now + OVERLAP).expect("sealed");
    assert!(old.open(&BINDING, &late).is_none());
    assert!(new.open(&BINDING, &late).is_some() && new.open(&BINDING, &early).is_some());
}

#[test]
fn keys_come_and_go_in_their_time() {
    let first = ring();
    assert!(first.rotated(at(seconds(ROTATE_AFTER) - 1)).expect("random").is_none());
    let rotated_at = seconds(ROTATE_AFTER);
    let second = first.rotated(at(rotated_at)).expect("random").expect("due");
    assert_eq!(format!("{second:?}"), "KeyRing(2 keys)");
    let sealed = first.seal(&BINDING, b"x", at(rotated_at)).expect("sealed");
    let third_at = 2 * seconds(ROTATE_AFTER);
    let third = second.rotated(at(third_at)).expect("random").expect("due");
    assert!(third.open(&BINDING, &sealed).is_some(), "a session of yesterday's key may still live");
    let retired = rotated_at + seconds(OVERLAP) + seconds(RETIRE_AFTER);
    let fourth = third.rotated(at(retired)).expect("random").expect("one is not needed any more");
    assert!(fourth.open(&BINDING, &sealed).is_none());
    assert!(fourth.rotated(at(retired)).expect("random").is_none(), "then there is nothing left to do");
}

#[test]
fn a_ring_never_holds_more_keys_than_it_may() {
    let mut ring = ring();
    for second in 0..2 * KEYS_LEN_MAX {
        ring = ring.with_new_key(at(second as i64)).expect("a key");
    }
    assert_eq!(format!("{ring:?}"), format!("KeyRing({KEYS_LEN_MAX} keys)"));
    assert!(KeyRing::parse(&ring.to_text()).is_ok());
    let key = r#"{"id":"AAAAAA","created":"2026-01-01T00:00:00Z","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    let many = |count: usize| format!(r#"{{"version":1,"keys":[{}]}}"#, vec![key; count].join(","));
    assert!(KeyRing::parse(&many(KEYS_LEN_MAX)).is_ok());
    assert!(matches!(KeyRing::parse(&many(KEYS_LEN_MAX + 1)), Err(KeyRingError::TooMany)));
    assert!(matches!(KeyRing::parse(&many(0)), Err(KeyRingError::Empty)));
}

#[test]
fn a_ring_that_cannot_be_read_says_so_without_showing_it() {
    let text = ring().to_text();
    for broken in [
        String::new(),
        "{}".into(),
        text.replace("\"version\":1", "\"version\":2"),
        text.replace("\"keys\"", "\"kays\""),
        text.replace("\"secret\":\"", "\"secret\":\"AAAA"),
    ] {
        let error = KeyRing::parse(&broken).expect_err("broken").to_string();
        assert!(error.contains("remove it"), "{error}");
        let secret = text.split("\"secret\":\"").nth(1).expect("a secret");
        assert!(!error.contains(&secret[..8]), "{error}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_opening_fail(text in "[A-Za-z0-9_.-]{0,400}|.{0,100}") {
            prop_assert_eq!(ring().open(&BINDING, &text), None);
        }

        #[test]
        fn everything_that_is_sealed_opens(plain in prop::collection::vec(any::<u8>(), 0..2000), scope in ".{0,60}") {
            let ring = ring();
            let binding = Binding { scope: &scope, ..BINDING };
            let sealed = ring.seal(&binding, &plain, at(0)).expect("sealed");
            prop_assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(ring.open(&binding, &sealed), Some(plain));
        }
    }
}
