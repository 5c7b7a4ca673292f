//! The process: settings and objects in, a running edge out, until it is told to stop.
//!
//! Everything here runs on the control runtime. It reads, compiles and publishes; the workers serve.

mod replicas;
mod session_keys;
mod source;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::replicas::Port;
use self::session_keys::SessionKeys;
use self::source::{Changed, Source};
use crate::access::Writer;
use crate::admin::metrics::Metrics;
use crate::admin::socket::Socket;
use crate::admin::{self, Live, State};
use crate::certificates::Certificates;
use crate::certificates::challenges::challenges;
use crate::certificates::exposure::exposed;
use crate::certificates::requests::{Requested, requested};
use crate::cluster::ClusterError;
use crate::config::compile::{Compiler, Refresh};
use crate::config::problem::{ObjectRef, Problem, Severity};
use crate::config::providers::Outside;
use crate::config::status::Statuses;
use crate::directory::DirectoryError;
use crate::directory::watch::WatchError;
use crate::edge::{DrainLimits, Drained, Edge, EdgeOptions};
use crate::listen::{BindError, Inherited};
use crate::options::{Role, SampleAppAt};
use crate::overload::{LOOK_EVERY, Watchman};
use crate::replicas::Applied;
use crate::replicas::answering::answered;
use crate::replicas::programmed::Judged;
use crate::route::challenges::Challenges;
use crate::route::table::{Listener, ListenerKey};
use crate::sample_app;
use crate::settings::SettingsError;
use crate::settings::providers::SecretSource;
use crate::settings::{AccessLogFormat, DefaultCertificate, PemSource, Settings};
use crate::snapshot::Snapshot;
use crate::tls::certificates::{Certificate, CertificateError};
use crate::tls::tickets::TicketSecret;
use crate::workload::drive::Workloads;

pub use self::source::SourceOptions;

/// What the process is told on its command line.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the objects come from.
    pub source: SourceOptions,
    /// The part of the work that is this process's.
    pub role: Role,
    /// The operator's file; without one the defaults hold.
    pub settings: Option<PathBuf>,
    /// Upstreams to try things out with, in this process.
    pub sample_apps: Vec<SampleAppAt>,
    /// Laid over the settings each time they are read.
    pub overrides: Overrides,
}

/// Flags that win over the settings file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Addresses of the first class that speak plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Addresses of the first class that speak TLS.
    pub https: Vec<SocketAddr>,
    pub workers: Option<NonZeroUsize>,
    pub admin: Option<SocketAddr>,
    pub access_log: Option<AccessLogFormat>,
}

/// Why the process could not start. Each is one line that names the place and the mend.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the admin address {address}: {source}; choose another with --admin")]
    Admin { address: SocketAddr, source: io::Error },
    #[error("the admin socket {}: {source}; choose another under admin.socket", path.display())]
    AdminSocket { path: PathBuf, source: io::Error },
    #[error("the address for other replicas {address}: {source}; choose another under replicas.listen")]
    Replicas { address: SocketAddr, source: io::Error },
    #[error("the sample upstream at {address}: {source}; choose another address with --sample-app")]
    SampleApp { address: SocketAddr, source: io::Error },
    #[error("tls.defaultCertificate: {0}")]
    DefaultCertificate(DefaultCertificateError),
    #[error("LISTEN_FDS: {0}; start the process without it, or hand over TCP listeners only")]
    Inherited(io::Error),
    #[error("the system gives no more threads or descriptors: {0}")]
    System(io::Error),
}

/// Why the certificate named by the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefaultCertificateError {
    #[error(transparent)]
    Value(#[from] crate::settings::ValueError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Overrides {
    /// Lays the flags over `settings`.
    pub fn apply(&self, settings: &mut Settings) {
        if let Some(class) = settings.classes.first_mut() {
            if !self.http.is_empty() {
                class.http.clone_from(&self.http);
            }
            if !self.https.is_empty() {
                class.https.clone_from(&self.https);
            }
        }
        if self.workers.is_some() {
            settings.workers = self.workers;
        }
        if let Some(address) = self.admin {
            settings.admin.address = address;
        }
        if let Some(format) = self.access_log {
            settings.access_log.format = format;
        }
    }
}

