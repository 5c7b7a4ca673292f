//! The decisions: who is woken, and who may be put to sleep.
//!
//! One machine for each replica. It is told [`Event`]s, with their time, and gives [`Action`]s; it neither waits nor asks.
//! State is derived: what a workload is doing is what was last observed of it, so a machine that begins anew finds out.
//!
//! **Nothing sleeps that is in use.** Requests enter a gate before they look whether it is open; to put a workload to sleep,
//! every gate that leads to it is closed first, on every replica, and then what has entered is counted. A request that
//! came before is counted, and one that came after waits and says so. Either way it is not lost, and the attempt ends.
//!
//! **Any replica wakes, only the leader puts to sleep**, and only while every other replica has answered. What they promise
//! holds for [`QUIESCE_TTL`], which is longer than the leader's write can take effect. A replica must not take requests in
//! the first [`QUIESCE_TTL`] after the others could have known of it.
//!
//! **Waking is asked for once**, however many requests wait, and again only when it failed or was undone.

mod event;
mod gates;
mod member;
mod sleeping;
mod waking;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::Plan;
use crate::workload::{Reference, Workload};

pub use event::{
    Action, Command, Count, Event, Gate, GateRefusal, GroupId, GroupSpec, Message, Note, Now, PeerId, Round,
    Token,
};
pub use member::State;
use member::{Member, Phase, Stage};

/// See the module.
#[derive(Debug)]
pub struct Machine {
    groups: BTreeMap<GroupId, Group>,
    members: BTreeMap<Workload, Member>,
    peers: BTreeSet<PeerId>,
    leads: bool,
    rounds: u64,
    tokens: u64,
    actions: Vec<Action>,
    /// Given after the gates, so that what is counted cannot grow unseen.
    counts: Vec<Action>,
}

#[derive(Debug)]
struct Group {
    spec: GroupSpec,
    /// The plan's workloads, and all that these need by any plan.
    workloads: BTreeSet<Workload>,
    /// Workloads of the plan that no other one of it needs.
    roots: Vec<Workload>,
    gate: Gate,
    wanted: bool,
    /// As of the last count; worth a closer look, no more.
    idle: bool,
    /// Time before this does not count as idle.
    fresh_from: Duration,
    /// When to count again.
    look_at: Option<Duration>,
    looking: Option<Token>,
    sleep_commanded: bool,
    /// By the schedules, as of the last step.
    in_keep_awake: bool,
    in_sleep: Option<jiff::Timestamp>,
}

