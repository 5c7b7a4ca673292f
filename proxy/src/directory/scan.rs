//! Files of a directory: finding them, and telling whether one is still the same.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::FILE_BYTES_MAX;
use crate::config::problem::{Place, Problem, Severity};

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. The change time moves also when a tool sets the modification time back.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a walk through the directory found.
pub(super) struct Found {
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) faults: Vec<Problem>,
}

/// True for names that are read: `*.yaml`, `*.yml`, `*.json`, not hidden.
pub(super) fn is_manifest(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let known = path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    });
    known && !name.as_encoded_bytes().starts_with(b".")
}

/// Finds the manifests below `root`. Links are followed, each directory is entered once. Of more than
/// `files_max` the first in the order of their paths are kept.
pub(super) fn scan(root: &Path, files_max: usize) -> Found {
    let mut found = Found { files: BTreeSet::new(), faults: Vec::new() };
    let mut entered = BTreeSet::new();
    walk(root, 0, &mut entered, &mut found);
    if found.files.len() > files_max {
        let left_out = found.files.len() - files_max;
        found.files = std::mem::take(&mut found.files).into_iter().take(files_max).collect();
        let message = format!(
            "holds more than {files_max} manifests; {left_out} are not read; put more than one object in a file"
        );
        found.faults.push(fault(root, "TooManyFiles", message));
    }
    found
}

/// Reads a file if its stamp is not `known`. `Ok(None)`: it is the same.
pub(super) fn read(path: &Path, known: Option<Stamp>) -> io::Result<Option<(Stamp, Vec<u8>)>> {
    use io::Read;
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A directory that happens to be called x.yaml holds manifests, but is none.
        return Err(io::ErrorKind::NotFound.into());
    }
    let stamp = Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    if known == Some(stamp) {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0) + 1);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes; split it")));
    }
    Ok(Some((stamp, bytes)))
}

fn walk(directory: &Path, depth: usize, entered: &mut BTreeSet<PathBuf>, found: &mut Found) {
    if depth > DIRECTORY_DEPTH_MAX {
        let message = format!("lies more than {DIRECTORY_DEPTH_MAX} directories deep and is not read");
        found.faults.push(fault(directory, "TooDeep", message));
        return;
    }
    let entries = directory.canonicalize().and_then(|canonical| {
        if entered.insert(canonical) { std::fs::read_dir(directory).map(Some) } else { Ok(None) }
    });
    let entries = match entries {
        Ok(Some(entries)) => entries,
        Ok(None) => return,
        Err(error) => {
            let message = format!("cannot be listed: {error}; its manifests are not in use");
            found.faults.push(fault(directory, "Unreadable", message));
            return;
        }
    };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // Follows links; one that leads nowhere is no manifest.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, depth + 1, entered, found),
            Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                found.files.insert(path);
            }
            _ => {}
        }
    }
}

fn fault(path: &Path, reason: &'static str, message: String) -> Problem {
    Problem {
        severity: Severity::Degraded,
        object: None,
        field: "".into(),
        reason,
        message: message.into(),
        place: Some(Place { file: Arc::new(path.to_owned()), line: 1 }),
    }
}

/// Manifests of one directory; more are named in a problem and not read.
pub(super) const FILES_MAX: usize = 50_000;
pub(super) const DIRECTORY_DEPTH_MAX: usize = 16;
