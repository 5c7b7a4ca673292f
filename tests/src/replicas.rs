//! Several replicas of one edge beside a real API server, as processes that find each other by a Service.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use crate::cluster::ControlPlane;
use crate::process::{Process, binary};

/// One replica.
pub struct Replica {
    pub process: Process,
    /// Where the others reach it.
    pub address: SocketAddr,
}

impl Replica {
    /// Starts a process of this role, with further settings, and waits until it is ready. Nobody knows it yet.
    pub fn start(cluster: &ControlPlane, role: &str, settings: &str) -> Replica {
        Replica::start_as(cluster, "vestibule", role, settings)
    }

    /// The same with the rights of this user.
    pub fn start_as(cluster: &ControlPlane, user: &str, role: &str, settings: &str) -> Replica {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(&cluster.directory).expect("a file");
        let own = own_address();
        let text = format!(
            "replicas: {{listen: '{}', service: vestibule/replicas}}\n{settings}",
            SocketAddr::new(own, 0)
        );
        std::fs::write(file.path(), text).expect("the settings are written");
        let mut command = Command::new(binary());
        command.args(["serve", "--role", role, "--workers", "1", "--access-log", "off"]);
        command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--settings").arg(file.path()).arg("--kubeconfig").arg(cluster.kubeconfig(user));
        let process = Process::start(&mut command);
        process.wait_until_ready();
        // It stays until the cluster is gone: the process looks at it.
        file.keep().expect("the file stays");
        let address = process.address("other replicas");
        Replica { process, address }
    }
}

/// Makes these the Pods of the Service, as a controller would.
pub fn introduce(cluster: &ControlPlane, replicas: &[&Replica]) {
    for (number, replica) in replicas.iter().enumerate() {
        let (ip, port) = (replica.address.ip(), replica.address.port());
        cluster.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: replicas-{number}, namespace: vestibule, labels: {{kubernetes.io/service-name: replicas}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: ['{ip}'], conditions: {{ready: true}}}}]\n\
             ports: [{{name: replicas, port: {port}, protocol: TCP}}]\n"
        ));
    }
}

/// The address of this machine that its network would see; EndpointSlices take no loopback address.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route to somewhere; nothing is sent to find it");
    socket.local_addr().expect("an address").ip()
}
