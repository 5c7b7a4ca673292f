//! Programs of this machine that sleep and wake, as the settings list them.
//!
//! A program leads a process group of its own, and the group is what is told to end: what a shell started ends with it. Its
//! output goes to the standard error of this process, beside the log.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use wake::machine::Event;
use wake::scaler::{Observation, ScaleError, Scaler};
use wake::workload::{Kind, Reference, Workload};

use crate::settings::workloads::{Process, StopSignal};

/// All programs, those that run and those that do not.
#[derive(Clone)]
pub(crate) struct Processes {
    inner: Arc<Inner>,
}

struct Inner {
    known: Mutex<BTreeMap<Workload, Known>>,
    /// One at a time is started or stopped; both are quick.
    turn: tokio::sync::Mutex<()>,
    versions: AtomicU64,
    events: mpsc::Sender<Event>,
}

/// What is known of one program.
struct Known {
    /// `None`: the settings do not list it any more.
    spec: Option<Process>,
    version: u64,
    state: State,
    /// Whether a probe finds out when it is ready.
    probed: bool,
    /// When it last ended by itself, and how.
    fell: Option<(Instant, String)>,
}

enum State {
    Stopped,
    Running { pid: Pid, ready: bool, ended: watch::Receiver<bool> },
    Stopping { ended: watch::Receiver<bool> },
}

