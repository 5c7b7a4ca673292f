use super::*;

const CA: &str = "https://ca.test/dir";

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| Name::parse(text).expect(text)).collect()
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn ordered(at: Timestamp, of: &[&str]) -> Event {
    Event { at, directory: CA.to_owned(), what: What::Ordered { names: names(of), exempt: false } }
}

#[test]
fn one_set_of_names_is_ordered_four_times_a_week() {
    let events: Vec<Event> =
        (0..4).map(|day| ordered(start() + SignedDuration::from_hours(24 * day), &["a.test"])).collect();
    let now = start() + SignedDuration::from_hours(24 * 5);
    let admitted = |now, of: &[&str], exempt| admit(now, CA, &names(of), exempt, events.iter());
    let week = SignedDuration::from_hours(24 * 7);
    assert_eq!(
        admitted(now, &["a.test"], false),
        Err(Failure::OwnLimit { limit: "another certificate for the same names", until: start() + week })
    );
    assert_eq!(admitted(start() + week, &["a.test"], false), Ok(()));
    assert_eq!(
        admitted(now, &["a.test"], true),
        Ok(()),
        "a renewal in the CA's window counts towards nothing"
    );
    assert_eq!(admitted(now, &["a.test", "b.test"], false), Ok(()));
    assert_eq!(admit(now, "https://staging.test/dir", &names(&["a.test"]), false, events.iter()), Ok(()));
}

#[test]
fn one_name_fails_its_proof_three_times_an_hour() {
    let failed = |minute| Event {
        at: start() + SignedDuration::from_mins(minute),
        directory: CA.to_owned(),
        what: What::ProofFailed { name: names(&["a.test"])[0].clone() },
    };
    let events = [failed(0), failed(20), failed(40)];
    let refused = admit(
        start() + SignedDuration::from_mins(50),
        CA,
        &names(&["b.test", "a.test"]),
        true,
        events.iter(),
    );
    assert!(
        matches!(refused, Err(Failure::OwnLimit { until, .. }) if until == start() + SignedDuration::from_hours(1))
    );
    assert_eq!(
        admit(start() + SignedDuration::from_mins(60), CA, &names(&["a.test"]), true, events.iter()),
        Ok(())
    );
    assert_eq!(
        admit(start() + SignedDuration::from_mins(50), CA, &names(&["b.test"]), true, events.iter()),
        Ok(())
    );
}

#[test]
fn an_account_orders_a_hundred_times_in_three_hours() {
    let mut events: Vec<Event> = (0..99).map(|n| ordered(start(), &[&format!("n{n}.test")])).collect();
    let now = start() + SignedDuration::from_mins(1);
    assert_eq!(admit(now, CA, &names(&["new.test"]), false, events.iter()), Ok(()));
    events.push(ordered(start(), &["last.test"]));
    let until = start() + ORDERS_SPAN;
    assert_eq!(
        admit(now, CA, &names(&["new.test"]), false, events.iter()),
        Err(Failure::OwnLimit { limit: "another order of this account", until })
    );
}
