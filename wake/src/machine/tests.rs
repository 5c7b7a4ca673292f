use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::scaler::{Observation, ScaleError};
use crate::schedule::Schedule;

const IDLE: Duration = Duration::from_secs(60);
/// 2026-11-20T12:00:00Z, a Friday.
const NOON: i64 = 1_795_176_000;

/// A machine that is alone, leads, and does what it says at once.
struct Alone {
    machine: Machine,
    now: Duration,
    holds: BTreeMap<GroupId, u64>,
    last: Duration,
    gates: BTreeMap<GroupId, Gate>,
    up: BTreeMap<Workload, u64>,
    /// What waking comes to.
    wakes: Result<(), ScaleError>,
    told: Vec<String>,
}

impl Alone {
    fn new(specs: &[GroupSpec]) -> Self {
        let mut alone = Alone {
            machine: Machine::new(0),
            now: Duration::ZERO,
            holds: BTreeMap::new(),
            last: Duration::ZERO,
            gates: BTreeMap::new(),
            up: BTreeMap::new(),
            wakes: Ok(()),
            told: Vec::new(),
        };
        alone.step(Event::Leads(true));
        alone.configure(specs);
        alone
    }

    fn configure(&mut self, specs: &[GroupSpec]) {
        let groups = specs.iter().enumerate().map(|(n, spec)| (GroupId(n as u64), spec.clone())).collect();
        self.step(Event::Configured(groups));
    }

    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.moment();
            for action in self.machine.step(now, event) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Gate { group, gate } => {
                self.gates.insert(group, gate);
                None
            }
            Action::Count { group, token } => {
                let holds = self.holds.get(&group).copied().unwrap_or(0);
                Some(Event::Counted { group, token, count: Count { holds, idle: self.now - self.last } })
            }
            Action::Observe(workload) => {
                let result = Ok(self.seen(&workload));
                Some(Event::Observed { workload, result })
            }
            Action::Wake(workload) => {
                self.told.push(format!("wake {}", workload.reference.name));
                let result = self.wakes.clone().map(|()| {
                    self.up.insert(workload.clone(), 2);
                    self.seen(&workload)
                });
                Some(Event::Woken { workload, result })
            }
            Action::Sleep { workload, .. } => {
                self.told.push(format!("sleep {}", workload.reference.name));
                self.up.insert(workload.clone(), 0);
                let result = Ok(self.seen(&workload));
                Some(Event::Slept { workload, result })
            }
            Action::Tell { .. } => panic!("there is nobody to tell"),
            Action::Note { workload, note } => {
                if note == Note::Contested {
                    self.told.push(format!("contested {}", workload.reference.name));
                }
                None
            }
        }
    }

    /// Lets time pass, alarm by alarm.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(alarm) = self.machine.alarm(self.moment()).filter(|alarm| *alarm <= end) {
            self.now = alarm.max(self.now + Duration::from_millis(1));
            self.step(Event::Tick);
        }
        self.now = end;
        self.step(Event::Tick);
    }

    fn seen(&self, workload: &Workload) -> Observation {
        let desired = self.up.get(workload).copied().unwrap_or(1) as u32;
        // Time is version enough.
        Observation { version: self.now.as_millis() as u64, desired, ready: desired, by_us: true }
    }

    fn moment(&self) -> Now {
        let wall = jiff::Timestamp::from_second(NOON).expect("noon");
        Now { elapsed: self.now, wall: wall + jiff::SignedDuration::try_from(self.now).expect("short") }
    }

    fn gate(&self, group: u64) -> Gate {
        self.gates.get(&GroupId(group)).cloned().unwrap_or(Gate::Open)
    }

    #[track_caller]
    fn assert_told(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.told), expected);
    }
}

fn spec(plan: &str) -> GroupSpec {
    GroupSpec {
        namespace: "shop".into(),
        plan: Plan::parse(plan).expect(plan),
        idle: Some(IDLE),
        keep_awake: Schedule::default(),
        sleep: Schedule::default(),
    }
}

fn workload(name: &str) -> Workload {
    Reference::parse(name).expect("a reference").within(&Arc::from("shop"))
}

