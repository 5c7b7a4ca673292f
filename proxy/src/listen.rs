//! Listening sockets: one per worker and address, so that the kernel spreads connections and no lock is shared.

pub mod proxy_protocol;
