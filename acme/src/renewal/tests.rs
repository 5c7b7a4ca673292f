use super::*;
use crate::secret::Secret;
use crate::state::Order;

const DIRECTORY: &str = "https://ca.test/dir";

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| Name::parse(text).expect(text)).collect()
}

/// A certificate for `names` that began on 1 January and lives so many hours.
fn facts(texts: &[&str], hours: i64) -> Facts {
    let not_before = at("2026-01-01T00:00:00Z");
    Facts {
        names: names(texts),
        not_before,
        not_after: not_before + SignedDuration::from_hours(hours),
        renewal_id: Some("aki.serial".to_owned()),
    }
}

fn renewal(chosen: Option<Timestamp>, next_check: Timestamp) -> Renewal {
    Renewal {
        certificate: "aki.serial".to_owned(),
        window: None,
        chosen,
        explanation: None,
        next_check,
        failures: 0,
    }
}

#[test]
fn what_is_missing_broken_or_lacks_a_name_is_ordered_now() {
    let now = at("2026-01-02T00:00:00Z");
    let wanted = names(&["a.test"]);
    let state =
        State { renewal: Some(renewal(None, now + SignedDuration::from_hours(1))), ..State::default() };
    let next_for = |wanted: &[Name], held: &Held| next(now, wanted, held, &state);
    assert_eq!(next_for(&wanted, &Held::Nothing), Next::Order(Why::Missing));
    assert_eq!(next_for(&wanted, &Held::Unusable), Next::Order(Why::Unusable));
    let held = Held::Chain(facts(&["a.test"], 90 * 24));
    assert_eq!(next_for(&names(&["a.test", "b.test"]), &held), Next::Order(Why::Names));
    // A name that is not needed any more goes at the next renewal.
    let held = Held::Chain(facts(&["a.test", "b.test"], 90 * 24));
    assert!(matches!(next_for(&wanted, &held), Next::Wait(_)));
    let held = Held::Chain(facts(&["*.test"], 90 * 24));
    assert!(matches!(next_for(&wanted, &held), Next::Wait(_)), "a wildcard serves it");
}

#[test]
fn the_ca_is_asked_before_anything_is_known_and_again_when_it_said() {
    let now = at("2026-01-02T00:00:00Z");
    let held = Held::Chain(facts(&["a.test"], 90 * 24));
    let wanted = names(&["a.test"]);
    assert_eq!(next(now, &wanted, &held, &State::default()), Next::AskCa);
    let check = now + SignedDuration::from_hours(6);
    let state = State { renewal: Some(renewal(Some(at("2026-02-20T00:00:00Z")), check)), ..State::default() };
    assert_eq!(next(now, &wanted, &held, &state), Next::Wait(check));
    assert_eq!(next(check, &wanted, &held, &state), Next::AskCa);
    // What was said of another certificate does not count.
    let mut other = state;
    if let Some(renewal) = &mut other.renewal {
        renewal.certificate = "aki.older".to_owned();
    }
    assert_eq!(next(now, &wanted, &held, &other), Next::AskCa);
}

#[test]
fn the_moment_in_the_window_decides_and_the_end_of_life_overrules_it() {
    let facts = facts(&["a.test"], 90 * 24);
    let held = Held::Chain(facts.clone());
    let wanted = names(&["a.test"]);
    let chosen = at("2026-01-10T07:00:00Z");
    let state =
        State { renewal: Some(renewal(Some(chosen), at("2027-01-01T00:00:00Z"))), ..State::default() };
    assert_eq!(renew_at(&facts, &state), chosen);
    assert_eq!(next(chosen, &wanted, &held, &state), Next::Order(Why::Due));
    assert_eq!(next(chosen - SignedDuration::from_secs(1), &wanted, &held, &state), Next::Wait(chosen));
    // A window after the end of the life: 4.5 days before the end is the last moment.
    let state = State {
        renewal: Some(renewal(Some(at("2026-12-01T00:00:00Z")), at("2027-01-01T00:00:00Z"))),
        ..State::default()
    };
    assert_eq!(renew_at(&facts, &state), facts.not_after - SignedDuration::from_hours(108));
}

