//! Watching a directory of manifests, and the settings file, for changes.
//!
//! Events are gathered for a few milliseconds, because one `kubectl cp` or one `git checkout` is many of them. A file that
//! is being written is reported when its writer closes it, so that half a file is not read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Changes;
use super::scan::is_manifest;

/// Watches until it is dropped.
pub struct Watch {
    watcher: Box<dyn Watcher + Send>,
    events: mpsc::Receiver<Message>,
    /// Set when the queue was full.
    lost: Arc<AtomicBool>,
    /// `None` when only the settings are watched.
    root: Option<PathBuf>,
    /// `None` when the root is a directory itself. Else the link may be turned to another one.
    root_link: Option<PathBuf>,
    settings: Option<PathBuf>,
    /// Written to, not yet closed.
    open: BTreeSet<PathBuf>,
    gathered: Changes,
}

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be watched: {source}", path.display())]
pub struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

/// The little of an event that matters here.
enum Message {
    /// Content moved, its writer is not done.
    Writing(PathBuf),
    /// A file is whole, or gone, or under another name.
    Settled(PathBuf),
    /// Events were lost: anything may have happened.
    Lost,
}

impl Watch {
    /// Begins to watch `root`, if manifests are read, and the settings file, if there is one. Start it before the first
    /// read, so that no change falls between.
    ///
    /// Where the system gives no more inotify watches, files are looked at every [`POLL_INTERVAL`] instead.
    pub fn start(root: Option<&Path>, settings: Option<&Path>) -> Result<Watch, WatchError> {
        let (sender, events) = mpsc::channel(EVENTS_LEN_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let root_link = root.filter(|root| root.is_symlink()).map(Path::to_owned);
        let mut watch = Watch {
            watcher: Box::new(notify::NullWatcher),
            events,
            lost: lost.clone(),
            root: root.map(Path::to_owned),
            root_link,
            // As the watcher will name it: a bare name stands in `.`.
            settings: settings.and_then(|file| Some(directory_of(file).join(file.file_name()?))),
            open: BTreeSet::new(),
            gathered: Changes::default(),
        };
        let inotify =
            RecommendedWatcher::new(forward(sender.clone(), lost.clone()), notify::Config::default());
        let first = match inotify {
            Ok(watcher) => {
                watch.watcher = Box::new(watcher);
                watch.add_paths()
            }
            Err(source) => Err(watch.error(source)),
        };
        if let Err(error) = first {
            tracing::warn!(%error, "files are polled every {POLL_INTERVAL:?}; raise fs.inotify.max_user_watches");
            let config = notify::Config::default().with_poll_interval(POLL_INTERVAL);
            let poll =
                PollWatcher::new(forward(sender, lost), config).map_err(|source| watch.error(source))?;
            watch.watcher = Box::new(poll);
            watch.add_paths()?;
        }
        Ok(watch)
    }

    /// Waits for changes. Safe to drop before it is ready: the next call goes on with what was gathered.
    pub async fn changed(&mut self) -> Changes {
        while self.gathered.is_empty() {
            let Some(message) = self.events.recv().await else {
                // The watcher thread is gone; nothing will ever come.
                return std::future::pending().await;
            };
            self.note(message);
            self.gather().await;
        }
        std::mem::take(&mut self.gathered)
    }

    /// Takes in what follows, until it is quiet for [`QUIET`] and nobody writes, or [`GATHER_MAX`] is over.
    async fn gather(&mut self) {
        let end = Instant::now() + GATHER_MAX;
        loop {
            let pause = if self.open.is_empty() { (Instant::now() + QUIET).min(end) } else { end };
            match timeout_at(pause, self.events.recv()).await {
                Ok(Some(message)) => self.note(message),
                Ok(None) | Err(_) => break,
            }
            if Instant::now() >= end {
                break;
            }
        }
        // A writer that takes longer than that is read as it stands, and once more when it is done.
        for path in std::mem::take(&mut self.open) {
            self.settle(path);
        }
        if self.lost.swap(false, Ordering::Relaxed) {
            self.note(Message::Lost);
        }
        if self.gathered.everything
            && let Some(root) = &self.root_link
        {
            // The link may lead to another directory now. Where it leads nowhere, the next turn of the link mends it.
            let _ = self.watcher.unwatch(root);
            let _ = self.watcher.watch(root, RecursiveMode::Recursive);
        }
    }

    fn note(&mut self, message: Message) {
        match message {
            Message::Writing(path) => {
                if path.is_symlink() || path.is_dir() {
                    self.settle(path);
                } else if self.concerns_settings(&path) || (self.is_below_root(&path) && is_manifest(&path)) {
                    self.open.insert(path);
                }
            }
            Message::Settled(path) => {
                self.open.remove(&path);
                self.settle(path);
            }
            Message::Lost => {
                self.gathered.everything = true;
                self.gathered.settings = self.settings.is_some();
            }
        }
    }

    /// Sorts one path: a manifest, the settings, or something that may lead to either.
    fn settle(&mut self, path: PathBuf) {
        self.gathered.settings |= self.concerns_settings(&path);
        if self.root_link.as_ref() == Some(&path) {
            self.gathered.everything = true;
        } else if let Some(Ok(below)) = self.root.as_ref().map(|root| path.strip_prefix(root)) {
            let hidden =
                |part: std::path::Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
            let in_hidden_directory = below.parent().is_some_and(|parent| parent.components().any(hidden));
            if in_hidden_directory {
                // Links may lead there; what they lead to changes when the hidden directory itself is exchanged.
            } else if is_manifest(&path) && !path.is_dir() {
                self.gathered.files.insert(path);
            } else if path.is_dir() || path.is_symlink() || !path.exists() {
                self.gathered.everything = true;
            }
        }
    }

    /// The file itself, or (a mounted ConfigMap) a hidden link beside it.
    fn concerns_settings(&self, path: &Path) -> bool {
        self.settings.as_ref().is_some_and(|settings| {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"..data"));
            path == settings || (hidden && path.parent() == Some(directory_of(settings)))
        })
    }

    fn add_paths(&mut self) -> Result<(), WatchError> {
        let beside = self.root_link.iter().chain(&self.settings).map(|path| directory_of(path));
        for directory in beside.collect::<BTreeSet<_>>() {
            if !self.is_below_root(directory) || self.root_link.is_some() {
                self.watcher
                    .watch(directory, RecursiveMode::NonRecursive)
                    .map_err(|source| WatchError { path: directory.to_owned(), source })?;
            }
        }
        let Some(root) = &self.root else { return Ok(()) };
        self.watcher
            .watch(root, RecursiveMode::Recursive)
            .map_err(|source| WatchError { path: root.clone(), source })
    }

    fn is_below_root(&self, path: &Path) -> bool {
        self.root.as_ref().is_some_and(|root| path.starts_with(root))
    }

    fn error(&self, source: notify::Error) -> WatchError {
        let path = self.root.as_ref().or(self.settings.as_ref());
        WatchError { path: path.cloned().unwrap_or_default(), source }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("root", &self.root)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The directory that holds a path; `.` for a bare name.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Runs on the watcher's own thread.
fn forward(
    sender: mpsc::Sender<Message>,
    lost: Arc<AtomicBool>,
) -> impl FnMut(notify::Result<Event>) + Send + 'static {
    let send = move |message| {
        // A full queue is read soon, and then everything is looked at. A closed one means that the process ends.
        if sender.try_send(message).is_err() {
            lost.store(true, Ordering::Relaxed);
        }
    };
    move |event| {
        let Ok(event) = event else { return send(Message::Lost) };
        if event.need_rescan() {
            send(Message::Lost);
        }
        let message: fn(PathBuf) -> Message = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Message::Settled,
            EventKind::Access(_) => return,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Message::Writing,
            // Names, and rights: a file may have become readable.
            EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => {
                Message::Settled
            }
        };
        event.paths.into_iter().map(message).for_each(&send);
    }
}

/// Without an event for that long, a change counts as whole. What comes later is a change of its own, which costs little.
const QUIET: Duration = Duration::from_millis(1);
/// The longest that changes are gathered, and that an open file is waited for.
const GATHER_MAX: Duration = Duration::from_millis(250);
/// How often files are looked at where they cannot be watched.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Events that may wait; when there are more, every file is looked at.
const EVENTS_LEN_MAX: usize = 4096;

#[cfg(test)]
mod tests;
