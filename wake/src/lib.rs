//! Workloads that sleep and wake. This crate knows neither HTTP nor the cluster.
