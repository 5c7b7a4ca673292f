//! The driver: tells the machine what happens, and does what it says.
//!
//! One task of the control runtime. It waits for five things: changes of the configuration, requests that ring, answers of
//! scalers and probes, other replicas, and the machine's own alarm. [`find`] is which workloads a gate leads to, [`show`] what
//! requests find at it, [`intake`] what came in since the last step, [`tell`] what people are told.

mod find;
mod intake;
mod show;
mod tell;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use wake::machine::{self, Action, Command, Count, Event, GroupId, GroupSpec, Machine, Now};
use wake::scaler::{Observation, ScaleError};
use wake::schedule::Schedule;
use wake::workload::{Kind, Workload};

use self::find::Answer;
use self::intake::together;
use super::cause::{Cause, Why};
use super::counters::Counters;
use super::gate::{Bell, Gate, Passage};
use super::peers::{News, Peers};
use super::process::Processes;
use super::scaler::AnyScaler;
use crate::cluster::scale::Kubernetes;
use crate::replicas::Replicas;
use crate::replicas::workloads::Call;
use crate::settings::Settings;

/// The driver's handle, for the control side.
pub(crate) struct Workloads {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    complaints: Arc<Mutex<Vec<Arc<str>>>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Order {
    Configure { gates: Vec<Arc<Gate>>, settings: Arc<Settings>, done: oneshot::Sender<()> },
    Command { workload: Workload, command: Command, done: oneshot::Sender<bool> },
    Stop(oneshot::Sender<()>),
}

/// By which people say what shall be awake, where no API server knows them.
#[derive(Clone, Debug)]
pub(crate) struct Commander(mpsc::Sender<Order>);

impl Commander {
    /// False: no route wakes a workload of this name.
    pub(crate) async fn command(&self, workload: Workload, command: Command) -> bool {
        let (done, is_done) = oneshot::channel();
        let sent = self.0.send(Order::Command { workload, command, done }).await;
        sent.is_ok() && is_done.await.unwrap_or(false)
    }
}

impl Workloads {
    /// Starts the driver. `leads` says whether this process puts workloads to sleep; `cluster` is where objects come from an
    /// API server, `replicas` where there is a port to the others.
    pub(crate) fn start(
        bell: Arc<Bell>,
        cluster: Option<Kubernetes>,
        leads: watch::Receiver<bool>,
        replicas: Option<Replicas>,
    ) -> Self {
        let (orders, receiver) = mpsc::channel(ORDERS_LEN_MAX);
        let complaints = Arc::<Mutex<Vec<Arc<str>>>>::default();
        let driver = Driver::new(bell, cluster, Peers::new(replicas), Arc::clone(&complaints));
        let counters = Arc::clone(&driver.counters);
        let task = tokio::spawn(driver.run(receiver, leads));
        Workloads { orders, task, complaints, counters }
    }

    /// Takes up the gates of a table before that table is published: what sleeps is behind a closed gate when this returns.
    pub(crate) async fn configure(&self, gates: Vec<Arc<Gate>>, settings: Arc<Settings>) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Configure { gates, settings, done }).await.is_ok() {
            let _ = is_done.await;
        }
    }

    pub(crate) fn commander(&self) -> Commander {
        Commander(self.orders.clone())
    }

    /// What became of workloads.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What cannot be woken, and why.
    pub(crate) fn complaints(&self) -> Vec<Arc<str>> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the programs that were started here, and the driver.
    pub(crate) async fn stop(self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).await.is_ok() {
            let _ = is_done.await;
        }
        let _ = self.task.await;
    }
}

struct Driver {
    machine: Machine,
    began: Instant,
    bell: Arc<Bell>,
    gates: HashMap<GroupId, Driven>,
    processes: Processes,
    cluster: Option<Kubernetes>,
    peers: Peers,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    /// Events that are taken before any other.
    first: VecDeque<Event>,
    /// Programs that were looked at in this step.
    seen: Vec<(Workload, Result<Observation, ScaleError>)>,
    complaints: Arc<Mutex<Vec<Arc<str>>>>,
    counters: Arc<Counters>,
    /// What the API server said that gates lead to.
    found: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    turns: Arc<Semaphore>,
    sleeping_allowed: bool,
    leads: bool,
    /// When backups run, and whether that was so when it was last looked at.
    backup: Schedule,
    in_backup: bool,
    usual: HashMap<Workload, Duration>,
}

struct Driven {
    gate: Weak<Gate>,
    /// `None`: it is not known yet what is to be woken, or that there is nothing, for the reason in `complaint`.
    spec: Option<GroupSpec>,
    complaint: Option<Arc<str>>,
    last: machine::Gate,
    since: Option<Instant>,
    /// Who asked for it, while it wakes.
    cause: Option<Cause>,
    probing: Option<JoinHandle<()>>,
}

