use serde_json::json;

use super::*;
use crate::config::backend::Locality;
use crate::config::compile::Compiler;
use crate::config::objects::Object;
use crate::tls::tickets::TicketSecret;

fn apply(objects: &mut Objects, kind: Kind, value: Value) {
    objects.apply(Object::deserialize(kind, value).unwrap());
}

fn gateway(name: &str, ports: &[u16]) -> Value {
    let listeners: Vec<Value> = ports
        .iter()
        .map(|port| json!({"name": format!("l{port}"), "port": port, "protocol": "HTTP"}))
        .collect();
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {
        "gatewayClassName": "vestibule",
        "infrastructure": {"labels": {"team": "shop"}, "annotations": {"note": "x"}},
        "listeners": listeners
    }})
}

fn settings() -> Settings {
    Settings {
        gateway_services: Some(GatewayServices {
            namespace: "vestibule".into(),
            selector: [("app".to_owned(), "edge".to_owned())].into(),
            exposure: Exposure::LoadBalancer,
            load_balancer_class: Some("metallb".into()),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            target_ports: (10_000, 10_002),
        }),
        ..Settings::default()
    }
}

fn plan(objects: &Objects, settings: &Settings) -> Vec<Wanted> {
    let mut compiler = Compiler::new(TicketSecret::random(), None, Locality::default());
    let compiled = compiler.compile(objects, settings);
    wanted(objects, settings, &compiled.statuses)
}

fn applied(wanted: &[Wanted]) -> Vec<&Value> {
    let bodies = wanted.iter().filter_map(|wanted| match &wanted.status {
        Status::Applied(body) => Some(&**body),
        _ => None,
    });
    bodies.collect()
}

#[test]
fn a_gateway_gets_a_service_and_an_alias() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80, 443]));
    let planned = plan(&objects, &settings());
    let bodies = applied(&planned);
    assert_eq!(bodies.len(), 2);
    let alias = bodies.iter().find(|body| body["metadata"]["namespace"] == "shop").unwrap();
    assert_eq!(alias["metadata"]["name"], "edge-vestibule");
    assert_eq!(alias["metadata"]["labels"]["team"], "shop");
    assert_eq!(alias["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "edge");
    assert_eq!(alias["metadata"]["annotations"]["note"], "x");
    let service = bodies.iter().find(|body| body["metadata"]["namespace"] == "vestibule").unwrap();
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(service["spec"]["loadBalancerClass"], "metallb");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 10_000);
    assert_eq!(service["spec"]["ports"][1]["targetPort"], 10_001);
    assert_eq!(
        alias["spec"]["externalName"].as_str().unwrap().split('.').next(),
        service["metadata"]["name"].as_str()
    );
}

#[test]
fn ports_keep_their_numbers_and_the_range_ends() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80, 443]));
    let first = plan(&objects, &settings());
    for body in applied(&first) {
        apply(&mut objects, Kind::Service, body.clone());
    }
    // A port between the two, and one more than there is room for.
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80, 81, 82, 443]));
    let second = plan(&objects, &settings());
    let bodies = applied(&second);
    let service = bodies.iter().find(|body| body["metadata"]["namespace"] == "vestibule").unwrap();
    let ports: Vec<(u64, u64)> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (port["port"].as_u64().unwrap(), port["targetPort"].as_u64().unwrap()))
        .collect();
    assert_eq!(ports, [(80, 10_000), (81, 10_002), (443, 10_001)]);
}

#[test]
fn what_is_bound_by_name_has_no_service_and_what_is_gone_goes() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80]));
    for body in applied(&plan(&objects, &settings())) {
        apply(&mut objects, Kind::Service, body.clone());
    }
    let mut bound = settings();
    bound.gateways[0].gateway = "shop/edge".into();
    let planned = plan(&objects, &bound);
    let gone: Vec<&ObjectRef> =
        planned.iter().filter(|wanted| wanted.status == Status::Gone).map(|wanted| &wanted.object).collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(&*gone[0].namespace, "vestibule");
    // The alias stays for the sake of its labels, and points nowhere.
    assert_eq!(applied(&planned)[0]["spec"]["clusterIP"], "None");
}

#[test]
fn services_of_another_installation_stay() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80]));
    for body in applied(&plan(&objects, &settings())) {
        apply(&mut objects, Kind::Service, body.clone());
    }
    let mut other = gateway("edge", &[80]);
    other["spec"]["gatewayClassName"] = "other".into();
    apply(&mut objects, Kind::Gateway, other);
    assert!(plan(&objects, &settings()).is_empty());
    let reference = ObjectRef { kind: Kind::Gateway, namespace: "shop".into(), name: "edge".into() };
    objects.remove(&reference);
    assert_eq!(plan(&objects, &settings()).len(), 2);
}

#[test]
fn a_service_of_somebody_else_is_left_alone() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80]));
    let own = json!({"metadata": {"name": "edge-vestibule", "namespace": "shop"}, "spec": {}});
    apply(&mut objects, Kind::Service, own);
    let planned = plan(&objects, &settings());
    assert!(planned.iter().all(|wanted| &*wanted.object.namespace == "vestibule"), "{planned:?}");
}

#[test]
fn a_gateway_is_bound_where_its_service_says() {
    let mut objects = Objects::new();
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80, 443]));
    let mut compiler = Compiler::new(TicketSecret::random(), None, Locality::default());
    let waiting = compiler.compile(&objects, &settings());
    assert!(waiting.table.listeners.iter().all(|listener| !listener.key.to_string().starts_with("Gateway")));
    for body in applied(&plan(&objects, &settings())) {
        let mut service = body.clone();
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
        apply(&mut objects, Kind::Service, service);
    }
    let compiled = compiler.compile(&objects, &settings());
    let bound: Vec<String> = compiled
        .table
        .listeners
        .iter()
        .filter(|listener| listener.key.to_string().starts_with("Gateway"))
        .map(|listener| format!("{} {:?}", listener.key, listener.addresses))
        .collect();
    assert_eq!(bound, ["Gateway shop/edge:80 [0.0.0.0:10000]", "Gateway shop/edge:443 [0.0.0.0:10001]"]);
    assert_eq!(compiled.statuses.gateways[0].addresses[..], [Arc::<str>::from("192.0.2.7")]);
    // Until the Service has a new port, nothing is bound for it.
    apply(&mut objects, Kind::Gateway, gateway("edge", &[80, 443, 8080]));
    let compiled = compiler.compile(&objects, &settings());
    assert!(compiled.problems.iter().any(|problem| problem.reason == "PortUnavailable"));
}
