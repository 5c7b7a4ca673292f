//! The world of the simulation: what API server, network, workloads and visitors do to the machines.

mod cluster;
mod replicas;
mod visitors;

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
