//! Keeps one kind up to date: list, watch, and list again when the watch can no longer be followed.
//!
//! Nothing that goes wrong here takes anything away: while the server is silent, says 429 or 5xx, or forbids what it allowed
//! before, what was read last stays. A list that has lost more than half of the objects is believed only when a second one
//! agrees, and a kind that the server suddenly does not know only after [`REFUSALS_BELIEVED_MIN`] such answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::api::{Broken, Event, Failure, Listed, Scope, Sent};
use super::backoff::Backoff;
use super::kept::Keep;
use crate::config::objects::Object;
use crate::config::problem::ObjectRef;

/// What a stream tells.
#[derive(Debug)]
pub(super) struct Report {
    /// Which stream.
    pub(super) stream: usize,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// Objects came, changed or went.
    Changed(Delta),
    /// What was kept of an earlier process, while the server does not answer: it counts as listed.
    Restored(Delta),
    State(State),
}

/// What to apply and what to remove; never both for one object.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) applied: Vec<Object>,
    pub(super) removed: Vec<ObjectRef>,
    pub(super) broken: Vec<Broken>,
}

/// How it stands with one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet listed.
    Pending,
    /// Listed and followed.
    Current,
    /// The server does not have this kind. It is asked for again and again.
    Missing,
    /// The server does not let us read it.
    Forbidden(String),
    /// Asking failed more than once. What was read last stays.
    Failing(String),
}

/// One kind in one place, and what is known of it.
pub(super) struct Stream {
    pub(super) id: usize,
    pub(super) client: Client,
    pub(super) scope: Scope,
    pub(super) reports: mpsc::Sender<Report>,
    known: BTreeSet<ObjectRef>,
    state: State,
    /// Which of the kind's API versions the server has.
    api_version: &'static str,
    backoff: Backoff,
    failures: u32,
    /// How many times in a row the server said that the kind is not there, or how many times that it is not for us.
    refusals: u32,
    refused_as_missing: bool,
    keep: Option<Keep>,
}

/// Nobody listens any more.
struct Closed;

/// Why following has ended.
enum End {
    ListAgain,
    Closed,
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        End::Closed
    }
}

impl Stream {
    pub(super) fn new(
        id: usize,
        client: Client,
        scope: Scope,
        keep: Option<Keep>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Stream {
            id,
            client,
            api_version: scope.kind.api_versions()[0],
            scope,
            reports,
            known: BTreeSet::new(),
            state: State::Pending,
            backoff: Backoff::new(WAIT_MAX),
            failures: 0,
            refusals: 0,
            refused_as_missing: false,
            keep,
        }
    }

    /// Runs until nobody listens.
    pub(super) async fn run(mut self) {
        if self.wait_for_server().await.is_err() {
            return;
        }
        loop {
            let version = match self.list_confirmed().await {
                Ok(listed) => match self.take_list(listed).await {
                    Ok(version) => version,
                    Err(Closed) => return,
                },
                Err(failure) => match self.fail(failure).await {
                    Ok(()) => continue,
                    Err(Closed) => return,
                },
            };
            match self.follow(version).await {
                End::ListAgain => {}
                End::Closed => return,
            }
        }
    }

    /// Goes on with what was kept, where something was, when the server does not answer in time; else leaves the question to
    /// what follows.
    async fn wait_for_server(&mut self) -> Result<(), Closed> {
        if !self.keep.as_ref().is_some_and(Keep::is_there) {
            return Ok(());
        }
        let answers = async {
            // The version of a kind says that there is someone, and asks for little.
            while self.scope.probe(&self.client, self.api_version).await.is_err() {
                sleep(PROBE_WAIT).await;
            }
        };
        if timeout(SERVER_WAITED_FOR_MAX, answers).await.is_ok() {
            return Ok(());
        }
        let Some(events) = self.keep.as_ref().and_then(Keep::read) else { return Ok(()) };
        let mut delta = Delta::default();
        let mut applied: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        for event in events {
            match event {
                Event::Applied(Ok(object)) => drop(applied.insert(object.reference(), object)),
                Event::Deleted(name) => drop(applied.remove(&name)),
                // It was not in use before either.
                Event::Applied(Err(_)) | Event::Bookmark => {}
            }
        }
        tracing::warn!(
            kind = %self.scope.kind,
            objects = applied.len(),
            "the API server does not answer: going on with what was kept"
        );
        self.known = applied.keys().cloned().collect();
        delta.applied = applied.into_values().collect();
        self.send(News::Restored(delta)).await
    }

