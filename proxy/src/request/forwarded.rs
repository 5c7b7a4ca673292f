//! forwarded
