//! HTTP/1 on both sides: heads and bodies as pure functions over buffers (RFC 9112).
//!
//! The codec does no input or output and knows no clock. It reads strictly and writes canonically: what leaves is always
//! re-serialised from parsed values, so an ambiguity that a client put into its bytes cannot reach an upstream.
//! Whatever two implementations could read differently is refused, never repaired: a bare line feed, a folded line, a
//! space before a colon, a length given twice.

pub mod body;
pub(crate) mod connection;
pub mod head;

#[cfg(test)]
mod tests;
