use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn event(at: Timestamp) -> Event {
    Event {
        at,
        directory: "https://ca.test/dir".to_owned(),
        what: What::Ordered { names: Vec::new(), exempt: false },
    }
}

#[test]
fn state_survives_writing_and_reading() {
    let now = at("2026-11-21T12:00:00Z");
    let mut state = State { failures: 3, next_try: Some(now), rehearse: true, ..State::default() };
    state.order = Some(Order {
        url: "https://ca.test/order/1".to_owned(),
        directory: "https://ca.test/dir".to_owned(),
        names: vec![Name::parse("*.example.com").expect("a name")],
        key: Secret::new("-----BEGIN PRIVATE KEY-----"),
        created: now,
    });
    state.note(event(now));
    let text = serde_json::to_string(&state).expect("it is written");
    assert_eq!(serde_json::from_str::<State>(&text).expect("it is read"), state);
    // A version before this one wrote less, and one after it may write more.
    assert_eq!(serde_json::from_str::<State>(r#"{"failures": 1, "later": true}"#).expect("read").failures, 1);
    assert!(!format!("{state:?}").contains("PRIVATE KEY"), "a key is never shown");
}

#[test]
fn history_is_bounded_in_age_and_in_number() {
    let mut state = State::default();
    let start = at("2026-11-01T00:00:00Z");
    state.note(event(start));
    state.note(event(start + HISTORY_AGE_MAX));
    assert_eq!(state.history.len(), 1, "what is older than a week is forgotten");
    for minute in 0..200 {
        state.note(event(start + HISTORY_AGE_MAX + SignedDuration::from_mins(minute)));
    }
    assert_eq!(state.history.len(), HISTORY_LEN_MAX);
    assert_eq!(
        state.history.last().expect("one").at,
        start + HISTORY_AGE_MAX + SignedDuration::from_mins(199)
    );
}

#[test]
fn a_record_is_remembered_once() {
    let record = Record {
        issuer: "le".to_owned(),
        name: "_acme-challenge.example.com".to_owned(),
        value: "v".to_owned(),
        written: Timestamp::UNIX_EPOCH,
    };
    let mut state = State::default();
    state.remember(record.clone());
    state.remember(record);
    assert_eq!(state.records.len(), 1);
}
