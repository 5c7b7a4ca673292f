//! From the bytes of a file to objects: documents, lists, kinds that are not read, faults with their lines.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use serde_json::Value;

use crate::config::objects::{Metadata, NAMESPACE_DEFAULT, Object, Secret};
use crate::config::problem::{Kind, ObjectRef, Severity};
use crate::yaml::{self, YamlError};

/// One document of a file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// The line (from 1) at which the content begins.
    pub(super) line: usize,
    /// The line at which the document's text begins: its `---`, or the first line of the file.
    start: usize,
    /// Of the text; an unchanged document is not parsed again.
    digest: u64,
    pub(super) parts: Arc<[Parsed]>,
}

/// What a document, or an item of a `List`, is.
#[derive(Clone, Debug)]
pub(super) enum Parsed {
    Object {
        object: Object,
        item: Option<u32>,
    },
    /// A Secret that exists, but whose content nobody can read here.
    Sealed {
        object: Object,
        item: Option<u32>,
    },
    // Boxed, because there are few of them and thousands of objects.
    Foreign(Box<Foreign>),
    Fault(Box<Fault>),
}

impl Parsed {
    fn fault(fault: Fault) -> Self {
        Parsed::Fault(Box::new(fault))
    }

    /// The object, and which item of a `List` it is.
    pub(super) fn object(&self) -> Option<(&Object, Option<u32>)> {
        match self {
            Parsed::Object { object, item } | Parsed::Sealed { object, item } => Some((object, *item)),
            Parsed::Foreign(_) | Parsed::Fault(_) => None,
        }
    }
}

/// An object of a kind that Vestibule does not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Empty when the document names none.
    pub kind: Arc<str>,
    pub api_version: Arc<str>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.kind, &*self.api_version) {
            ("", _) => f.write_str("(no kind)"),
            (kind, "") => f.write_str(kind),
            (kind, api_version) => write!(f, "{kind} ({api_version})"),
        }
    }
}

/// Why a document, or an item of one, is not an object.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// From 1, counted from the document's first line.
    pub(super) line: usize,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) object: Option<ObjectRef>,
    /// False where the document was understood and only is not of use.
    pub(super) breaks_file: bool,
}

impl Fault {
    pub(super) fn severity(&self) -> Severity {
        Severity::Degraded
    }
}

impl Document {
    pub(super) fn is_broken(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Parsed::Fault(fault) if fault.breaks_file))
    }

    /// The line in the file of a line of the document.
    pub(super) fn line_of(&self, line: usize) -> usize {
        (self.start + line - 1).max(self.line)
    }
}

/// Reads the documents of a file. Those whose text is among `known` are taken from there.
pub(super) fn parse(bytes: &[u8], is_json: bool, known: &[Document]) -> Vec<Document> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = 1 + memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count();
            let fault = Fault::unparsable(line, "is not UTF-8 text; save it as UTF-8".into());
            return vec![Document { line, start: 1, digest: 0, parts: [Parsed::fault(fault)].into() }];
        }
    };
    let known: HashMap<u64, &Document> = known.iter().map(|document| (document.digest, document)).collect();
    let texts = if is_json { vec![(1, text)] } else { split(text) };
    let mut documents = Vec::with_capacity(texts.len());
    for (start, text) in texts {
        if documents.len() == DOCUMENTS_MAX {
            let message = format!("holds more than {DOCUMENTS_MAX} documents; split it");
            let parts = [Parsed::fault(Fault::unparsable(1, message))].into();
            documents.push(Document { line: start, start, digest: 0, parts });
            break;
        }
        let digest = digest(text);
        let parts = match known.get(&digest) {
            Some(document) => document.parts.clone(),
            None => parse_document(text, is_json).into(),
        };
        if !parts.is_empty() {
            documents.push(Document { line: start + content_offset(text), start, digest, parts });
        }
    }
    documents
}

/// Cuts at the lines that begin a document (YAML 1.2.2 §9.1.2: `---` at the start of a line is never content). The marker
/// line belongs to the document it begins.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut begin, mut begin_line) = (0, 1);
    let (mut offset, mut line) = (0, 1);
    for piece in text.split_inclusive('\n') {
        let marks = piece
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        if marks && offset > begin {
            documents.push((begin_line, &text[begin..offset]));
            (begin, begin_line) = (offset, line);
        }
        offset += piece.len();
        line += 1;
    }
    documents.push((begin_line, &text[begin..]));
    documents
}

/// How many lines of markers, directives, comments and nothing come before the content.
fn content_offset(text: &str) -> usize {
    let is_empty = |line: &str| {
        let line = line.trim();
        line.is_empty()
            || line.starts_with(['#', '%'])
            || line.strip_prefix("---").is_some_and(|rest| {
                let rest = rest.trim_start();
                rest.is_empty() || rest.starts_with('#')
            })
    };
    text.lines().take_while(|line| is_empty(line)).count()
}

/// The little of a document that tells what it is. Nothing in it is required and nothing of it can be of a wrong shape, so
/// that a document of a kind that is read never passes for one that is not.
struct Head<'a>(&'a Value);

impl<'a> Head<'a> {
    fn text(&self, pointer: &str) -> Option<&'a str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    fn kind(&self) -> &'a str {
        self.text("/kind").unwrap_or_default()
    }

    fn api_version(&self) -> &'a str {
        self.text("/apiVersion").unwrap_or_default()
    }

    fn name(&self) -> Option<&'a str> {
        self.text("/metadata/name")
    }

    fn namespace(&self) -> &'a str {
        self.text("/metadata/namespace")
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or(NAMESPACE_DEFAULT)
    }

    fn reference(&self, kind: Kind) -> Option<ObjectRef> {
        let namespace = if kind.is_namespaced() { self.namespace() } else { "" };
        Some(ObjectRef { kind, namespace: namespace.into(), name: self.name()?.into() })
    }
}