impl ServeOptions {
    /// The settings as they are now, with the flags over them.
    pub fn load_settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = match &self.settings {
            Some(file) => Settings::load(file)?,
            None => Settings::default(),
        };
        if matches!(self.source, SourceOptions::Cluster { .. }) {
            open_defaults(&mut settings);
            if settings.certificates.namespace.is_none() {
                settings.certificates.namespace = pod_namespace();
            }
        }
        self.overrides.apply(&mut settings);
        settings.validate()?;
        Ok(settings)
    }
}

/// Serves until SIGTERM or SIGINT, then drains. Returns when everything has ended, or why it never began.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let inherited = Inherited::from_environment().map_err(ServeError::Inherited)?;
    let settings = options.load_settings()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::System)?;
    runtime.block_on(async {
        let mut control = Control::start(options, settings, inherited).await?;
        control.run().await;
        control.stop().await;
        Ok(())
    })
}

/// The control side of a running edge.
struct Control<'o> {
    options: &'o ServeOptions,
    settings: Arc<Settings>,
    source: Source,
    compiler: Compiler,
    edge: Edge,
    workloads: Workloads,
    state: Arc<State>,
    log: Writer,
    terminate: Signal,
    interrupt: Signal,
    /// An address could not be bound, and may be free by now.
    addresses_missing: bool,
    /// The settings name files or variables, whose content may change by itself.
    names_files: bool,
    /// Problems of the process rather than of the objects: addresses that cannot be bound, settings that do not parse.
    own_problems: Vec<Problem>,
    /// Why nothing can be ordered.
    certificate_problems: Vec<Problem>,
    session_keys: SessionKeys,
    /// Of the last compilation.
    statuses: Statuses,
    port: Port,
    /// When statuses that wait for other replicas are judged again.
    judge_again_at: Option<Instant>,
    /// Where certificates can be ordered.
    certificates: Option<Certificates>,
}

