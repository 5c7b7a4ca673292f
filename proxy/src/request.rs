//! One request, top to bottom.

pub mod access;
pub mod cors;
pub mod edit;
pub mod forwarded;
pub mod redirect;
pub mod rewrite;
pub mod sanitize;
pub mod target;
