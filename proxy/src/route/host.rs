//! Host names: exact, wildcard, any.

use std::sync::Arc;

/// A host name as routes and listeners write it, lower case, without port or trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    Exact(Arc<str>),
    /// `*.example.com`, stored as `.example.com`: one or more labels in front (Gateway API), or exactly one where the
    /// source says so (Ingress).
    Wildcard {
        suffix: Arc<str>,
        one_label: bool,
    },
}

/// The routes of one section by host.
#[derive(Debug, Default)]
pub struct HostTable {}
