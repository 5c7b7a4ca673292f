//! Replicas that begin, are killed, lead, and do what their machines say.

use super::*;

impl World {
    pub(super) fn start(&mut self, place: usize) {
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

    pub(super) fn kill(&mut self, place: usize) {
        self.tell(|| format!("replica {place} is killed"));
        self.replicas[place].alive = false;
        self.replicas[place].requests.clear();
        if self.leader == Some(place) {
            self.leader = None;
        }
        self.introduce();
    }

    /// Everybody learns who is there, soon.
    pub(super) fn introduce(&mut self) {
        for place in 0..self.replicas.len() {
            let delay = self.delay(400);
            let name = self.replicas[place].name.clone();
            self.plan(delay, Item::Introduce(place, name));
        }
    }

    pub(super) fn peers_of(&self, place: usize) -> BTreeSet<PeerId> {
        let others =
            self.replicas.iter().enumerate().filter(|(other, replica)| *other != place && replica.alive);
        others.map(|(_, replica)| replica.name.clone()).collect()
    }

    pub(super) fn elect(&mut self) {
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

    pub(super) fn step(&mut self, place: usize, event: Event) {
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

    pub(super) fn perform(&mut self, place: usize, actions: Vec<Action>) {
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

    pub(super) fn send(&mut self, from: &PeerId, to: &PeerId, message: &Message) {
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
}
