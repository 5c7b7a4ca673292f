//! Which addresses are those of nodes and pods, looked up from time to time: they change seldom, and nothing waits for them.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use ipnet::IpNet;
use kube::Client;
use serde_json::Value;

use crate::limit::ClusterNetworks;

/// Puts what the Nodes say into `networks`, now and every [`LOOK_EVERY`]. While they cannot be listed, what was known last stays.
pub(super) async fn follow(client: Client, networks: Arc<ClusterNetworks>) {
    let mut is_told = false;
    loop {
        match list(&client).await {
            Ok(found) => {
                is_told = false;
                if networks.learn(found) {
                    tracing::debug!("the addresses of nodes and pods have changed");
                }
            }
            Err(error) if is_told => tracing::debug!("nodes cannot be listed: {error}"),
            Err(error) => {
                is_told = true;
                let forbidden = matches!(&error, kube::Error::Api(status) if status.code == StatusCode::FORBIDDEN.as_u16());
                let mend = if forbidden {
                    "grant `list` on nodes, or write the networks of nodes and pods in `limits.sharedNetworks`"
                } else {
                    "it is tried again"
                };
                tracing::warn!(
                    "nodes cannot be listed, so their addresses are limited like those of clients ({mend}): {error}"
                );
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn list(client: &Client) -> Result<Vec<IpNet>, kube::Error> {
    let mut networks = Vec::new();
    let mut token = String::new();
    loop {
        let query = if token.is_empty() { String::new() } else { format!("&continue={token}") };
        let request = Request::get(format!("/api/v1/nodes?limit={PAGE_LEN}{query}")).body(Vec::new());
        let page: Value = client.request(request.map_err(kube::Error::HttpError)?).await?;
        for node in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            networks.extend(networks_of(node));
        }
        page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().clone_into(&mut token);
        if token.is_empty() {
            return Ok(networks);
        }
    }
}

/// The addresses of a Node, and the ranges that its pods have theirs from.
fn networks_of(node: &Value) -> impl Iterator<Item = IpNet> {
    let list = |pointer: &str| node.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let addresses = list("/status/addresses")
        .filter(|address| matches!(address["type"].as_str(), Some("InternalIP" | "ExternalIP")))
        .filter_map(|address| address["address"].as_str()?.parse::<std::net::IpAddr>().ok())
        .map(IpNet::from);
    let one = node.pointer("/spec/podCIDR").into_iter();
    let ranges = list("/spec/podCIDRs").chain(one).filter_map(|range| range.as_str()?.parse::<IpNet>().ok());
    addresses.chain(ranges)
}

const LOOK_EVERY: Duration = Duration::from_secs(60);
const PAGE_LEN: usize = 500;

#[cfg(test)]
mod tests;