#[test]
fn what_nobody_uses_sleeps_and_is_woken_once() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    assert_eq!(alone.gate(0), Gate::Open);
    alone.pass(IDLE - Duration::from_secs(1));
    alone.assert_told(&[]);
    alone.pass(Duration::from_secs(2));
    alone.assert_told(&["sleep web"]);
    assert_eq!(alone.gate(0), Gate::Asleep);
    alone.step(Event::Wanted(GroupId(0)));
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&["wake web"]);
    assert_eq!(alone.gate(0), Gate::Open);
}

#[test]
fn what_is_in_use_stays_awake_however_long() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    alone.holds.insert(GroupId(0), 1);
    alone.pass(IDLE * 100);
    alone.assert_told(&[]);
    alone.holds.clear();
    alone.last = alone.now;
    alone.pass(IDLE + Duration::from_secs(1));
    alone.assert_told(&["sleep web"]);
}

#[test]
fn the_database_wakes_before_and_sleeps_after() {
    let mut alone = Alone::new(&[spec("deploy/app after sts/db")]);
    alone.pass(IDLE * 3);
    alone.assert_told(&["sleep app", "sleep db"]);
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&["wake db", "wake app"]);
}

#[test]
fn a_shared_database_stays_while_anyone_uses_it() {
    let mut alone = Alone::new(&[spec("deploy/app after sts/db"), spec("deploy/report after sts/db")]);
    alone.holds.insert(GroupId(1), 1);
    alone.pass(IDLE * 3);
    alone.assert_told(&["sleep app"]);
    alone.holds.clear();
    alone.pass(IDLE * 3);
    alone.assert_told(&["sleep report", "sleep db"]);
}

#[test]
fn a_need_counts_for_every_plan() {
    // The second plan does not say that the application needs its database; the first one does.
    let mut alone = Alone::new(&[spec("deploy/app after sts/db"), spec("deploy/app")]);
    alone.holds.insert(GroupId(1), 1);
    alone.pass(IDLE * 3);
    alone.assert_told(&[]);
}

#[test]
fn plans_that_contradict_each_other_still_wake() {
    let mut alone = Alone::new(&[spec("deploy/a after deploy/b"), spec("deploy/b after deploy/a")]);
    alone.pass(IDLE * 3);
    alone.told.sort();
    alone.assert_told(&["sleep a", "sleep b"]);
    alone.step(Event::Wanted(GroupId(0)));
    alone.told.sort();
    alone.assert_told(&["wake a", "wake b"]);
}

#[test]
fn only_the_leader_puts_to_sleep() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    alone.step(Event::Leads(false));
    alone.pass(IDLE * 3);
    alone.assert_told(&[]);
    alone.step(Event::Leads(true));
    alone.pass(IDLE - Duration::from_secs(1));
    alone.assert_told(&[]);
    alone.pass(Duration::from_secs(2));
    alone.assert_told(&["sleep web"]);
}

#[test]
fn within_a_window_it_is_kept_awake_and_woken() {
    let keep_awake = Schedule::parse("12:00-13:00; 15:00-16:00").expect("a schedule");
    let mut alone = Alone::new(&[GroupSpec { keep_awake, ..spec("deploy/web") }]);
    alone.pass(Duration::from_secs(59 * 60));
    alone.assert_told(&[]);
    alone.pass(Duration::from_secs(10 * 60));
    alone.assert_told(&["sleep web"]);
    alone.pass(Duration::from_secs(112 * 60));
    alone.assert_told(&["wake web"]);
    assert_eq!(alone.gate(0), Gate::Open);
}

#[test]
fn within_a_window_of_sleep_no_request_wakes() {
    let sleep = Schedule::parse("13:00-15:00").expect("a schedule");
    let mut alone = Alone::new(&[GroupSpec { sleep, idle: None, ..spec("deploy/web") }]);
    alone.holds.insert(GroupId(0), 1);
    alone.pass(Duration::from_secs(70 * 60));
    alone.assert_told(&[]);
    alone.holds.clear();
    alone.pass(Duration::from_secs(5 * 60));
    alone.assert_told(&["sleep web"]);
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&[]);
    let Gate::Refused(GateRefusal::Scheduled { until }) = alone.gate(0) else {
        panic!("{:?}", alone.gate(0))
    };
    assert_eq!(until.to_string(), "2026-11-20T15:00:00Z");
    alone.step(Event::Commanded { workload: workload("deploy/web"), command: Command::Wake });
    alone.assert_told(&["wake web"]);
}

