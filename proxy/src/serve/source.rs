//! Where the objects come from: a directory of manifests, or the API server of a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use acme::store::directory::DirectoryStore;
use acme::store::{Store, StoreError};
use tokio::sync::watch;

use super::{ServeError, ServeOptions};
use crate::cluster::kept::Directories;
use crate::cluster::replica_keys::{KEYS, Ring, Shared};
use crate::cluster::secrets::Namespaces;
use crate::cluster::writer::StatusWriter;
use crate::cluster::{Cluster, ClusterOptions};
use crate::config::objects::Objects;
use crate::config::problem::Problem;
use crate::config::status::RouteStatus;
use crate::directory::Directory;
use crate::directory::watch::Watch;
use crate::limit::ClusterNetworks;
use crate::options::Role;
use crate::replicas::Replicas;
use crate::replicas::programmed::Judged;
use crate::settings::providers::{SecretKey, SecretSource};
use crate::settings::{Settings, WriteStatus};
use crate::workload::drive::Workloads;
use crate::workload::gate::Bell;

/// Which source the process is told to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOptions {
    /// This directory of manifests.
    Directory(PathBuf),
    /// An API server.
    Cluster {
        /// The file that says which one, and who asks; `None`: what the Pod's surroundings say.
        kubeconfig: Option<PathBuf>,
    },
}

/// A source of objects, and the settings file beside it.
#[derive(Debug)]
pub(super) enum Source {
    Directory {
        directory: Directory,
        watch: Watch,
    },
    Cluster {
        cluster: Cluster,
        /// Of the settings file alone.
        watch: Watch,
        /// `None` where nothing is to be written.
        writer: Option<StatusWriter>,
    },
}

/// What a source has taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The settings file may have changed.
    pub(super) settings: bool,
    /// Problems of the source itself came or went.
    pub(super) problems: bool,
}

impl Source {
    pub(super) async fn open(options: &ServeOptions, settings: &Settings) -> Result<Source, ServeError> {
        let settings_file = options.settings.as_deref();
        Ok(match &options.source {
            SourceOptions::Directory(root) => {
                Directory::probe(root)?;
                let watch = Watch::start(Some(root), settings_file)?;
                Source::Directory { directory: Directory::open(root)?, watch }
            }
            SourceOptions::Cluster { kubeconfig } => {
                let watch = Watch::start(None, settings_file)?;
                let cluster = ClusterOptions {
                    kubeconfig: kubeconfig.clone(),
                    namespaces: settings.cluster.namespaces.clone(),
                    private_namespace: match options.role.writes() && !settings.issuers.is_empty() {
                        true => Some(settings.certificates.private_namespace().into()),
                        false => None,
                    },
                    kept: settings.cluster.last_good.as_ref().filter(|_| options.role.serves()).map(
                        |last_good| Directories {
                            objects: last_good.directory.clone(),
                            secrets: last_good.secrets_directory.clone(),
                        },
                    ),
                };
                let cluster = Cluster::connect(&cluster).await?;
                let writer = match settings.cluster.status {
                    WriteStatus::On if options.role.writes() => {
                        Some(cluster.write_statuses(&settings.cluster.lease))
                    }
                    WriteStatus::On | WriteStatus::Off => None,
                };
                if let Some(writer) = &writer {
                    for shared in shared_keys(settings, cluster.namespace()) {
                        cluster.keep_keys(shared, writer);
                    }
                }
                Source::Cluster { cluster, watch, writer }
            }
        })
    }

    /// Runs what puts workloads to sleep and wakes them, with the rights that this source brings.
    ///
    /// A process that has only a part of the work puts nothing to sleep unless it can ask the others: it does not see what
    /// they serve.
    pub(super) fn workloads(&self, role: Role, bell: Arc<Bell>, replicas: Option<Replicas>) -> Workloads {
        match self {
            // Programs of this machine: nobody else could, and nobody else uses them.
            Source::Directory { .. } => Workloads::start(bell, None, watch::channel(true).1, None),
            Source::Cluster { cluster, writer, .. } => {
                let nobody = || watch::channel(false).1;
                let leads = match role {
                    Role::Control if replicas.is_none() => nobody(),
                    Role::All | Role::Control => writer.as_ref().map_or_else(nobody, StatusWriter::leads),
                    Role::Edge => nobody(),
                };
                Workloads::start(bell, Some(cluster.workloads(role.writes())), leads, replicas)
            }
        }
    }

    /// Has the addresses of nodes and pods put into `networks`, where there are any.
    pub(super) fn follow_nodes(&self, networks: Arc<ClusterNetworks>) {
        match self {
            Source::Directory { .. } => {}
            Source::Cluster { cluster, .. } => cluster.follow_nodes(networks),
        }
    }

