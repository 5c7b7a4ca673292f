//! One request, top to bottom.

pub mod target;
