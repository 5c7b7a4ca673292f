//! What replicas say to each other of workloads: who uses them, who promises not to, and who is to be woken.
//!
//! The words are those of [`wake::machine::Message`]; here they are given a form on the wire, and a way to the replica that they
//! are for. A message for a process that is no more is refused by whoever answers at its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wake::machine::{Count, Event, Message, PeerId, Round};
use wake::scaler::{Observation, ScaleError};
use wake::workload::{Reference, ReferenceError, Workload};

use super::call::call;
use super::listener::Reply;
use super::message::AppliedQuestion;
use super::seal::Incarnation;
use super::{ACTIVITY, QUIESCE, Replicas, WAKE};
use crate::workload::cause::Cause;

/// What another replica wants of the driver of workloads.
#[derive(Debug)]
pub(crate) enum Call {
    Told {
        from: PeerId,
        message: Message,
    },
    /// How much the gates of these keys are used here, in their order.
    Activity {
        gates: Vec<Box<str>>,
        reply: oneshot::Sender<Vec<Count>>,
    },
    Wake {
        workload: Workload,
        /// Whose request it is for, where the caller says it.
        cause: Option<Cause>,
        reply: oneshot::Sender<Result<Observation, ScaleError>>,
    },
}

/// A replica that may scale, as it said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waker {
    incarnation: Incarnation,
    address: SocketAddr,
    leads: bool,
    heard: Instant,
}

impl Replicas {
    /// Tells another replica's machine something. A question that cannot be put is as good as the answer that it is in use.
    pub(crate) fn tell(&self, to: PeerId, message: Message, events: mpsc::Sender<Event>) {
        let replicas = self.clone();
        tokio::spawn(async move {
            let told = match replicas.address_of(&to.0) {
                Some(address) => {
                    let said = Telling { to: Arc::clone(&to.0), said: Said::from(message.clone()) };
                    call::<Done>(&replicas, address, QUIESCE, &said, TELL_TIMEOUT).await.is_ok()
                }
                None => false,
            };
            if let (false, Message::Quiesce { round, workload, .. }) = (told, message) {
                let event = Event::Told { from: to, message: Message::Busy { round, workload } };
                let _ = events.send(event).await;
            }
        });
    }

    /// How much these gates are used on all of `others` together; `None` where one of them does not say.
    pub(crate) async fn activity(&self, others: &[SocketAddr], gates: &[Box<str>]) -> Option<Vec<Count>> {
        let mut total = vec![Count { holds: 0, idle: Duration::MAX }; gates.len()];
        for (part, sums) in gates.chunks(GATES_PER_CALL_MAX).zip(total.chunks_mut(GATES_PER_CALL_MAX)) {
            let mut tasks = tokio::task::JoinSet::new();
            for address in others.iter().copied() {
                let (replicas, question) = (self.clone(), ActivityQuestion { gates: part.to_vec() });
                tasks.spawn(async move {
                    call::<ActivityAnswer>(&replicas, address, ACTIVITY, &question, TELL_TIMEOUT).await
                });
            }
            while let Some(answered) = tasks.join_next().await {
                let answer = answered.ok()?.ok()?;
                if answer.gates.len() != sums.len() {
                    return None;
                }
                for (sum, one) in sums.iter_mut().zip(answer.gates) {
                    sum.holds = sum.holds.saturating_add(one.holds);
                    sum.idle = sum.idle.min(Duration::from_millis(one.idle_ms));
                }
            }
        }
        Some(total)
    }

    /// Has a replica that may scale wake a workload.
    pub(crate) async fn wake(
        &self,
        workload: &Workload,
        cause: Option<&Cause>,
    ) -> Result<Observation, ScaleError> {
        let mut wakers = self.known_wakers().await;
        wakers.sort_by_key(|waker| !waker.leads);
        let mut last = "none has been heard of; is there one, and does `replicas` lead to it?".to_owned();
        let question = WakeQuestion { name: Name::from(workload), cause: cause.cloned() };
        for waker in wakers {
            match call(self, waker.address, WAKE, &question, WAKE_TIMEOUT).await {
                Ok(WakeAnswer::Seen(seen)) => return Ok(seen.into()),
                Ok(WakeAnswer::Missing) => return Err(ScaleError::Missing),
                Ok(WakeAnswer::Conflict) => return Err(ScaleError::Conflict),
                Ok(WakeAnswer::Refused(reason)) => return Err(ScaleError::Refused(reason)),
                Ok(WakeAnswer::Unreachable(reason)) => last = reason.to_string(),
                Err(error) => last = error.to_string(),
            }
        }
        Err(ScaleError::unreachable(format_args!("no replica of the role control wakes: {last}")))
    }