impl Processes {
    /// `events` hears of programs that end or become ready.
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        let inner = Inner {
            known: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            versions: AtomicU64::new(1),
            events,
        };
        Processes { inner: Arc::new(inner) }
    }

    /// Takes up the settings. What runs goes on as it was started; what is not listed any more is stopped.
    pub(crate) fn configure(&self, specs: &[Process]) {
        let mut gone = Vec::new();
        {
            let mut known = self.known();
            for entry in known.values_mut() {
                entry.spec = None;
            }
            for spec in specs {
                let entry = known.entry(workload(spec)).or_insert_with(|| Known {
                    spec: None,
                    version: self.inner.next_version(),
                    state: State::Stopped,
                    probed: false,
                    fell: None,
                });
                entry.spec = Some(spec.clone());
            }
            for entry in known.values_mut() {
                if let (None, State::Running { pid, ended, .. }) = (&entry.spec, &entry.state) {
                    gone.push((*pid, ended.clone()));
                    entry.state = State::Stopping { ended: ended.clone() };
                }
            }
            known.retain(|_, entry| entry.spec.is_some() || !matches!(entry.state, State::Stopped));
        }
        for (pid, ended) in gone {
            stop(pid, StopSignal::Terminate, STOP_AT_THE_END_MAX, ended);
        }
    }

    /// Says which programs stand behind a gate, where a probe finds out when they are ready.
    pub(crate) fn are_probed(&self, probed: BTreeSet<Workload>) {
        for (workload, entry) in &mut *self.known() {
            entry.probed = probed.contains(workload);
        }
    }

    /// The program for routes that name none: that of the same name as one of their Services.
    pub(crate) fn for_services(&self, namespace: &Arc<str>, services: &[Arc<str>]) -> Vec<Reference> {
        let known = self.known();
        let reference = |name: &Arc<str>| Reference { kind: Kind::Process, name: name.clone() };
        let listed = |reference: &Reference| {
            known.get(&reference.clone().within(namespace)).is_some_and(|entry| entry.spec.is_some())
        };
        services.iter().map(reference).filter(listed).collect()
    }

    /// As [`Scaler::observe`], at once.
    pub(crate) fn look(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        self.known().get(workload).map(Known::observation).ok_or(ScaleError::Missing)
    }

    /// Ends all of them, and waits for that.
    pub(crate) async fn stop_all(&self) {
        let running: Vec<_> = self
            .known()
            .values_mut()
            .filter_map(|entry| match &entry.state {
                State::Running { pid, ended, .. } => {
                    let (pid, ended) = (*pid, ended.clone());
                    let (signal, limit) = entry.ending();
                    entry.state = State::Stopping { ended: ended.clone() };
                    stop(pid, signal, limit, ended.clone());
                    Some(ended)
                }
                State::Stopping { ended } => Some(ended.clone()),
                State::Stopped => None,
            })
            .collect();
        for mut ended in running {
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Workload, Known>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        let _turn = self.inner.turn.lock().await;
        let stopping = match self.known().get(workload) {
            None => return Err(ScaleError::Missing),
            Some(Known { state: State::Running { .. }, .. }) => None,
            Some(Known { state: State::Stopping { ended }, .. }) => Some(ended.clone()),
            Some(Known { state: State::Stopped, .. }) => None,
        };
        if let Some(mut ended) = stopping {
            // It holds its port until it has ended.
            let _ = timeout(STOPPING_MAX, ended.wait_for(|ended| *ended)).await;
        }
        let mut known = self.known();
        let Some(entry) = known.get_mut(workload) else { return Err(ScaleError::Missing) };
        if matches!(entry.state, State::Running { .. }) {
            return Ok(entry.observation());
        }
        if let Some((at, how)) = &entry.fell
            && at.elapsed() < FALLEN_PAUSE
        {
            return Err(ScaleError::Refused(how.as_str().into()));
        }
        let Some(spec) = entry.spec.clone() else { return Err(ScaleError::Missing) };
        let child = spawn(&spec).map_err(|error| {
            let program = spec.command.first().map_or("", |program| program);
            ScaleError::Refused(format!("{program} cannot be started: {error}").into())
        })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(ScaleError::Refused("it ended at once".into())) };
        let (end, ended) = watch::channel(false);
        entry.version = self.inner.next_version();
        entry.fell = None;
        entry.state =
            State::Running { pid, ready: spec.listens.is_none() && !entry.probed, ended: ended.clone() };
        tracing::info!(%workload, pid = pid.as_raw_nonzero().get(), "a program is started");
        tokio::spawn(supervise(self.clone(), workload.clone(), child, end));
        if let Some(address) = spec.listens {
            tokio::spawn(await_listening(self.clone(), workload.clone(), address, ended));
        }
        Ok(entry.observation())
    }

    async fn end(&self, workload: &Workload, version: u64) -> Result<Observation, ScaleError> {
        let _turn = self.inner.turn.lock().await;
        let mut known = self.known();
        let Some(entry) = known.get_mut(workload) else { return Err(ScaleError::Missing) };
        if entry.version != version {
            return Err(ScaleError::Conflict);
        }
        if let State::Running { pid, ended, .. } = &entry.state {
            let (pid, ended) = (*pid, ended.clone());
            let (signal, limit) = entry.ending();
            stop(pid, signal, limit, ended.clone());
            entry.state = State::Stopping { ended };
            entry.version = self.inner.next_version();
        }
        Ok(entry.observation())
    }

    fn changed(&self, workload: &Workload, change: impl FnOnce(&mut Known)) -> Option<Event> {
        let mut known = self.known();
        let entry = known.get_mut(workload)?;
        change(entry);
        entry.version = self.inner.next_version();
        let result = Ok(entry.observation());
        if entry.spec.is_none() && matches!(entry.state, State::Stopped) {
            known.remove(workload);
        }
        Some(Event::Observed { workload: workload.clone(), result })
    }
}

impl Scaler for Processes {
    async fn observe(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        self.look(workload)
    }

    async fn wake(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        self.start(workload).await
    }

    async fn sleep(&self, workload: &Workload, version: u64, _: Duration) -> Result<Observation, ScaleError> {
        self.end(workload, version).await
    }
}

impl Inner {
    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }
}

impl Known {
    /// What it is told to end by, and how long that may take.
    fn ending(&self) -> (StopSignal, Duration) {
        let none = (StopSignal::Terminate, STOP_AT_THE_END_MAX);
        self.spec.as_ref().map_or(none, |spec| (spec.stop_signal, spec.stop_timeout))
    }

