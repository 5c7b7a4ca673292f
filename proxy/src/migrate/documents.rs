//! Manifests of any kind, as they stand in files.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// All objects of a set of manifests, `List`s taken apart.
#[derive(Debug, Default)]
pub struct Documents(Vec<Value>);

/// Why manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{file}: {message}")]
    Yaml { file: String, message: String },
    #[error("{}: larger than {FILE_BYTES_MAX} bytes", file.display())]
    TooLarge { file: PathBuf },
}

impl Documents {
    /// The objects of one text; `file` is what errors name.
    pub fn parse(text: &str, file: &str) -> Result<Documents, ReadError> {
        let mut documents = Documents::default();
        documents.add(text, file)?;
        Ok(documents)
    }

    /// These objects.
    pub fn of(objects: Vec<Value>) -> Documents {
        Documents(objects)
    }

    /// The objects of a file, or of all `.yaml`, `.yml` and `.json` files under a directory.
    pub fn open(path: &Path) -> Result<Documents, ReadError> {
        let mut documents = Documents::default();
        let mut files = Vec::new();
        collect(path, &mut files, 0).map_err(|source| ReadError::File { file: path.to_owned(), source })?;
        files.sort();
        for file in files {
            let unreadable = |source| ReadError::File { file: file.clone(), source };
            if std::fs::metadata(&file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
                return Err(ReadError::TooLarge { file });
            }
            let text = std::fs::read_to_string(&file).map_err(unreadable)?;
            documents.add(&text, &file.display().to_string())?;
        }
        Ok(documents)
    }

    fn add(&mut self, text: &str, file: &str) -> Result<(), ReadError> {
        let values: Vec<Option<Value>> = serde_saphyr::from_multiple(text)
            .map_err(|error| ReadError::Yaml { file: file.to_owned(), message: error.to_string() })?;
        for value in values.into_iter().flatten() {
            match value.get("items").and_then(Value::as_array) {
                Some(items) if kind_of(&value).ends_with("List") => self.0.extend(items.iter().cloned()),
                _ => self.0.push(value),
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| kind_of(object) == kind)
    }

    pub(super) fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind)
            .find(|object| namespace_of(object) == namespace && text(object, "/metadata/name") == name)
    }
}

/// The text at this JSON pointer; empty when there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at this JSON pointer; empty when there is none.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of the list at this JSON pointer.
pub(super) fn texts<'v>(value: &'v Value, pointer: &str) -> Vec<&'v str> {
    list(value, pointer).iter().filter_map(Value::as_str).collect()
}

pub(super) fn kind_of(object: &Value) -> &str {
    text(object, "/kind")
}

pub(super) fn namespace_of(object: &Value) -> &str {
    Some(text(object, "/metadata/namespace")).filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

/// `Kind namespace/name`.
pub(super) fn name_of(object: &Value) -> String {
    let name = text(object, "/metadata/name");
    match kind_of(object) {
        kind @ ("IngressClass" | "ValidatingWebhookConfiguration") => format!("{kind} {name}"),
        kind => format!("{kind} {}/{name}", namespace_of(object)),
    }
}

pub(super) fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let map = object.pointer("/metadata/annotations").and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let manifest = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if path.is_dir() && !hidden && depth < DEPTH_MAX {
            collect(&path, files, depth + 1)?;
        } else if manifest && !hidden {
            files.push(path);
        }
    }
    Ok(())
}

const FILE_BYTES_MAX: u64 = 64 << 20;
/// Directories in directories.
const DEPTH_MAX: usize = 16;
