//! The world of the simulation: what API server, network, workloads and visitors do to the machines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use crate::plan::Plan;
use crate::scaler::{Observation, ScaleError};
use crate::schedule::Schedule;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Messages between replicas are lost, doubled and late.
    Network,
    /// The API server goes away for a while, and answers get lost.
    ApiServer,
    /// Replicas are killed and begin anew; the leader changes.
    Replicas,
    /// Somebody else scales up by hand.
    Hands,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    pub(super) slept: u32,
    pub(super) woken: u32,
}

pub(super) struct World {
    rng: fastrand::Rng,
    faults: Vec<Fault>,
    healed: bool,
    now: Duration,
    sequence: u64,
    /// By time, then by order of making.
    due: BTreeMap<(Duration, u64), Item>,
    live: BTreeMap<Workload, Live>,
    versions: u64,
    api_down_until: Duration,
    replicas: Vec<Replica>,
    leader: Option<usize>,
    requests: u64,
    activity: Activity,
    telling: bool,
    story: VecDeque<String>,
}

#[derive(Default)]
struct Live {
    desired: u32,
    /// Grows with every change.
    version: u64,
    /// Grows when it is scaled.
    scaled: u64,
    ready: bool,
    by_us: bool,
}

struct Replica {
    machine: Machine,
    name: PeerId,
    alive: bool,
    /// Takes requests from then on.
    joined_at: Duration,
    gates: BTreeMap<GroupId, Door>,
    requests: BTreeMap<u64, Request>,
    /// Wakes that were asked for, and neither failed nor were undone.
    asked: BTreeSet<Workload>,
    alarm: Option<Duration>,
}

struct Door {
    gate: Gate,
    holds: u64,
    last: Duration,
}

struct Request {
    group: GroupId,
    under_way: bool,
}

#[derive(Debug)]
enum Item {
    /// To the replica with this place and name.
    Event(usize, PeerId, Event),
    Alarm(usize, PeerId),
    /// It learns which others there are.
    Introduce(usize, PeerId),
    Arrive,
    /// A request that waits looks again.
    Look(usize, PeerId, u64),
    End(usize, PeerId, u64),
    Write {
        replica: usize,
        name: PeerId,
        workload: Workload,
        write: Write,
        lost: bool,
    },
    Read {
        replica: usize,
        name: PeerId,
        workload: Workload,
    },
    /// Its replicas are as many as are wanted, unless it was scaled again.
    Settled(Workload, u64),
    Disturb,
    Join(usize),
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Wake,
    Sleep { version: u64 },
}

const IDLE: Duration = Duration::from_secs(40);
const REPLICAS: usize = 3;