impl<'o> Control<'o> {
    async fn start(
        options: &'o ServeOptions,
        settings: Settings,
        inherited: Inherited,
    ) -> Result<Self, ServeError> {
        let source = Source::open(options, &settings).await?;
        for app in &options.sample_apps {
            let address = app.address;
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|source| ServeError::SampleApp { address, source })?;
            tracing::info!(%address, name = %app.name, "the sample upstream answers");
            // It ends with the runtime, which is after the last request has.
            tokio::spawn(sample_app::serve(listener, Arc::clone(&app.name)));
        }
        let workers = match options.role {
            Role::All | Role::Edge => settings.workers.unwrap_or_else(available_workers),
            Role::Control => NonZeroUsize::MIN,
        };
        let (log, access) = Writer::start(io::stdout()).map_err(ServeError::System)?;
        let metrics = Arc::new(Metrics::new(workers.get(), access.dropped(), wall_clock()));
        let fallback = fallback_certificate(&settings).map_err(ServeError::DefaultCertificate)?;
        let settings = Arc::new(settings);
        let control = tokio::runtime::Handle::current();
        let edge = Edge::start(
            EdgeOptions {
                workers,
                binds: options.role.serves(),
                inherited,
                control,
                metrics: Arc::clone(&metrics),
                access,
            },
            Arc::clone(&settings),
        )
        .map_err(ServeError::System)?;
        if options.role.serves() {
            source.follow_nodes(edge.cluster_networks());
        }
        let port = Port::open(&settings, options.role, &source).await?;
        if let Some(replicas) = port.replicas() {
            metrics.watch_replicas(replicas.counters());
            edge.join(&replicas);
        }
        let state = Arc::new(State::new(metrics, edge.refusals()));
        tokio::spawn(watch_over(Arc::clone(&state)));
        if settings.admin.enabled {
            let address = settings.admin.address;
            let failed = |source| ServeError::Admin { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            tracing::info!(%address, "the admin listener answers");
            tokio::spawn(admin::api::serve(listener, Arc::clone(&state)));
        }
        let compiler = Compiler::new(TicketSecret::random(), fallback, settings.locality.clone());
        let bell = Arc::clone(compiler.gates().bell());
        let workloads = source.workloads(options.role, bell, port.replicas());
        state.metrics.watch_workloads(workloads.counters());
        if let Some(path) = &settings.admin.socket {
            let failed = |source| ServeError::AdminSocket { path: path.clone(), source };
            let socket = Socket::bind(path).map_err(failed)?;
            tracing::info!(path = %path.display(), "the admin socket answers");
            tokio::spawn(socket.serve(Arc::clone(&state), workloads.commander()));
        }
        let mut control = Control {
            options,
            compiler,
            workloads,
            settings,
            source,
            edge,
            state,
            log,
            terminate: signal(SignalKind::terminate()).map_err(ServeError::System)?,
            interrupt: signal(SignalKind::interrupt()).map_err(ServeError::System)?,
            addresses_missing: false,
            names_files: false,
            session_keys: SessionKeys::default(),
            own_problems: Vec::new(),
            statuses: Statuses::default(),
            port,
            judge_again_at: None,
            certificate_problems: Vec::new(),
            certificates: None,
        };
        control.start_certificates();
        if !control.source.is_complete() {
            tracing::info!("waiting for the API server's lists; nothing is served before they are complete");
            return Ok(control);
        }
        // An address that cannot be had now is a mistake on the command line; later it is a problem among others.
        match control.compile().await.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(control),
        }
    }

    /// Takes up changes until a signal comes.
    async fn run(&mut self) {
        loop {
            tokio::select! {
                changed = self.source.changed() => self.take_up(changed).await,
                () = reported(&mut self.certificates) => self.take_report().await,
                () = self.port.changed() => self.write_statuses(),
                () = until(self.judge_again_at) => self.write_statuses(),
                () = tokio::time::sleep(BIND_AGAIN_AFTER), if self.addresses_missing => self.bind_again().await,
                () = tokio::time::sleep(READ_AGAIN_AFTER), if self.names_files => self.read_again().await,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    async fn take_up(&mut self, changed: Changed) {
        if changed.settings {
            self.reload_settings();
        }
        if !self.source.is_complete() {
            return;
        }
        let refreshed = self.compiler.refresh_endpoints(self.source.objects());
        if changed != Changed::default() || refreshed == Refresh::NotEnough {
            for error in self.compile().await {
                tracing::error!("{error}");
            }
        } else {
            // What is wrong with it is told by the next compilation.
            let _ = self.look_at_replicas();
        }
        self.write_statuses();
    }

    /// Has written what is known, as far as it need not wait for other replicas.
    fn write_statuses(&mut self) {
        if !self.source.leads().is_some_and(|leads| *leads.borrow()) {
            self.judge_again_at = None;
            return;
        }
        let judged = self.port.judge(&self.statuses, Instant::now());
        let judged =
            judged.unwrap_or_else(|| Judged { statuses: self.statuses.clone(), ..Judged::default() });
        self.judge_again_at = judged.again_at;
        let live = self.state.live();
        let problems = live.as_ref().map_or(&[][..], |live| live.problems.as_slice());
        let routes = self.compiler.route_statuses();
        self.source.write_statuses(&self.settings, &judged, problems, routes);
    }

    fn look_at_replicas(&mut self) -> Result<(), String> {
        self.port.look(&self.settings, &self.source, wall_clock())
    }

    /// Where this process may order, and where what is ordered would be kept.
    fn start_certificates(&mut self) {
        self.certificate_problems.clear();
        match self.source.certificate_store(&self.settings, self.port.replicas()) {
            Ok(None) if self.options.role.writes() && !self.settings.issuers.is_empty() => {
                let error =
                    "cluster.status is off, and with it the Lease by which one replica orders; set it to on";
                self.cannot_order(error);
            }
            Ok(store) => self.certificates = store.map(Certificates::start),
            // Only who has issuers misses them.
            Err(_) if self.settings.issuers.is_empty() => {}
            Err(error) => self.cannot_order(&error.to_string()),
        }
    }

    fn cannot_order(&mut self, why: &str) {
        tracing::error!("no certificates are ordered: {why}");
        self.certificate_problems.push(Problem {
            severity: Severity::Degraded,
            object: None,
            field: "certificates".into(),
            reason: "NoCertificateStore",
            message: format!("no certificates are ordered: {why}").into(),
            place: None,
        });
    }

    /// Shows what the manager of certificates says; its failures are problems.
    async fn take_report(&mut self) {
        let Some(certificates) = &mut self.certificates else { return };
        let report = certificates.report();
        self.state.metrics.certificates.store(report);
        if certificates.problems_changed() && self.source.is_complete() {
            self.compile().await;
        }
    }

    /// Tries again what could not be bound; when that helps, the problem goes.
    async fn bind_again(&mut self) {
        self.addresses_missing = !self.edge.bind().await.is_empty();
        if !self.addresses_missing {
            self.compile().await;
        }
    }

    /// Takes up new content of the files that the settings name: secrets are rotated without a change of the settings.
    async fn read_again(&mut self) {
        if let Err(error) = self.look_at_session_keys() {
            tracing::error!("auth.sessionKeys: {error}");
        }
        if let Err(error) = self.look_at_replicas() {
            tracing::error!("replicas: {error}");
        }
        if self.source.is_complete() && self.compiler.set_outside(Outside::read(&self.settings)) {
            for error in self.compile().await {
                tracing::error!("{error}");
            }
        }
    }

    fn reload_settings(&mut self) {
        self.own_problems.clear();
        if let Err(error) = self.take_settings() {
            tracing::error!("the settings stay as they were: {error}");
            self.own_problems.push(Problem {
                severity: Severity::Degraded,
                object: None,
                field: "".into(),
                reason: "InvalidSettings",
                message: error.to_string().into(),
                place: None,
            });
        }
    }

    /// Puts the settings in force as the file has them now; all of them, or none.
    fn take_settings(&mut self) -> Result<(), ServeError> {
        let settings = self.options.load_settings()?;
        // A self-signed certificate stays what it is; the content of files may be new.
        let before = &self.settings.tls.default_certificate;
        let wanted = &settings.tls.default_certificate;
        if wanted != before || matches!(wanted, DefaultCertificate::Pem(_)) {
            let fallback = fallback_certificate(&settings).map_err(ServeError::DefaultCertificate)?;
            self.compiler.set_fallback_certificate(fallback);
        }
        for key in settings.restart_needed(&self.settings) {
            tracing::warn!("the new value of {key} takes effect when the process is restarted");
        }
        self.settings = Arc::new(settings);
        if self.certificates.is_none() {
            self.start_certificates();
        }
        Ok(())
    }

    fn look_at_session_keys(&mut self) -> Result<(), String> {
        let source = self.settings.auth.session_keys.as_ref();
        self.session_keys.look(source, self.source.objects(), &self.edge, wall_clock())
    }

    /// Compiles the objects and makes the result live. Returns the addresses that could not be bound.
    async fn compile(&mut self) -> Vec<BindError> {
        let outside = Outside::read(&self.settings);
        let keys_in_file = matches!(self.settings.auth.session_keys, Some(SecretSource::File(_)));
        self.names_files = !outside.is_empty() || keys_in_file || self.settings.replicas.key_file.is_some();
        let session_keys = self.look_at_session_keys();
        let replica_keys = self.look_at_replicas();
        self.compiler.set_outside(outside);
        let compiled = self.compiler.compile(self.source.objects(), &self.settings);
        self.workloads.configure(self.compiler.gates().live(), Arc::clone(&self.settings)).await;
        let requested = self.requested(&compiled.statuses);
        let mut table = compiled.table;
        table.challenges = challenges(self.source.objects(), &self.settings, &requested.plan);
        let (snapshot, failures) = self.edge.publish(Arc::new(table), Arc::clone(&self.settings)).await;
        self.addresses_missing = !failures.is_empty();
        let mut problems = self.source.problems();
        problems.extend(compiled.problems);
        if let Some(certificates) = &mut self.certificates {
            problems.extend(certificates.want(self.source.objects(), &self.settings, requested));
        }
        if self.options.role == Role::Edge {
            problems.extend(exposed(self.source.objects(), &self.settings));
        }
        self.statuses = compiled.statuses;
        problems.extend(self.own_problems.iter().chain(&self.certificate_problems).cloned());
        problems.extend(failures.iter().map(port_unavailable));
        problems.extend(self.workloads.complaints().into_iter().map(cannot_wake));
        problems.extend(session_keys.err().map(|error| Problem {
            severity: Severity::Degraded,
            object: None,
            field: "auth.sessionKeys".into(),
            reason: "SessionKeysUnusable",
            message: error.into(),
            place: None,
        }));
        problems.extend(replica_keys.err().map(|error| Problem {
            severity: Severity::Degraded,
            object: None,
            field: "replicas".into(),
            reason: "ReplicaKeysUnusable",
            message: error.into(),
            place: None,
        }));
        self.source.locate(&mut problems);
        problems.sort();
        problems.dedup();
        self.report(&problems);
        let objects = self.source.objects();
        self.state.metrics.retain_routes(|object| objects.contains(object));
        let certificates =
            snapshot.table.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.expires());
        self.port.applied(self.applied(&snapshot));
        self.state.publish(Live {
            version: snapshot.version,
            applied: wall_clock(),
            table: Arc::clone(&snapshot.table),
            settings: Arc::clone(&snapshot.settings),
            bound: self.edge.bound(),
            routes: compiled.routes,
            problems,
            certificates_expire: certificates.min(),
        });
        failures
    }

    /// The generations of Gateways and ListenerSets that are served whole, with every socket open, and the thumbprints that
    /// are answered with.
    fn applied(&self, snapshot: &Snapshot) -> Applied {
        let bound = self.edge.bound();
        let is_bound = |listener: &Listener| {
            listener.addresses.iter().all(|address| {
                bound.iter().any(|bound| bound.listener == listener.key && bound.wanted == *address)
            })
        };
        let listeners = snapshot.table.listeners.iter().filter(|_| self.options.role.serves());
        let unbound: Vec<&ListenerKey> =
            listeners.filter(|listener| !is_bound(listener)).map(|listener| &listener.key).collect();
        let is_whole = |gateway: &ObjectRef| {
            !unbound.iter().any(|key| match key {
                ListenerKey::Gateway { namespace, name, .. }
                | ListenerKey::Datagrams { namespace, name, .. } => {
                    *namespace == gateway.namespace && *name == gateway.name
                }
                ListenerKey::Class { .. } => false,
            })
        };
        let gateways = self.statuses.gateways.iter();
        let gateways = gateways
            .filter(|status| status.programmed.holds && is_whole(&status.gateway))
            .map(|status| (status.gateway.to_string().into(), status.generation));
        let sets = self.statuses.sets.iter().filter(|status| status.programmed.holds);
        let sets = sets.map(|status| (status.set.to_string().into(), status.generation));
        let challenges = snapshot.table.challenges.iter().flat_map(Challenges::thumbprints);
        let challenges = challenges.map(|thumbprint| (answered(thumbprint), 1));
        Applied::new(snapshot.version, gateways.chain(sets).chain(challenges).collect())
    }

    /// The certificates that are asked for, on a process that orders them or answers for them.
    fn requested(&self, statuses: &Statuses) -> Requested {
        let answers = self.settings.issuers.iter().any(|issuer| issuer.has_http01());
        match self.certificates.is_some() || answers {
            true => requested(self.source.objects(), &self.settings, statuses),
            false => Requested::default(),
        }
    }

    /// Writes the problems that are new, and how many have gone.
    fn report(&self, problems: &[Problem]) {
        let before = self.state.live().map(|live| live.problems.clone()).unwrap_or_default();
        for problem in problems.iter().filter(|problem| before.binary_search(problem).is_err()) {
            match problem.severity {
                Severity::Refused => tracing::error!("{problem}"),
                Severity::Degraded | Severity::Warning => tracing::warn!("{problem}"),
            }
        }
        let gone = before.iter().filter(|problem| problems.binary_search(problem).is_err()).count();
        if gone > 0 {
            tracing::info!("{gone} problems are mended");
        }
    }

    async fn stop(self) {
        let limits = DrainLimits { requests: self.settings.drain, sessions: self.settings.drain_sessions() };
        let DrainLimits { requests, sessions } = limits;
        tracing::info!(?requests, ?sessions, "stopping: what is under way is finished first");
        // Another replica can write from now on.
        self.source.stop().await;
        let state = Arc::clone(&self.state);
        match self.edge.drain(limits, || state.close()).await {
            Drained::Completely => tracing::info!("stopped"),
            Drained::Partly => tracing::warn!("stopped; connections that were still open are cut"),
        }
        self.workloads.stop().await;
        self.log.finish();
    }
}

/// Looks after memory and workers for as long as the process lives.
async fn watch_over(state: Arc<State>) {
    let mut watchman = Watchman::default();
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // Before something is live there is nothing to shed.
        let Some(live) = state.live() else { continue };
        watchman.look(state.metrics.vitals(), &live.settings, Instant::now());
    }
}

