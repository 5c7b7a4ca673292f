use serde_json::json;

use super::*;

#[test]
fn a_node_has_addresses_and_a_range_for_its_pods() {
    let node = json!({
        "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "2001:db8:42::/64", "nonsense"]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.7"},
            {"type": "ExternalIP", "address": "2001:db8::7"},
            {"type": "Hostname", "address": "node-7"},
            {"type": "InternalIP", "address": "nonsense"},
        ]},
    });
    let networks: Vec<String> = networks_of(&node).map(|network| network.to_string()).collect();
    assert_eq!(
        networks,
        ["192.0.2.7/32", "2001:db8::7/128", "10.42.1.0/24", "2001:db8:42::/64", "10.42.1.0/24"]
    );
    assert_eq!(networks_of(&json!({})).count(), 0);
}
