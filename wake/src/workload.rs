//! What can be put to sleep and woken, by name.

use std::fmt;
use std::sync::Arc;

/// A workload of one namespace. Its text is `shop/deployment/web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    pub namespace: Arc<str>,
    pub reference: Reference,
}

/// A workload within its namespace: `deployment/web`, `cluster.postgresql.cnpg.io/pg`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    pub kind: Kind,
    /// A DNS subdomain (RFC 1123), at most [`NAME_LEN_MAX`] bytes.
    pub name: Arc<str>,
}

/// How a workload is put to sleep.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `deployments.apps`, by its scale subresource.
    Deployment,
    /// `statefulsets.apps`, by its scale subresource.
    StatefulSet,
    /// `clusters.postgresql.cnpg.io`, by its hibernation annotation.
    PostgresCluster,
    /// A program that this process starts and stops.
    Process,
    /// Any other kind that has a scale subresource, as `kind.group`, in lower case.
    Scalable(Arc<str>),
}

/// Why a text names no workload. The text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("`{0}` names no workload: write KIND/NAME, such as deployment/web")]
    Form(Box<str>),
    #[error("`{0}` is no name of an object: use lower-case letters, digits, `-` and `.`")]
    Name(Box<str>),
    #[error(
        "`{0}` is no kind that can be woken: use deployment, statefulset, process, cluster.postgresql.cnpg.io, or another kind with a scale subresource as KIND.GROUP"
    )]
    Kind(Box<str>),
}

impl Reference {
    /// Reads `deployment/web`. Kinds are written as `kubectl` takes them: singular, plural or short, with or without group.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (kind, name) = text.split_once('/').ok_or_else(|| ReferenceError::Form(shorten(text)))?;
        if !is_subdomain(name) {
            return Err(ReferenceError::Name(shorten(name)));
        }
        Ok(Reference { kind: Kind::parse(kind)?, name: name.into() })
    }

    /// The same in a namespace.
    pub fn within(self, namespace: &Arc<str>) -> Workload {
        Workload { namespace: namespace.clone(), reference: self }
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let lower = text.to_ascii_lowercase();
        Ok(match lower.as_str() {
            "deployment" | "deployments" | "deploy" | "deployment.apps" | "deployments.apps" => {
                Kind::Deployment
            }
            "statefulset" | "statefulsets" | "sts" | "statefulset.apps" | "statefulsets.apps" => {
                Kind::StatefulSet
            }
            "cluster.postgresql.cnpg.io" | "clusters.postgresql.cnpg.io" => Kind::PostgresCluster,
            "process" => Kind::Process,
            // A group has a dot, so that a slip in the name of a usual kind is not taken for a kind of somebody else's.
            other => match other.split_once('.') {
                Some((kind, group)) if is_label(kind) && group.contains('.') && is_subdomain(group) => {
                    Kind::Scalable(other.into())
                }
                _ => return Err(ReferenceError::Kind(shorten(text))),
            },
        })
    }

    /// The kind as it is written: `deployment`.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
            Kind::PostgresCluster => "cluster.postgresql.cnpg.io",
            Kind::Process => "process",
            Kind::Scalable(name) => name,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.reference)
    }
}

/// Whether a text may be the name of an object: a DNS subdomain (RFC 1123).
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= NAME_LEN_MAX && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Enough of a text to recognise it by.
pub(crate) fn shorten(text: &str) -> Box<str> {
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    let rest = if start.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", start.escape_debug()).into()
}

/// The longest name of an object.
pub const NAME_LEN_MAX: usize = 253;
const SHOWN_CHARS: usize = 60;

#[cfg(test)]
mod tests;