/// Waits for news of the manager of certificates, where there is one.
async fn reported(certificates: &mut Option<Certificates>) {
    match certificates {
        Some(certificates) => certificates.reported().await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// In a cluster clients come from elsewhere: what the settings leave at its default is bound on every address.
fn open_defaults(settings: &mut Settings) {
    let defaults = Settings::default();
    let has_ipv6 = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let ipv6 = has_ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let everywhere: Vec<IpAddr> = std::iter::once(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).chain(ipv6).collect();
    let widen = |addresses: &mut Vec<SocketAddr>| {
        let ports = addresses.iter().map(SocketAddr::port);
        *addresses = ports
            .flat_map(|port| everywhere.iter().map(move |address| SocketAddr::new(*address, port)))
            .collect();
    };
    if settings.classes == defaults.classes {
        for class in &mut settings.classes {
            widen(&mut class.http);
            widen(&mut class.https);
        }
    }
    if settings.gateways == defaults.gateways {
        for binding in &mut settings.gateways {
            binding.addresses.clone_from(&everywhere);
        }
    }
}

/// The namespace of the Pod, as its service account has it.
fn pod_namespace() -> Option<Arc<str>> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim()).filter(|name| !name.is_empty()).map(Into::into)
}

/// When files that the settings name are read again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// When an address that could not be bound is tried again.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The process is the shell where time comes in.
#[expect(
    clippy::disallowed_methods,
    reason = "every other function of the control side takes the time as an argument"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

fn available_workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The certificate for names that have none of their own. One from a Secret is found by `compile`.
pub(crate) fn fallback_certificate(
    settings: &Settings,
) -> Result<Option<Arc<Certificate>>, DefaultCertificateError> {
    match &settings.tls.default_certificate {
        DefaultCertificate::Refuse | DefaultCertificate::SecretRef(_) => Ok(None),
        DefaultCertificate::SelfSigned => {
            let certificate = Certificate::self_signed(&["vestibule.invalid"], wall_clock())?;
            Ok(Some(Arc::new(certificate)))
        }
        DefaultCertificate::Pem(PemSource { certificate, key }) => {
            Ok(Some(Arc::new(Certificate::from_pem(&certificate.read()?, &key.read()?)?)))
        }
    }
}

fn cannot_wake(message: Arc<str>) -> Problem {
    let (severity, field, reason) = (Severity::Degraded, "".into(), "CannotWake");
    Problem { severity, object: None, field, reason, message, place: None }
}

fn port_unavailable(error: &BindError) -> Problem {
    Problem {
        severity: Severity::Degraded,
        object: None,
        field: "".into(),
        reason: "PortUnavailable",
        message: error.to_string().into(),
        place: None,
    }
}