fn parse_document(text: &str, is_json: bool) -> Vec<Parsed> {
    let value = match read_value(text, is_json) {
        Ok(Value::Null) => return Vec::new(),
        Ok(value) => value,
        Err(error) => {
            let message = format!("{}; correct the YAML or JSON here", error.message);
            return vec![Parsed::fault(Fault::unparsable(error.line, message))];
        }
    };
    let head = Head(&value);
    if head.kind().ends_with("List") && value.get("items").is_some() {
        return parse_items(value);
    }
    // Read from the value; only where that fails, the text is read again, for the line of the fault.
    let read = |kind| {
        Object::deserialize(kind, &value).map_err(|error| {
            let again = if is_json {
                Object::deserialize(kind, &mut serde_json::Deserializer::from_str(text))
                    .map_err(json_error)
                    .err()
            } else {
                yaml::with_deserializer(text, |yaml| Object::deserialize(kind, yaml)).err()
            };
            again.unwrap_or_else(|| YamlError { line: 1, column: 1, message: error.to_string() })
        })
    };
    vec![classify(&head, None, read)]
}

fn parse_items(mut list: Value) -> Vec<Parsed> {
    let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else {
        return vec![Parsed::fault(Fault::unparsable(1, "`items` is not a list".into()))];
    };
    if items.len() > DOCUMENTS_MAX {
        let message = format!("holds more than {DOCUMENTS_MAX} items; split it");
        return vec![Parsed::fault(Fault::unparsable(1, message))];
    }
    let parse_item = |(index, value): (usize, Value)| {
        classify(&Head(&value), u32::try_from(index).ok(), |kind| {
            Object::deserialize(kind, &value).map_err(|error| YamlError {
                line: 1,
                column: 1,
                message: format!("item {index}: {error}"),
            })
        })
    };
    items.into_iter().enumerate().map(parse_item).collect()
}

/// Tells what an object is by its head, and reads it where it is of use.
fn classify(
    head: &Head<'_>,
    item: Option<u32>,
    read: impl FnOnce(Kind) -> Result<Object, YamlError>,
) -> Parsed {
    let (kind, api_version) = (head.kind(), head.api_version());
    if let Some(object) = sealed(head) {
        return Parsed::Sealed { object, item };
    }
    let Some(kind) = Kind::from_api(api_version, kind) else {
        return outdated(head, kind, api_version).unwrap_or_else(|| {
            Parsed::Foreign(Box::new(Foreign { kind: kind.into(), api_version: api_version.into() }))
        });
    };
    match read(kind) {
        Ok(object) if object.metadata().name.is_empty() => {
            Parsed::fault(Fault::unparsable(1, format!("{kind}: `metadata.name` is empty; give it a name")))
        }
        Ok(object) => Parsed::Object { object, item },
        Err(error) => {
            // The parser's words may quote what stands in a Secret.
            let message = match kind {
                Kind::Secret if !error.message.contains("base64") => {
                    "is not of the shape of a Secret; compare it with `kubectl explain secret`".to_owned()
                }
                _ => error.message,
            };
            let object = head.reference(kind);
            Parsed::fault(Fault { object, ..Fault::unparsable(error.line, message) })
        }
    }
}

/// A Secret by another name: encrypted by SOPS, or made in the cluster of a SealedSecret or an ExternalSecret.
fn sealed(head: &Head<'_>) -> Option<Object> {
    let group = head.api_version().split('/').next().unwrap_or_default();
    let name = match (head.kind(), group) {
        ("Secret", "v1") if head.0.get("sops").is_some() => None,
        ("SealedSecret", "bitnami.com") => head.text("/spec/template/metadata/name"),
        ("ExternalSecret", "external-secrets.io") => head.text("/spec/target/name"),
        _ => return None,
    };
    let metadata = Metadata {
        name: name.or(head.name())?.into(),
        namespace: head.namespace().into(),
        ..Metadata::default()
    };
    let secret = Secret { metadata, secret_type: SEALED_SECRET_TYPE.into(), data: Default::default() };
    Some(Object::Secret(Arc::new(secret)))
}

/// A kind that is read, in a version that is not.
fn outdated(head: &Head<'_>, kind: &str, api_version: &str) -> Option<Parsed> {
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let group = |version: &str| version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    let current = known.api_versions()[0];
    let was = group(api_version);
    if was != group(current) && was != "extensions" {
        return None;
    }
    let message = match api_version {
        "" => format!("`apiVersion` is missing; write {current}"),
        _ => format!("the version {api_version} is not read; write {current}"),
    };
    let object = head.reference(known);
    let fault = Fault { line: 1, reason: "UnsupportedVersion", message, object, breaks_file: false };
    Some(Parsed::fault(fault))
}

impl Fault {
    fn unparsable(line: usize, message: String) -> Self {
        Fault { line, reason: "Unparsable", message, object: None, breaks_file: true }
    }
}

fn read_value(text: &str, is_json: bool) -> Result<Value, YamlError> {
    if is_json {
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_str(text).map_err(json_error);
    }
    yaml::from_str::<Option<Value>>(text).map(Option::unwrap_or_default)
}

fn json_error(error: serde_json::Error) -> YamlError {
    YamlError { line: error.line().max(1), column: error.column().max(1), message: error.to_string() }
}

fn digest(text: &str) -> u64 {
    foldhash::quality::FixedState::default().hash_one(text)
}

/// The type of a Secret that is known to exist and whose content is not known here.
pub const SEALED_SECRET_TYPE: &str = "vestibule.dev/sealed";

pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Documents of one file, and items of one list.
pub const DOCUMENTS_MAX: usize = 100_000;

#[cfg(test)]
mod tests;
