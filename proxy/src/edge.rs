//! The running edge: its workers, their sockets, and the way a new configuration reaches them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::auth::session::KeyRing;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::access::Sink;
use crate::admin::metrics::Metrics;
use crate::limit::{ClusterNetworks, Limiter};
use crate::listen::{self, BindError, Inherited};
use crate::login::Logins;
use crate::reject::refusals::Refusals;
use crate::replicas::Replicas;
use crate::request::identity::passwords::Passwords;
use crate::route::table::{ListenerKey, Table};
use crate::settings::Settings;
use crate::shared_store::limits::Exchange;
use crate::snapshot::{Slots, Snapshot};
use crate::upstream::resolve::{Resolver, api_server_address};
use crate::worker::connections::Kind;
use crate::worker::sockets::Socket;
use crate::worker::{MAILBOX_LEN_MAX, Mail, Shared, Start, start};

/// A set of workers that serve the last published table.
pub struct Edge {
    workers: Vec<WorkerHandle>,
    worker_count: NonZeroUsize,
    shared: Arc<Shared>,
    slots: Slots,
    /// What the last table asks for.
    wanted: Vec<Socket>,
    /// Every bound socket, with the address it has in truth (port 0 becomes a number).
    bound: HashMap<Socket, SocketAddr>,
    inherited: Inherited,
    binds: bool,
    /// Of what rate limits have let through.
    exchange: Exchange,
    version: u64,
}

struct WorkerHandle {
    mailbox: mpsc::Sender<Mail>,
    refusals: Arc<Refusals>,
    thread: JoinHandle<()>,
}

/// What an edge is started with and cannot change while it runs.
pub struct EdgeOptions {
    pub workers: NonZeroUsize,
    /// Whether listeners get sockets; a process of the role `control` serves nobody.
    pub binds: bool,
    /// Sockets handed over by the parent process.
    pub inherited: Inherited,
    /// The control runtime, where name resolution and the like run.
    pub control: Handle,
    pub metrics: Arc<Metrics>,
    pub access: Sink,
}

/// One address of a listener. The two differ where the port was left to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub listener: ListenerKey,
    pub wanted: SocketAddr,
    pub actual: SocketAddr,
}

impl Bound {
    /// The address that `wanted` has become for this listener; itself where it is not bound.
    pub fn actual(all: &[Bound], listener: &ListenerKey, wanted: SocketAddr) -> SocketAddr {
        let found = all.iter().find(|bound| bound.listener == *listener && bound.wanted == wanted);
        found.map_or(wanted, |bound| bound.actual)
    }
}

/// How long a drain may take, from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct DrainLimits {
    /// For requests.
    pub requests: Duration,
    /// For WebSockets, relayed connections and clients of UDP, and for what else goes on in a connection with one of these.
    pub sessions: Duration,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything ended by itself.
    Completely,
    /// Time was over; what was left is cut.
    Partly,
}

