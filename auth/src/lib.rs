//! Who is asking: providers, sessions, rules and identity. This crate knows neither the server nor the cluster.
