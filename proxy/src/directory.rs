//! Objects from a directory of manifests: what is read, what cannot be, and where each thing stands.
//!
//! Every `*.yaml`, `*.yml` and `*.json` below the directory is read; names that begin with a dot are passed over, so that a
//! mounted ConfigMap, whose files are links through `..data`, shows each file once. A file that cannot be read as a whole
//! keeps its last objects and becomes a [`Problem`]; the other files go on. After a change only the files concerned are
//! read, and of those only the documents that differ are parsed.

pub mod manifest;
mod scan;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::SmallVec;

use self::manifest::{Document, Foreign, Parsed};
use self::scan::Stamp;
use crate::config::objects::core::SecretBytes;
use crate::config::objects::{Object, Objects, Secret};
use crate::config::problem::{Kind, ObjectRef, Place, Problem, Severity};
use crate::yaml;

/// A directory of manifests and the objects that it holds now.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    objects: Objects,
    files: BTreeMap<Arc<PathBuf>, File>,
    /// Where each object is written, in order: by the path of the file, then as in the file. The first one counts.
    written: BTreeMap<ObjectRef, SmallVec<[Spot; 1]>>,
    /// Files that have problems, and objects that are written more than once: the few that a look at all of them would find.
    troubled: BTreeSet<Arc<PathBuf>>,
    repeated: BTreeSet<ObjectRef>,
    /// Faults of the directory itself: too many files, a directory that cannot be listed.
    faults: Vec<Problem>,
}

/// What happened to the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were written, or went away.
    pub files: BTreeSet<PathBuf>,
    /// Anything may have changed: every file is looked at again, and read if it is not the same.
    pub everything: bool,
    /// The settings file may have changed.
    pub settings: bool,
}

/// A directory that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{}: {source}; give a readable directory of manifests", root.display())]
    Unreadable { root: PathBuf, source: std::io::Error },
    #[error("{}: not a directory; give the directory that the manifest stands in", root.display())]
    NotADirectory { root: PathBuf },
    #[error("standard input: {source}")]
    Input { source: std::io::Error },
    #[error("standard input: more than {} bytes; give a directory instead", manifest::FILE_BYTES_MAX)]
    InputTooLarge,
}

/// How much was read, for the last lines of `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub files: usize,
    /// Objects of the kinds that are read, by kind.
    pub read: BTreeMap<Kind, usize>,
    /// Objects of other kinds, by `kind` and `apiVersion`.
    pub foreign: BTreeMap<Foreign, usize>,
    /// Secrets that exist but whose content is encrypted or kept elsewhere.
    pub sealed: usize,
}

/// One file as it was last read.
#[derive(Debug, Default)]
struct File {
    stamp: Stamp,
    /// With the objects, which stand nowhere else.
    documents: Box<[Document]>,
    problems: Vec<Problem>,
}

/// Where an object is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    path: Arc<PathBuf>,
    /// Index into the documents of the file, and into the parts of the document: [`manifest::DOCUMENTS_MAX`] at the most.
    document: u32,
    part: u32,
}

/// An object and its place in the file.
struct Written<'a> {
    object: &'a Object,
    /// The line at which the document's content begins.
    line: usize,
    /// Which item of a `List`.
    item: Option<u32>,
}

impl Directory {
    /// Fails where [`Directory::open`] would, without reading anything.
    pub fn probe(root: &Path) -> Result<(), DirectoryError> {
        let metadata = std::fs::metadata(root)
            .map_err(|source| DirectoryError::Unreadable { root: root.to_owned(), source })?;
        if !metadata.is_dir() {
            return Err(DirectoryError::NotADirectory { root: root.to_owned() });
        }
        std::fs::read_dir(root)
            .map_err(|source| DirectoryError::Unreadable { root: root.to_owned(), source })?;
        Ok(())
    }

    /// Reads everything below `root`.
    pub fn open(root: &Path) -> Result<Directory, DirectoryError> {
        Directory::probe(root)?;
        let mut directory = Directory::empty(root.to_owned());
        directory.rescan();
        Ok(directory)
    }

    /// Reads one stream of documents, such as standard input; `name` is what places call it. Returns the text too, for
    /// [`Directory::locate`].
    pub fn from_reader(name: &str, reader: impl Read) -> Result<(Directory, String), DirectoryError> {
        let mut text = Vec::new();
        let limit = manifest::FILE_BYTES_MAX + 1;
        reader.take(limit).read_to_end(&mut text).map_err(|source| DirectoryError::Input { source })?;
        if text.len() as u64 == limit {
            return Err(DirectoryError::InputTooLarge);
        }
        let mut directory = Directory::empty(PathBuf::new());
        directory.take(Arc::new(PathBuf::from(name)), Stamp::default(), &text);
        Ok((directory, String::from_utf8_lossy(&text).into_owned()))
    }