    /// A list, or the second of two when the first has lost most of what is known.
    async fn list_confirmed(&mut self) -> Result<Listed, Failure> {
        let first = self.list().await?;
        let present: BTreeSet<ObjectRef> = first.objects.iter().filter_map(name_of).collect();
        let lost = self.known.iter().filter(|known| !present.contains(known)).count();
        if lost * 2 <= self.known.len() {
            return Ok(first);
        }
        tracing::warn!(
            "the API server lists {} of {} known objects of kind {}; it is asked once more before that is believed",
            self.known.len() - lost,
            self.known.len(),
            self.scope.kind
        );
        sleep(CONFIRMATION_WAIT).await;
        self.list().await
    }

    /// A list in the first version that the server has.
    async fn list(&mut self) -> Result<Listed, Failure> {
        let versions = self.scope.kind.api_versions();
        let others = versions.iter().copied().filter(|version| *version != self.api_version);
        let mut result = Err(Failure::Missing);
        for version in std::iter::once(self.api_version).chain(others) {
            result = self.scope.list(&self.client, version, self.keep.as_mut()).await;
            if !matches!(result, Err(Failure::Missing)) {
                self.api_version = version;
                break;
            }
        }
        result
    }

    async fn take_list(&mut self, listed: Listed) -> Result<String, Closed> {
        let mut delta = Delta::default();
        let mut present = BTreeSet::new();
        for sent in listed.objects {
            if let Some(name) = name_of(&sent) {
                present.insert(name);
            }
            delta.take(sent);
        }
        delta.removed = self.known.difference(&present).cloned().collect();
        self.known = present;
        if let Some(keep) = &mut self.keep {
            keep.commit();
        }
        self.send(News::Changed(delta)).await?;
        self.failures = 0;
        // Where watching is forbidden and listing is not, it stays a matter of asking again and again.
        if !matches!(self.state, State::Forbidden(_)) {
            self.enter(State::Current).await?;
        }
        Ok(listed.version)
    }

    /// Follows the changes from `version` on, over as many watches as it takes.
    async fn follow(&mut self, mut version: String) -> End {
        loop {
            let begun = Instant::now();
            let failure = match self.scope.watch(&self.client, self.api_version, &version).await {
                Ok(mut watch) => {
                    self.failures = 0;
                    self.refusals = 0;
                    if self.enter(State::Current).await.is_err() {
                        return End::Closed;
                    }
                    let ended = loop {
                        match watch.next(self.keep.as_mut()).await {
                            Ok(Some(events)) => {
                                if self.take_events(events).await.is_err() {
                                    return End::Closed;
                                }
                            }
                            Ok(None) => break None,
                            Err(failure) => break Some(failure),
                        }
                    };
                    watch.version().clone_into(&mut version);
                    ended
                }
                Err(failure) => Some(failure),
            };
            match failure {
                // Ended in good order. One that ends at once is not asked for again at once.
                None if begun.elapsed() >= WATCH_TIME_MIN => self.backoff.reset(),
                None => sleep(self.backoff.wait(Duration::ZERO)).await,
                Some(
                    failure @ (Failure::Gone | Failure::Missing | Failure::Forbidden(_) | Failure::TooLarge),
                ) => {
                    tracing::debug!(kind = %self.scope.kind, %failure, "listing again");
                    if let Failure::Forbidden(message) = failure
                        && self.refuse(State::Forbidden(message)).await.is_err()
                    {
                        return End::Closed;
                    }
                    sleep(self.backoff.wait(Duration::ZERO)).await;
                    return End::ListAgain;
                }
                Some(failure @ (Failure::Busy(_) | Failure::Conflict | Failure::Failed(_))) => {
                    if self.fail(failure).await.is_err() {
                        return End::Closed;
                    }
                }
            }
        }
    }

    async fn take_events(&mut self, events: Vec<Event>) -> Result<(), Closed> {
        self.backoff.reset();
        let mut delta = Delta::default();
        for event in events {
            match event {
                Event::Applied(sent) => {
                    if let Some(name) = name_of(&sent) {
                        // In the order of the events: whatever was to happen to it before is overtaken.
                        delta.forget(&name);
                        self.known.insert(name);
                    }
                    delta.take(sent);
                }
                Event::Deleted(name) => {
                    delta.forget(&name);
                    self.known.remove(&name);
                    delta.removed.push(name);
                }
                Event::Bookmark => {}
            }
        }
        if delta.is_empty() { Ok(()) } else { self.send(News::Changed(delta)).await }
    }

