use std::sync::Arc;

use wake::machine::GroupId;
use wake::workload::Reference;

use super::*;

fn workload(name: &str) -> Workload {
    let namespace: Arc<str> = "shop".into();
    Reference::parse(&format!("deployment/{name}")).expect("a reference").within(&namespace)
}

fn observed(name: &str, version: u64) -> Event {
    let result = Ok(Observation { version, ..Observation::default() });
    Event::Observed { workload: workload(name), result }
}

fn observed_together(all: &[(&str, u64)]) -> Event {
    let one = |(name, version): &(&str, u64)| {
        (workload(name), Ok(Observation { version: *version, ..Observation::default() }))
    };
    Event::ObservedTogether(all.iter().map(one).collect())
}

#[test]
fn a_thousand_workloads_are_observed_in_one_step() {
    let names: Vec<String> = (0..1000).map(|number| format!("w{number}")).collect();
    let joined = together(names.iter().map(|name| observed(name, 1)));
    let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    assert_eq!(joined, [observed_together(&all)]);
}

#[test]
fn what_is_seen_of_one_workload_stays_apart_and_in_order() {
    let joined = together([observed("a", 1), observed("b", 1), observed("a", 2), observed("a", 3)]);
    let steps = [
        observed_together(&[("a", 1), ("b", 1)]),
        observed_together(&[("a", 2)]),
        observed_together(&[("a", 3)]),
    ];
    assert_eq!(joined, steps);
}

#[test]
fn everything_else_keeps_its_place() {
    let woken = Event::Woken { workload: workload("a"), result: Err(ScaleError::Refused("no".into())) };
    let wanted = Event::Wanted(GroupId(7));
    let joined = together([
        Event::Tick,
        observed("a", 1),
        woken.clone(),
        wanted.clone(),
        observed("a", 2),
        observed("b", 1),
    ]);
    let steps = [
        Event::Tick,
        observed_together(&[("a", 1)]),
        woken,
        wanted,
        observed_together(&[("a", 2), ("b", 1)]),
    ];
    assert_eq!(joined, steps);
    assert!(together([]).is_empty());
}