impl Machine {
    /// `seed` differs from that of earlier processes, so that answers to those are not taken for answers to this one.
    pub fn new(seed: u64) -> Self {
        Machine {
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            peers: BTreeSet::new(),
            leads: false,
            rounds: seed,
            tokens: 0,
            actions: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Takes one event in, and says what is to be done now.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.look_at_schedules(now);
        self.take(now, event);
        self.settle(now);
        std::mem::take(&mut self.actions)
    }

    /// When to step with [`Event::Tick`], if nothing comes before.
    pub fn alarm(&self, now: Now) -> Option<Duration> {
        let members = self.members.values().filter_map(Member::alarm);
        let groups = self.groups.values().flat_map(|group| {
            let looks = group.look_at.filter(|_| group.looking.is_none());
            let window = [&group.spec.keep_awake, &group.spec.sleep].into_iter().filter_map(|schedule| {
                let change = schedule.next_change(now.wall)?;
                let wait = Duration::try_from(change.duration_since(now.wall)).unwrap_or_default();
                // The clock on the wall may be set.
                Some(now.elapsed + wait.clamp(Duration::from_millis(1), SCHEDULE_LOOK_MAX))
            });
            looks.into_iter().chain(window)
        });
        let pins = self.members.values().map(|member| member.kept_awake_until);
        members.chain(groups).chain(pins.filter(|until| *until > now.elapsed)).min()
    }

    /// What the workloads of a group are doing, in the order of their names.
    pub fn states(&self, group: GroupId) -> Vec<(Workload, State)> {
        let Some(group) = self.groups.get(&group) else { return Vec::new() };
        group.workloads.iter().map(|workload| (workload.clone(), self.member(workload).state())).collect()
    }

    /// Whether a workload is one of a group's.
    pub fn leads_to(&self, group: GroupId, workload: &Workload) -> bool {
        self.groups.get(&group).is_some_and(|group| group.workloads.contains(workload))
    }

    /// Whether somebody has said that a workload shall be awake for now.
    pub fn is_pinned(&self, now: Now, workload: &Workload) -> bool {
        self.member(workload).kept_awake_until > now.elapsed
    }

    /// Workloads that are put to sleep or woken by this machine.
    pub fn workloads(&self) -> impl Iterator<Item = (&Workload, State)> {
        self.members.iter().map(|(workload, member)| (workload, member.state()))
    }

    /// Whether something was decided that can still put a workload to sleep, whatever comes meanwhile.
    pub fn is_writing(&self) -> bool {
        self.members.values().any(|member| match &member.phase {
            Phase::Closing { stage: Stage::Writing { .. }, .. } => true,
            // For all that is known, by this replica itself.
            Phase::Settling { asked, .. } => !asked,
            Phase::Closing { stage: Stage::Counting { .. } | Stage::Asking { .. }, .. }
            | Phase::Unknown
            | Phase::Up
            | Phase::Down
            | Phase::Promised { .. }
            | Phase::Starting { .. } => false,
        })
    }

    fn take(&mut self, now: Now, event: Event) {
        match event {
            Event::Configured(groups) => self.configure(now, groups),
            Event::Leads(leads) => self.lead(now, leads),
            Event::Peers(peers) => self.meet(now, peers),
            Event::Observed { workload, result } => self.observed(now, &workload, result),
            Event::ObservedTogether(all) => {
                for (workload, result) in all {
                    self.observed(now, &workload, result);
                }
            }
            Event::Woken { workload, result } => self.woken(now, &workload, result),
            Event::Slept { workload, result } => self.slept(now, &workload, result),
            Event::Wanted(group) => self.wanted(now, group),
            Event::Counted { group, token, count } => self.counted(now, group, token, count),
            Event::Serving(group) => self.serving(now, group),
            Event::Told { from, message } => self.told(now, from, message),
            Event::Commanded { workload, command } => self.commanded(now, &workload, command),
            Event::Tick => {}
        }
    }

    /// Draws the conclusions from what is known now.
    fn settle(&mut self, now: Now) {
        self.expire(now);
        self.look(now);
        self.wake_what_is_wanted(now);
        self.begin_to_sleep(now);
        self.set_gates(now);
        let counts = std::mem::take(&mut self.counts);
        self.actions.extend(counts);
    }

    fn configure(&mut self, now: Now, specs: BTreeMap<GroupId, GroupSpec>) {
        // Who is being counted may change, so those who count begin anew.
        self.abort_all(now);
        self.groups.retain(|id, _| specs.contains_key(id));
        for (id, spec) in specs {
            match self.groups.get_mut(&id) {
                Some(group) if group.spec == spec => {}
                Some(group) => {
                    group.look_at = spec.idle.map(|idle| now.elapsed + idle);
                    group.spec = spec;
                }
                None => {
                    self.groups.insert(id, Group::new(spec, now));
                }
            }
        }
        self.join_plans();
        self.look_at_schedules(now);
    }

    /// Finds out which workloads there are, and what each needs by all plans together.
    fn join_plans(&mut self) {
        let mut needs: BTreeMap<Workload, BTreeSet<Workload>> = BTreeMap::new();
        for group in self.groups.values() {
            let namespace = &group.spec.namespace;
            let within = |reference: &Reference| reference.clone().within(namespace);
            for (reference, needed) in group.spec.plan.members() {
                needs.entry(within(reference)).or_default().extend(needed.iter().map(within));
            }
        }
        for group in self.groups.values_mut() {
            group.workloads = closure(&group.spec, &needs);
            group.roots = roots(&group.spec.namespace, &group.spec.plan);
        }
        let mut members = std::mem::take(&mut self.members);
        for (workload, needed) in &needs {
            let mut member = members.remove(workload).unwrap_or_else(|| {
                self.actions.push(Action::Observe(workload.clone()));
                Member::default()
            });
            // Plans that name each other in a circle cannot be kept: then nobody waits for anybody.
            let circular = |other: &Workload| needs_itself(other, workload, &needs);
            member.needs = needed.iter().filter(|other| !circular(other)).cloned().collect();
            member.needed_by.clear();
            member.groups.clear();
            self.members.insert(workload.clone(), member);
        }
        for (id, group) in &self.groups {
            for workload in &group.workloads {
                if let Some(member) = self.members.get_mut(workload) {
                    member.groups.push(*id);
                }
            }
        }
        let kept: Vec<(Workload, Workload)> = self
            .members
            .iter()
            .flat_map(|(workload, member)| {
                member.needs.iter().map(move |needed| (workload.clone(), needed.clone()))
            })
            .collect();
        for (workload, needed) in kept {
            if let Some(member) = self.members.get_mut(&needed) {
                member.needed_by.insert(workload);
            }
        }
    }

    fn lead(&mut self, now: Now, leads: bool) {
        if self.leads == leads {
            return;
        }
        self.leads = leads;
        if leads {
            // What the last leader knew is not known here.
            for group in self.groups.values_mut() {
                group.refresh(now);
            }
        } else {
            self.abort_all(now);
        }
    }

    fn meet(&mut self, now: Now, peers: BTreeSet<PeerId>) {
        if self.peers == peers {
            return;
        }
        self.peers = peers;
        // Who comes was not asked, and who goes might still hold something.
        self.abort_all(now);
    }

    fn commanded(&mut self, now: Now, workload: &Workload, command: Command) {
        let Some(member) = self.members.get_mut(workload) else { return };
        member.kept_awake_until = match command {
            Command::Wake => member.kept_awake_until.max(now.elapsed + COMMANDED_AWAKE),
            Command::Sleep => Duration::ZERO,
            Command::KeepAwake(time) => now.elapsed + time,
        };
        // What needs it sleeps with it, for it cannot go before that.
        let mut commanded = BTreeSet::new();
        for id in &member.groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.sleep_commanded = command == Command::Sleep;
            if group.sleep_commanded {
                group.look_at = Some(now.elapsed);
                commanded.extend(group.workloads.iter().cloned());
            }
        }
        for workload in &commanded {
            if let Some(member) = self.members.get_mut(workload) {
                // A person knows better than the pause after an attempt.
                member.sleep_not_before = Duration::ZERO;
            }
        }
    }