    /// Notes a failure and waits as long as it takes before the next try.
    async fn fail(&mut self, failure: Failure) -> Result<(), Closed> {
        tracing::debug!(kind = %self.scope.kind, namespace = self.scope.namespace.as_deref(), %failure);
        let mut asked = Duration::ZERO;
        match failure {
            Failure::Missing => {
                self.refuse(State::Missing).await?;
                if !self.known.is_empty() && self.refusals >= REFUSALS_BELIEVED_MIN {
                    let removed = std::mem::take(&mut self.known).into_iter().collect();
                    self.send(News::Changed(Delta { removed, ..Delta::default() })).await?;
                }
            }
            Failure::Forbidden(message) => self.refuse(State::Forbidden(message)).await?,
            // Nothing is wrong with the server: the next list starts afresh.
            Failure::Gone => {}
            Failure::Busy(after) => {
                asked = after;
                self.failing(failure).await?;
            }
            Failure::TooLarge | Failure::Conflict | Failure::Failed(_) => self.failing(failure).await?,
        }
        sleep(self.backoff.wait(asked)).await;
        Ok(())
    }

    /// One failure is no news: connections end.
    async fn failing(&mut self, failure: Failure) -> Result<(), Closed> {
        self.failures += 1;
        self.refusals = 0;
        if self.failures < FAILURES_TOLD_MIN {
            Ok(())
        } else {
            self.enter(State::Failing(failure.to_string())).await
        }
    }

    /// A server that has just started knows neither its roles nor its definitions: one refusal is no news.
    async fn refuse(&mut self, state: State) -> Result<(), Closed> {
        self.count_refusal(&state);
        if self.refusals < REFUSALS_TOLD_MIN {
            return Ok(());
        }
        if let Some(keep) = &mut self.keep {
            keep.note_absence();
        }
        self.enter(state).await
    }

    fn count_refusal(&mut self, state: &State) {
        let missing = *state == State::Missing;
        if std::mem::replace(&mut self.refused_as_missing, missing) != missing {
            self.refusals = 0;
        }
        self.refusals = self.refusals.saturating_add(1);
    }

    async fn enter(&mut self, state: State) -> Result<(), Closed> {
        // The words of a failure change from try to try; that it fails does not.
        let same = match (&self.state, &state) {
            (State::Failing(_), State::Failing(_)) => true,
            (old, new) => old == new,
        };
        if same {
            return Ok(());
        }
        self.state = state.clone();
        self.send(News::State(state)).await
    }

    async fn send(&self, news: News) -> Result<(), Closed> {
        self.reports.send(Report { stream: self.id, news }).await.map_err(|_| Closed)
    }
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.removed.is_empty() && self.broken.is_empty()
    }

    fn take(&mut self, sent: Sent) {
        match sent {
            Ok(object) => self.applied.push(object),
            Err(broken) => self.broken.push(broken),
        }
    }

    fn forget(&mut self, name: &ObjectRef) {
        self.applied.retain(|object| object.kind() != name.kind || !is_named(object, name));
        self.removed.retain(|removed| removed != name);
        self.broken.retain(|broken| broken.object.as_ref() != Some(name));
    }
}

fn is_named(object: &Object, name: &ObjectRef) -> bool {
    let metadata = object.metadata();
    metadata.name == name.name && metadata.namespace == name.namespace
}

fn name_of(sent: &Sent) -> Option<ObjectRef> {
    match sent {
        Ok(object) => Some(object.reference()),
        Err(broken) => broken.object.clone(),
    }
}

/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How long a process that has kept objects waits for the server before it goes on with them.
const SERVER_WAITED_FOR_MAX: Duration = Duration::from_secs(3);
/// Between two questions whether there is a server.
const PROBE_WAIT: Duration = Duration::from_millis(200);
/// Before a list that lost most objects is asked for a second time.
const CONFIRMATION_WAIT: Duration = Duration::from_secs(1);
/// A watch that ended sooner than that counts as failed.
const WATCH_TIME_MIN: Duration = Duration::from_secs(1);
/// Failures in a row before they are told.
const FAILURES_TOLD_MIN: u32 = 2;
/// Answers in a row that the kind is not there, or not for us, before that is told and no longer waited for.
const REFUSALS_TOLD_MIN: u32 = 3;
/// Answers in a row that the kind is not there before its objects are let go.
const REFUSALS_BELIEVED_MIN: u32 = 6;

#[cfg(test)]
mod tests;
