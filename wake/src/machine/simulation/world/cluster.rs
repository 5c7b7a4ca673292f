//! The API server and what runs: where what must never happen is looked for.

use super::*;

impl World {
    pub(super) fn write(
        &mut self,
        place: usize,
        name: PeerId,
        workload: &Workload,
        write: Write,
        lost: bool,
    ) {
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

    pub(super) fn scale_up(&mut self, workload: &Workload, by_us: bool) -> Observation {
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
    pub(super) fn scale_down(
        &mut self,
        workload: &Workload,
        version: u64,
    ) -> Result<Observation, ScaleError> {
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

    pub(super) fn changed(&mut self, workload: &Workload) {
        let seen = self.seen(workload);
        for place in 0..REPLICAS {
            let outage = self.api_down_until.saturating_sub(self.now);
            let delay = outage + self.delay(600);
            self.event(place, delay, Event::Observed { workload: workload.clone(), result: Ok(seen) });
        }
    }

    pub(super) fn seen(&self, workload: &Workload) -> Observation {
        let live = &self.live[workload];
        let ready = if live.ready { 2 } else { 0 };
        Observation { version: live.version, desired: live.desired, ready, by_us: live.by_us }
    }
}
