//! Certificates by ACME: what to issue, how to prove it, when to renew. This crate knows neither the server nor the cluster.
