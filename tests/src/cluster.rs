//! A real API server for tests, with clients and load beside it.
//!
//! `tests/run` builds what the scripts in `tests/cluster` start, and puts it on `PATH`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An API server of its own for each test; gone when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    pub directory: PathBuf,
    nodes: usize,
}

impl ControlPlane {
    /// Starts it; a user `vestibule` with a namespace of that name is there, without rights.
    pub fn start() -> ControlPlane {
        let cluster = ControlPlane::new(0);
        cluster.control("up");
        // The namespace of a Pod of ours.
        let mut kubeconfig = script("control-plane");
        kubeconfig.env("NAMESPACE", "vestibule").arg("kubeconfig").arg(&cluster.directory);
        run(kubeconfig.args(["vestibule", "tests"]));
        cluster
    }

    /// Starts it with all controllers and so many real nodes, which hold these images. Needs root and a network namespace.
    pub fn start_with_nodes(nodes: usize, images: &[PathBuf]) -> ControlPlane {
        let cluster = ControlPlane::new(nodes);
        run(script("control-plane").env("NODES", nodes.to_string()).arg("up").arg(&cluster.directory));
        run(script("node").arg("up").arg(&cluster.directory).args(images));
        cluster
    }

    /// Takes the network away from a node, counted from 1, whose processes go on.
    pub fn cut_off(&self, node: usize) {
        run(script("node").arg("cut").arg(&self.directory).arg(node.to_string()));
    }

    /// Gives it back.
    pub fn join(&self, node: usize) {
        run(script("node").arg("join").arg(&self.directory).arg(node.to_string()));
    }

    fn new(nodes: usize) -> ControlPlane {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // The path of containerd's socket must stay short.
        let name = format!("vestibule-{}-{number}", std::process::id());
        ControlPlane { directory: std::env::temp_dir().join(name), nodes }
    }

    /// Runs a command of `tests/cluster/control-plane`: stop, start, pause, resume.
    pub fn control(&self, command: &str) {
        run(script("control-plane").arg(command).arg(&self.directory));
    }

    /// The file of this user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.directory.join(format!("{user}.kubeconfig"))
    }

    /// Gives the user `vestibule` the rights that are granted to a Pod.
    pub fn allow(&self) {
        self.apply(&std::fs::read_to_string(workspace().join("tests/cluster/rbac.yaml")).expect("rbac.yaml"));
        let role = ["create", "clusterrolebinding", "vestibule-tests", "--clusterrole=vestibule"];
        self.kubectl(&[&role[..], &["--user=vestibule"]].concat());
        let role = ["create", "rolebinding", "vestibule-tests", "--role=vestibule", "--namespace=vestibule"];
        self.kubectl(&[&role[..], &["--user=vestibule"]].concat());
    }

    /// The definitions of the Gateway API, standard channel.
    pub fn install_gateway_api(&self) {
        let definitions = workspace().join(".cache/kubernetes/gateway-api/standard");
        self.kubectl(&["apply", "--server-side", "-f", definitions.to_str().expect("a path in UTF-8")]);
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    }

    /// Applies a manifest in the namespace `default`.
    pub fn apply(&self, manifest: &str) {
        let mut command = self.command(&["apply", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl runs");
        child.stdin.take().expect("a pipe").write_all(manifest.as_bytes()).expect("kubectl reads");
        assert!(child.wait().expect("kubectl ends").success(), "kubectl refuses:\n{manifest}");
    }

    /// Runs kubectl as the administrator; panics when it fails.
    pub fn kubectl(&self, arguments: &[&str]) {
        run(&mut self.command(arguments));
    }

    /// Waits until a field of an object, by its JSONPath, has this value.
    #[track_caller]
    pub fn expect(&self, object: &str, field: &str, value: &str) {
        let mut last = String::new();
        let is_there = within_deadline(|| {
            last = self.read(object, field);
            last == value
        });
        assert!(is_there, "{object} {field}: `{value}` is expected and `{last}` is there");
    }

    /// A field of an object, by its JSONPath; empty when either is missing.
    pub fn read(&self, object: &str, field: &str) -> String {
        self.read_with(object, field, &[])
    }

    /// The same with further options, such as a namespace.
    pub fn read_with(&self, object: &str, field: &str, options: &[&str]) -> String {
        let output = format!("--output=jsonpath={field}");
        let answer = self.command(&["get", object, &output]).args(options).output().expect("kubectl runs");
        String::from_utf8(answer.stdout).expect("kubectl prints UTF-8")
    }

    /// kubectl as the administrator.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig("admin")).args(arguments);
        command
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.nodes > 0 {
            let _ = script("node").arg("down").arg(&self.directory).status();
        }
        let _ = script("control-plane").arg("down").arg(&self.directory).status();
    }
}

/// Requests one after another, each of which must be answered 200.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Traffic {
    /// Begins.
    pub fn start(address: SocketAddr, host: &'static str) -> Traffic {
        Traffic::with_patience(address, host, PATIENCE)
    }

    /// The same by a client that waits for so long for an answer.
    pub fn with_patience(address: SocketAddr, host: &'static str, patience: Duration) -> Traffic {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&good));
        let thread = std::thread::spawn(move || {
            let (mut bad, begun) = (Vec::new(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let asked = begun.elapsed();
                match ask(address, host, "/", patience) {
                    Ok((200, _)) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    other => {
                        bad.push(format!("{asked:?} to {:?} after the begin: {other:?}", begun.elapsed()));
                    }
                }
                pause(Duration::from_millis(2));
            }
            bad
        });
        Traffic { stop, good, thread }
    }

    /// Waits for this time, in which more than twenty requests have to be answered.
    #[track_caller]
    pub fn go_on_for(&self, time: Duration) {
        let before = self.good.load(Ordering::Relaxed);
        pause(time);
        let answered = self.good.load(Ordering::Relaxed) - before;
        assert!(answered > 20, "{answered} requests were answered in {time:?}");
    }

    /// How many requests were answered 200 until now.
    pub fn answered(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Ends, and panics when one request was not answered 200.
    #[track_caller]
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let bad = self.thread.join().expect("the client ends");
        let good = self.good.load(Ordering::Relaxed);
        assert_eq!(bad, Vec::<String>::new(), "beside {good} good answers");
    }
}

/// Status and body of one request on a connection of its own; `None` when there is no whole answer.
pub fn fetch(address: SocketAddr, host: &str, path: &str) -> Option<(u16, String)> {
    ask(address, host, path, PATIENCE).ok()
}

/// The same, with what went wrong.
fn ask(address: SocketAddr, host: &str, path: &str, patience: Duration) -> Result<(u16, String), String> {
    let step = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(step("connecting"))?;
    stream.set_read_timeout(Some(patience)).map_err(step("setting the time"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(step("writing"))?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(step("reading"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no whole head: {text:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("no status: {head:?}"))?, body.to_owned()))
}

/// Returns once `condition` holds; panics with `what` when it does not within [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within_deadline(condition), "{what}: not within {DEADLINE:?}");
}

/// Whether `condition` came to hold within [`DEADLINE`].
pub fn within_deadline(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        pause(Duration::from_millis(5));
    }
    true
}

/// Lets this much time pass, where that nothing happens is what is to be seen.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// A script of `tests/cluster`.
pub fn script(name: &str) -> Command {
    Command::new(workspace().join("tests/cluster").join(name))
}

/// Runs a command; panics with what it says when it fails.
#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is there")
}

/// How long a client waits for a connection, and for an answer. The kernel tries three times to connect in this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that anything in a cluster is waited for.
pub const DEADLINE: Duration = Duration::from_secs(40);
