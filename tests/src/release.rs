//! The chart, installed on real nodes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use crate::cluster::{ControlPlane, fetch, run, within_deadline, workspace};

/// The chart, installed as `edge` in the namespace `vestibule`, which enforces the level "restricted".
pub struct Release {
    pub cluster: ControlPlane,
}

impl Release {
    /// Installs it on [`NODES`] nodes and waits until all of it is ready.
    pub fn install(options: &[&str]) -> Release {
        let images = workspace().join(".cache/kubernetes/images");
        let images = ["pause", "echo-basic-v1.5.1", "vestibule", "vestibule-next"]
            .map(|image| images.join(format!("{image}.tar")));
        let release = Release { cluster: ControlPlane::start_with_nodes(NODES, &images) };
        release.cluster.install_gateway_api();
        release.cluster.kubectl(&["create", "namespace", "vestibule"]);
        let level = "pod-security.kubernetes.io/enforce=restricted";
        release.cluster.kubectl(&["label", "namespace", "vestibule", level]);
        release.helm(&[&["install", "edge"], &CHART[..], options].concat());
        release.rolled_out("daemonset/edge");
        release.rolled_out("deployment/edge-control");
        release
    }

    /// Applies the chart again with these options beside those of every test.
    pub fn upgrade(&self, options: &[&str]) {
        self.helm(&[&["upgrade", "edge"], &CHART[..], options].concat());
    }

    pub fn helm(&self, arguments: &[&str]) {
        let mut command = Command::new("helm");
        command.current_dir(workspace()).args(arguments).args(["--namespace", "vestibule"]);
        run(command.env("KUBECONFIG", self.cluster.kubeconfig("admin")).env("HELM_CACHE_HOME", self.home()));
    }

    fn home(&self) -> PathBuf {
        self.cluster.directory.join("helm")
    }

    /// kubectl in the namespace of the release.
    pub fn kubectl(&self, arguments: &[&str]) {
        self.cluster.kubectl(&[arguments, &["--namespace=vestibule"]].concat());
    }

    /// A field of an object of the release, by its JSONPath.
    pub fn read(&self, object: &str, field: &str) -> String {
        self.cluster.read_with(object, field, &["--namespace=vestibule"])
    }

    /// Waits until a field has this text in it.
    #[track_caller]
    pub fn eventually_reads(&self, object: &str, field: &str, text: &str) {
        let is_there = within_deadline(|| self.read(object, field).contains(text));
        assert!(is_there, "{object} {field}: no {text} in {:?}", self.read(object, field));
    }

    pub fn rolled_out(&self, workload: &str) {
        self.kubectl(&["rollout", "status", workload, "--timeout=120s"]);
    }

    /// The names of the Pods of a component, separated by spaces.
    pub fn pods(&self, component: &str) -> Vec<String> {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let options = [selector.as_str(), "--namespace=vestibule"];
        let names = self.cluster.read_with("pods", "{.items[*].metadata.name}", &options);
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// What the metrics of a Pod say.
    pub fn metrics(&self, pod: &str) -> String {
        let path = format!("/api/v1/namespaces/vestibule/pods/{pod}:10254/proxy/metrics");
        let answer = self.cluster.command(&["get", "--raw", &path]).output().expect("kubectl runs");
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// What all edges have said lately.
    pub fn logs(&self) -> String {
        let selector = "--selector=app.kubernetes.io/component=edge";
        let arguments = ["logs", selector, "--namespace=vestibule", "--since=2m", "--tail=-1"];
        let output = self.cluster.command(&arguments).output().expect("kubectl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does what a load balancer does that announces the class's Service from every node: gives it one address for each,
    /// and leads what comes for that to the node. Gives the addresses.
    pub fn announce(&self) -> [SocketAddr; NODES] {
        let addresses = std::array::from_fn(|node| {
            let number = u8::try_from(node + 1).expect("few nodes");
            let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, number));
            let by = IpAddr::from(Ipv4Addr::new(10, 243, 0, 10 + number));
            let (to, by) = (format!("{address}/32"), by.to_string());
            run(Command::new("ip").args(["route", "replace", &to, "via", &by]));
            SocketAddr::new(address, 80)
        });
        let given: Vec<String> =
            addresses.iter().map(|address| format!(r#"{{"ip": "{}"}}"#, address.ip())).collect();
        let status = format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{}]}}}}}}"#, given.join(", "));
        let patch = ["patch", "service", "edge-public", "--subresource=status", "--type=merge", "--patch"];
        self.kubectl(&[&patch[..], &[&status]].concat());
        addresses
    }

    /// Waits for an answer of the shop with this status, with this text in it.
    #[track_caller]
    pub fn expect(&self, address: SocketAddr, (status, text): (u16, &str)) {
        let mut last = None;
        let is_there = within_deadline(|| {
            last = fetch(address, "shop.example.com", "/");
            last.as_ref().is_some_and(|(given, body)| *given == status && body.contains(text))
        });
        assert!(is_there, "{status} with {text:?} is expected and {last:?} comes\n{}", self.logs());
    }
}

/// On how many nodes the edge runs.
pub const NODES: usize = 2;

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