    /// Whether anything of a group shall be awake for now.
    fn is_group_pinned(&self, now: Now, group: &Group) -> bool {
        group.workloads.iter().any(|workload| self.is_pinned(now, workload))
    }

    fn look_at_schedules(&mut self, now: Now) {
        for group in self.groups.values_mut() {
            group.in_keep_awake = group.spec.keep_awake.until(now.wall).is_some();
            let in_sleep = group.spec.sleep.until(now.wall).filter(|_| !group.in_keep_awake);
            if in_sleep.is_some() && group.in_sleep.is_none() {
                group.look_at = Some(now.elapsed);
            }
            group.in_sleep = in_sleep;
        }
    }

    fn member(&self, workload: &Workload) -> &Member {
        static NONE: Member = Member::NONE;
        self.members.get(workload).unwrap_or(&NONE)
    }

    fn note(&mut self, workload: &Workload, note: Note) {
        self.actions.push(Action::Note { workload: workload.clone(), note });
    }
}

impl Group {
    fn new(spec: GroupSpec, now: Now) -> Self {
        Group {
            look_at: spec.idle.map(|idle| now.elapsed + idle),
            spec,
            workloads: BTreeSet::new(),
            roots: Vec::new(),
            gate: Gate::Open,
            wanted: false,
            idle: false,
            fresh_from: now.elapsed,
            looking: None,
            sleep_commanded: false,
            in_keep_awake: false,
            in_sleep: None,
        }
    }