    fn observation(&self) -> Observation {
        let (desired, ready) = match &self.state {
            State::Stopped => (0, 0),
            State::Running { ready, .. } => (1, u32::from(*ready)),
            State::Stopping { .. } => (0, 1),
        };
        Observation { version: self.version, desired, ready, by_us: true }
    }
}

fn workload(spec: &Process) -> Workload {
    Reference { kind: Kind::Process, name: spec.name.clone() }.within(&spec.namespace)
}

fn spawn(spec: &Process) -> std::io::Result<Child> {
    let mut words = spec.command.iter();
    let program = words.next().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(&**program);
    command.args(words.map(|word| &**word));
    command.envs(spec.environment.iter().map(|(name, value)| (&**name, &**value)));
    // Those are about this process's own sockets.
    command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES");
    if let Some(directory) = &spec.working_directory {
        command.current_dir(directory);
    }
    // Standard output is the access log's.
    let output = std::io::stderr().as_fd().try_clone_to_owned()?;
    command.stdin(Stdio::null()).stdout(output).process_group(0).kill_on_drop(true);
    command.spawn()
}

/// Waits for the end of a program, whoever brought it about.
async fn supervise(processes: Processes, workload: Workload, mut child: Child, end: watch::Sender<bool>) {
    let started = Instant::now();
    let status = child.wait().await;
    let event = processes.changed(&workload, |entry| {
        if matches!(entry.state, State::Running { .. }) {
            let how = describe(status.as_ref().ok());
            tracing::warn!(%workload, after = ?started.elapsed(), "a program ended by itself: {how}");
            entry.fell = Some((Instant::now(), how));
        }
        entry.state = State::Stopped;
    });
    end.send_replace(true);
    if let Some(event) = event {
        let _ = processes.inner.events.send(event).await;
    }
}

/// Waits until a program listens, or has ended.
async fn await_listening(
    processes: Processes,
    workload: Workload,
    address: std::net::SocketAddr,
    ended: watch::Receiver<bool>,
) {
    while !*ended.borrow() {
        if matches!(timeout(LISTENING_INTERVAL, TcpStream::connect(address)).await, Ok(Ok(_))) {
            let event = processes.changed(&workload, |entry| {
                if let State::Running { ready, .. } = &mut entry.state {
                    *ready = true;
                }
            });
            if let Some(event) = event {
                let _ = processes.inner.events.send(event).await;
            }
            return;
        }
        sleep(LISTENING_INTERVAL).await;
    }
}

/// Tells a group to end, and kills it when its time is over.
fn stop(pid: Pid, signal: StopSignal, limit: Duration, mut ended: watch::Receiver<bool>) {
    if *ended.borrow() {
        return;
    }
    // Gone already is as good.
    let _ = kill_process_group(pid, number(signal));
    tokio::spawn(async move {
        if timeout(limit, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!(pid = pid.as_raw_nonzero().get(), ?limit, "a program does not end and is killed");
            let _ = kill_process_group(pid, Signal::KILL);
        }
    });
}

fn number(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Terminate => Signal::TERM,
        StopSignal::Interrupt => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::HangUp => Signal::HUP,
        StopSignal::Kill => Signal::KILL,
    }
}

fn describe(status: Option<&ExitStatus>) -> String {
    match status {
        Some(status) => format!("it ended with {status}"),
        None => "it ended".to_owned(),
    }
}

/// What ended by itself is not started again for so long: it would only end again.
const FALLEN_PAUSE: Duration = Duration::from_secs(5);
const LISTENING_INTERVAL: Duration = Duration::from_millis(20);
/// One that is being stopped is waited for, before it is started again.
const STOPPING_MAX: Duration = Duration::from_secs(60);
const STOP_AT_THE_END_MAX: Duration = Duration::from_secs(10);
