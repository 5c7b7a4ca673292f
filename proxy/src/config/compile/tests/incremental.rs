//! Compiling change by change comes to the same as compiling the end state from nothing.

use proptest::prelude::*;

use super::*;
use crate::route::Action;

/// Objects of a few names, so that they meet: each edit puts one of them there, changes it, or takes it away.
#[derive(Clone, Debug)]
struct Edit {
    kind: Kind,
    namespace: &'static str,
    name: String,
    /// `None` removes the object.
    value: Option<Value>,
}

fn edit() -> impl Strategy<Value = Edit> {
    let object = prop_oneof![
        4 => ingress_value().prop_map(|value| (Kind::Ingress, value)),
        4 => route_value().prop_map(|value| (Kind::HTTPRoute, value)),
        1 => route_value().prop_map(|value| (Kind::GRPCRoute, value)),
        2 => gateway_value().prop_map(|value| (Kind::Gateway, value)),
        3 => service_value().prop_map(|value| (Kind::Service, value)),
        2 => slice_value().prop_map(|value| (Kind::EndpointSlice, value)),
        2 => grant_value().prop_map(|value| (Kind::ReferenceGrant, value)),
        1 => namespace_value().prop_map(|value| (Kind::Namespace, value)),
        1 => class_value(),
        1 => set_value().prop_map(|value| (Kind::ListenerSet, value)),
        1 => policy_value().prop_map(|value| (Kind::BackendTLSPolicy, value)),
    ];
    let names = (prop_oneof![Just("one"), Just("two")], 0..3_u8);
    (object, names, 0..5_u8).prop_map(|((kind, value), (namespace, number), fate)| {
        let name = match kind {
            Kind::Namespace => namespace.to_owned(),
            Kind::IngressClass => "vestibule".to_owned(),
            Kind::GatewayClass => "vestibule".to_owned(),
            _ => format!("n{number}"),
        };
        Edit { kind, namespace, name, value: (fate > 0).then_some(value) }
    })
}

fn pick(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn hosts() -> impl Strategy<Value = &'static str> {
    pick(&[
        "a.example.com",
        "www.a.example.com",
        "b.example.com",
        "*.example.com",
        "*.b.example.com",
        "bad host",
    ])
}

fn ingress_value() -> impl Strategy<Value = Value> {
    let annotation = pick(&[
        "",
        "vestibule.dev/server-alias=c.example.com",
        "vestibule.dev/server-alias=b.example.com",
        "vestibule.dev/from-to-www-redirect=true",
        "vestibule.dev/allow-from=nowhere",
        "vestibule.dev/app-root=/x",
        "vestibule.dev/use-regex=true",
        "vestibule.dev/canary=true",
    ]);
    let rules =
        prop::collection::vec((hosts(), pick(&["/", "/x", "/x(", "/y/"]), pick(&["n0", "n1", "n2"])), 0..3);
    (rules, annotation, any::<bool>(), any::<bool>(), created()).prop_map(
        |(rules, annotation, tls, default, created)| {
            let mut metadata = json!({"creationTimestamp": created});
            if let Some((key, value)) = annotation.split_once('=') {
                metadata["annotations"] = json!({key: value});
            }
            let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
            let mut spec = json!({"rules": rules.iter().map(|(host, path, service)| json!({
                "host": host,
                "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend(service)}]}
            })).collect::<Vec<_>>()});
            if tls {
                spec["tls"] = json!([{"hosts": [rules.first().map_or("*.example.com", |rule| rule.0)]}]);
            }
            if default {
                spec["defaultBackend"] = backend("n0");
            }
            json!({"metadata": metadata, "spec": spec})
        },
    )
}

fn route_value() -> impl Strategy<Value = Value> {
    let kind = pick(&["Gateway", "Gateway", "ListenerSet"]);
    let parent =
        (kind, pick(&["one", "two"]), pick(&["n0", "n1"]), prop::option::of(pick(&["http", "other"])));
    let backend = (pick(&["n0", "n1"]), pick(&["one", "two"]));
    let path = pick(&["/", "/x", "relative"]);
    (parent, prop::option::of(hosts()), path, backend, created()).prop_map(
        |((kind, namespace, name, section), host, path, (service, of), created)| {
            json!({
                "metadata": {"creationTimestamp": created},
                "spec": {
                    "parentRefs": [{"kind": kind, "namespace": namespace, "name": name, "sectionName": section}],
                    "hostnames": host.into_iter().collect::<Vec<_>>(),
                    "rules": [{
                        "matches": [{"path": {"value": path}}],
                        "backendRefs": [{"name": service, "namespace": of, "port": 80}]
                    }]
                }
            })
        },
    )
}

