use serde_json::json;

use super::*;
use crate::config::objects::Object;
use crate::config::problem::Kind;

#[test]
fn all_pods_of_the_service_are_replicas_ready_or_not() {
    let mut objects = Objects::new();
    for (name, ports) in [
        ("one", json!([{"name": "admin", "port": 10254}, {"name": "replicas", "port": 9443}])),
        ("two", json!([{"name": "", "port": 9444}])),
        ("none", json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}])),
    ] {
        let slice = json!({
            "metadata": {"namespace": "edge", "name": name, "labels": {"kubernetes.io/service-name": "replicas"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "serving": false}},
            ],
        });
        objects.apply(Object::deserialize(Kind::EndpointSlice, slice).expect("a slice"));
    }
    let member = |ip: &str, port, ready| Member {
        address: SocketAddr::new(ip.parse().expect("an address"), port),
        ready,
    };
    assert_eq!(
        of_service(&objects, "edge", "replicas"),
        [
            member("10.0.0.1", 9443, true),
            member("10.0.0.1", 9444, true),
            member("10.0.0.2", 9443, false),
            member("10.0.0.2", 9444, false),
            member("10.0.0.3", 9443, false),
            member("10.0.0.3", 9444, false),
        ]
    );
    assert_eq!(of_service(&objects, "edge", "other"), []);
}

#[test]
fn a_list_counts_each_address_once() {
    let address: SocketAddr = "127.0.0.1:9443".parse().expect("an address");
    assert_eq!(of_list(&[address, address]), [Member { address, ready: true }]);
}
