use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::config::objects::Object;
use crate::route::host::Host;
use crate::route::path::HostRoutes;
use crate::route::table::Listener;
use crate::upstream::Backend;

mod incremental;

fn compiler() -> Compiler {
    let locality = Locality { zone: Some("zone-a".into()), node: None };
    Compiler::new(TicketSecret::new([7; 32]), None, locality)
}

fn apply(objects: &mut Objects, kind: Kind, value: Value) {
    objects.apply(Object::deserialize(kind, value).expect("an object"));
}

fn ingress(name: &str, host: &str, service: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}
        ]}}]}
    })
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})
}

fn slice(name: &str, service: &str, address: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}]
    })
}

fn two_hosts() -> Objects {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Ingress, ingress("a", "a.example.com", "web"));
    apply(&mut objects, Kind::Ingress, ingress("b", "b.example.com", "web"));
    apply(&mut objects, Kind::Service, service("web"));
    apply(&mut objects, Kind::EndpointSlice, slice("web-1", "web", "10.0.0.1"));
    objects
}

fn http(compiled: &Compiled) -> &Arc<Listener> {
    let key = crate::route::table::ListenerKey::Class { class: "vestibule".into(), tls: false };
    compiled.table.listener(&key).expect("the plain side of the class")
}

fn host_routes<'a>(compiled: &'a Compiled, host: &str) -> &'a HostRoutes {
    let host = Host::parse(host).expect("a host");
    http(compiled).sections()[0].hosts.hosts().best(Some(&host)).expect("routes")
}

fn backend(compiled: &Compiled, host: &str) -> Arc<Backend> {
    let routes = host_routes(compiled, host);
    let route = routes.find_map(b"/", |candidate| Some(candidate.route.clone())).expect("a route");
    match &route.action {
        crate::route::Action::Forward(shares) => shares[0].backend.clone().expect("a backend"),
        other => panic!("not forwarded: {other:?}"),
    }
}

fn addresses(backend: &Backend) -> Vec<String> {
    backend.endpoints().iter().map(|endpoint| format!("{:?}", endpoint.spec.address)).collect()
}

#[test]
fn nothing_changed_is_told_apart_from_a_change() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    let first = compiler.compile(&objects, &settings);
    assert!(first.changed);
    let second = compiler.compile(&objects, &settings);
    assert!(!second.changed);
    assert!(Arc::ptr_eq(http(&first), http(&second)));
    // A Service that nobody refers to changes nothing.
    apply(&mut objects, Kind::Service, service("lonely"));
    assert!(!compiler.compile(&objects, &settings).changed);
    apply(&mut objects, Kind::Ingress, ingress("a", "c.example.com", "web"));
    assert!(compiler.compile(&objects, &settings).changed);
}

#[test]
fn a_change_leaves_the_other_hosts_as_they_are() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    let before = compiler.compile(&objects, &settings);
    apply(&mut objects, Kind::Ingress, ingress("a", "a.example.com", "gone"));
    let after = compiler.compile(&objects, &settings);
    assert!(host_routes(&before, "b.example.com").is_copy_of(host_routes(&after, "b.example.com")));
    assert!(!host_routes(&before, "a.example.com").is_copy_of(host_routes(&after, "a.example.com")));
}

#[test]
fn a_backend_outlives_the_configuration_that_named_it() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    let before = compiler.compile(&objects, &settings);
    let web = backend(&before, "a.example.com");
    let endpoint = web.endpoints()[0].id;
    apply(&mut objects, Kind::Ingress, ingress("a", "new.example.com", "web"));
    let mut other = Settings::default();
    other.classes[0].http[0].set_port(9999);
    let after = compiler.compile(&objects, &other);
    let same = backend(&after, "new.example.com");
    assert!(Arc::ptr_eq(&web, &same));
    assert_eq!(same.endpoints()[0].id, endpoint);
}

#[test]
fn endpoints_are_published_without_compiling() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::NotEnough);
    let compiled = compiler.compile(&objects, &settings);
    let web = backend(&compiled, "a.example.com");
    assert_eq!(addresses(&web), ["Socket(10.0.0.1:8080)"]);
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::Same);

    apply(&mut objects, Kind::EndpointSlice, slice("web-1", "web", "10.0.0.2"));
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::Published);
    assert_eq!(addresses(&web), ["Socket(10.0.0.2:8080)"]);

    // A slice that changes hands, or goes, is taken from the Service that had it.
    apply(&mut objects, Kind::EndpointSlice, slice("web-2", "web", "10.0.0.3"));
    apply(&mut objects, Kind::EndpointSlice, slice("web-1", "other", "10.0.0.2"));
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::Published);
    assert_eq!(addresses(&web), ["Socket(10.0.0.3:8080)"]);
    let gone = ObjectRef { kind: Kind::EndpointSlice, namespace: "default".into(), name: "web-2".into() };
    assert!(objects.remove(&gone));
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::Published);
    assert_eq!(addresses(&web), [""; 0]);

    apply(&mut objects, Kind::EndpointSlice, slice("web-3", "web", "10.0.0.4"));
    apply(&mut objects, Kind::Ingress, ingress("c", "c.example.com", "web"));
    assert_eq!(compiler.refresh_endpoints(&objects), Refresh::NotEnough);
    compiler.compile(&objects, &settings);
    assert_eq!(addresses(&web), ["Socket(10.0.0.4:8080)"]);
}

