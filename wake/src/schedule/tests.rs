use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

#[track_caller]
fn until(schedule: &str, now: &str) -> Option<String> {
    Schedule::parse(schedule).expect(schedule).until(at(now)).map(|end| end.to_string())
}

#[test]
fn a_window_holds_on_its_days_in_its_zone() {
    // 2026-11-20 is a Friday; Berlin is an hour ahead of UTC.
    let work = "Mon-Fri 08:00-18:00 Europe/Berlin";
    assert_eq!(until(work, "2026-11-20T07:00:00Z").as_deref(), Some("2026-11-20T17:00:00Z"));
    assert_eq!(until(work, "2026-11-20T06:59:59Z"), None);
    assert_eq!(until(work, "2026-11-20T17:00:00Z"), None);
    assert_eq!(until(work, "2026-11-21T12:00:00Z"), None, "a Saturday");
    assert_eq!(until("12:00-13:00", "2026-11-21T12:30:00Z").as_deref(), Some("2026-11-21T13:00:00Z"));
}

#[test]
fn an_overnight_window_belongs_to_the_day_it_begins_on() {
    let night = "Fri 22:00-06:00";
    assert_eq!(until(night, "2026-11-20T23:00:00Z").as_deref(), Some("2026-11-21T06:00:00Z"));
    assert_eq!(until(night, "2026-11-21T05:59:00Z").as_deref(), Some("2026-11-21T06:00:00Z"));
    assert_eq!(until(night, "2026-11-20T05:00:00Z"), None, "that night began on Thursday");
    assert_eq!(until("Sun 00:00-24:00", "2026-11-22T12:00:00Z").as_deref(), Some("2026-11-23T00:00:00Z"));
}

#[test]
fn windows_that_follow_on_each_other_are_one() {
    let both = "08:00-12:00; 12:00-14:00; 20:00-21:00";
    assert_eq!(until(both, "2026-11-20T09:00:00Z").as_deref(), Some("2026-11-20T14:00:00Z"));
    assert!(until("00:00-24:00", "2026-11-20T09:00:00Z").is_some(), "every day joins the next, and it ends");
}

#[test]
fn a_span_of_days_may_pass_the_week_end() {
    let days = parse_days("Sat-Mon, wednesday").expect("days");
    assert_eq!(days, [true, false, true, false, false, true, true]);
    assert_eq!(parse_days("").expect("days"), [true; 7]);
}

#[test]
fn the_next_change_is_told() {
    let schedule = Schedule::parse("Mon 08:00-18:00").expect("a schedule");
    let next = |now: &str| schedule.next_change(at(now)).expect("a change").to_string();
    assert_eq!(next("2026-11-20T12:00:00Z"), "2026-11-23T08:00:00Z");
    assert_eq!(next("2026-11-23T08:00:00Z"), "2026-11-23T18:00:00Z");
    assert_eq!(next("2026-11-23T18:00:00Z"), "2026-11-30T08:00:00Z");
    assert_eq!(Schedule::default().next_change(at("2026-11-20T12:00:00Z")), None);
}

#[test]
fn a_change_of_clocks_moves_the_ends() {
    // On 2026-03-29 Berlin goes from 02:00 straight to 03:00.
    assert_eq!(
        until("01:00-03:00 Europe/Berlin", "2026-03-29T00:30:00Z").as_deref(),
        Some("2026-03-29T01:00:00Z")
    );
    assert!(until("02:15-02:45 Europe/Berlin", "2026-03-29T01:20:00Z").is_some(), "moved, not lost");
}

#[test]
fn what_is_no_window_is_told() {
    let error = |text: &str| Schedule::parse(text).expect_err(text);
    for text in ["", ";", "Mon-Fri", "08:00-18:00 Europe/Berlin now"] {
        assert!(matches!(error(text), ScheduleError::Form(_)), "{text}");
    }
    for text in ["Foo 08:00-18:00", "M 08:00-09:00", "Mon-Foo 08:00-18:00"] {
        assert!(matches!(error(text), ScheduleError::Day(_)), "{text}");
    }
    for text in ["08:00", "8-18", "08:00-25:00", "08:60-09:00", "08:00-+9:00", "24:00-08:00"] {
        assert!(matches!(error(text), ScheduleError::Time(_)), "{text}");
    }
    assert!(matches!(error("08:00-18:00 Europe/Atlantis"), ScheduleError::Zone(_)));
    let many = |count: usize| vec!["08:00-09:00"; count].join(";");
    assert!(Schedule::parse(&many(WINDOWS_MAX)).is_ok());
    assert_eq!(error(&many(WINDOWS_MAX + 1)), ScheduleError::TooMany(WINDOWS_MAX + 1));
}