    /// Whether this replica leads, now and later; `None`: it never does.
    pub(super) fn leads(&self) -> Option<watch::Receiver<bool>> {
        match self {
            Source::Directory { .. } => None,
            Source::Cluster { writer, .. } => writer.as_ref().map(StatusWriter::leads),
        }
    }

    /// The namespace of the Pod, in a cluster.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Source::Directory { .. } => None,
            Source::Cluster { cluster, .. } => Some(cluster.namespace()),
        }
    }

    /// Whether all objects are at hand without waiting for [`Source::changed`].
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Source::Directory { .. } => true,
            Source::Cluster { cluster, .. } => cluster.is_complete(),
        }
    }

    pub(super) fn objects(&self) -> &Objects {
        match self {
            Source::Directory { directory, .. } => directory.objects(),
            Source::Cluster { cluster, .. } => cluster.objects(),
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        match self {
            Source::Directory { directory, .. } => directory.problems(),
            Source::Cluster { cluster, .. } => cluster.problems(),
        }
    }

    /// Gives problems the places that only this source knows.
    pub(super) fn locate(&self, problems: &mut [Problem]) {
        match self {
            Source::Directory { directory, .. } => {
                directory.locate(problems, |file| std::fs::read_to_string(file).ok());
            }
            Source::Cluster { .. } => {}
        }
    }

    /// Waits for changes and takes them up. Safe to drop before it is ready.
    pub(super) async fn changed(&mut self) -> Changed {
        match self {
            Source::Directory { directory, watch } => {
                let changes = watch.changed().await;
                let before = directory.problems();
                directory.refresh(&changes);
                Changed {
                    settings: changes.settings || changes.everything,
                    problems: before != directory.problems(),
                }
            }
            Source::Cluster { cluster, watch, writer } => {
                tokio::select! {
                    problems = cluster.changed() => Changed { settings: false, problems },
                    _ = watch.changed() => Changed { settings: true, problems: false },
                    // Who begins to write has to be told what.
                    () = elected(writer) => Changed::default(),
                }
            }
        }
    }

    /// Has the statuses of what was compiled written, and its problems told, where there is someone to write them.
    pub(super) fn write_statuses<'a>(
        &self,
        settings: &Settings,
        statuses: &Judged,
        problems: &[Problem],
        routes: impl Iterator<Item = &'a Arc<RouteStatus>>,
    ) {
        if let Source::Cluster { cluster, writer: Some(writer), .. } = self {
            writer.want(cluster.objects(), settings, statuses, problems, routes);
        }
    }

    /// Where certificates that are ordered are kept; `None` where this process orders none.
    pub(super) fn certificate_store(
        &self,
        settings: &Settings,
        replicas: Option<Replicas>,
    ) -> Result<Option<Arc<dyn Store>>, StoreError> {
        match self {
            _ if settings.issuers.is_empty() => Ok(None),
            Source::Directory { directory, .. } => {
                let root = settings.certificates.directory(directory.root())?;
                Ok(Some(Arc::new(DirectoryStore::open(&root, settings.certificates.namespace())?)))
            }
            Source::Cluster { cluster, writer: Some(writer), .. } => {
                let certificates = &settings.certificates;
                let namespaces =
                    Namespaces { own: certificates.namespace(), private: certificates.private_namespace() };
                Ok(Some(Arc::new(cluster.secret_store(namespaces, writer, replicas))))
            }
            Source::Cluster { writer: None, .. } => Ok(None),
        }
    }

    /// Ends what runs beside the reading.
    pub(super) async fn stop(self) {
        if let Source::Cluster { writer: Some(writer), .. } = self {
            writer.stop().await;
        }
    }
}

async fn elected(writer: &mut Option<StatusWriter>) {
    match writer {
        Some(writer) => writer.elected().await,
        None => std::future::pending().await,
    }
}

/// The keys that the leader looks after: of calls, and of sessions where they are in a Secret of our own namespace.
fn shared_keys(settings: &Settings, namespace: &str) -> Vec<Shared> {
    let mut all = Vec::new();
    if settings.replicas.listen.is_some() {
        all.push(Shared { ring: Ring::Calls, secret: settings.replicas.secret.clone(), key: KEYS.into() });
    }
    if let Some(SecretSource::SecretRef(SecretKey { namespace: Some(own), name: Some(name), key })) =
        &settings.auth.session_keys
        && **own == *namespace
    {
        all.push(Shared { ring: Ring::Sessions, secret: name.clone(), key: key.clone() });
    }
    all
}