impl World {
    pub(super) fn new(seed: u64, faults: &[Fault], telling: bool) -> Self {
        let mut world = World {
            rng: fastrand::Rng::with_seed(seed),
            faults: faults.to_vec(),
            healed: false,
            now: Duration::from_secs(1000),
            sequence: 0,
            due: BTreeMap::new(),
            live: BTreeMap::new(),
            versions: 1,
            api_down_until: Duration::ZERO,
            replicas: Vec::new(),
            leader: None,
            requests: 0,
            activity: Activity::default(),
            telling,
            story: VecDeque::new(),
        };
        for name in ["deployment/app", "deployment/report", "deployment/web", "statefulset/db"] {
            let workload = workload(name);
            let live = Live { desired: 2, version: 1, scaled: 1, ready: true, by_us: false };
            world.live.insert(workload, live);
        }
        for place in 0..REPLICAS {
            world.replicas.push(Replica {
                machine: Machine::new(0),
                name: PeerId("".into()),
                alive: false,
                joined_at: Duration::ZERO,
                gates: BTreeMap::new(),
                requests: BTreeMap::new(),
                asked: BTreeSet::new(),
                alarm: None,
            });
            world.start(place);
        }
        for replica in &mut world.replicas {
            replica.joined_at = Duration::ZERO;
        }
        world.elect();
        world.plan(Duration::from_millis(10), Item::Arrive);
        world.plan(Duration::from_secs(5), Item::Disturb);
        world
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.due.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let item = entry.remove();
            self.now = at;
            self.happen(item);
        }
        self.now = end;
    }

    /// From now on nothing goes wrong, and nobody comes any more.
    pub(super) fn heal(&mut self) {
        self.tell(|| "healed".to_owned());
        self.healed = true;
        self.api_down_until = Duration::ZERO;
        for place in 0..REPLICAS {
            if !self.replicas[place].alive {
                self.start(place);
            }
            // A watch that lagged catches up.
            for workload in self.live.keys().cloned().collect::<Vec<_>>() {
                let seen = self.seen(&workload);
                self.event(place, Duration::from_millis(50), Event::Observed { workload, result: Ok(seen) });
            }
        }
        self.elect();
    }

    pub(super) fn assert_all_answered(&self) {
        for replica in &self.replicas {
            let waiting = replica.requests.values().filter(|request| !request.under_way).count();
            assert_eq!(waiting, 0, "{:?} still has requests that wait", replica.name);
            assert!(replica.requests.is_empty());
        }
    }

    pub(super) fn assert_all_asleep(&self) {
        for (workload, live) in &self.live {
            assert_eq!(live.desired, 0, "{workload} is still awake");
        }
        for replica in &self.replicas {
            for (id, door) in &replica.gates {
                assert_eq!(door.gate, Gate::Asleep, "{:?}, {id:?}", replica.name);
            }
        }
    }

    pub(super) fn activity(&self) -> Activity {
        self.activity
    }

    pub(super) fn story(&self) -> String {
        self.story.iter().map(|line| format!("  {line}\n")).collect()
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Event(place, name, event) => {
                // Whoever was voted out before it heard that it leads never hears it.
                let outdated = matches!(event, Event::Leads(true)) && self.leader != Some(place);
                if self.is_alive(place, &name) && !outdated {
                    self.step(place, event);
                }
            }
            Item::Alarm(place, name) => {
                if self.is_alive(place, &name) {
                    self.replicas[place].alarm = None;
                    self.step(place, Event::Tick);
                }
            }
            Item::Introduce(place, name) => {
                if self.is_alive(place, &name) {
                    let peers = self.peers_of(place);
                    self.step(place, Event::Peers(peers));
                }
            }
            Item::Arrive => self.arrive(),
            Item::Look(place, name, id) => {
                if self.is_alive(place, &name) {
                    self.look(place, id);
                }
            }
            Item::End(place, name, id) => {
                if self.is_alive(place, &name) {
                    self.end(place, id);
                }
            }
            Item::Write { replica, name, workload, write, lost } => {
                self.write(replica, name, &workload, write, lost);
            }
            Item::Read { replica, name, workload } => {
                if self.is_alive(replica, &name) {
                    let result = if self.api_is_down() { Err(down()) } else { Ok(self.seen(&workload)) };
                    let delay = self.delay(200);
                    self.event(replica, delay, Event::Observed { workload, result });
                }
            }
            Item::Settled(workload, scaled) => {
                let live = self.live.get_mut(&workload).expect("a workload");
                if live.scaled == scaled {
                    self.versions += 1;
                    live.version = self.versions;
                    live.ready = live.desired > 0;
                    self.changed(&workload);
                }
            }
            Item::Disturb => self.disturb(),
            Item::Join(place) => {
                self.tell(|| format!("replica {place} takes requests"));
            }
        }
    }

    // ---- Replicas ---------------------------------------------------------------------------------------------------

    fn start(&mut self, place: usize) {
        let name = PeerId(format!("{place}-{}", self.rng.u32(..)).into());
        let mut machine = Machine::new(self.rng.u64(..1 << 32));
        let now = self.moment();
        let actions = machine.step(now, Event::Configured(groups()));
        let doors = groups().into_keys();
        let gates = doors.map(|id| (id, Door { gate: Gate::Open, holds: 0, last: self.now })).collect();
        self.replicas[place] = Replica {
            machine,
            name: name.clone(),
            alive: true,
            joined_at: self.now + QUIESCE_TTL + Duration::from_millis(500),
            gates,
            requests: BTreeMap::new(),
            asked: BTreeSet::new(),
            alarm: None,
        };
        self.tell(|| format!("replica {place} begins as {name:?}"));
        self.plan(QUIESCE_TTL + Duration::from_millis(500), Item::Join(place));
        self.perform(place, actions);
        self.introduce();
    }

    fn kill(&mut self, place: usize) {
        self.tell(|| format!("replica {place} is killed"));
        self.replicas[place].alive = false;
        self.replicas[place].requests.clear();
        if self.leader == Some(place) {
            self.leader = None;
        }
        self.introduce();
    }

    /// Everybody learns who is there, soon.
    fn introduce(&mut self) {
        for place in 0..self.replicas.len() {
            let delay = self.delay(400);
            let name = self.replicas[place].name.clone();
            self.plan(delay, Item::Introduce(place, name));
        }
    }

    fn peers_of(&self, place: usize) -> BTreeSet<PeerId> {
        let others =
            self.replicas.iter().enumerate().filter(|(other, replica)| *other != place && replica.alive);
        others.map(|(_, replica)| replica.name.clone()).collect()
    }

    fn elect(&mut self) {
        let alive: Vec<usize> = (0..REPLICAS).filter(|place| self.replicas[*place].alive).collect();
        let Some(new) = self.rng.choice(&alive).copied() else { return };
        if let Some(old) = self.leader.filter(|old| *old != new) {
            // The old one knows before anybody else can be.
            self.step(old, Event::Leads(false));
        }
        self.tell(|| format!("replica {new} leads"));
        self.leader = Some(new);
        let delay = self.delay(100);
        self.event(new, delay, Event::Leads(true));
    }

    fn step(&mut self, place: usize, event: Event) {
        if let Event::Woken { workload, result: Err(_) } = &event {
            self.replicas[place].asked.remove(workload);
        }
        if !matches!(event, Event::Tick | Event::Counted { .. }) {
            self.tell(|| format!("{place} <- {event:?}"));
        }
        let now = self.moment();
        let actions = self.replicas[place].machine.step(now, event);
        self.perform(place, actions);
        let awake: Vec<Workload> = self.replicas[place]
            .machine
            .workloads()
            .filter(|(_, state)| *state == State::Awake)
            .map(|(workload, _)| workload.clone())
            .collect();
        for workload in awake {
            self.replicas[place].asked.remove(&workload);
        }
        let alarm = self.replicas[place].machine.alarm(now);
        if let Some(alarm) = alarm
            && self.replicas[place].alarm.is_none_or(|known| alarm < known)
        {
            self.replicas[place].alarm = Some(alarm);
            let name = self.replicas[place].name.clone();
            self.plan(alarm.saturating_sub(self.now).max(Duration::from_millis(1)), Item::Alarm(place, name));
        }
    }

    fn perform(&mut self, place: usize, actions: Vec<Action>) {
        let name = self.replicas[place].name.clone();
        for action in actions {
            if !matches!(action, Action::Count { .. } | Action::Note { .. }) {
                self.tell(|| format!("{place} -> {action:?}"));
            }
            match action {
                Action::Gate { group, gate } => {
                    self.replicas[place].gates.get_mut(&group).expect("a gate").gate = gate;
                    let waiting: Vec<u64> = self.replicas[place]
                        .requests
                        .iter()
                        .filter(|(_, request)| request.group == group && !request.under_way)
                        .map(|(id, _)| *id)
                        .collect();
                    for id in waiting {
                        let delay = self.delay(20);
                        self.plan(delay, Item::Look(place, name.clone(), id));
                    }
                }
                Action::Count { group, token } => {
                    let door = &self.replicas[place].gates[&group];
                    let count = Count { holds: door.holds, idle: self.now.saturating_sub(door.last) };
                    // As it was at this moment, told later: what comes in between must not matter.
                    let delay = self.delay(10);
                    self.event(place, delay, Event::Counted { group, token, count });
                }
                Action::Observe(workload) => {
                    let delay = self.delay(100);
                    self.plan(delay, Item::Read { replica: place, name: name.clone(), workload });
                }
                Action::Wake(workload) => {
                    let fresh = self.replicas[place].asked.insert(workload.clone());
                    assert!(fresh, "replica {place} asks for {workload} twice");
                    let delay = self.delay(300);
                    let lost = self.fails(Fault::ApiServer, 0.1);
                    let write = Write::Wake;
                    self.plan(
                        delay,
                        Item::Write { replica: place, name: name.clone(), workload, write, lost },
                    );
                }
                Action::Sleep { workload, version, within } => {
                    assert_eq!(self.leader, Some(place), "only the leader puts to sleep");
                    let slow = self.fails(Fault::ApiServer, 0.3);
                    let delay = if slow { self.delay(within.as_millis() as u64) } else { self.delay(300) };
                    let lost = self.fails(Fault::ApiServer, 0.3);
                    let write = Write::Sleep { version };
                    if self.fails(Fault::ApiServer, 0.2) {
                        // The connection breaks, and the write is done all the same, after we heard of its failure.
                        let heard = self.delay(delay.as_millis() as u64);
                        let event = Event::Slept { workload: workload.clone(), result: Err(down()) };
                        self.event(place, heard, event);
                        let nobody = PeerId("nobody".into());
                        self.plan(delay, Item::Write { replica: place, name: nobody, workload, write, lost });
                        continue;
                    }
                    self.plan(
                        delay,
                        Item::Write { replica: place, name: name.clone(), workload, write, lost },
                    );
                }
                Action::Tell { to, message } => self.send(&name, &to, &message),
                Action::Note { .. } => {}
            }
        }
    }

    fn send(&mut self, from: &PeerId, to: &PeerId, message: &Message) {
        let Some(place) = self.replicas.iter().position(|replica| replica.name == *to) else { return };
        let copies = match () {
            () if self.fails(Fault::Network, 0.2) => 0,
            () if self.fails(Fault::Network, 0.1) => 2,
            () => 1,
        };
        for _ in 0..copies {
            let late = self.fails(Fault::Network, 0.2);
            let delay = if late { self.delay(12_000) } else { self.delay(200) };
            let event = Event::Told { from: from.clone(), message: message.clone() };
            self.event(place, delay, event);
        }
    }

    // ---- The API server and what runs -------------------------------------------------------------------------------

    fn write(&mut self, place: usize, name: PeerId, workload: &Workload, write: Write, lost: bool) {
        let result = if self.api_is_down() {
            Err(down())
        } else {
            let done = match write {
                Write::Wake => Ok(self.scale_up(workload, true)),
                Write::Sleep { version } => self.scale_down(workload, version),
            };
            if lost { Err(down()) } else { done }
        };
        if self.is_alive(place, &name) {
            let event = match write {
                Write::Wake => Event::Woken { workload: workload.clone(), result },
                Write::Sleep { .. } => Event::Slept { workload: workload.clone(), result },
            };
            let delay = self.delay(100);
            self.event(place, delay, event);
        }
    }

    fn scale_up(&mut self, workload: &Workload, by_us: bool) -> Observation {
        if by_us && workload.reference.name.as_ref() != "db" && workload.reference.name.as_ref() != "web" {
            let db = &self.live[&self::workload("statefulset/db")];
            assert!(db.desired > 0, "{workload} is woken before its database");
        }
        let live = self.live.get_mut(workload).expect("a workload");
        if live.desired == 0 {
            self.versions += 1;
            live.version = self.versions;
            live.scaled = self.versions;
            live.desired = 2;
            live.by_us = by_us;
            self.activity.woken += 1;
            let scaled = live.scaled;
            let start = self.delay(20_000);
            self.tell(|| format!("{workload} is scaled up"));
            self.plan(start, Item::Settled(workload.clone(), scaled));
            self.changed(workload);
        }
        self.seen(workload)
    }

    /// What must never happen is looked for here.
    fn scale_down(&mut self, workload: &Workload, version: u64) -> Result<Observation, ScaleError> {
        if self.live[workload].version != version {
            return Err(ScaleError::Conflict);
        }
        let using = users(workload);
        for (place, replica) in self.replicas.iter().enumerate().filter(|(_, replica)| replica.alive) {
            let in_use =
                replica.requests.values().any(|request| request.under_way && using.contains(&request.group));
            assert!(!in_use, "{workload} is put to sleep while replica {place} uses it");
            if replica.joined_at <= self.now {
                let open = using.iter().any(|id| replica.gates[id].gate == Gate::Open);
                assert!(!open, "{workload} is put to sleep while a gate of replica {place} is open");
            }
        }
        if workload.reference.name.as_ref() == "db" {
            for user in ["deployment/app", "deployment/report"] {
                let live = &self.live[&self::workload(user)];
                let by_hand = live.desired > 0 && !live.by_us;
                assert!(live.desired == 0 || by_hand, "the database sleeps before {user}");
            }
        }
        let live = self.live.get_mut(workload).expect("a workload");
        self.versions += 1;
        live.version = self.versions;
        live.scaled = self.versions;
        live.desired = 0;
        live.by_us = true;
        let scaled = live.scaled;
        self.activity.slept += 1;
        self.tell(|| format!("{workload} is scaled down"));
        let stop = self.delay(3_000);
        self.plan(stop, Item::Settled(workload.clone(), scaled));
        for replica in &mut self.replicas {
            replica.asked.remove(workload);
        }
        self.changed(workload);
        Ok(self.seen(workload))
    }

    fn changed(&mut self, workload: &Workload) {
        let seen = self.seen(workload);
        for place in 0..REPLICAS {
            let outage = self.api_down_until.saturating_sub(self.now);
            let delay = outage + self.delay(600);
            self.event(place, delay, Event::Observed { workload: workload.clone(), result: Ok(seen) });
        }
    }

    fn seen(&self, workload: &Workload) -> Observation {
        let live = &self.live[workload];
        let ready = if live.ready { 2 } else { 0 };
        Observation { version: live.version, desired: live.desired, ready, by_us: live.by_us }
    }

    // ---- Visitors ---------------------------------------------------------------------------------------------------

    fn arrive(&mut self) {
        if self.healed {
            return;
        }
        // Now and then everything is quiet for long enough to fall asleep.
        let pause = if self.rng.f64() < 0.1 { 120_000 } else { 15_000 };
        let delay = self.delay(pause);
        self.plan(delay, Item::Arrive);
        let open: Vec<usize> = (0..REPLICAS)
            .filter(|place| self.replicas[*place].alive && self.replicas[*place].joined_at <= self.now)
            .collect();
        let Some(place) = self.rng.choice(&open).copied() else { return };
        let group = GroupId(self.rng.u64(0..3));
        // Often several at once.
        for _ in 0..self.rng.u32(1..4) {
            self.requests += 1;
            let id = self.requests;
            let replica = &mut self.replicas[place];
            replica.gates.get_mut(&group).expect("a gate").holds += 1;
            replica.requests.insert(id, Request { group, under_way: false });
            self.tell(|| format!("request {id} for {group:?} comes to {place}"));
            self.look(place, id);
        }
    }

    /// A request looks at its gate: the order of entering, looking and asking is that of the proxy.
    fn look(&mut self, place: usize, id: u64) {
        let Some(request) = self.replicas[place].requests.get(&id) else { return };
        if request.under_way {
            return;
        }
        let group = request.group;
        let name = self.replicas[place].name.clone();
        match self.replicas[place].gates[&group].gate.clone() {
            Gate::Open if self.is_reachable(group) => {
                let request = self.replicas[place].requests.get_mut(&id).expect("a request");
                request.under_way = true;
                let long = self.rng.f64() < 0.1;
                let length = if long { self.delay(180_000) } else { self.delay(3_000) };
                self.plan(length, Item::End(place, name, id));
            }
            Gate::Refused(refusal) => {
                let may_fail = self.faults.contains(&Fault::ApiServer);
                assert!(may_fail, "request {id} is refused though nothing fails: {refusal:?}");
                let delay = self.delay(10);
                self.event(place, delay, Event::Wanted(group));
                self.end(place, id);
            }
            Gate::Open | Gate::Asleep | Gate::Waking => {
                let delay = self.delay(10);
                self.event(place, delay, Event::Wanted(group));
                self.plan(Duration::from_secs(2), Item::Look(place, name, id));
            }
        }
    }

    /// Whether what stands behind the gate answers.
    fn is_reachable(&self, group: GroupId) -> bool {
        let needed = match group.0 {
            0 => "deployment/app",
            1 => "deployment/web",
            _ => "deployment/report",
        };
        let live = &self.live[&workload(needed)];
        live.desired > 0 && live.ready
    }

    fn end(&mut self, place: usize, id: u64) {
        let now = self.now;
        let Some(request) = self.replicas[place].requests.remove(&id) else { return };
        let door = self.replicas[place].gates.get_mut(&request.group).expect("a gate");
        door.holds -= 1;
        door.last = now;
    }

    // ---- Faults -----------------------------------------------------------------------------------------------------

    fn disturb(&mut self) {
        if self.healed {
            return;
        }
        let next = self.delay(40_000);
        self.plan(next, Item::Disturb);
        if self.fails(Fault::ApiServer, 0.3) {
            let outage = self.delay(30_000);
            self.tell(|| format!("the API server is away for {outage:?}"));
            self.api_down_until = self.now + outage;
        }
        if self.fails(Fault::Replicas, 0.4) {
            let place = self.rng.usize(..REPLICAS);
            if self.replicas[place].alive { self.kill(place) } else { self.start(place) }
        }
        if self.leader.is_none() || self.fails(Fault::Replicas, 0.2) {
            self.elect();
        }
        if self.fails(Fault::Hands, 0.4) && !self.api_is_down() {
            let all: Vec<Workload> = self.live.keys().cloned().collect();
            let workload = self.rng.choice(&all).cloned().expect("workloads");
            self.scale_up(&workload, false);
        }
    }

    fn fails(&mut self, fault: Fault, likelihood: f64) -> bool {
        !self.healed && self.faults.contains(&fault) && self.rng.f64() < likelihood
    }

    fn api_is_down(&self) -> bool {
        self.now < self.api_down_until
    }

    // ---- Time -------------------------------------------------------------------------------------------------------

    fn event(&mut self, place: usize, delay: Duration, event: Event) {
        let name = self.replicas[place].name.clone();
        self.plan(delay, Item::Event(place, name, event));
    }

    fn plan(&mut self, delay: Duration, item: Item) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), item);
    }

    fn delay(&mut self, milliseconds_max: u64) -> Duration {
        Duration::from_millis(self.rng.u64(..=milliseconds_max))
    }

    fn moment(&self) -> Now {
        let begin = jiff::Timestamp::UNIX_EPOCH;
        Now {
            elapsed: self.now,
            wall: begin + jiff::SignedDuration::try_from(self.now).expect("a short time"),
        }
    }

    fn is_alive(&self, place: usize, name: &PeerId) -> bool {
        self.replicas[place].alive && self.replicas[place].name == *name
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if !self.telling {
            return;
        }
        let line = line();
        if self.story.len() >= STORY_LEN_MAX {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>9.3} {line}", self.now.as_secs_f64()));
    }
}

fn workload(name: &str) -> Workload {
    Reference::parse(name).expect("a reference").within(&Arc::from("shop"))
}

fn groups() -> BTreeMap<GroupId, GroupSpec> {
    let plans =
        ["deployment/app after statefulset/db", "deployment/web", "deployment/report after statefulset/db"];
    plans
        .iter()
        .enumerate()
        .map(|(index, plan)| {
            let spec = GroupSpec {
                namespace: "shop".into(),
                plan: Plan::parse(plan).expect("a plan"),
                idle: Some(IDLE),
                keep_awake: Schedule::default(),
                sleep: Schedule::default(),
            };
            (GroupId(index as u64), spec)
        })
        .collect()
}

/// The groups that need a workload.
fn users(workload: &Workload) -> Vec<GroupId> {
    match &*workload.reference.name {
        "app" => vec![GroupId(0)],
        "web" => vec![GroupId(1)],
        "report" => vec![GroupId(2)],
        _ => vec![GroupId(0), GroupId(2)],
    }
}

fn down() -> ScaleError {
    ScaleError::unreachable("the API server does not answer")
}

const STORY_LEN_MAX: usize = 400;
