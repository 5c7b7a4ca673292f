//! The chart on a real node: its Pods run the binary's own image, and clients come by way of the class's Service.
//!
//! `tests/run chart` builds what is needed and runs these as root, in a network namespace of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::cluster::{ControlPlane, Traffic, eventually, fetch, run, within_deadline, workspace};

#[test]
fn the_pods_run_restricted_and_each_role_has_its_own_rights() {
    let release =
        Release::install(&["--set", "gatewayClass=vestibule", "--set", "wake.namespaces={default}"]);
    let address = release.class_address();
    release.cluster.apply(BACKEND);
    release.expect(address, (200, "shop.example.com"));
    // The Ingress gets the address of the class's Service once a load balancer has given it one.
    let given = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}"#;
    release.kubectl(&[
        "patch",
        "service",
        "edge-public",
        "--subresource=status",
        "--type=merge",
        "--patch",
        given,
    ]);
    release.cluster.expect("ingress/shop", "{.status.loadBalancer.ingress[*].ip}", "192.0.2.9");
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

    // One edge and two of the role `control` find and believe each other.
    eventually("the keys are made", || !release.read("secret/edge-replicas", "{.data.keys}").is_empty());
    eventually("one of them leads, and all answer it", || {
        let names = ["--selector=app.kubernetes.io/component=control", "--namespace=vestibule"];
        let pods = release.cluster.read_with("pods", "{.items[*].metadata.name}", &names);
        pods.split(' ').any(|pod| {
            let path = format!("/api/v1/namespaces/vestibule/pods/{pod}:10254/proxy/metrics");
            let metrics = release.cluster.command(&["get", "--raw", &path]).output().expect("kubectl runs");
            let metrics = String::from_utf8_lossy(&metrics.stdout).into_owned();
            let taken =
                metrics.lines().find_map(|line| line.strip_prefix("vestibule_replica_calls_taken_total "));
            metrics.contains("\nvestibule_replicas 3")
                && metrics.contains("\nvestibule_replicas_silent 0")
                && taken.is_some_and(|taken| taken != "0")
        })
    });
}

#[test]
fn no_request_fails_while_pods_are_replaced() {
    let release = Release::install(&[]);
    let address = release.class_address();
    release.cluster.apply(BACKEND);
    release.expect(address, (200, "shop.example.com"));
    let traffic = Traffic::start(address, "shop.example.com");

    release.kubectl(&["rollout", "restart", "daemonset/edge"]);
    release.rolled_out("daemonset/edge");
    traffic.go_on_for(Duration::from_secs(1));
    release.cluster.kubectl(&["rollout", "restart", "deployment/shop"]);
    release.cluster.kubectl(&["rollout", "status", "deployment/shop", "--timeout=90s"]);

    // An image that there is not, and settings that cannot be read, take no serving Pod away.
    release.upgrade(&["--set-string", "image.tag=none"]);
    release.eventually_reads(
        "pods",
        "{.items[*].status.containerStatuses[*].state.waiting.reason}",
        "ImagePull",
    );
    traffic.go_on_for(Duration::from_secs(1));
    release.helm(&["rollback", "edge", "1"]);
    release.rolled_out("daemonset/edge");
    release.upgrade(&["--set", "settings.nonsense=1"]);
    eventually("the mistake is told", || {
        release.read("configmap/edge", "{.data}").contains("nonsense")
            && release.logs().contains("the settings stay as they were")
    });
    traffic.go_on_for(Duration::from_secs(1));
    release.helm(&["rollback", "edge", "1"]);
    traffic.stop();

    release.helm(&["uninstall", "edge", "--wait"]);
    let left = "all,serviceaccounts,roles,rolebindings,configmaps,poddisruptionbudgets,ingressclasses,clusterroles,\
                clusterrolebindings";
    let chosen = ["--all-namespaces", "--selector=app.kubernetes.io/instance=edge"];
    eventually("nothing of the release is left", || {
        release.cluster.read_with(left, "{.items[*].metadata.name}", &chosen).is_empty()
    });
}

/// The chart, installed as `edge` in the namespace `vestibule`, which enforces the level "restricted".
struct Release {
    cluster: ControlPlane,
}

impl Release {
    fn install(options: &[&str]) -> Release {
        let images = workspace().join(".cache/kubernetes/images");
        let images = ["pause.tar", "echo-basic-v1.5.1.tar", "vestibule.tar"].map(|image| images.join(image));
        let release = Release { cluster: ControlPlane::start_with_node(&images) };
        release.cluster.install_gateway_api();
        release.cluster.kubectl(&["create", "namespace", "vestibule"]);
        let level = "pod-security.kubernetes.io/enforce=restricted";
        release.cluster.kubectl(&["label", "namespace", "vestibule", level]);
        release.helm(&[&["install", "edge"], &CHART[..], options].concat());
        release.rolled_out("daemonset/edge");
        release.rolled_out("deployment/edge-control");
        release
    }

    fn upgrade(&self, options: &[&str]) {
        self.helm(&[&["upgrade", "edge"], &CHART[..], options].concat());
    }

    fn helm(&self, arguments: &[&str]) {
        let mut command = Command::new("helm");
        command.current_dir(workspace()).args(arguments).args(["--namespace", "vestibule"]);
        run(command.env("KUBECONFIG", self.cluster.kubeconfig("admin")).env("HELM_CACHE_HOME", self.home()));
    }

    fn home(&self) -> PathBuf {
        self.cluster.directory.join("helm")
    }

    fn kubectl(&self, arguments: &[&str]) {
        self.cluster.kubectl(&[arguments, &["--namespace=vestibule"]].concat());
    }

    fn read(&self, object: &str, field: &str) -> String {
        self.cluster.read_with(object, field, &["--namespace=vestibule"])
    }

    /// Waits until a field has this text in it.
    #[track_caller]
    fn eventually_reads(&self, object: &str, field: &str, text: &str) {
        let is_there = within_deadline(|| self.read(object, field).contains(text));
        assert!(is_there, "{object} {field}: no {text} in {:?}", self.read(object, field));
    }

    fn rolled_out(&self, workload: &str) {
        self.kubectl(&["rollout", "status", workload, "--timeout=120s"]);
    }

    fn logs(&self) -> String {
        let arguments = ["logs", "daemonset/edge", "--namespace=vestibule", "--tail=100"];
        let output = self.cluster.command(&arguments).output().expect("kubectl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where the class's Service is reached from a node.
    fn class_address(&self) -> SocketAddr {
        let address = self.read("service/edge-public", "{.spec.clusterIP}");
        SocketAddr::new(address.parse().expect("a cluster address"), 80)
    }

    /// Waits for an answer of this status, with this text in it.
    #[track_caller]
    fn expect(&self, address: SocketAddr, (status, text): (u16, &str)) {
        let mut last = None;
        let is_there = within_deadline(|| {
            last = fetch(address, "shop.example.com", "/");
            last.as_ref().is_some_and(|(given, body)| *given == status && body.contains(text))
        });
        assert!(is_there, "{status} with {text:?} is expected and {last:?} comes\n{}", self.logs());
    }
}

const CHART: [&str; 11] = [
    "charts/vestibule",
    "--set=image.repository=registry.local/vestibule",
    "--set-string=image.tag=1",
    "--set=classes[0].name=public",
    "--set=classes[0].default=true",
    "--set=classes[0].http=80",
    "--set=classes[0].https=443",
    "--set=classes[0].service.enabled=true",
    "--set=classes[0].service.type=LoadBalancer",
    "--set=classes[0].service.externalTrafficPolicy=Local",
    "--set=edge.priorityClassName=",
];

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