fn gateway_value() -> impl Strategy<Value = Value> {
    let from = pick(&["All", "Same", "Selector", "None"]);
    (pick(&["vestibule", "other"]), 8000..8003_u16, from, prop::option::of(hosts())).prop_map(
        |(class, port, from, host)| {
            let selector = json!({"matchLabels": {"team": "x"}});
            let allowed = json!({"namespaces": {"from": from, "selector": selector}});
            let sets = json!({"namespaces": {"from": from, "selector": selector}});
            json!({"metadata": {}, "spec": {"gatewayClassName": class, "allowedListeners": sets, "listeners": [
                {"name": "http", "port": port, "protocol": "HTTP", "hostname": host, "allowedRoutes": allowed},
                {"name": "other", "port": 8010, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
            ]}})
        },
    )
}

fn set_value() -> impl Strategy<Value = Value> {
    let parent = (pick(&["one", "two"]), pick(&["n0", "n1"]));
    (parent, 8000..8003_u16, prop::option::of(hosts())).prop_map(|((namespace, name), port, host)| {
        json!({"metadata": {}, "spec": {
            "parentRef": {"namespace": namespace, "name": name},
            "listeners": [{"name": "http", "port": port, "protocol": "HTTP", "hostname": host}]
        }})
    })
}

fn policy_value() -> impl Strategy<Value = Value> {
    (pick(&["n0", "n1"]), pick(&["a.example.com", "bad host"]), created()).prop_map(
        |(service, host, created)| {
            json!({"metadata": {"creationTimestamp": created}, "spec": {
                "targetRefs": [{"kind": "Service", "name": service}],
                "validation": {"hostname": host, "wellKnownCACertificates": "System"}
            }})
        },
    )
}

fn service_value() -> impl Strategy<Value = Value> {
    (pick(&["None", "10.0.0.1"]), pick(&["", "kubernetes.io/h2c"]), 80..82_u16, any::<bool>()).prop_map(
        |(ip, protocol, port, guarded)| {
            let annotations = if guarded { json!({"vestibule.dev/auth": "x"}) } else { json!({}) };
            json!({
                "metadata": {"annotations": annotations},
                "spec": {"clusterIP": ip, "ports": [{"port": port, "appProtocol": protocol}]}
            })
        },
    )
}

fn slice_value() -> impl Strategy<Value = Value> {
    (pick(&["n0", "n1", "n2"]), 1..4_u8).prop_map(|(service, last)| {
        let mut value = slice("", service, &format!("10.1.0.{last}"));
        value["metadata"] = json!({"labels": {"kubernetes.io/service-name": service}});
        value
    })
}

fn grant_value() -> impl Strategy<Value = Value> {
    pick(&["one", "two"]).prop_map(|from| {
        let from = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}]);
        json!({"metadata": {}, "spec": {"from": from, "to": [{"group": "", "kind": "Service"}]}})
    })
}

fn namespace_value() -> impl Strategy<Value = Value> {
    pick(&["x", "y"]).prop_map(|team| json!({"metadata": {"labels": {"team": team}}}))
}

fn class_value() -> impl Strategy<Value = (Kind, Value)> {
    let kind = prop_oneof![Just(Kind::IngressClass), Just(Kind::GatewayClass)];
    (kind, any::<bool>()).prop_map(|(kind, ours)| {
        let controller = match (kind, ours) {
            (_, false) => "example.com/other",
            (Kind::IngressClass, true) => ingress::INGRESS_CONTROLLER,
            (_, true) => gateway::GATEWAY_CONTROLLER,
        };
        (kind, json!({"metadata": {}, "spec": {"controller": controller, "controllerName": controller}}))
    })
}

fn created() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(pick(&["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]))
}

fn make(objects: &mut Objects, edit: &Edit) {
    let namespace = if edit.kind.is_namespaced() { edit.namespace } else { "" };
    match &edit.value {
        Some(value) => {
            let mut value = value.clone();
            value["metadata"]["name"] = json!(edit.name);
            value["metadata"]["namespace"] = json!(namespace);
            apply(objects, edit.kind, value);
        }
        None => {
            let name = edit.name.as_str().into();
            objects.remove(&ObjectRef { kind: edit.kind, namespace: namespace.into(), name });
        }
    }
}

/// Something to begin with, so that most edits meet what they refer to.
fn common_ground() -> Objects {
    let mut objects = Objects::new();
    for namespace in ["one", "two"] {
        for name in ["n0", "n1"] {
            let metadata = json!({"name": name, "namespace": namespace});
            let listener = json!({"name": "http", "port": 8005, "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "All"}}});
            let gateway = json!({"gatewayClassName": "vestibule", "listeners": [listener]});
            apply(&mut objects, Kind::Gateway, json!({"metadata": metadata, "spec": gateway}));
            let service = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]});
            apply(&mut objects, Kind::Service, json!({"metadata": metadata, "spec": service}));
        }
    }
    objects
}

/// All that a compilation came to, endpoints included.
fn show(compiled: &Compiled, compiler: &Compiler) -> String {
    let mut text = describe(&compiled.table);
    let mut endpoints = BTreeSet::new();
    for section in compiled.table.listeners.iter().flat_map(|listener| listener.sections()) {
        for (_, host) in section.hosts.hosts().iter() {
            for (_, candidate) in host.list() {
                let Action::Forward(shares) = &candidate.route.action else { continue };
                let backends = shares.iter().filter_map(|share| share.backend.as_ref().ok());
                endpoints
                    .extend(backends.map(|backend| format!("{:?} {:?}", backend.key, addresses(backend))));
            }
        }
    }
    for line in endpoints {
        text.push_str(&line);
        text.push('\n');
    }
    let of_routes: Vec<_> = compiler.route_statuses().collect();
    let Compiled { problems, statuses, routes, .. } = compiled;
    format!("{text}{problems:#?}{statuses:#?}{routes}{of_routes:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn change_by_change_comes_to_the_same_as_from_nothing(
        edits in prop::collection::vec((edit(), any::<bool>()), 1..40),
    ) {
        let settings = Settings::default();
        let mut objects = common_ground();
        let mut kept = compiler();
        let mut before = String::new();
        for (edit, compile) in &edits {
            make(&mut objects, edit);
            if !compile {
                kept.refresh_endpoints(&objects);
                continue;
            }
            let compiled = kept.compile(&objects, &settings);
            let mut new = compiler();
            let fresh = new.compile(&objects, &settings);
            let (now, wanted) = (show(&compiled, &kept), show(&fresh, &new));
            prop_assert_eq!(&now, &wanted);
            let table = describe(&compiled.table);
            prop_assert!(compiled.changed || table == before, "the table changed and nobody was told");
            before = table;
        }
    }
}
