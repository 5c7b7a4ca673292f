use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-11-21T{text}Z").parse().expect("a moment")
}

fn asked(awake_until: Option<&str>, sleep_since: Option<&str>) -> Asked {
    let moment = |text: Option<&str>| text.map(|text| format!("2026-11-21T{text}Z"));
    let annotations = json!({AWAKE_UNTIL: moment(awake_until), SLEEP_SINCE: moment(sleep_since)});
    Asked::of(&json!({"metadata": {"annotations": annotations}}))
}

#[test]
fn a_moment_to_come_keeps_awake_until_then() {
    let (nothing, now) = (Asked::default(), at("10:00:00"));
    let until_noon = asked(Some("12:00:00"), None);
    assert_eq!(until_noon.command(nothing, now), Some(Command::KeepAwake(Duration::from_secs(7200))));
    assert_eq!(until_noon.command(until_noon, now), None, "it was heard");
    assert_eq!(asked(Some("09:00:00"), None).command(nothing, now), None, "that is over");
    assert_eq!(nothing.command(until_noon, now), Some(Command::KeepAwake(Duration::ZERO)), "taken back");
    let for_ever = Asked { awake_until: Some(Timestamp::MAX), sleep_since: None };
    assert_eq!(for_ever.command(nothing, now), Some(Command::KeepAwake(AWAKE_MAX)));
}

#[test]
fn a_wish_to_sleep_counts_once_and_not_for_long() {
    let (nothing, now) = (Asked::default(), at("10:00:00"));
    let just_now = asked(None, Some("09:59:58"));
    assert_eq!(just_now.command(nothing, now), Some(Command::Sleep));
    assert_eq!(just_now.command(asked(Some("12:00:00"), None), now), Some(Command::Sleep));
    assert_eq!(just_now.command(just_now, now), None);
    assert_eq!(asked(None, Some("09:00:00")).command(nothing, now), None, "long ago");
    let both = asked(Some("12:00:00"), Some("09:59:58"));
    assert!(matches!(both.command(nothing, now), Some(Command::KeepAwake(_))), "awake is the safer one");
}

#[test]
fn what_is_no_moment_says_nothing() {
    let object = json!({"metadata": {"annotations": {AWAKE_UNTIL: "tomorrow", SLEEP_SINCE: ""}}});
    assert_eq!(Asked::of(&object), Asked::default());
    assert_eq!(Asked::of(&json!({})), Asked::default());
}