impl Driver {
    fn new(
        bell: Arc<Bell>,
        cluster: Option<Kubernetes>,
        peers: Peers,
        complaints: Arc<Mutex<Vec<Arc<str>>>>,
    ) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_LEN_MAX);
        let (found, answers) = mpsc::channel(EVENTS_LEN_MAX);
        Driver {
            machine: Machine::new(fastrand::u64(..1 << 48)),
            began: Instant::now(),
            counters: Arc::new(Counters::new(Arc::clone(&bell))),
            bell,
            gates: HashMap::new(),
            processes: Processes::new(sender.clone()),
            cluster,
            peers,
            sender,
            events,
            first: VecDeque::new(),
            seen: Vec::new(),
            complaints,
            found,
            answers,
            turns: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
            sleeping_allowed: false,
            leads: false,
            backup: Schedule::default(),
            in_backup: false,
            usual: HashMap::new(),
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut leads: watch::Receiver<bool>) {
        self.leads = *leads.borrow_and_update();
        let mut leads_open = true;
        let mut came = Vec::new();
        loop {
            let alarm =
                self.machine.alarm(self.now()).map_or(ALARM_MAX, |at| at.min(self.elapsed() + ALARM_MAX));
            let bell = Arc::clone(&self.bell);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Configure { gates, settings, done }) => {
                        self.configure(gates, &settings);
                        let _ = done.send(());
                    }
                    Some(Order::Command { workload, command, done }) => {
                        let is_known = self.machine.workloads().any(|(known, _)| *known == workload);
                        if is_known {
                            tracing::info!(%workload, ?command, "somebody asks for this by command");
                            self.first.push_back(Event::Commanded { workload, command });
                        }
                        let _ = done.send(is_known);
                    }
                    Some(Order::Stop(done)) => {
                        self.processes.stop_all().await;
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                _ = self.events.recv_many(&mut came, EVENTS_LEN_MAX) => {
                    self.first.extend(together(came.drain(..)));
                }
                answer = self.answers.recv() => {
                    if let Some((gate, plan)) = answer
                        && let Some(gate) = gate.upgrade()
                    {
                        self.take_answer(&gate, plan);
                    }
                }
                () = bell.rung.notified() => self.answer_bell(),
                news = self.peers.news() => self.take_news(news),
                changed = leads.changed(), if leads_open => {
                    leads_open = changed.is_ok();
                    self.leads = *leads.borrow_and_update();
                    self.lead();
                }
                () = sleep_until((self.began + alarm).into()) => self.first.push_back(Event::Tick),
            }
            self.forget_the_gone();
            self.work();
        }
    }

    fn configure(&mut self, gates: Vec<Arc<Gate>>, settings: &Settings) {
        self.processes.configure(&settings.workloads);
        let in_cluster = self.cluster.is_some();
        self.sleeping_allowed = !in_cluster || settings.wake.only_replica;
        self.backup.clone_from(&settings.wake.backup);
        let has_joined = self.peers.has_joined();
        for gate in gates {
            if !has_joined && !self.gates.contains_key(&gate.id) {
                gate.set(Passage::Closed);
            }
            let driven = self.gates.entry(gate.id).or_insert_with(|| Driven {
                gate: Arc::downgrade(&gate),
                spec: None,
                complaint: None,
                last: machine::Gate::Open,
                since: None,
                cause: None,
                probing: None,
            });
            let is_known = driven.spec.is_some();
            self.look_up(&gate, is_known);
        }
        self.note_complaints();
        let specs = self.gates.values().filter_map(|driven| driven.spec.as_ref());
        self.processes.are_probed(specs.filter_map(GroupSpec::only_root).collect());
        self.forget_the_gone();
        self.reconfigure();
        self.lead();
        self.work();
    }

    /// Gates without routes and requests are no longer looked after.
    fn forget_the_gone(&mut self) {
        let before = self.gates.len();
        self.gates.retain(|_, driven| driven.gate.strong_count() > 0);
        if self.gates.len() < before {
            self.reconfigure();
        }
    }

    fn reconfigure(&mut self) {
        let specs: BTreeMap<GroupId, GroupSpec> =
            self.gates.iter().filter_map(|(id, driven)| Some((*id, driven.spec.clone()?))).collect();
        if let Some(cluster) = &self.cluster {
            let within = |spec: &GroupSpec| {
                let namespace = spec.namespace.clone();
                let of = move |reference: &wake::workload::Reference| reference.clone().within(&namespace);
                spec.plan.members().map(|(reference, _)| of(reference)).collect::<Vec<_>>()
            };
            let workloads: HashSet<Workload> = specs.values().flat_map(within).collect();
            cluster.follow(workloads, &self.sender);
        }
        self.first.push_back(Event::Configured(specs));
    }

    fn lead(&mut self) {
        let may_sleep = self.sleeping_allowed || self.peers.are_known();
        self.first.push_back(Event::Leads(self.leads && may_sleep));
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Called(Call::Told { from, message }) => self.first.push_back(Event::Told { from, message }),
            News::Called(Call::Activity { gates, reply }) => {
                let activity = self.activity();
                let nobody = Count { holds: 0, idle: Duration::MAX };
                let counts = gates.iter().map(|gate| activity.get(gate).copied().unwrap_or(nobody)).collect();
                // Whoever asked may have gone.
                let _ = reply.send(counts);
            }
            News::Called(Call::Wake { workload, cause, reply }) => {
                if !self.machine.workloads().any(|(known, _)| *known == workload) {
                    let reason = format!("{workload} is woken by no route that this replica knows of");
                    let _ = reply.send(Err(ScaleError::Refused(reason.into())));
                    return;
                }
                let why = cause.map_or(Why::Schedule, |cause| Why::Request(cause.bounded()));
                self.scale(workload, move |scaler, workload| async move {
                    let result = scaler.wake(&workload, &why).await;
                    let _ = reply.send(result.clone());
                    Event::Observed { workload, result }
                });
            }
            News::Surroundings => {
                let peers = self.peers.changed().map(Event::Peers);
                // Never leads without knowing whom to ask.
                if self.peers.are_known() {
                    self.first.extend(peers);
                    self.lead();
                } else {
                    self.lead();
                    self.first.extend(peers);
                }
            }
            News::Joined => self.open_what_was_held(),
        }
    }

    /// How much gates are used here, by what they lead to.
    fn activity(&self) -> HashMap<Box<str>, Count> {
        let mut all: HashMap<Box<str>, Count> = HashMap::new();
        for gate in self.gates.values().filter_map(|driven| driven.gate.upgrade()) {
            let count = gate.count();
            let sum = all.entry(gate.key.clone()).or_insert(Count { holds: 0, idle: Duration::MAX });
            sum.holds = sum.holds.saturating_add(count.holds);
            sum.idle = sum.idle.min(count.idle);
        }
        all
    }

    fn answer_bell(&mut self) {
        for gate in self.bell.take() {
            let cause = gate.take_cause();
            self.first.push_back(Event::Wanted(gate.id));
            if let Some(cause) = cause {
                self.note_cause(&gate, cause);
            }
            self.probe(&gate);
        }
    }

    /// Steps until nothing is left to do at once.
    fn work(&mut self) {
        while let Some(event) = self.first.pop_front() {
            let now = self.now();
            for action in self.machine.step(now, event) {
                self.perform(action);
            }
            if !self.seen.is_empty() {
                self.first.push_back(Event::ObservedTogether(std::mem::take(&mut self.seen)));
            }
        }
        self.peers.ask(&self.sender);
        self.peers.show(self.leads, self.machine.is_writing());
        if self.leads && self.peers.join_as_leader() {
            self.open_what_was_held();
        }
        self.show_progress();
        self.count_states();
        self.look_at_backups();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Gate { group, gate } => self.set_gate(group, gate),
            Action::Count { group, token } => {
                let gate = self.gates.get(&group).and_then(|driven| driven.gate.upgrade());
                let count = gate.as_ref().map(|gate| gate.count()).unwrap_or_default();
                // Before a gate is closed for it, the others are asked; when it is, they are asked to promise.
                let counted = match gate.filter(|gate| self.leads && gate.is_open()) {
                    Some(gate) => self.peers.count(group, token, count, &gate.key),
                    None => Some(Event::Counted { group, token, count }),
                };
                self.first.extend(counted);
            }
            Action::Observe(workload) if workload.reference.kind == Kind::Process => {
                let result = self.processes.look(&workload);
                self.seen.push((workload, result));
            }
            Action::Observe(workload) => {
                self.scale(workload, |scaler, workload| async move {
                    let result = scaler.observe(&workload).await;
                    Event::Observed { workload, result }
                });
            }
            Action::Wake(workload) => {
                let why = self.why(self.now(), &workload);
                self.scale(workload, move |scaler, workload| async move {
                    let result = scaler.wake(&workload, &why).await;
                    Event::Woken { workload, result }
                });
            }
            Action::Sleep { workload, version, within } => {
                self.scale(workload, move |scaler, workload| async move {
                    let result = scaler.sleep(&workload, version, within).await;
                    Event::Slept { workload, result }
                });
            }
            Action::Tell { to, message } => self.peers.tell(to, message, &self.sender),
            Action::Note { workload, note } => self.note(&workload, note),
        }
    }

    fn scale<F, A>(&self, workload: Workload, act: A)
    where
        A: FnOnce(AnyScaler, Workload) -> F + Send + 'static,
        F: Future<Output = Event> + Send + 'static,
    {
        let scaler = if workload.reference.kind == Kind::Process {
            AnyScaler::Process(self.processes.clone())
        } else {
            match (&self.cluster, self.peers.through()) {
                (Some(cluster), Some(replicas)) => AnyScaler::Through(cluster.clone(), replicas),
                (Some(cluster), None) => AnyScaler::Cluster(cluster.clone()),
                (None, _) => AnyScaler::None,
            }
        };
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let event = act(scaler, workload).await;
            let _ = sender.send(event).await;
        });
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the shell of the machine, where time comes in")]
    fn now(&self) -> Now {
        Now { elapsed: self.elapsed(), wall: Timestamp::now() }
    }
}

/// Questions to the API server under way at the same time.
const ASKED_AT_ONCE: usize = 4;
const ORDERS_LEN_MAX: usize = 8;
const EVENTS_LEN_MAX: usize = 1024;
/// The machine is asked for its alarm anew at least so often.
const ALARM_MAX: Duration = Duration::from_secs(60);