    /// The idle time begins anew.
    fn refresh(&mut self, now: Now) {
        self.idle = false;
        self.sleep_commanded = false;
        self.fresh_from = now.elapsed;
        self.look_at = self.spec.idle.map(|idle| now.elapsed + idle);
    }

    /// How long it has to be unused; `None`: that is never long enough.
    fn idle_needed(&self) -> Option<Duration> {
        if self.in_keep_awake {
            return None;
        }
        if self.sleep_commanded {
            return Some(Duration::ZERO);
        }
        match self.in_sleep {
            Some(_) => Some(self.spec.idle.unwrap_or(SCHEDULED_SLEEP_IDLE).min(SCHEDULED_SLEEP_IDLE)),
            None => self.spec.idle,
        }
    }
}

/// All that a group needs, by its own plan and by those of others.
fn closure(spec: &GroupSpec, needs: &BTreeMap<Workload, BTreeSet<Workload>>) -> BTreeSet<Workload> {
    let mut all = BTreeSet::new();
    let mut open: Vec<Workload> =
        spec.plan.members().map(|(reference, _)| reference.clone().within(&spec.namespace)).collect();
    while let Some(workload) = open.pop() {
        if all.insert(workload.clone()) {
            open.extend(needs.get(&workload).into_iter().flatten().cloned());
        }
    }
    all
}

fn roots(namespace: &std::sync::Arc<str>, plan: &Plan) -> Vec<Workload> {
    let needed: BTreeSet<&Reference> = plan.members().flat_map(|(_, needs)| needs).collect();
    let tops = plan.members().map(|(reference, _)| reference).filter(|reference| !needed.contains(reference));
    tops.map(|reference| reference.clone().within(namespace)).collect()
}

/// Whether `from` needs `to` in any number of steps.
fn needs_itself(from: &Workload, to: &Workload, needs: &BTreeMap<Workload, BTreeSet<Workload>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(workload) = open.pop() {
        if workload == to {
            return true;
        }
        if seen.insert(workload) {
            open.extend(needs.get(workload).into_iter().flatten());
        }
    }
    false
}

/// For so long no replica lets anyone use what it promised not to.
pub const QUIESCE_TTL: Duration = Duration::from_secs(8);
/// All replicas have to answer within this time.
const QUIESCE_ANSWER: Duration = Duration::from_secs(4);
/// The longest that a write may take to have its effect. With the time for answers, shorter than the promise holds.
pub const WRITE_WITHIN: Duration = Duration::from_secs(3);
/// After an attempt that somebody interrupted, and between looks at what is idle and cannot sleep for other reasons.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After an attempt that failed.
const SLEEP_FAILED_PAUSE: Duration = Duration::from_secs(300);
/// In a window of sleep, this is idle enough.
const SCHEDULED_SLEEP_IDLE: Duration = Duration::from_secs(60);
/// The first pause after a wake that failed; it doubles up to [`WAKE_AGAIN_MAX`].
const WAKE_AGAIN_MIN: Duration = Duration::from_secs(10);
const WAKE_AGAIN_MAX: Duration = Duration::from_secs(300);
/// Wakes that are asked for and not answered, of all workloads together: what a cluster can start at once has bounds.
pub const WAKES_MAX: usize = 32;
/// Scaled up by others so soon after it slept, it is contested (Flux looks every ten minutes where nobody says otherwise),
const CONTESTED_WITHIN: Duration = Duration::from_secs(900);
/// and when that came so often in a row,
const CONTESTED_TIMES: u32 = 2;
/// left alone for so long.
const CONTESTED_PAUSE: Duration = Duration::from_secs(3600);
/// Somebody who wakes a workload by hand is given so long to use it.
const COMMANDED_AWAKE: Duration = Duration::from_secs(300);
/// The clock on the wall is looked at so often where there are windows.
const SCHEDULE_LOOK_MAX: Duration = Duration::from_secs(60);
/// What is open and has nothing behind it is observed anew so often at most.
const OBSERVE_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
