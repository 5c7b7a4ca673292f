//! Header changes that a route asks for.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName};

use super::sanitize::is_hop_by_hop;
use crate::route::HeaderEdits;

/// Applies the edits to a message: set, then add, then remove (HTTPRoute `HTTPHeaderFilter`).
///
/// Fields that frame the message or belong to one connection, and Host, are left alone: Host is changed by a rewrite.
pub fn apply(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for (name, value) in edits.set.iter().filter(|(name, _)| is_editable(name)) {
        headers.insert(name, value.clone());
    }
    for (name, value) in edits.add.iter().filter(|(name, _)| is_editable(name)) {
        headers.append(name, value.clone());
    }
    for name in edits.remove.iter().filter(|name| is_editable(name)) {
        headers.remove(name);
    }
}

/// True for the names that an edit may touch; compiling reports the others.
pub fn is_editable(name: &HeaderName) -> bool {
    let name = name.as_str();
    !is_hop_by_hop(name) && !matches!(name, "host" | "content-length" | "trailer")
}