#[test]
fn without_the_ca_the_share_of_life_decides() {
    // (life, earliest share left, latest share left)
    for (hours, least, most) in [
        (90 * 24, 1.0 / 3.0 - 0.05, 1.0 / 3.0 + 0.05),
        (45 * 24, 1.0 / 3.0 - 0.05, 1.0 / 3.0 + 0.05),
        (160, 0.45, 0.55),
    ] {
        for name in ["a.test", "b.test", "c.test", "long.name.of.a.shop.test"] {
            let facts = facts(&[name], hours);
            let left = facts.share_left(renew_at(&facts, &State::default()));
            assert!((least..=most).contains(&left), "{name} with {hours} h: {left}");
            assert_eq!(renew_at(&facts, &State::default()), renew_at(&facts, &State::default()));
        }
    }
    let moments: std::collections::BTreeSet<Timestamp> =
        (0..100).map(|n| renew_at(&facts(&[&format!("n{n}.test")], 90 * 24), &State::default())).collect();
    let spread = moments.last().expect("one").duration_since(*moments.first().expect("one"));
    assert!(
        moments.len() == 100 && spread > SignedDuration::from_hours(5 * 24),
        "they are spread: {spread:?}"
    );
}

#[test]
fn a_failure_waits_for_its_time() {
    let now = at("2026-01-02T00:00:00Z");
    let later = now + SignedDuration::from_mins(10);
    let state = State { next_try: Some(later), failures: 1, ..State::default() };
    let wanted = names(&["a.test"]);
    assert_eq!(next(now, &wanted, &Held::Nothing, &state), Next::Wait(later));
    assert_eq!(next(later, &wanted, &Held::Nothing, &state), Next::Order(Why::Missing));
}

#[test]
fn an_order_is_gone_on_with_while_names_and_ca_are_the_same() {
    let now = at("2026-01-02T00:00:00Z");
    let order = Order {
        url: "https://ca.test/order/1".to_owned(),
        directory: DIRECTORY.to_owned(),
        names: names(&["a.test"]),
        key: Secret::new(""),
        created: now,
    };
    assert!(is_usable_order(now, &order, &names(&["a.test"]), DIRECTORY));
    assert!(!is_usable_order(now, &order, &names(&["a.test", "b.test"]), DIRECTORY));
    assert!(!is_usable_order(now, &order, &names(&["a.test"]), "https://other.test/dir"));
    assert!(!is_usable_order(now + ORDER_AGE_MAX, &order, &names(&["a.test"]), DIRECTORY));
}

#[test]
fn the_window_is_drawn_from_evenly() {
    let window = (at("2026-02-01T00:00:00Z"), at("2026-02-03T00:00:00Z"));
    assert_eq!(choose(window, 0.0), window.0);
    assert_eq!(choose(window, 0.5), at("2026-02-02T00:00:00Z"));
    assert_eq!(choose(window, 1.0), window.1);
    assert_eq!(
        choose((window.1, window.0), 0.7),
        window.1,
        "a window that ends before it begins is its beginning"
    );
}

#[test]
fn the_ca_is_asked_no_more_than_each_minute_and_at_least_twice_a_day() {
    let now = at("2026-01-01T00:00:00Z");
    let after = |minutes| now + SignedDuration::from_mins(minutes);
    assert_eq!(next_check(now, None), after(6 * 60));
    assert_eq!(next_check(now, Some(now)), after(1));
    assert_eq!(next_check(now, Some(after(30))), after(30));
    assert_eq!(next_check(now, Some(after(48 * 60))), after(12 * 60));
    assert_eq!(next_check_after_failure(now, 0, true), after(1));
    assert_eq!(next_check_after_failure(now, 3, true), after(8));
    assert_eq!(next_check_after_failure(now, u32::MAX, true), after(6 * 60));
    assert_eq!(next_check_after_failure(now, 0, false), after(6 * 60));
}

#[test]
fn a_late_renewal_is_told_in_steps() {
    let facts = facts(&["a.test"], 90 * 24);
    let days = |left: i64| facts.not_after - SignedDuration::from_hours(24 * left);
    assert_eq!(alarm(&facts, days(29)), Alarm::Fine);
    assert_eq!(alarm(&facts, days(19)), Alarm::Warning);
    assert_eq!(alarm(&facts, days(7)), Alarm::Critical);
    assert_eq!(alarm(&facts, days(0)), Alarm::Expired);
}
