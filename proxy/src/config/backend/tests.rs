use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::config::objects::Object;
use crate::config::problem::Kind;

fn objects(values: &[(Kind, Value)]) -> Objects {
    let mut objects = Objects::new();
    for (kind, value) in values {
        objects.apply(Object::deserialize(*kind, value.clone()).expect("an object"));
    }
    objects
}

fn service(spec: Value) -> (Kind, Value) {
    (Kind::Service, json!({"metadata": {"name": "web"}, "spec": spec}))
}

fn slice(name: &str, endpoints: Value) -> (Kind, Value) {
    let labels = json!({"kubernetes.io/service-name": "web"});
    (
        Kind::EndpointSlice,
        json!({
            "metadata": {"name": name, "labels": labels}, "addressType": "IPv4",
            "ports": [{"port": 8080}], "endpoints": endpoints
        }),
    )
}

fn key() -> BackendKey {
    BackendKey {
        namespace: "default".into(),
        service: "web".into(),
        port: 80,
        protocol: BackendProtocol::Http1,
        tls: None,
        balance: Default::default(),
    }
}

fn found(objects: &Objects, locality: &Locality) -> Vec<(String, bool)> {
    let specs = endpoints_for(objects, &key(), Through::Endpoints, locality);
    specs
        .into_iter()
        .map(|spec| match spec.address {
            EndpointAddress::Socket(address) => (address.to_string(), spec.local),
            EndpointAddress::Name(name, port) => (format!("{name}:{port}"), spec.local),
        })
        .collect()
}

#[test]
fn a_service_that_does_not_exist_has_no_endpoints() {
    let locality = Locality::default();
    assert!(found(&objects(&[slice("s", json!([{"addresses": ["10.0.0.1"]}]))]), &locality).is_empty());
}

#[test]
fn a_service_scaled_to_nothing_is_not_reached_through_its_own_address() {
    let spec = json!({"clusterIP": "10.9.9.9", "ports": [{"port": 80}]});
    let empty = objects(&[service(spec.clone()), slice("s", json!([]))]);
    assert!(found(&empty, &Locality::default()).is_empty());
    let without = objects(&[service(spec)]);
    assert_eq!(found(&without, &Locality::default()), [("10.9.9.9:80".to_owned(), true)]);
}

#[test]
fn a_port_that_the_service_lost_has_no_endpoints() {
    let spec = json!({"clusterIP": "None", "ports": [{"port": 81}]});
    let objects = objects(&[service(spec), slice("s", json!([{"addresses": ["10.0.0.1"]}]))]);
    assert!(found(&objects, &Locality::default()).is_empty());
}

#[test]
fn without_a_known_place_every_endpoint_is_near() {
    let spec = json!({"clusterIP": "None", "ports": [{"port": 80}], "trafficDistribution": "PreferClose"});
    let hints = |zone: &str| json!({"forZones": [{"name": zone}]});
    let endpoints = json!([
        {"addresses": ["10.0.0.1"], "zone": "a", "hints": hints("a")},
        {"addresses": ["10.0.0.2"], "zone": "b", "hints": hints("b")}
    ]);
    let objects = objects(&[service(spec), slice("s", endpoints)]);
    assert!(found(&objects, &Locality::default()).iter().all(|(_, local)| *local));
    let in_b = Locality { zone: Some("b".into()), node: None };
    assert_eq!(
        found(&objects, &in_b),
        [("10.0.0.1:8080".to_owned(), false), ("10.0.0.2:8080".to_owned(), true)]
    );
}

#[test]
fn the_same_key_is_the_same_backend() {
    let spec = json!({"clusterIP": "10.9.9.9", "ports": [{"port": 80}]});
    let objects = objects(&[service(spec)]);
    let mut backends = Backends::new(Locality::default());
    let one = backends.obtain(&objects, key(), Through::Endpoints);
    assert!(Arc::ptr_eq(&one, &backends.obtain(&objects, key(), Through::Endpoints)));
    assert!(!Arc::ptr_eq(&one, &backends.obtain(&objects, key(), Through::ClusterIp)));
    let other = BackendKey { balance: crate::upstream::Balance::RoundRobin, ..key() };
    assert!(!Arc::ptr_eq(&one, &backends.obtain(&objects, other, Through::Endpoints)));
    backends.sweep();
    assert_eq!(backends.len(), 1);
}
