//! Requests, which enter a gate, look and ask as they do in the proxy.

use super::*;

impl World {
    pub(super) fn arrive(&mut self) {
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
    pub(super) fn look(&mut self, place: usize, id: u64) {
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
    pub(super) fn is_reachable(&self, group: GroupId) -> bool {
        let needed = match group.0 {
            0 => "deployment/app",
            1 => "deployment/web",
            _ => "deployment/report",
        };
        let live = &self.live[&workload(needed)];
        live.desired > 0 && live.ready
    }

    pub(super) fn end(&mut self, place: usize, id: u64) {
        let now = self.now;
        let Some(request) = self.replicas[place].requests.remove(&id) else { return };
        let door = self.replicas[place].gates.get_mut(&request.group).expect("a gate");
        door.holds -= 1;
        door.last = now;
    }
}
