//! Whoever scales a workload: programs of this machine, an API server, or another replica for one that may only look.

use std::time::Duration;

use wake::scaler::{Observation, ScaleError, Scaler};
use wake::workload::Workload;

use super::cause::Why;
use super::process::Processes;
use crate::cluster::scale::Kubernetes;
use crate::replicas::Replicas;

/// The scaler of one workload.
pub(super) enum AnyScaler {
    Process(Processes),
    Cluster(Kubernetes),
    /// Others scale, for a process that may only look.
    Through(Kubernetes, Replicas),
    None,
}

impl AnyScaler {
    pub(super) async fn observe(&self, workload: &Workload) -> Result<Observation, ScaleError> {
        match self {
            AnyScaler::Process(scaler) => scaler.observe(workload).await,
            AnyScaler::Cluster(scaler) | AnyScaler::Through(scaler, _) => scaler.observe(workload).await,
            AnyScaler::None => Err(ScaleError::Missing),
        }
    }

    /// As [`Scaler::wake`]; whoever scales tells why.
    pub(super) async fn wake(&self, workload: &Workload, why: &Why) -> Result<Observation, ScaleError> {
        match self {
            AnyScaler::Process(scaler) => scaler.wake(workload).await,
            AnyScaler::Cluster(scaler) => scaler.wake_for(workload, why).await,
            AnyScaler::Through(scaler, replicas) => {
                let cause = match why {
                    Why::Request(cause) => Some(cause),
                    Why::Command | Why::Schedule => None,
                };
                let woken = replicas.wake(workload, cause).await?;
                scaler.watch_for_trouble(workload);
                Ok(woken)
            }
            AnyScaler::None => Err(ScaleError::Missing),
        }
    }

    pub(super) async fn sleep(
        &self,
        workload: &Workload,
        version: u64,
        within: Duration,
    ) -> Result<Observation, ScaleError> {
        match self {
            AnyScaler::Process(scaler) => scaler.sleep(workload, version, within).await,
            AnyScaler::Cluster(scaler) => scaler.sleep(workload, version, within).await,
            AnyScaler::Through(..) => Err(ScaleError::Refused("this replica puts nothing to sleep".into())),
            AnyScaler::None => Err(ScaleError::Missing),
        }
    }
}
