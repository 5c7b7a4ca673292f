//! Objects from a Kubernetes API server: what is there, what cannot be read, and whether all of it has come.
//!
//! Each kind is listed and watched by itself, everywhere or in the namespaces that the settings name. Optional kinds that
//! the server does not have (a cluster without Gateway API) or does not let us read count as listed, become a [`Problem`],
//! and are taken up when that changes. While the server is away, what was read last stays in use.

mod api;
mod backoff;
mod events;
pub(crate) mod kept;
mod leader;
mod nodes;
pub(crate) mod release;
pub(crate) mod replica_keys;
pub(crate) mod scale;
pub(crate) mod secrets;
mod services;
mod status;
mod survey;
mod watch;
mod write;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use self::api::{Scope, chain};
use self::kept::{Directories, Keep};
use self::leader::Seat;
use self::secrets::{Namespaces, SecretStore};
use self::watch::{Delta, News, Report, State, Stream};
use self::writer::StatusWriter;
use crate::config::objects::{Change, Objects};
use crate::config::problem::{Kind, ObjectRef, Problem, Severity};
use crate::limit::ClusterNetworks;
use crate::replicas::Replicas;

pub use self::survey::{Survey, survey};

/// Which API server is read, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// A kubeconfig file; its current context counts. `None`: the service account of the Pod, or, outside a cluster, what
    /// `KUBECONFIG` names.
    pub kubeconfig: Option<PathBuf>,
    /// Only objects of these namespaces; empty: of all. Kinds without a namespace are read in any case.
    pub namespaces: Vec<Arc<str>>,
    /// One more of which Secrets are read and nothing else, where `namespaces` lists any.
    pub private_namespace: Option<Arc<str>>,
    /// Where objects are kept for a restart while the API server is away.
    pub kept: Option<Directories>,
}

/// Why no API server can be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{}: {message}; give a kubeconfig file that kubectl accepts", file.display())]
    Kubeconfig { file: PathBuf, message: String },
    #[error("no API server: {0}; run in a Pod with a service account, or give --kubeconfig or --manifests")]
    NoConfiguration(String),
    #[error("the API server cannot be asked: {0}")]
    Client(String),
}

/// The objects of a cluster, as they are now.
pub struct Cluster {
    client: Client,
    objects: Objects,
    reports: mpsc::Receiver<Report>,
    streams: Vec<Followed>,
    broken: BTreeMap<ObjectRef, Problem>,
    /// Objects that do not say their name, by kind.
    nameless: BTreeMap<Kind, Problem>,
    /// Something has come that nobody was told of.
    changed: bool,
    /// And problems came or went with it.
    problems_changed: bool,
}

/// What is known of one stream.
#[derive(Debug)]
struct Followed {
    scope: Scope,
    state: State,
    /// Need not be waited for, and never again.
    settled: bool,
}

impl Cluster {
    /// Begins to list and watch. Returns before anything has come; needs a running tokio runtime.
    pub async fn connect(options: &ClusterOptions) -> Result<Cluster, ClusterError> {
        Ok(Cluster::follow(&client(options).await?, options))
    }

    fn follow(client: &Client, options: &ClusterOptions) -> Cluster {
        let (sender, reports) = mpsc::channel(REPORTS_LEN_MAX);
        let mut streams = Vec::new();
        for scope in Kind::ALL.into_iter().flat_map(|kind| scopes(kind, options)) {
            let keep = options.kept.as_ref().map(|directories| Keep::new(directories, &scope));
            let stream = Stream::new(streams.len(), client.clone(), scope.clone(), keep, sender.clone());
            tokio::spawn(stream.run());
            streams.push(Followed { scope, state: State::Pending, settled: false });
        }
        Cluster {
            client: client.clone(),
            objects: Objects::new(),
            reports,
            streams,
            broken: BTreeMap::new(),
            nameless: BTreeMap::new(),
            changed: false,
            problems_changed: false,
        }
    }

    /// Begins to seek the Lease of this name, in the namespace of the Pod, and to write statuses while it is held.
    pub(crate) fn write_statuses(&self, lease: &str) -> StatusWriter {
        let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
        let identity = format!("{host}_{:016x}", fastrand::u64(..));
        let namespace = self.client.default_namespace().to_owned();
        StatusWriter::start(&self.client, Seat { namespace, name: lease.to_owned(), identity })
    }

    /// Has the addresses of nodes and pods put into `networks`, for as long as the runtime lives.
    pub(crate) fn follow_nodes(&self, networks: Arc<ClusterNetworks>) {
        tokio::spawn(nodes::follow(self.client.clone(), networks));
    }

