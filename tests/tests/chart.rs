//! The chart on two real nodes: its Pods run the binary's own image, and clients come by way of the class's Service.
//!
//! `tests/run chart` builds what is needed and runs these as root, in a network namespace of their own.

use std::time::Duration;

use tests::cluster::{Traffic, eventually, fetch};
use tests::release::{NODES, Release};

#[test]
fn the_pods_run_restricted_and_each_role_has_its_own_rights() {
    let release =
        Release::install(&["--set", "gatewayClass=vestibule", "--set", "wake.namespaces={default}"]);
    release.cluster.apply(BACKEND);
    // The Ingress gets the addresses of the class's Service once a load balancer has given it some.
    let addresses = release.announce();
    release.cluster.expect(
        "ingress/shop",
        "{.status.loadBalancer.ingress[*].ip}",
        &addresses.map(|address| address.ip().to_string()).join(" "),
    );
    // On either way the application is told the client's own address, and not that of a node.
    for address in addresses {
        release.expect(address, (200, "shop.example.com"));
        let (_, told) = fetch(address, "shop.example.com", "/").expect("an answer");
        let told: String = told.split_whitespace().collect();
        assert!(told.contains(r#""X-Real-Ip":["10.243.0.1"]"#), "{told}");
    }
    release.cluster.expect(
        "gatewayclass/vestibule",
        "{.status.conditions[?(@.type=='Accepted')].status}",
        "True",
    );

    let may = |who: &str, verb: &str, what: &str| {
        let (what, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let user = format!("--as=system:serviceaccount:vestibule:edge-{who}");
        let output = release
            .cluster
            .command(&["auth", "can-i", verb, what, &part, &user, "--all-namespaces"])
            .output();
        String::from_utf8_lossy(&output.expect("kubectl runs").stdout).trim() == "yes"
    };
    for (who, verb, what, allowed) in [
        ("edge", "list", "secrets", true),
        ("edge", "update", "secrets", false),
        ("edge", "patch", "ingresses/status", false),
        ("edge", "create", "leases.coordination.k8s.io", false),
        ("control", "patch", "ingresses/status", true),
        ("control", "patch", "ingresses", false),
        ("control", "update", "secrets", false),
        ("control", "patch", "deployments.apps", false),
        ("control", "create", "pods", false),
    ] {
        assert_eq!(may(who, verb, what), allowed, "{who} {verb} {what}");
    }
    let may_in = |namespace: &str, who: &str, verb: &str, what: &str| {
        let user = format!("--as=system:serviceaccount:vestibule:edge-{who}");
        let namespace = format!("--namespace={namespace}");
        let output = release.cluster.command(&["auth", "can-i", verb, what, &user, &namespace]).output();
        String::from_utf8_lossy(&output.expect("kubectl runs").stdout).trim() == "yes"
    };
    for (namespace, who, verb, what, allowed) in [
        ("vestibule", "control", "update", "secrets/edge-replicas", true),
        ("vestibule", "control", "update", "secrets/other", false),
        ("vestibule", "control", "create", "secrets", false),
        ("vestibule", "edge", "update", "secrets/edge-replicas", false),
        ("default", "edge", "list", "deployments.apps", true),
        ("vestibule", "edge", "list", "deployments.apps", false),
        ("default", "control", "update", "deployments.apps", false),
    ] {
        assert_eq!(may_in(namespace, who, verb, what), allowed, "{who} {verb} {what} in {namespace}");
    }
    let may_scale = |who: &str| {
        let user = format!("--as=system:serviceaccount:vestibule:edge-{who}");
        let scale = [
            "auth",
            "can-i",
            "patch",
            "deployments.apps",
            "--subresource=scale",
            "--namespace=default",
            &user,
        ];
        let output = release.cluster.command(&scale).output();
        String::from_utf8_lossy(&output.expect("kubectl runs").stdout).trim() == "yes"
    };
    assert!(may_scale("control") && !may_scale("edge"));

    // Two edges and two of the role `control` find and believe each other.
    eventually("the keys are made", || !release.read("secret/edge-replicas", "{.data.keys}").is_empty());
    eventually("one of them leads, and all answer it", || {
        release.pods("control").iter().any(|pod| {
            let metrics = release.metrics(pod);
            let taken =
                metrics.lines().find_map(|line| line.strip_prefix("vestibule_replica_calls_taken_total "));
            metrics.contains("\nvestibule_replicas 4")
                && metrics.contains("\nvestibule_replicas_silent 0")
                && taken.is_some_and(|taken| taken != "0")
        })
    });
}

#[test]
fn no_request_fails_while_pods_are_replaced() {
    let release = Release::install(&[]);
    release.cluster.apply(BACKEND);
    let addresses = release.announce();
    let traffic = addresses.map(|address| {
        release.expect(address, (200, "shop.example.com"));
        Traffic::start(address, "shop.example.com")
    });
    let go_on = || traffic.iter().for_each(|traffic| traffic.go_on_for(Duration::from_secs(1)));

    // The next version, and back to the one before.
    release.upgrade(&["--set-string", "image.tag=2"]);
    release.rolled_out("daemonset/edge");
    go_on();
    release.helm(&["rollback", "edge", "1"]);
    release.rolled_out("daemonset/edge");
    go_on();
    release.cluster.kubectl(&["rollout", "restart", "deployment/shop"]);
    release.cluster.kubectl(&["rollout", "status", "deployment/shop", "--timeout=90s"]);

    // An image that there is not, and settings that cannot be read, take no serving Pod away.
    let serving = release.pods("edge");
    release.upgrade(&["--set-string", "image.tag=none"]);
    release.eventually_reads(
        "pods",
        "{.items[*].status.containerStatuses[*].state.waiting.reason}",
        "ImagePull",
    );
    go_on();
    let pods = release.pods("edge");
    assert!(serving.iter().all(|pod| pods.contains(pod)), "{serving:?} are still among {pods:?}");
    release.helm(&["rollback", "edge", "1"]);
    release.rolled_out("daemonset/edge");
    release.upgrade(&["--set", "settings.nonsense=1"]);
    eventually("every edge tells of the mistake", || {
        release.logs().lines().filter(|line| line.contains("the settings stay as they were")).count() >= NODES
    });
    go_on();
    release.helm(&["rollback", "edge", "1"]);
    traffic.into_iter().for_each(Traffic::stop);

    release.helm(&["uninstall", "edge", "--wait"]);
    let left = "all,serviceaccounts,roles,rolebindings,configmaps,poddisruptionbudgets,ingressclasses,clusterroles,\
                clusterrolebindings";
    let chosen = ["--all-namespaces", "--selector=app.kubernetes.io/instance=edge"];
    eventually("nothing of the release is left", || {
        release.cluster.read_with(left, "{.items[*].metadata.name}", &chosen).is_empty()
    });
}

#[test]
fn traffic_goes_on_while_a_node_is_cut_off_and_comes_back() {
    let release = Release::install(&[]);
    release.cluster.apply(BACKEND);
    let [one, two] = release.announce();
    for address in [one, two] {
        release.expect(address, (200, "shop.example.com"));
    }
    let ready = || {
        let ready = r"{range .items[*].endpoints[?(@.conditions.ready==true)]}{.nodeName} {end}";
        let chosen = ["--selector=kubernetes.io/service-name=shop"];
        release.cluster.read_with("endpointslices", ready, &chosen)
    };
    eventually("there is a backend on either node", || {
        ready().contains("node-1") && ready().contains("node-2")
    });
    // An Ingress that is made meanwhile is taken up by who is left, and its status written, whoever led before.
    let leader = || release.read("lease/edge", "{.spec.holderIdentity}");
    eventually("one replica leads", || !leader().is_empty());

    // A request on a connection to a backend that is no longer reached is tried again once the kernel has given up what it
    // sent, after 30 s. All others go on.
    let traffic = [(); 4].map(|()| Traffic::with_patience(one, "shop.example.com", Duration::from_secs(60)));
    let goes_on = |what: &str| {
        let before = traffic.each_ref().map(Traffic::answered);
        eventually(what, || {
            traffic.iter().zip(before).all(|(traffic, before)| traffic.answered() > before + 100)
        });
    };
    goes_on("traffic before");
    release.cluster.cut_off(2);
    assert_eq!(fetch(two, "shop.example.com", "/"), None, "nobody is reached by way of that node");
    eventually("the cluster has given the node up", || !ready().contains("node-2"));
    release.cluster.apply(LATER);
    release.cluster.expect("ingress/later", "{.status.loadBalancer.ingress[0].ip}", &one.ip().to_string());
    eventually("it is served", || {
        fetch(one, "later.example.com", "/").is_some_and(|(status, _)| status == 200)
    });
    goes_on("traffic by the node that is left");

    release.cluster.join(2);
    release.expect(two, (200, "shop.example.com"));
    eventually("the node that was away has caught up", || {
        fetch(two, "later.example.com", "/").is_some_and(|(status, _)| status == 200)
    });
    eventually("its backend is used again", || ready().contains("node-2"));
    goes_on("traffic after");
    traffic.into_iter().for_each(Traffic::stop);
}

const BACKEND: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: shop
          image: registry.k8s.io/gateway-api/echo-basic:v1.5.1
          env:
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: NAMESPACE, value: default}
          readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
          lifecycle: {preStop: {sleep: {seconds: 2}}}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: shop}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 3000}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
    - host: shop.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
"#;

const LATER: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: later}
spec:
  rules:
    - host: later.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
"#;