    /// Waits until there is one, for a while.
    async fn known_wakers(&self) -> Vec<Waker> {
        let mut wakers = self.0.wakers.subscribe();
        let known = timeout(WAKER_TIMEOUT, wakers.wait_for(|wakers| fresh(wakers).next().is_some())).await;
        match known {
            Ok(Ok(wakers)) => fresh(&wakers).cloned().collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// Where the process of this name answers.
    fn address_of(&self, incarnation: &Incarnation) -> Option<SocketAddr> {
        let surroundings = self.0.surroundings.borrow();
        let asked = surroundings.replicas.iter().find_map(|known| {
            let answer = known.answer.as_ref()?;
            (answer.incarnation == *incarnation).then_some(known.member.address)
        });
        let heard = || {
            let wakers = self.0.wakers.borrow();
            wakers.iter().find(|waker| waker.incarnation == *incarnation).map(|waker| waker.address)
        };
        asked.or_else(heard)
    }

    /// Remembers who asks, where it can do something for us, and whether it will ask us from now on.
    pub(super) fn hear(&self, caller: &Incarnation, question: &AppliedQuestion) {
        if question.introduced.as_ref() == Some(self.incarnation()) {
            self.0.joined.send_if_modified(|joined| !std::mem::replace(joined, true));
        }
        let Some(address) = question.address.filter(|_| question.leads || question.wakes) else { return };
        let waker =
            Waker { incarnation: Arc::clone(caller), address, leads: question.leads, heard: Instant::now() };
        self.0.wakers.send_modify(|wakers| {
            wakers
                .retain(|known| known.incarnation != *caller && known.address != address && known.is_fresh());
            if wakers.len() < WAKERS_LEN_MAX {
                wakers.push(waker);
            }
        });
    }

    pub(super) async fn answer_quiesce(&self, caller: Incarnation, body: &[u8]) -> Reply {
        let Ok(Telling { to, said }) = serde_json::from_slice(body) else { return bad() };
        if to != *self.incarnation() {
            return Reply::status(StatusCode::CONFLICT);
        }
        let Ok(message) = Message::try_from(said) else { return bad() };
        match self.0.calls.try_send(Call::Told { from: PeerId(caller), message }) {
            Ok(()) => Reply::json(&Done {}),
            Err(_) => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    pub(super) async fn answer_activity(&self, body: &[u8]) -> Reply {
        let Ok(ActivityQuestion { gates }) = serde_json::from_slice(body) else { return bad() };
        let (reply, replied) = oneshot::channel();
        let sent = self.0.calls.try_send(Call::Activity { gates, reply });
        match (sent, timeout(TELL_TIMEOUT, replied).await) {
            (Ok(()), Ok(Ok(counts))) => {
                let activity = |count: Count| Activity { holds: count.holds, idle_ms: millis(count.idle) };
                Reply::json(&ActivityAnswer { gates: counts.into_iter().map(activity).collect() })
            }
            _ => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    pub(super) async fn answer_wake(&self, body: &[u8]) -> Reply {
        if !self.0.role.writes() {
            return Reply::status(StatusCode::FORBIDDEN);
        }
        let Ok(WakeQuestion { name, cause }) = serde_json::from_slice(body) else { return bad() };
        let Ok(workload) = Workload::try_from(name) else { return bad() };
        let (reply, replied) = oneshot::channel();
        let sent = self.0.calls.try_send(Call::Wake { workload, cause, reply });
        match (sent, timeout(WAKE_TIMEOUT, replied).await) {
            (Ok(()), Ok(Ok(woken))) => Reply::json(&WakeAnswer::from(woken)),
            _ => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Waker {
    fn is_fresh(&self) -> bool {
        self.heard.elapsed() < WAKER_AGE_MAX
    }
}

fn fresh(wakers: &[Waker]) -> impl Iterator<Item = &Waker> {
    wakers.iter().filter(|waker| waker.is_fresh())
}

fn bad() -> Reply {
    Reply::status(StatusCode::BAD_REQUEST)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// ---- The form on the wire -------------------------------------------------------------------------------------------

#[derive(Debug, Serialize, Deserialize)]
struct Telling {
    /// The process that it is for.
    to: Incarnation,
    said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
struct Done {}

/// [`Message`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Said {
    Quiesce { round: u64, workload: Name, ttl_ms: u64 },
    Quiesced { round: u64, workload: Name },
    Busy { round: u64, workload: Name },
    Release { round: u64, workload: Name },
    Asleep { round: u64, workload: Name, seen: Seen },
}

/// [`Workload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Name {
    namespace: Arc<str>,
    /// `deployment/web`.
    workload: String,
}

/// [`Observation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    version: u64,
    desired: u32,
    ready: u32,
    by_us: bool,
}

/// What is to be woken, and for whom.
#[derive(Debug, Serialize, Deserialize)]
struct WakeQuestion {
    #[serde(flatten)]
    name: Name,
    /// Not said by versions before this one.
    #[serde(default)]
    cause: Option<Cause>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ActivityQuestion {
    gates: Vec<Box<str>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ActivityAnswer {
    gates: Vec<Activity>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    holds: u64,
    idle_ms: u64,
}

/// What came of a wake.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum WakeAnswer {
    Seen(Seen),
    Missing,
    Conflict,
    Refused(Arc<str>),
    Unreachable(Arc<str>),
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        match message {
            Message::Quiesce { round: Round(round), workload, ttl } => {
                Said::Quiesce { round, workload: Name::from(&workload), ttl_ms: millis(ttl) }
            }
            Message::Quiesced { round: Round(round), workload } => {
                Said::Quiesced { round, workload: Name::from(&workload) }
            }
            Message::Busy { round: Round(round), workload } => {
                Said::Busy { round, workload: Name::from(&workload) }
            }
            Message::Release { round: Round(round), workload } => {
                Said::Release { round, workload: Name::from(&workload) }
            }
            Message::Asleep { round: Round(round), workload, observation } => {
                Said::Asleep { round, workload: Name::from(&workload), seen: observation.into() }
            }
        }
    }
}

impl TryFrom<Said> for Message {
    type Error = ReferenceError;

    fn try_from(said: Said) -> Result<Self, ReferenceError> {
        Ok(match said {
            Said::Quiesce { round, workload, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms).min(TTL_MAX);
                Message::Quiesce { round: Round(round), workload: workload.try_into()?, ttl }
            }
            Said::Quiesced { round, workload } => {
                Message::Quiesced { round: Round(round), workload: workload.try_into()? }
            }
            Said::Busy { round, workload } => {
                Message::Busy { round: Round(round), workload: workload.try_into()? }
            }
            Said::Release { round, workload } => {
                Message::Release { round: Round(round), workload: workload.try_into()? }
            }
            Said::Asleep { round, workload, seen } => {
                let observation = seen.into();
                Message::Asleep { round: Round(round), workload: workload.try_into()?, observation }
            }
        })
    }
}

impl From<&Workload> for Name {
    fn from(workload: &Workload) -> Self {
        Name { namespace: workload.namespace.clone(), workload: workload.reference.to_string() }
    }
}

impl TryFrom<Name> for Workload {
    type Error = ReferenceError;

    fn try_from(name: Name) -> Result<Self, ReferenceError> {
        Ok(Reference::parse(&name.workload)?.within(&name.namespace))
    }
}

impl From<Observation> for Seen {
    fn from(Observation { version, desired, ready, by_us }: Observation) -> Self {
        Seen { version, desired, ready, by_us }
    }
}

impl From<Seen> for Observation {
    fn from(Seen { version, desired, ready, by_us }: Seen) -> Self {
        Observation { version, desired, ready, by_us }
    }
}

impl From<Result<Observation, ScaleError>> for WakeAnswer {
    fn from(woken: Result<Observation, ScaleError>) -> Self {
        match woken {
            Ok(seen) => WakeAnswer::Seen(seen.into()),
            Err(ScaleError::Missing) => WakeAnswer::Missing,
            Err(ScaleError::Conflict) => WakeAnswer::Conflict,
            Err(ScaleError::Refused(reason)) => WakeAnswer::Refused(reason),
            Err(ScaleError::Unreachable(reason)) => WakeAnswer::Unreachable(reason),
        }
    }
}

/// Shorter than a leader waits for promises.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the API server is given for it.
const WAKE_TIMEOUT: Duration = Duration::from_secs(9);
/// How long a process that has just begun waits to hear of a replica that may wake.
const WAKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Who was not heard of for so long is asked for nothing.
const WAKER_AGE_MAX: Duration = Duration::from_secs(20);
const WAKERS_LEN_MAX: usize = 16;
/// Their keys fit into the body of a call.
const GATES_PER_CALL_MAX: usize = 1000;
/// The longest promise that is given.
const TTL_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
