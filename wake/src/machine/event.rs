//! What the machine is told, and what it says is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::plan::Plan;
use crate::scaler::{Observation, ScaleError};
use crate::schedule::Schedule;
use crate::workload::Workload;

/// The time of an event, by both clocks. Only windows of time look at the one on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment; never goes back.
    pub elapsed: Duration,
    pub wall: Timestamp,
}

/// Names a group for as long as this process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// Names another replica for as long as that one lives: a new process has a new name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub Arc<str>);

/// One attempt to put a workload to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Round(pub u64);

/// Ties an answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Workloads that are used together, behind one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    pub namespace: Arc<str>,
    pub plan: Plan,
    /// `None`: never idle.
    pub idle: Option<Duration>,
    pub keep_awake: Schedule,
    pub sleep: Schedule,
}

impl GroupSpec {
    /// The workload that no other one of the plan needs, when there is but one: what stands behind the gate itself.
    pub fn only_root(&self) -> Option<Workload> {
        let roots = super::roots(&self.namespace, &self.plan);
        match &roots[..] {
            [only] => Some(only.clone()),
            _ => None,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All groups there are now.
    Configured(BTreeMap<GroupId, GroupSpec>),
    /// Whether this replica is the one that puts to sleep.
    Leads(bool),
    /// All other replicas that might take requests, those that cannot be reached included.
    Peers(BTreeSet<PeerId>),
    /// Answers [`Action::Observe`], or comes by itself.
    Observed {
        workload: Workload,
        result: Result<Observation, ScaleError>,
    },
    /// Several of those at once: with many workloads that is one conclusion in the place of many.
    ObservedTogether(Vec<(Workload, Result<Observation, ScaleError>)>),
    /// Answers [`Action::Wake`].
    Woken {
        workload: Workload,
        result: Result<Observation, ScaleError>,
    },
    /// Answers [`Action::Sleep`].
    Slept {
        workload: Workload,
        result: Result<Observation, ScaleError>,
    },
    /// A request stands before a gate that is not open, or an open one with nothing behind it.
    Wanted(GroupId),
    /// Answers [`Action::Count`].
    Counted {
        group: GroupId,
        token: Token,
        count: Count,
    },
    /// What stands behind the gate takes connections.
    Serving(GroupId),
    Told {
        from: PeerId,
        message: Message,
    },
    Commanded {
        workload: Workload,
        command: Command,
    },
    /// Nothing but time has passed; see [`super::Machine::alarm`].
    Tick,
}

/// How much a group is used on this replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests, streams and tunnels that have entered the gate and not ended, those that wait before it included.
    pub holds: u64,
    /// Since the last of them that kept it awake ended; of no meaning while there are any.
    pub idle: Duration,
}

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// With what it needs, and to be left awake for long enough to use it.
    Wake,
    /// As soon as nobody uses it, without waiting for the idle time; what needs it sleeps with it.
    Sleep,
    /// Woken, and not to be put to sleep for so long. No time at all takes back what was said before.
    KeepAwake(Duration),
}

/// Something to be done. In the order in which they are given: above all, a gate is closed before what entered it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Gate {
        group: GroupId,
        gate: Gate,
    },
    /// Ends with [`Event::Counted`].
    Count {
        group: GroupId,
        token: Token,
    },
    /// Ends with [`Event::Observed`].
    Observe(Workload),
    /// Ends with [`Event::Woken`].
    Wake(Workload),
    /// Unless the workload has changed since `version`; ends with [`Event::Slept`]. Must not take effect later than `within`
    /// from now.
    Sleep {
        workload: Workload,
        version: u64,
        within: Duration,
    },
    Tell {
        to: PeerId,
        message: Message,
    },
    Note {
        workload: Workload,
        note: Note,
    },
}

/// What a request finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Go on.
    Open,
    /// Wait, and say that it is wanted.
    Asleep,
    /// Wait.
    Waking,
    /// Do not wait.
    Refused(GateRefusal),
}

/// Why waiting would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateRefusal {
    /// Waking failed; it is tried again for the first request after this time.
    Failed { workload: Workload, reason: Arc<str>, again_in: Duration },
    /// It sleeps by its schedule until then.
    Scheduled { until: Timestamp },
}

/// What replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From who wants to put a workload to sleep: let nobody use it for `ttl`, or say that somebody does.
    Quiesce { round: Round, workload: Workload, ttl: Duration },
    /// Nobody uses it here, and nobody will before `ttl` is over.
    Quiesced { round: Round, workload: Workload },
    /// Somebody uses it here, or wants to.
    Busy { round: Round, workload: Workload },
    /// It was not put to sleep.
    Release { round: Round, workload: Workload },
    /// It was put to sleep.
    Asleep { round: Round, workload: Workload, observation: Observation },
}

/// Something worth telling to people and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Asked to wake, for a request or a window of time.
    Waking,
    /// Ready, so long after it was asked to wake. `None`: others woke it.
    Awake {
        took: Option<Duration>,
    },
    /// This replica put it to sleep.
    Asleep,
    /// Somebody used it while it was about to be put to sleep.
    SleepAborted,
    WakeFailed(Arc<str>),
    SleepFailed(Arc<str>),
    /// Somebody else scaled it up as often as it was put to sleep, and it is left alone for a while.
    Contested,
}