#[test]
fn a_failed_wake_is_told_and_tried_again_later() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    alone.pass(IDLE * 2);
    alone.wakes = Err(ScaleError::Refused("quota exceeded".into()));
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&["sleep web", "wake web"]);
    let Gate::Refused(GateRefusal::Failed { reason, .. }) = alone.gate(0) else {
        panic!("{:?}", alone.gate(0))
    };
    assert_eq!(&*reason, "quota exceeded");
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&[]);
    alone.pass(WAKE_AGAIN_MIN + Duration::from_secs(1));
    assert_eq!(alone.gate(0), Gate::Asleep);
    alone.wakes = Ok(());
    alone.step(Event::Wanted(GroupId(0)));
    alone.assert_told(&["wake web"]);
}

#[test]
fn commands_are_obeyed() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    let command = |command| Event::Commanded { workload: workload("deploy/web"), command };
    alone.pass(Duration::from_secs(1));
    alone.step(command(Command::Sleep));
    alone.assert_told(&["sleep web"]);
    alone.step(command(Command::KeepAwake(IDLE * 10)));
    alone.assert_told(&["wake web"]);
    alone.pass(IDLE * 9);
    alone.assert_told(&[]);
    alone.pass(IDLE * 3);
    alone.assert_told(&["sleep web"]);
}

#[test]
fn a_command_is_for_one_workload_and_what_it_needs() {
    let mut alone = Alone::new(&[spec("deploy/web after sts/db"), spec("deploy/report after sts/db")]);
    let command = |name, command| Event::Commanded { workload: workload(name), command };
    alone.pass(IDLE * 3);
    alone.assert_told(&["sleep web", "sleep report", "sleep db"]);
    // The database alone: what needs it is not woken by that.
    alone.step(command("sts/db", Command::KeepAwake(IDLE * 10)));
    alone.assert_told(&["wake db"]);
    alone.step(command("deploy/web", Command::Wake));
    alone.assert_told(&["wake web"]);
    // The database cannot sleep before what needs it, so both do; the other application is asleep.
    alone.step(command("sts/db", Command::Sleep));
    alone.pass(Duration::from_secs(1));
    alone.assert_told(&[]);
    alone.step(command("deploy/web", Command::KeepAwake(Duration::ZERO)));
    alone.step(command("sts/db", Command::Sleep));
    alone.pass(Duration::from_secs(1));
    alone.assert_told(&["sleep web", "sleep db"]);
}

#[test]
fn a_command_puts_nothing_to_sleep_that_is_in_use() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    alone.holds.insert(GroupId(0), 1);
    alone.step(Event::Commanded { workload: workload("deploy/web"), command: Command::Sleep });
    alone.pass(Duration::from_secs(90));
    alone.assert_told(&[]);
}

#[test]
fn only_the_leader_wakes_by_command() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    alone.pass(IDLE * 2);
    alone.assert_told(&["sleep web"]);
    alone.step(Event::Leads(false));
    alone.step(Event::Commanded { workload: workload("deploy/web"), command: Command::Wake });
    alone.assert_told(&[]);
    alone.step(Event::Leads(true));
    alone.assert_told(&["wake web"]);
}

#[test]
fn what_others_scale_up_again_and_again_is_left_alone() {
    let mut alone = Alone::new(&[spec("deploy/web")]);
    for _ in 0..CONTESTED_TIMES {
        alone.pass(IDLE + Duration::from_secs(5));
        let now = alone.now.as_millis() as u64;
        let seen = Observation { version: now + 1, desired: 2, ready: 2, by_us: false };
        alone.up.insert(workload("deploy/web"), 2);
        alone.step(Event::Observed { workload: workload("deploy/web"), result: Ok(seen) });
    }
    alone.told.retain(|line| line != "sleep web");
    alone.assert_told(&["contested web"]);
    alone.pass(IDLE * 5);
    alone.assert_told(&[]);
}

