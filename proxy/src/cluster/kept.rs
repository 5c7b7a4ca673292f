//! What was read last, on disk: a process that starts while the API server is away goes on with it.
//!
//! Each stream has a file with one line for each object, as a watch sends them. A list writes it anew, beside the old one
//! until it is whole, and the lines of a watch are appended. Nothing is forced onto the medium: what a restart of the
//! process needs is in the cache of the kernel. Secrets are kept in a directory of their own, which is to be in memory. What
//! cannot be written is told once, and costs nothing but this.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::api::{self, Event, Scope};
use crate::config::problem::{Kind, ObjectRef};

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// All but Secrets.
    pub objects: PathBuf,
    pub secrets: PathBuf,
}

/// The file of one stream.
#[derive(Debug)]
pub(super) struct Keep {
    kind: Kind,
    path: PathBuf,
    /// A list that is not whole yet.
    draft: Option<BufWriter<File>>,
    /// What events are appended to.
    file: Option<File>,
    bytes: u64,
    /// From this size on it is written anew.
    compacted_at: u64,
    has_failed: bool,
}

impl Keep {
    /// The file for this scope, whether it is there or not.
    pub(super) fn new(directories: &Directories, scope: &Scope) -> Keep {
        let directory = match scope.kind {
            Kind::Secret => &directories.secrets,
            _ => &directories.objects,
        };
        let mut name = api::plural(scope.kind).to_owned();
        if let Some(namespace) = &scope.namespace {
            name.push('@');
            api::encode(&mut name, namespace);
        }
        Keep {
            kind: scope.kind,
            path: directory.join(name).with_extension("v1"),
            draft: None,
            file: None,
            bytes: 0,
            compacted_at: 0,
            has_failed: false,
        }
    }

    /// A list begins; what came of an earlier one that never ended is forgotten.
    pub(super) fn begin(&mut self) {
        self.attempt(|keep| {
            if let Some(directory) = keep.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            keep.draft = Some(BufWriter::new(create(&keep.draft_path())?));
            keep.bytes = 0;
            Ok(())
        });
    }

    /// One object of the list.
    pub(super) fn put(&mut self, object: &RawValue) {
        self.attempt(|keep| {
            let Some(draft) = &mut keep.draft else { return Ok(()) };
            let object = object.get().replace(['\n', '\r'], " ");
            let line = format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n");
            keep.bytes += line.len() as u64;
            draft.write_all(line.as_bytes())
        });
    }

    /// The list is whole, and takes the place of what was kept.
    pub(super) fn commit(&mut self) {
        self.attempt(|keep| {
            let Some(draft) = keep.draft.take() else { return Ok(()) };
            let file = draft.into_inner().map_err(io::IntoInnerError::into_error)?;
            fs::rename(keep.draft_path(), &keep.path)?;
            keep.file = Some(file);
            keep.compacted_at = keep.bytes * 2 + COMPACTION_BYTES_MIN;
            Ok(())
        });
    }

    /// One line of a watch.
    pub(super) fn append(&mut self, line: &[u8]) {
        self.attempt(|keep| {
            let Some(file) = &mut keep.file else { return Ok(()) };
            let mut whole = Vec::with_capacity(line.len() + 1);
            whole.extend_from_slice(line);
            whole.push(b'\n');
            file.write_all(&whole)?;
            keep.bytes += whole.len() as u64;
            if keep.bytes > keep.compacted_at { keep.compact() } else { Ok(()) }
        });
    }

    /// There is nothing of this kind, as far as can be known.
    pub(super) fn note_absence(&mut self) {
        if self.file.is_none() && !self.path.exists() {
            self.begin();
            self.commit();
        }
    }

    /// What was kept, in the order in which it came; `None` where nothing was.
    pub(super) fn read(&self) -> Option<Vec<Event>> {
        let text = self.load()?;
        let lines = text.split(|byte| *byte == b'\n');
        // The last line may have been cut with the process that wrote it.
        Some(lines.filter_map(|line| api::event(self.kind, line).ok()).map(|(event, _)| event).collect())
    }

    /// Whether anything was kept.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    fn load(&self) -> Option<Vec<u8>> {
        let length = fs::metadata(&self.path).ok()?.len();
        (length <= KEPT_BYTES_MAX).then(|| fs::read(&self.path).ok()).flatten()
    }

    /// Writes the file anew with the last line of each object that is still there.
    fn compact(&mut self) -> io::Result<()> {
        let text = self.load().ok_or_else(|| io::Error::other("it has grown too large"))?;
        let mut last: HashMap<ObjectRef, Option<&[u8]>> = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            match api::event(self.kind, line) {
                Ok((Event::Applied(Ok(object)), _)) => drop(last.insert(object.reference(), Some(line))),
                Ok((Event::Applied(Err(broken)), _)) => {
                    if let Some(name) = broken.object {
                        last.insert(name, Some(line));
                    }
                }
                Ok((Event::Deleted(name), _)) => drop(last.insert(name, None)),
                Ok((Event::Bookmark, _)) | Err(_) => {}
            }
        }
        let mut draft = BufWriter::new(create(&self.draft_path())?);
        let mut bytes = 0;
        for line in last.into_values().flatten() {
            draft.write_all(line)?;
            draft.write_all(b"\n")?;
            bytes += line.len() as u64 + 1;
        }
        self.draft = Some(draft);
        self.bytes = bytes;
        self.commit();
        Ok(())
    }

    fn draft_path(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn attempt(&mut self, work: impl FnOnce(&mut Keep) -> io::Result<()>) {
        if self.has_failed {
            return;
        }
        if let Err(error) = work(self) {
            self.has_failed = true;
            self.draft = None;
            self.file = None;
            tracing::warn!(
                file = %self.path.display(),
                %error,
                "what the API server says is not kept for a restart; see cluster.lastGood in the settings"
            );
        }
    }
}

/// An empty file that nobody else may read.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file is written anew when it has doubled, and has grown by so much.
const COMPACTION_BYTES_MIN: u64 = 4 << 20;
/// No larger file is read.
const KEPT_BYTES_MAX: u64 = 256 << 20;