    /// The Secrets as a store, which is written while `writer` leads.
    pub(crate) fn secret_store(
        &self,
        namespaces: Namespaces<'_>,
        writer: &StatusWriter,
        replicas: Option<Replicas>,
    ) -> SecretStore {
        SecretStore::new(&self.client, namespaces, Some(writer.tenure()), replicas)
    }

    /// The namespace of the Pod.
    pub(crate) fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Keeps keys that replicas share in a Secret, while `writer` leads.
    pub(crate) fn keep_keys(&self, shared: replica_keys::Shared, writer: &StatusWriter) {
        tokio::spawn(replica_keys::keep(self.client.clone(), shared, writer.leads()));
    }

    /// What puts the workloads of this cluster to sleep and wakes them; a process that `writes` tells of it in Events.
    pub(crate) fn workloads(&self, writes: bool) -> scale::Kubernetes {
        scale::Kubernetes::new(&self.client, writes)
    }

    /// The current objects: complete once [`Cluster::changed`] has returned.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Waits until every kind was listed once, and then for the next changes; true when problems came or went. Changes are
    /// gathered for a few milliseconds. Safe to drop before it is ready: the next call goes on with what was gathered.
    pub async fn changed(&mut self) -> bool {
        loop {
            if !self.changed || !self.is_complete() {
                let Some(report) = self.reports.recv().await else { return std::future::pending().await };
                self.take(report);
            }
            if self.changed && self.is_complete() {
                self.gather().await;
                self.changed = false;
                return std::mem::take(&mut self.problems_changed);
            }
        }
    }