#[test]
fn so_many_are_woken_at_once_and_no_more() {
    let specs: Vec<GroupSpec> = (0..=WAKES_MAX).map(|n| spec(&format!("deploy/w{n}"))).collect();
    let groups: BTreeMap<GroupId, GroupSpec> =
        specs.into_iter().enumerate().map(|(n, spec)| (GroupId(n as u64), spec)).collect();
    let mut machine = Machine::new(0);
    let now = Now { elapsed: Duration::ZERO, wall: jiff::Timestamp::UNIX_EPOCH };
    let asleep = |version| Observation { version, ..Observation::default() };
    let mut wakes = Vec::new();
    for action in machine.step(now, Event::Configured(groups.clone())) {
        let Action::Observe(workload) = action else { continue };
        machine.step(now, Event::Observed { workload, result: Ok(asleep(1)) });
    }
    for id in groups.keys() {
        wakes.extend(machine.step(now, Event::Wanted(*id)).into_iter().filter_map(|action| match action {
            Action::Wake(workload) => Some(workload),
            _ => None,
        }));
    }
    assert_eq!(wakes.len(), WAKES_MAX);
    let up = Observation { version: 2, desired: 1, ready: 1, by_us: true };
    let more = machine.step(now, Event::Woken { workload: wakes[0].clone(), result: Ok(up) });
    assert!(more.iter().any(|action| matches!(action, Action::Wake(_))), "{more:?}");
}

#[test]
fn nothing_starts_before_what_it_needs_was_looked_up() {
    let mut machine = Machine::new(0);
    let at = |seconds| Now { elapsed: Duration::from_secs(seconds), wall: jiff::Timestamp::UNIX_EPOCH };
    let (app, db) = (workload("deploy/app"), workload("sts/db"));
    let groups = BTreeMap::from([(GroupId(0), spec("deploy/app after sts/db"))]);
    machine.step(at(0), Event::Configured(groups));
    let asleep = Observation { version: 1, ..Observation::default() };
    machine.step(at(0), Event::Observed { workload: app.clone(), result: Ok(asleep) });
    let unreachable = Err(ScaleError::Unreachable("away".into()));
    machine.step(at(0), Event::Observed { workload: db.clone(), result: unreachable });
    let asked = machine.step(at(30), Event::Wanted(GroupId(0)));
    assert!(asked.contains(&Action::Observe(db.clone())), "{asked:?}");
    assert!(!asked.contains(&Action::Wake(app.clone())), "{asked:?}");
    let up = Observation { version: 1, desired: 1, ready: 1, by_us: false };
    let woken = machine.step(at(31), Event::Observed { workload: db, result: Ok(up) });
    assert!(woken.contains(&Action::Wake(app)), "{woken:?}");
}

#[test]
fn a_configuration_that_changes_while_counting_leaves_nothing_closed() {
    let mut machine = Machine::new(0);
    let at = |seconds| Now { elapsed: Duration::from_secs(seconds), wall: jiff::Timestamp::UNIX_EPOCH };
    let groups = BTreeMap::from([(GroupId(0), spec("deploy/web"))]);
    machine.step(at(0), Event::Leads(true));
    machine.step(at(0), Event::Configured(groups.clone()));
    let seen = Observation { version: 1, desired: 1, ready: 1, by_us: false };
    machine.step(at(0), Event::Observed { workload: workload("deploy/web"), result: Ok(seen) });
    let [Action::Count { group, token }] = machine.step(at(60), Event::Tick)[..] else { panic!("no count") };
    let count = Count { holds: 0, idle: IDLE };
    let closing = machine.step(at(60), Event::Counted { group, token, count });
    assert!(
        matches!(closing[..], [Action::Gate { gate: Gate::Asleep, .. }, Action::Count { .. }]),
        "{closing:?}"
    );
    let mut more = groups;
    more.insert(GroupId(1), spec("deploy/web"));
    let reopened = machine.step(at(60), Event::Configured(more));
    assert!(reopened.contains(&Action::Gate { group: GroupId(0), gate: Gate::Open }), "{reopened:?}");
}

#[test]
fn with_a_thousand_workloads_a_step_is_short_and_little_is_kept() {
    let groups: BTreeMap<GroupId, GroupSpec> =
        (0..1000).map(|n| (GroupId(n), spec(&format!("deploy/w{n}")))).collect();
    let mut machine = Machine::new(0);
    let now = Now { elapsed: Duration::ZERO, wall: jiff::Timestamp::UNIX_EPOCH };
    let asked = machine.step(now, Event::Configured(groups));
    assert_eq!(asked.len(), 1000);
    assert_eq!(machine.workloads().count(), 1000);
    assert_eq!(machine.states(GroupId(999)), [(workload("deploy/w999"), State::Unknown)]);
}
