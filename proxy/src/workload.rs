//! Workloads that sleep and wake, as this process sees them: the shell around [`wake::machine`].
//!
//! Requests know a [`gate::Gate`] alone. [`drive`] runs on the control runtime: it tells the machine what happens and does
//! what it says, through the scalers: [`process`] for programs of this machine, `cluster::scale` for a cluster. [`peers`] is the way to
//! other replicas. [`cause`] is who woke something, [`counters`] what became of it. [`probe`] finds out when what was woken takes connections.

pub(crate) mod cause;
pub(crate) mod counters;
pub(crate) mod drive;
pub(crate) mod gate;
mod peers;
mod probe;
pub(crate) mod process;
mod scaler;
pub(crate) mod trouble;