    /// The current objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Where the directory stands.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes up what changed. Returns true when an object was added, changed or removed, or a problem came or went.
    pub fn refresh(&mut self, changes: &Changes) -> bool {
        let cursor = self.objects.cursor();
        let problems = self.problems();
        // Near the bound only a whole look tells which files are left out, and says so.
        if changes.everything || self.files.len() + changes.files.len() > scan::FILES_MAX {
            self.rescan();
        } else {
            for path in &changes.files {
                self.reread(path);
            }
        }
        let same_objects =
            self.objects.changes_since(cursor).is_some_and(|mut changes| changes.next().is_none());
        !same_objects || problems != self.problems()
    }

    /// What cannot be used in the files themselves, in the order of the files.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files =
            self.troubled.iter().filter_map(|path| self.files.get(path)).flat_map(|file| &file.problems);
        self.faults.iter().chain(of_files).cloned().chain(self.duplicates()).collect()
    }

    /// How much was read.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { files: self.files.len(), ..Counts::default() };
        for reference in self.written.keys() {
            *counts.read.entry(reference.kind).or_default() += 1;
        }
        let documents = self.files.values().flat_map(|file| &file.documents);
        for part in documents.flat_map(|document| &*document.parts) {
            match part {
                Parsed::Foreign(foreign) => *counts.foreign.entry(Foreign::clone(foreign)).or_default() += 1,
                Parsed::Sealed { .. } => counts.sealed += 1,
                Parsed::Object { .. } | Parsed::Fault(_) => {}
            }
        }
        counts
    }

    /// Gives Secrets whose content is not known this content, until their file changes. For looking at manifests outside the
    /// place where they are used; never for serving.
    pub fn assume_sealed(&mut self, data: &BTreeMap<Box<str>, SecretBytes>) {
        let is_sealed = |secret: &&Arc<Secret>| &*secret.secret_type == manifest::SEALED_SECRET_TYPE;
        let sealed: Vec<_> = self.objects.secrets.iter().filter(is_sealed).cloned().collect();
        for secret in sealed {
            let assumed = Secret { data: data.clone(), ..Secret::clone(&secret) };
            self.objects.apply(Object::Secret(Arc::new(assumed)));
        }
    }

    /// Where an object stands, by the line of its document.
    pub fn place(&self, object: &ObjectRef) -> Option<Place> {
        let (file, written) = self.written(object)?;
        Some(Place { file: file.clone(), line: written.line })
    }

    /// Gives every problem without a place the file and the line of the field it names, as the files are now.
    ///
    /// `text_of` supplies the text of a file (the caller's for standard input); each file is asked for once.
    pub fn locate(&self, problems: &mut [Problem], text_of: impl Fn(&Path) -> Option<String>) {
        let mut texts: HashMap<Arc<PathBuf>, Option<String>> = HashMap::new();
        for problem in problems {
            let Some((file, written)) = problem.object.as_ref().and_then(|object| self.written(object))
            else {
                continue;
            };
            if problem.place.is_some() {
                continue;
            }
            let field = match written.item {
                Some(item) if problem.field.is_empty() => format!("items[{item}]"),
                Some(item) => format!("items[{item}].{}", problem.field),
                None => problem.field.to_string(),
            };
            let text = texts.entry(file.clone()).or_insert_with(|| text_of(file));
            let found = text.as_ref().and_then(|text| yaml::position(text, written.line, &field));
            problem.place =
                Some(Place { file: file.clone(), line: found.map_or(written.line, |(line, _)| line) });
        }
    }

    fn empty(root: PathBuf) -> Self {
        Directory {
            root,
            objects: Objects::new(),
            files: BTreeMap::new(),
            written: BTreeMap::new(),
            troubled: BTreeSet::new(),
            repeated: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    fn written(&self, object: &ObjectRef) -> Option<(&Arc<PathBuf>, Written<'_>)> {
        let spot = self.written.get(object)?.first()?;
        Some((&spot.path, self.at(spot)?))
    }

    fn at(&self, spot: &Spot) -> Option<Written<'_>> {
        let document = self.files.get(&spot.path)?.documents.get(spot.document as usize)?;
        let (object, item) = document.parts.get(spot.part as usize)?.object()?;
        Some(Written { object, line: document.line, item })
    }

    fn rescan(&mut self) {
        let found = scan::scan(&self.root, scan::FILES_MAX);
        self.faults = found.faults;
        let gone: Vec<_> =
            self.files.keys().filter(|path| !found.files.contains(&***path)).cloned().collect();
        for path in gone {
            self.forget(&path);
        }
        for path in found.files {
            self.reread(&path);
        }
    }

    /// Reads a file unless it is the one that was read last.
    fn reread(&mut self, path: &PathBuf) {
        let known = self.files.get_key_value(path).map(|(path, file)| (path.clone(), file.stamp));
        let contents = match scan::read(path, known.as_ref().map(|(_, stamp)| *stamp)) {
            Ok(contents) => contents,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some((path, _)) = known {
                    self.forget(&path);
                }
                return;
            }
            Err(error) => {
                let path = known.map_or_else(|| Arc::new(path.clone()), |(path, _)| path);
                let problem = unreadable(&path, &error);
                self.troubled.insert(path.clone());
                let file = self.files.entry(path).or_default();
                file.stamp = Stamp::default();
                file.problems = vec![problem];
                return;
            }
        };
        let Some((stamp, bytes)) = contents else { return };
        let path = known.map_or_else(|| Arc::new(path.clone()), |(path, _)| path);
        self.take(path, stamp, &bytes);
    }

    /// Puts the content of a file in the place of what it held before.
    fn take(&mut self, path: Arc<PathBuf>, stamp: Stamp, bytes: &[u8]) {
        let old = self.files.remove(&path).unwrap_or_default();
        let had_objects = old.objects().next().is_some();
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let documents: Box<[Document]> = manifest::parse(bytes, is_json, &old.documents).into();
        let mut problems = Vec::new();
        for document in &documents {
            for part in &*document.parts {
                let Parsed::Fault(fault) = part else { continue };
                let keeps = had_objects && fault.breaks_file;
                let message =
                    if keeps { format!("{}; {KEPT}", fault.message) } else { fault.message.clone() };
                problems.push(Problem {
                    severity: fault.severity(),
                    object: fault.object.clone(),
                    field: "".into(),
                    reason: fault.reason,
                    message: message.into(),
                    place: Some(Place { file: path.clone(), line: document.line_of(fault.line) }),
                });
            }
        }
        if problems.is_empty() {
            self.troubled.remove(&path);
        } else {
            self.troubled.insert(path.clone());
        }
        // What cannot be read may be anything, an access rule too: the objects of the file stay together, old or new.
        if had_objects && documents.iter().any(Document::is_broken) {
            self.files.insert(path, File { stamp, documents: old.documents, problems });
        } else {
            self.replace(path, old, File { stamp, documents, problems });
        }
    }

    fn replace(&mut self, path: Arc<PathBuf>, old: File, new: File) {
        let mut touched: BTreeSet<ObjectRef> = BTreeSet::new();
        for (_, _, object) in old.objects() {
            let reference = object.reference();
            if let Some(spots) = self.written.get_mut(&reference) {
                spots.retain(|spot| spot.path != path);
                if spots.is_empty() {
                    self.written.remove(&reference);
                }
            }
            touched.insert(reference);
        }
        for (document, part, object) in new.objects() {
            let reference = object.reference();
            let spot = Spot { path: path.clone(), document, part };
            let spots = self.written.entry(reference.clone()).or_default();
            spots.insert(spots.partition_point(|other| *other < spot), spot);
            touched.insert(reference);
        }
        self.files.insert(path, new);
        for reference in touched {
            if self.written.get(&reference).is_some_and(|spots| spots.len() > 1) {
                self.repeated.insert(reference.clone());
            } else {
                self.repeated.remove(&reference);
            }
            match self.written(&reference).map(|(_, written)| written.object.clone()) {
                Some(object) => {
                    self.objects.apply(object);
                }
                None => {
                    self.objects.remove(&reference);
                }
            }
        }
    }

    fn forget(&mut self, path: &Arc<PathBuf>) {
        if let Some(old) = self.files.remove(path) {
            self.replace(path.clone(), old, File::default());
            self.files.remove(path);
            self.troubled.remove(path);
        }
    }

    /// Objects that are written more than once: all but the first are not in use.
    fn duplicates(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for reference in &self.repeated {
            let Some([first, others @ ..]) = self.written.get(reference).map(SmallVec::as_slice) else {
                continue;
            };
            let line_of = |spot: &Spot| self.at(spot).map_or(1, |written| written.line);
            let place = format!("{}:{}", first.path.display(), line_of(first));
            problems.extend(others.iter().map(|other| {
                Problem {
                    severity: Severity::Degraded,
                    message: format!(
                        "is written at {place} already, which is the one in use; remove one of the two"
                    )
                    .into(),
                    object: Some(reference.clone()),
                    field: "metadata.name".into(),
                    reason: "Duplicate",
                    place: Some(Place { file: other.path.clone(), line: line_of(other) }),
                }
            }));
        }
        problems
    }
}

impl File {
    /// With the indices of their documents and parts.
    fn objects(&self) -> impl Iterator<Item = (u32, u32, &Object)> {
        // `DOCUMENTS_MAX` holds for both indices.
        self.documents.iter().zip(0..).flat_map(|(document, at)| {
            let parts = document.parts.iter().zip(0..);
            parts.filter_map(move |(part, index)| Some((at, index, part.object()?.0)))
        })
    }
}

impl Changes {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.everything && !self.settings
    }
}

fn unreadable(path: &Arc<PathBuf>, error: &std::io::Error) -> Problem {
    Problem {
        severity: Severity::Degraded,
        object: None,
        field: "".into(),
        reason: "Unreadable",
        message: format!("cannot be read: {error}; {KEPT}").into(),
        place: Some(Place { file: path.clone(), line: 1 }),
    }
}

const KEPT: &str = "what the file held before stays in use";

#[cfg(test)]
mod tests;
