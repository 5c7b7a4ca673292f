//! One worker: a single-threaded runtime on its own thread, with its own sockets, pools and view of the configuration.
//!
//! Nothing on the path of a request is written by two workers. The control thread speaks to a worker through its mailbox.

pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod connections;
pub(crate) mod sockets;

use std::cell::{Cell, Ref, RefCell};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, mpsc};

use crate::access::{AccessLog, Sink};
use crate::admin::metrics::{Metrics, WorkerMetrics};
use crate::http1::head::{DATE_BYTES, DateCache};
use crate::limit::{ClusterNetworks, Limiter};
use crate::login::Logins;
use crate::overload::Step;
use crate::reject::refusals::Refusals;
use crate::request::external;
use crate::request::identity::passwords::Passwords;
use crate::settings::Settings;
use crate::snapshot::{Current, Slot, Snapshot};
use crate::upstream::pool::Pools;
use crate::upstream::resolve::Resolver;

use buffers::Buffers;
use clock::{Clock, TICK};
use connections::{Connections, Kind};
use sockets::{Socket, Sockets};

/// Messages that may wait for a worker; the control thread waits when there are more.
pub(crate) const MAILBOX_LEN_MAX: usize = 64;

/// What all workers share. Nothing in it is written on the path of an ordinary request.
pub(crate) struct Shared {
    pub(crate) resolver: Resolver,
    pub(crate) logins: Arc<Logins>,
    pub(crate) passwords: Passwords,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) addresses: sockets::ClientAddresses,
    /// Clients of UDP, over all workers.
    pub(crate) datagram_clients: AtomicUsize,
    /// Connections that a drain had to cut.
    pub(crate) cut: AtomicUsize,
    pub(crate) limiter: Arc<Limiter>,
    /// Where clients' addresses may have been lost, besides what the settings name.
    pub(crate) networks: Arc<ClusterNetworks>,
    pub(crate) workers: NonZeroUsize,
    /// Clocks of all workers, and with them endpoint health, count from here.
    pub(crate) started: Instant,
}

/// A message to a worker.
pub(crate) enum Mail {
    Publish(Arc<Snapshot>),
    Open {
        socket: Socket,
        listener: std::net::TcpListener,
    },
    OpenUdp {
        socket: Socket,
        listener: std::net::UdpSocket,
    },
    /// The socket stays, and serves another listener from now on.
    Move {
        socket: Socket,
        slot: Slot,
    },
    Close {
        socket: Socket,
    },
    /// Answer what comes, and keep nothing open for longer than needed.
    Drain,
    /// Take no more connections, and end those of this kind.
    Cut(Kind),
    /// End, whatever is still open.
    End,
}

/// The state of one worker.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) connections: Connections,
    pub(crate) pools: Pools,
    pub(crate) buffers: Buffers,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) access: RefCell<AccessLog>,
    /// This worker's own, so that its lock is never waited for.
    pub(crate) refusals: Arc<Refusals>,
    /// Answers of authentication servers that may be used again.
    pub(crate) answers: RefCell<external::Answers>,
    current: RefCell<Rc<Current>>,
    graveyard: std_mpsc::SyncSender<Arc<Snapshot>>,
    date: RefCell<DateCache>,
    draining: Cell<bool>,
    /// What too much load asks for, as of the last tick.
    step: Cell<Step>,
    /// Requests under way.
    in_flight: Cell<usize>,
    index: usize,
    /// Turns for steps of TLS handshakes, whose cost is nearly all of a connection's.
    pub(crate) handshake_turns: Semaphore,
}

/// The settings of the snapshot that was current when this was asked for.
pub(crate) struct CurrentSettings(Rc<Current>);

impl Deref for CurrentSettings {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0.settings
    }
}

impl Worker {
    /// The configuration as of now. A request takes it once and keeps to it.
    pub(crate) fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    pub(crate) fn settings(&self) -> CurrentSettings {
        CurrentSettings(self.current())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The value of `Date`, made anew once a tick.
    pub(crate) fn date(&self) -> Ref<'_, [u8; DATE_BYTES]> {
        Ref::map(self.date.borrow(), DateCache::current)
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.access.borrow_mut().configure(&snapshot.settings.access_log);
        let current = Rc::new(Current::new(snapshot, self.graveyard.clone()));
        let old = self.current.replace(Rc::clone(&current));
        self.connections.listeners_changed(&old, &current, self.clock.now_ms());
        drop(old);
    }