#[test]
fn backends_that_nobody_uses_are_let_go() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    drop(compiler.compile(&objects, &settings));
    assert_eq!(compiler.backends_len(), 1);
    for name in ["a", "b"] {
        let reference = ObjectRef { kind: Kind::Ingress, namespace: "default".into(), name: name.into() };
        assert!(objects.remove(&reference));
    }
    for _ in 0..=COMPILATIONS_PER_SWEEP {
        drop(compiler.compile(&objects, &settings));
    }
    assert_eq!(compiler.backends_len(), 0);
}

#[test]
fn a_container_that_was_read_anew_is_compiled_as_a_whole() {
    let settings = Settings::default();
    let mut compiler = compiler();
    compiler.compile(&two_hosts(), &settings);
    let mut other = Objects::new();
    apply(&mut other, Kind::Ingress, ingress("c", "c.example.com", "web"));
    let compiled = compiler.compile(&other, &settings);
    assert_eq!(http(&compiled).sections()[0].hosts.hosts().len(), 1);
}

#[test]
fn tls_keeps_its_ticket_keys_until_its_certificates_change() {
    let (mut objects, settings) = (two_hosts(), Settings::default());
    let mut compiler = compiler();
    let key = crate::route::table::ListenerKey::Class { class: "vestibule".into(), tls: true };
    let tls = |compiled: &Compiled| {
        compiled.table.listener(&key).and_then(|listener| listener.tls.clone()).expect("the TLS side")
    };
    let secret = || {
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).expect("a certificate");
        let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
        json!({"metadata": {"name": "tls"}, "type": "kubernetes.io/tls", "stringData": data})
    };
    apply(&mut objects, Kind::Secret, secret());
    let mut secured = ingress("a", "a.example.com", "web");
    secured["spec"]["tls"] = json!([{"hosts": ["a.example.com"], "secretName": "tls"}]);
    apply(&mut objects, Kind::Ingress, secured);
    let first = tls(&compiler.compile(&objects, &settings));
    apply(&mut objects, Kind::Ingress, ingress("b", "new.example.com", "web"));
    let second = tls(&compiler.compile(&objects, &settings));
    assert!(Arc::ptr_eq(&first, &second));
    apply(&mut objects, Kind::Secret, secret());
    let third = tls(&compiler.compile(&objects, &settings));
    assert!(!Arc::ptr_eq(&first, &third));
}

fn resident_kilobytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// What one change costs among many hosts. Prints times; run it with an optimised profile.
#[test]
#[ignore = "a measurement"]
fn one_change_among_ten_thousand_hosts() {
    eprintln!("before: {} kB resident", resident_kilobytes());
    let (mut objects, settings) = (Objects::new(), Settings::default());
    for index in 0..10_000 {
        let name = format!("app-{index}");
        apply(&mut objects, Kind::Ingress, ingress(&name, &format!("{name}.example.com"), &name));
        apply(&mut objects, Kind::Service, service(&name));
        apply(&mut objects, Kind::EndpointSlice, slice(&name, &name, "10.0.0.1"));
    }
    let mut compiler = compiler();
    eprintln!("objects: {} kB resident", resident_kilobytes());
    let start = Instant::now();
    let mut compiled = compiler.compile(&objects, &settings);
    eprintln!("everything: {:?}, {} kB resident", start.elapsed(), resident_kilobytes());
    for round in 0..5 {
        apply(&mut objects, Kind::Ingress, ingress("app-7", &format!("round-{round}.example.com"), "app-8"));
        let start = Instant::now();
        compiled = compiler.compile(&objects, &settings);
        eprintln!("one Ingress: {:?}", start.elapsed());
        let address = format!("10.0.1.{round}");
        apply(&mut objects, Kind::EndpointSlice, slice("app-9", "app-9", &address));
        let start = Instant::now();
        assert_eq!(compiler.refresh_endpoints(&objects), Refresh::Published);
        eprintln!("one EndpointSlice: {:?}", start.elapsed());
    }
    assert!(compiled.problems.is_empty());
}