impl Edge {
    /// Starts the workers, with an empty table and no socket.
    pub fn start(options: EdgeOptions, settings: Arc<Settings>) -> std::io::Result<Edge> {
        let limiter = Arc::new(Limiter::new(settings.limits.rate_limit_keys));
        options.metrics.watch(&limiter);
        let started = Instant::now();
        let exchange = Exchange::new(options.control.clone(), Arc::clone(&limiter), started);
        let shared = Arc::new(Shared {
            passwords: Passwords::new(options.control.clone()),
            logins: Arc::new(Logins::new(options.control.clone())),
            resolver: Resolver::new(
                options.control,
                api_server_address(std::env::var("KUBERNETES_SERVICE_HOST").ok().as_deref())
                    .into_iter()
                    .collect(),
            ),
            metrics: options.metrics,
            addresses: Default::default(),
            datagram_clients: AtomicUsize::default(),
            cut: AtomicUsize::default(),
            limiter,
            networks: Arc::default(),
            workers: options.workers,
            started,
        });
        let mut slots = Slots::default();
        let empty = Arc::new(Snapshot::new(0, Arc::default(), settings, &mut slots));
        let graveyard = start_graveyard()?;
        let workers = (0..options.workers.get())
            .map(|index| {
                let (mailbox, receiver) = mpsc::channel(MAILBOX_LEN_MAX);
                let refusals = Arc::<Refusals>::default();
                let thread = start(Start {
                    index,
                    shared: Arc::clone(&shared),
                    snapshot: Arc::clone(&empty),
                    access: options.access.clone(),
                    refusals: Arc::clone(&refusals),
                    mailbox: receiver,
                    graveyard: graveyard.clone(),
                })?;
                Ok(WorkerHandle { mailbox, refusals, thread })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Edge {
            workers,
            worker_count: options.workers,
            shared,
            slots,
            wanted: Vec::new(),
            bound: HashMap::new(),
            inherited: options.inherited,
            binds: options.binds,
            exchange,
            version: 0,
        })
    }

    /// Makes `table` the one that new requests use, and opens and closes sockets to match. Requests under way keep theirs.
    ///
    /// Addresses that cannot be bound are returned; everything else is served all the same, and they are tried again with
    /// the next table. Returns when every worker has the message, which is before the first request that sees it.
    pub async fn publish(
        &mut self,
        table: Arc<Table>,
        settings: Arc<Settings>,
    ) -> (Arc<Snapshot>, Vec<BindError>) {
        self.version += 1;
        self.exchange.configure(settings.shared_store.as_ref());
        if let Err(error) = self.shared.logins.sessions.configure(settings.shared_store.as_ref()) {
            // Whose session is there is refused; the next publication tries again.
            tracing::error!("sessions in the shared store cannot be used: {error}");
        }
        let snapshot = Arc::new(Snapshot::new(self.version, table, settings, &mut self.slots));
        self.tell(|| Mail::Publish(Arc::clone(&snapshot))).await;
        let addresses = snapshot.addresses().filter(|_| self.binds);
        self.wanted = addresses.map(|(slot, address)| Socket { slot, address }).collect();
        self.let_go().await;
        (snapshot, self.bind().await)
    }

    /// Binds what the last table wants and has not got. Returns what still cannot be bound.
    pub async fn bind(&mut self) -> Vec<BindError> {
        let mut failures = Vec::new();
        for socket in self.wanted.clone() {
            if !self.bound.contains_key(&socket)
                && let Err(error) = self.open(socket).await
            {
                failures.push(error);
            }
        }
        failures
    }

    /// The addresses that are bound in truth, by listener.
    pub fn addresses(&self) -> Vec<(ListenerKey, SocketAddr)> {
        self.bound.iter().map(|(socket, actual)| (self.slots.key(socket.slot).clone(), *actual)).collect()
    }

    /// Every bound address: as it was asked for, and as it is in truth.
    pub fn bound(&self) -> Vec<Bound> {
        let bound = self.bound.iter().map(|(socket, actual)| Bound {
            listener: self.slots.key(socket.slot).clone(),
            wanted: socket.address,
            actual: *actual,
        });
        bound.collect()
    }

    /// Puts the keys that sessions are sealed with in force. Without any, routes that people log in to refuse (503).
    pub fn set_session_keys(&self, ring: Arc<KeyRing>) {
        self.shared.logins.set_ring(ring);
    }

    /// Has logouts told to other replicas, and taken up from them.
    pub(crate) fn join(&self, replicas: &Replicas) {
        self.shared.logins.join(replicas);
    }

    /// Where the cluster's own addresses are put, which no limit counts as a client's.
    pub fn cluster_networks(&self) -> Arc<ClusterNetworks> {
        Arc::clone(&self.shared.networks)
    }

    /// The last refusals of each worker.
    pub fn refusals(&self) -> Vec<Arc<Refusals>> {
        self.workers.iter().map(|worker| Arc::clone(&worker.refusals)).collect()
    }

    /// Asks every connection to end after its current request, and waits for that, for as long as `limits` say. New
    /// connections are taken until that of requests is over, so that nothing is refused while others still learn that this
    /// edge goes; they get one answer. `closed` is called when no more are taken.
    pub async fn drain(self, limits: DrainLimits, closed: impl Fn()) -> Drained {
        self.tell(|| Mail::Drain).await;
        let begun = tokio::time::Instant::now();
        let mut cuts = [(limits.requests, Kind::Requests), (limits.sessions, Kind::Sessions)];
        cuts.sort_by_key(|(limit, _)| *limit);
        for (limit, kind) in cuts {
            if tokio::time::timeout_at(begun + limit, self.all_ended()).await.is_err() {
                if kind == Kind::Requests {
                    closed();
                }
                self.tell(|| Mail::Cut(kind)).await;
            }
        }
        // What is left is dropped with its worker, which writes its lines to the access log.
        self.tell(|| Mail::End).await;
        let all_cut = async {
            let mut look = tokio::time::interval(ENDED_INTERVAL);
            while !self.workers.iter().all(|worker| worker.thread.is_finished()) {
                look.tick().await;
            }
        };
        let _ = tokio::time::timeout(CUT_LIMIT, all_cut).await;
        if self.shared.cut.load(Ordering::Relaxed) == 0 { Drained::Completely } else { Drained::Partly }
    }

    async fn all_ended(&self) {
        let mut look = tokio::time::interval(ENDED_INTERVAL);
        while self.shared.addresses.total() > 0 || self.shared.datagram_clients.load(Ordering::Relaxed) > 0 {
            look.tick().await;
        }
    }

    async fn tell(&self, mail: impl Fn() -> Mail) {
        for worker in &self.workers {
            // A worker whose mailbox is closed has ended already.
            let _ = worker.mailbox.send(mail()).await;
        }
    }

    async fn open(&mut self, socket: Socket) -> Result<(), BindError> {
        if self.is_udp(socket) {
            let (actual, sockets) = listen::bind_udp(socket.address, self.worker_count)?;
            for (worker, listener) in self.workers.iter().zip(sockets) {
                let _ = worker.mailbox.send(Mail::OpenUdp { socket, listener }).await;
            }
            tracing::info!(listener = %self.slots.key(socket.slot), address = %actual, "listening");
            self.bound.insert(socket, actual);
            return Ok(());
        }
        let sockets = listen::bind(socket.address, self.worker_count, &mut self.inherited)?;
        for (worker, listener) in self.workers.iter().zip(sockets.sockets) {
            let _ = worker.mailbox.send(Mail::Open { socket, listener }).await;
        }
        tracing::info!(listener = %self.slots.key(socket.slot), address = %sockets.address, "listening");
        self.bound.insert(socket, sockets.address);
        Ok(())
    }

    fn is_udp(&self, socket: Socket) -> bool {
        matches!(self.slots.key(socket.slot), ListenerKey::Datagrams { .. })
    }

    /// Gives up sockets that are no longer wanted, or hands them to the listener that now wants their address.
    async fn let_go(&mut self) {
        let gone: Vec<Socket> =
            self.bound.keys().filter(|socket| !self.wanted.contains(socket)).copied().collect();
        for socket in gone {
            let Some(actual) = self.bound.remove(&socket) else { continue };
            // Port 0 is a new address each time it is asked for.
            let heir = self.wanted.iter().copied().find(|wanted| {
                wanted.address == socket.address
                    && wanted.address.port() != 0
                    && !self.bound.contains_key(wanted)
                    && self.is_udp(*wanted) == self.is_udp(socket)
            });
            match heir {
                Some(heir) => {
                    self.bound.insert(heir, actual);
                    self.tell(|| Mail::Move { socket, slot: heir.slot }).await;
                }
                None => self.tell(|| Mail::Close { socket }).await,
            }
        }
    }
}

/// A thread that frees old snapshots, so that no request waits for it.
fn start_graveyard() -> std::io::Result<std_mpsc::SyncSender<Arc<Snapshot>>> {
    let (sender, receiver) = std_mpsc::sync_channel(GRAVEYARD_LEN_MAX);
    std::thread::Builder::new()
        .name("graveyard".into())
        .spawn(move || receiver.into_iter().for_each(drop))?;
    Ok(sender)
}

/// How often the end of the workers is looked for.
const ENDED_INTERVAL: Duration = Duration::from_millis(5);
/// For workers to drop what is open when the time of a drain is over.
const CUT_LIMIT: Duration = Duration::from_secs(2);
/// Old snapshots that wait to be freed; further ones are freed by whoever let go of them.
const GRAVEYARD_LEN_MAX: usize = 256;