    /// True when an HTTP/1 connection should not wait for another request.
    pub(crate) fn ends_connections(&self) -> bool {
        self.is_draining() || self.step.get() >= Step::EndConnections
    }

    /// True when there is too much to do for another connection.
    pub(crate) fn refuses_connections(&self) -> bool {
        self.step.get() >= Step::RefuseConnections
    }

    /// True when there is too much to do for the request that was just begun.
    pub(crate) fn refuses_requests(&self, settings: &Settings) -> bool {
        let share = settings.limits.requests.div_ceil(self.shared.workers.get());
        self.step.get() >= Step::RefuseRequests || self.in_flight.get() > share
    }

    pub(crate) fn request_begun(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    fn tick(&self) {
        let now = Instant::now();
        self.step.set(self.shared.metrics.vitals().beat(self.index, now, TICK, &self.settings()));
        self.clock.tick(now);
        #[expect(clippy::disallowed_methods, reason = "the shell of a worker, where time comes in")]
        let now = SystemTime::now();
        self.date.borrow_mut().text(now);
    }
}

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) access: Sink,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) mailbox: mpsc::Receiver<Mail>,
    pub(crate) graveyard: std_mpsc::SyncSender<Arc<Snapshot>>,
}

/// Starts a worker on a thread of its own. The thread ends when it is told so, or when the mailbox is closed.
pub(crate) fn start(start: Start) -> std::io::Result<std::thread::JoinHandle<()>> {
    // A runtime cannot move between threads, so the thread that needs it makes it and says whether it could.
    let (built, outcome) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{}", start.index)).spawn(move || {
        let options = LocalOptions::default();
        match tokio::runtime::Builder::new_current_thread().enable_all().build_local(options) {
            Ok(runtime) => {
                let _ = built.send(Ok(()));
                serve(&runtime, start);
            }
            Err(error) => {
                let _ = built.send(Err(error));
            }
        }
    })?;
    outcome.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())).map(|()| thread)
}

fn serve(runtime: &LocalRuntime, start: Start) {
    let Start { index, shared, snapshot, access, refusals, mut mailbox, graveyard } = start;
    let settings = Arc::clone(&snapshot.settings);
    let worker = Rc::new(Worker {
        clock: Clock::new(shared.started),
        connections: Connections::default(),
        pools: Pools::default(),
        buffers: Buffers::default(),
        metrics: shared.metrics.worker(index),
        access: RefCell::new(access.access_log(&snapshot.settings.access_log)),
        refusals,
        answers: RefCell::default(),
        current: RefCell::new(Rc::new(Current::new(snapshot, graveyard.clone()))),
        graveyard,
        date: RefCell::new(DateCache::default()),
        draining: Cell::new(false),
        step: Cell::default(),
        in_flight: Cell::new(0),
        index,
        handshake_turns: Semaphore::new(settings.limits.handshakes_per_worker),
        shared,
    });
    worker.tick();
    runtime.block_on(async {
        tokio::task::spawn_local(keep_time(Rc::clone(&worker)));
        let mut sockets = Sockets::new(Rc::clone(&worker));
        while let Some(mail) = mailbox.recv().await {
            match mail {
                Mail::Publish(snapshot) => worker.publish(snapshot),
                Mail::Open { socket, listener } => sockets.open(socket, listener),
                Mail::OpenUdp { socket, listener } => sockets.open_udp(socket, listener),
                Mail::Move { socket, slot } => sockets.move_to(socket, slot),
                Mail::Close { socket } => sockets.close(socket),
                Mail::Drain => {
                    worker.draining.set(true);
                    worker.clock.wake_idle();
                }
                Mail::Cut(kind) => {
                    let cut = sockets.stop(kind) + worker.connections.cut(kind);
                    worker.shared.cut.fetch_add(cut, Ordering::Relaxed);
                }
                Mail::End => break,
            }
        }
    });
    worker.access.borrow_mut().flush();
}

/// Moves the clock, and does what has to be done now and then.
async fn keep_time(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 1_u64.. {
        interval.tick().await;
        worker.tick();
        worker.access.borrow_mut().flush();
        if tick.is_multiple_of(10) {
            let is_short = worker.step.get() >= Step::EndConnections;
            let idle_max = if is_short { Duration::ZERO } else { worker.settings().upstream.idle_timeout };
            let now_ms = worker.clock.now_ms();
            worker.pools.sweep(now_ms, idle_max);
            let settings = worker.settings();
            worker.connections.sweep(now_ms, settings.drain, settings.drain_sessions());
        }
    }
}
