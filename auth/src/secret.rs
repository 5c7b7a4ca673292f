//! Text that must not be seen: it can be used, and cannot be printed by accident.

use std::fmt;

/// A password, a client's secret, a key. `Debug` shows nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Compares in a time that depends on the lengths only.
pub(crate) fn same(one: &[u8], two: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, two).is_ok()
}
