//! Text that must never be printed: keys, tokens, passwords.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret. `Debug` shows nothing of it, there is no `Display`, and whoever reads it says so with [`Secret::expose`].
///
/// It can be serialised, because an order's key is kept in the store; only the store may do that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends or writes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
