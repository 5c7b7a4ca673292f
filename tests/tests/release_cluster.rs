//! The way out of a cluster, beside a real API server.

use std::process::{Command, Output};

use tests::cluster::{ControlPlane, eventually};
use tests::process::binary;
use tests::replicas::Replica;

#[test]
fn what_was_made_is_removed_what_sleeps_is_woken_and_certificates_stay() {
    let cluster = ControlPlane::start();
    cluster.allow();
    cluster.install_gateway_api();
    cluster.apply(GATEWAY);
    cluster.apply(&deployment("web"));
    cluster.apply(&deployment("idle"));
    let settings = "gatewayServices: {namespace: vestibule, selector: {app: edge}}\n";
    let control = Replica::start(&cluster, "control", settings);
    let marked = || {
        let chosen = ["--all-namespaces", "--selector=app.kubernetes.io/managed-by=vestibule"];
        cluster.read_with("services", "{.items[*].metadata.name}", &chosen)
    };
    eventually("the Gateway has its Service and the alias of it", || marked().split(' ').count() == 2);
    // As the edge leaves them when it puts one to sleep, beside one that it never did.
    cluster.kubectl(&["scale", "deployment", "web", "idle", "--replicas=0"]);
    cluster.apply(MEMORY);
    cluster.apply(CERTIFICATE);

    // While somebody leads, there is a plan and no more.
    let told = release(&cluster, &[]);
    assert!(told.status.success());
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    for line in [
        "would wake default/deployment/web\n",
        "would delete ConfigMap vestibule/vestibule-wake\n",
        "would delete Lease vestibule/vestibule\n",
        "1 Secrets with certificates stay\n",
        "not yet: ",
    ] {
        assert!(text.contains(line), "{line:?} is in:\n{text}");
    }
    assert!(!text.contains("idle"), "{text}");
    assert_eq!(text.matches("would delete Service ").count(), 2, "{text}");
    let refused = release(&cluster, &["--yes"]);
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("holds the Lease vestibule/vestibule"), "{why}");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0");

    drop(control);
    cluster.apply(SERVICE_OF_ANOTHER);
    let elsewhere = release(&cluster, &["--yes", "--lease", "other"]);
    assert_eq!(elsewhere.status.code(), Some(2), "with the wrong name nothing is done");
    eventually("the Lease has run out", || {
        String::from_utf8_lossy(&release(&cluster, &[]).stdout).contains("nothing was changed")
    });
    let done = release(&cluster, &["--yes"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "3");
    assert_eq!(cluster.read("deployment/idle", "{.spec.replicas}"), "0");
    assert_eq!(marked(), "of-another");
    let own = |kind: &str| cluster.read_with(kind, "{.items[*].metadata.name}", &["--namespace=vestibule"]);
    assert_eq!(own("leases"), "");
    assert_eq!(own("configmaps"), "");
    assert_eq!(cluster.read("secret/shop-tls", "{.metadata.name}"), "shop-tls");
    let again = release(&cluster, &["--yes"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("there is nothing to do"), "{again:?}");
}

/// Runs `vestibule release` as the administrator.
fn release(cluster: &ControlPlane, options: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["release", "--namespace", "vestibule", "--kubeconfig"]).arg(cluster.kubeconfig("admin"));
    command.args(options).output().expect("the binary runs")
}

fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: 3\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{containers: [{{name: app, image: none}}]}}\n"
    )
}

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
    metadata: {name: vestibule}\nspec: {controllerName: vestibule.dev/gateway-controller}\n---\n\
    apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n\
    spec: {gatewayClassName: vestibule, listeners: [{name: web, protocol: HTTP, port: 8080}]}\n";
const MEMORY: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vestibule-wake, namespace: vestibule}\n\
    data: {default_deployment_web: '3', default_deployment_gone: '1'}\n";
const CERTIFICATE: &str = "apiVersion: v1\nkind: Secret\n\
    metadata: {name: shop-tls, labels: {vestibule.dev/certificate: managed}}\n";
const SERVICE_OF_ANOTHER: &str = "apiVersion: v1\nkind: Service\n\
    metadata: {name: of-another, labels: {app.kubernetes.io/managed-by: vestibule}, \
    annotations: {vestibule.dev/gateway: default/other}}\nspec: {ports: [{port: 80}]}\n";
