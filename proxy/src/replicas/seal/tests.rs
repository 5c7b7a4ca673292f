use std::sync::Arc;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

/// Two replicas with the same keys.
fn pair() -> (Seals, Seals) {
    let (one, other) = (Seals::new(), Seals::new());
    let keys = CallKeys::new(at(-3600)).expect("random bytes");
    other.keys.store(Some(Arc::new(CallKeys::parse(&keys.to_text()).expect("our own text"))));
    one.keys.store(Some(Arc::new(keys)));
    (one, other)
}

fn caller() -> Incarnation {
    "0123456789abcdef".into()
}

#[test]
fn a_call_is_believed_once() {
    let (one, other) = pair();
    let (header, nonce) = one.call("/v1/wake", &caller(), b"{}", at(0)).expect("there are keys");
    assert_eq!(other.admit("/v1/wake", Some(&header), b"{}", at(1)), Ok((caller(), nonce)));
    assert_eq!(other.admit("/v1/wake", Some(&header), b"{}", at(1)), Err(Refusal::Replay));
    // Forgotten only when its time has long made it useless.
    let late = at(2 * 60 + 2);
    other
        .admit("/v1/wake", Some(&one.call("/v1/wake", &caller(), b"", late).expect("keys").0), b"", late)
        .expect("new");
    assert_eq!(other.admit("/v1/wake", Some(&header), b"{}", late), Err(Refusal::Time));
}

#[test]
fn whatever_is_changed_is_refused() {
    let (one, other) = pair();
    let (header, _) = one.call("/v1/wake", &caller(), b"body", at(0)).expect("there are keys");
    let admit =
        |path: &str, header: &str, body: &[u8]| other.admit(path, Some(header), body, at(0)).map(|_| ());
    assert_eq!(admit("/v1/revoke", &header, b"body"), Err(Refusal::Mac));
    assert_eq!(admit("/v1/wake", &header, b"Body"), Err(Refusal::Mac));
    assert_eq!(
        admit("/v1/wake", &header.replace("0123456789abcdef", "fedcba9876543210"), b"body"),
        Err(Refusal::Mac)
    );
    let last = header.len() - 1;
    let flipped = if header.ends_with('0') { "1" } else { "0" };
    assert_eq!(admit("/v1/wake", &format!("{}{flipped}", &header[..last]), b"body"), Err(Refusal::Mac));
    for broken in
        ["", "1", "1 2 3", &header[2..], &header[..last], &format!("{header} 0"), &header.to_uppercase()]
    {
        assert_eq!(admit("/v1/wake", broken, b"body"), Err(Refusal::Form), "{broken}");
    }
    assert_eq!(other.admit("/v1/wake", None, b"body", at(0)), Err(Refusal::Form));
    assert_eq!(admit("/v1/wake", &header, b"body"), Ok(()), "nothing of this has used it up");
}

#[test]
fn clocks_may_differ_by_the_window_and_not_by_more() {
    let (one, other) = pair();
    for (seconds, believed) in [(-61, false), (-60, true), (0, true), (60, true), (61, false)] {
        let (header, _) = one.call("/v1/wake", &caller(), b"", at(seconds)).expect("there are keys");
        let admitted = other.admit("/v1/wake", Some(&header), b"", at(0)).map(|_| ());
        assert_eq!(admitted, if believed { Ok(()) } else { Err(Refusal::Time) }, "{seconds}");
    }
}

#[test]
fn keys_of_others_and_none_at_all_are_refused() {
    let ((one, _), (_, other)) = (pair(), pair());
    let (header, _) = one.call("/v1/wake", &caller(), b"", at(0)).expect("there are keys");
    assert_eq!(other.admit("/v1/wake", Some(&header), b"", at(0)), Err(Refusal::UnknownKey));
    assert_eq!(Seals::new().admit("/v1/wake", Some(&header), b"", at(0)), Err(Refusal::NoKeys));
    assert!(Seals::new().call("/v1/wake", &caller(), b"", at(0)).is_none());
}

#[test]
fn answers_belong_to_their_call() {
    let (one, other) = pair();
    let (_, nonce) = one.call("/v1/wake", &caller(), b"", at(0)).expect("there are keys");
    let header = other.answer(&nonce, 200, b"yes", at(0)).expect("there are keys");
    assert!(one.is_answer(Some(&header), &nonce, 200, b"yes"));
    assert!(!one.is_answer(Some(&header), &[0; 16], 200, b"yes"));
    assert!(!one.is_answer(Some(&header), &nonce, 500, b"yes"));
    assert!(!one.is_answer(Some(&header), &nonce, 200, b"no"));
    assert!(!one.is_answer(None, &nonce, 200, b"yes"));
}

#[test]
fn when_there_is_no_room_to_remember_calls_are_refused() {
    let (_, other) = pair();
    for number in 0..SEEN_LEN_MAX as u128 {
        assert_eq!(other.remember(number.to_be_bytes(), at(0)), Ok(()));
    }
    let next = (SEEN_LEN_MAX as u128).to_be_bytes();
    assert_eq!(other.remember(next, at(120)), Err(Refusal::Full));
    assert_eq!(other.remember(next, at(121)), Ok(()), "when they are of no use any more there is room again");
}
