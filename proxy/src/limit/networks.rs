//! Networks whose addresses stand for many clients, as far as the cluster says which they are.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use ipnet::IpNet;

/// The addresses of nodes and the ranges of pods: behind one of them the address of a client may have been lost on its way
/// (a Service with `externalTrafficPolicy: Cluster`), so that all clients who came that way would share one limit.
///
/// No two of them overlap, and they stand in order, so that thousands of nodes cost a request a few comparisons.
#[derive(Debug, Default)]
pub struct ClusterNetworks(ArcSwap<Vec<IpNet>>);

impl ClusterNetworks {
    /// Puts these in the place of those that were there. True when they are others.
    pub fn learn(&self, mut networks: Vec<IpNet>) -> bool {
        networks.truncate(NETWORKS_LEN_MAX);
        let mut networks = IpNet::aggregate(&networks);
        networks.sort_unstable_by_key(IpNet::network);
        if **self.0.load() == networks {
            return false;
        }
        self.0.store(networks.into());
        true
    }

    /// Whether an address is one of them.
    pub fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let networks = self.0.load();
        let after = networks.partition_point(|network| network.network() <= address);
        networks[..after].last().is_some_and(|network| network.contains(&address))
    }
}

/// Six for each of five thousand nodes, which is as many as a cluster may have.
pub const NETWORKS_LEN_MAX: usize = 30_000;

#[cfg(test)]
mod tests;