    /// What cannot be read, and the kinds that are not there.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.streams.iter().filter_map(Followed::problem).collect();
        problems.extend(self.broken.values().cloned());
        problems.extend(self.nameless.values().cloned());
        let failing = self.streams.iter().find_map(|stream| match &stream.state {
            State::Failing(message) => Some(message),
            State::Pending | State::Current | State::Missing | State::Forbidden(_) => None,
        });
        if let Some(message) = failing {
            let message =
                format!("the API server does not answer: {message}; what was read last stays in use");
            problems.push(general(Severity::Degraded, "ApiServerUnreachable", message));
        }
        problems
    }

    /// Whether every kind was listed once. Before that there is nothing to serve.
    pub fn is_complete(&self) -> bool {
        self.streams.iter().all(|stream| stream.settled)
    }

    /// Takes in what follows, until it is quiet for [`QUIET`] or [`GATHER_MAX`] is over.
    async fn gather(&mut self) {
        let end = Instant::now() + GATHER_MAX;
        while Instant::now() < end {
            let pause = (Instant::now() + QUIET).min(end);
            match timeout_at(pause, self.reports.recv()).await {
                Ok(Some(report)) => self.take(report),
                Ok(None) | Err(_) => break,
            }
        }
    }

    fn take(&mut self, report: Report) {
        let stream = &mut self.streams[report.stream];
        match report.news {
            News::State(state) => {
                stream.settled |= stream.is_settled_by(&state);
                stream.state = state;
                self.changed = true;
                self.problems_changed = true;
            }
            News::Changed(delta) => self.apply(report.stream, delta),
            News::Restored(delta) => {
                stream.settled = true;
                self.changed = true;
                self.apply(report.stream, delta);
            }
        }
    }

    fn apply(&mut self, stream: usize, delta: Delta) {
        for name in &delta.removed {
            self.mend(name);
            self.changed |= self.objects.remove(name);
        }
        for object in delta.applied {
            self.mend(&object.reference());
            let has_status = has_status(object.kind());
            // Somebody may have written the status, which is not kept; whoever writes it has to look.
            self.changed |= self.objects.apply(object) != Change::None || has_status;
        }
        for broken in delta.broken {
            self.changed = true;
            self.problems_changed = true;
            let kind = self.streams[stream].scope.kind;
            let in_use = broken.object.as_ref().is_some_and(|name| self.objects.contains(name));
            let (severity, message) = if in_use {
                (Severity::Degraded, format!("{}; what was read last stays in use", broken.message))
            } else {
                (Severity::Refused, broken.message.to_string())
            };
            let mut problem = general(severity, "Unparsable", message);
            match broken.object {
                Some(name) => {
                    problem.object = Some(name.clone());
                    self.broken.insert(name, problem);
                }
                None => {
                    self.nameless.insert(kind, problem);
                }
            }
        }
    }

    fn mend(&mut self, name: &ObjectRef) {
        if self.broken.remove(name).is_some() {
            self.changed = true;
            self.problems_changed = true;
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Followed {
    fn is_settled_by(&self, state: &State) -> bool {
        let may_be_away = match self.scope.kind {
            // Without these every backend would seem to have no endpoints.
            Kind::Service | Kind::EndpointSlice => false,
            Kind::Ingress
            | Kind::IngressClass
            | Kind::GatewayClass
            | Kind::Gateway
            | Kind::HTTPRoute
            | Kind::GRPCRoute
            | Kind::TLSRoute
            | Kind::TCPRoute
            | Kind::UDPRoute
            | Kind::ListenerSet
            | Kind::BackendTLSPolicy
            | Kind::ReferenceGrant
            | Kind::Secret
            | Kind::ConfigMap
            | Kind::Namespace => true,
        };
        match state {
            State::Current => true,
            State::Missing | State::Forbidden(_) => may_be_away,
            State::Pending | State::Failing(_) => false,
        }
    }

    fn problem(&self) -> Option<Problem> {
        let kind = self.scope.kind;
        let within = self.scope.namespace.as_ref().map_or_else(String::new, |name| format!(" in {name}"));
        match &self.state {
            State::Pending | State::Current | State::Failing(_) => None,
            State::Missing => {
                let message = format!(
                    "the API server has no {} ({}); install its definition if you want to use it",
                    api::plural(kind),
                    kind.api_versions().join(" or ")
                );
                Some(general(Severity::Warning, "KindMissing", message))
            }
            State::Forbidden(_) => {
                let message = format!(
                    "the API server forbids to list and watch {}{within}; grant both to the service account",
                    api::plural(kind)
                );
                Some(general(Severity::Degraded, "Forbidden", message))
            }
        }
    }
}

/// Whether we write the status of objects of this kind.
fn has_status(kind: Kind) -> bool {
    match kind {
        Kind::Ingress
        | Kind::GatewayClass
        | Kind::Gateway
        | Kind::ListenerSet
        | Kind::HTTPRoute
        | Kind::GRPCRoute
        | Kind::TLSRoute
        | Kind::TCPRoute
        | Kind::UDPRoute
        | Kind::BackendTLSPolicy => true,
        Kind::IngressClass
        | Kind::ReferenceGrant
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::Namespace => false,
    }
}

/// One stream for everything, or one for each namespace.
fn scopes(kind: Kind, options: &ClusterOptions) -> Vec<Scope> {
    let namespaces = &options.namespaces;
    if !kind.is_namespaced() || namespaces.is_empty() {
        return vec![Scope { kind, namespace: None }];
    }
    let private = options.private_namespace.iter();
    let private = private.filter(|private| kind == Kind::Secret && !namespaces.contains(private));
    let all = namespaces.iter().chain(private);
    all.map(|namespace| Scope { kind, namespace: Some(namespace.clone()) }).collect()
}

/// A client for the API server that the options name, or that the surroundings do.
pub(crate) async fn client(options: &ClusterOptions) -> Result<Client, ClusterError> {
    client_in(options, None).await
}

/// The same for what runs in this namespace, whatever the surroundings name.
async fn client_in(options: &ClusterOptions, namespace: Option<&str>) -> Result<Client, ClusterError> {
    let mut config = match &options.kubeconfig {
        Some(file) => {
            let fault = |error| ClusterError::Kubeconfig { file: file.clone(), message: chain(&error) };
            let kubeconfig = Kubeconfig::read_from(file).map_err(fault)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(fault)?
        }
        None => match Config::incluster() {
            Ok(config) => config,
            Err(outside) if std::env::var_os("KUBECONFIG").is_none() => {
                return Err(ClusterError::NoConfiguration(chain(&outside)));
            }
            Err(_) => Config::infer().await.map_err(|error| ClusterError::NoConfiguration(chain(&error)))?,
        },
    };
    if let Some(namespace) = namespace {
        namespace.clone_into(&mut config.default_namespace);
    }
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The streams retry by themselves, and know for what.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClusterError::Client(chain(&error)))
}

fn general(severity: Severity, reason: &'static str, message: String) -> Problem {
    Problem { severity, object: None, field: "".into(), reason, message: message.into(), place: None }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a report for that long, a change counts as whole.
const QUIET: Duration = Duration::from_millis(3);
/// The longest that changes are gathered.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// Reports that may wait; then the streams wait, and behind them the server.
const REPORTS_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests;
