//! When workloads sleep and when they wake.
//!
//! - [`workload`]: what can be put to sleep, by name.
//! - [`plan`]: which workloads a route needs, and in which order they start.
//! - [`policy`]: what the author of a route asked for, with [`schedule`] for windows of time, [`quiet`] for visitors who wake
//!   nobody, and [`sablier`] for the labels of workloads that another proxy woke before.
//! - [`machine`]: the decisions, as a function of time and events. It does nothing itself: it says what is to be done.
//! - [`scaler`]: what must be able to be done to a workload.
//!
//! Nothing here knows HTTP, Kubernetes, sockets or clocks. Whoever owns those feeds the machine and does what it says.

pub mod machine;
pub mod plan;
pub mod policy;
pub mod quiet;
pub mod sablier;
pub mod scaler;
pub mod schedule;
pub mod workload;
