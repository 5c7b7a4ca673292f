//! The binary as a process of its own: started, spoken to, told to stop.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::client;
use crate::message::Answer;
use crate::wait::{eventually, eventually_some};

/// The binary of the profile that this test was built with, built anew if it is not there or old.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this test");
        // target/PROFILE/deps/test-0123
        let directory = test.ancestors().nth(2).expect("the directory of the profile");
        let profile = match directory.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        build(profile);
        directory.join("vestibule")
    })
}

/// The binary of the profile `quick`: for tests that need speed.
pub fn quick_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this test");
        build("quick");
        test.ancestors().nth(3).expect("the target directory").join("quick/vestibule")
    })
}

fn build(profile: &str) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", "proxy", "--profile", profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "`cargo build --package proxy` failed");
}

/// Runs a command of the binary to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("the binary starts").into()
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }
}

/// Files for one process, removed with it.
pub struct Files {
    directory: tempfile::TempDir,
}

impl Default for Files {
    fn default() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("manifests")).expect("a directory");
        Files { directory }
    }
}

impl Files {
    /// A directory of manifests that holds one file.
    pub fn with(name: &str, manifest: &str) -> Self {
        let files = Files::default();
        files.write(name, manifest);
        files
    }

    pub fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// Where the settings stand, or would.
    pub fn settings(&self) -> PathBuf {
        self.directory.path().join("vestibule.yaml")
    }

    pub fn write_settings(&self, text: &str) {
        self.put(&self.settings(), text);
    }

    /// Puts a manifest in its place whole, as a tool for configuration would.
    pub fn write(&self, name: &str, text: &str) {
        self.put(&self.manifests().join(name), text);
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.manifests().join(name)).expect("a file");
    }

    fn put(&self, path: &Path, text: &str) {
        let whole = self.directory.path().join("next");
        std::fs::write(&whole, text).expect("room for a file");
        std::fs::rename(&whole, path).expect("one file system");
    }
}

/// A running `vestibule serve`. It is killed when this is dropped.
pub struct Process {
    child: Child,
    out: Lines,
    err: Lines,
}

/// Lines of a pipe as they come.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let ours = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { return };
                ours.lock().push(line);
            }
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The first line that holds every one of `words`; waits for it.
    #[track_caller]
    pub fn wait_for(&self, words: &[&str]) -> String {
        let mut seen = Vec::new();
        let found = |seen: &mut Vec<String>| {
            *seen = self.all();
            seen.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
        };
        eventually_some(&format!("a line with {words:?}"), || found(&mut seen))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Serves `files` on free ports, and waits until it is ready.
    #[track_caller]
    pub fn serve(files: &Files) -> Self {
        Self::serve_with(files, &[])
    }

    /// The same with further flags.
    #[track_caller]
    pub fn serve_with(files: &Files, flags: &[&str]) -> Self {
        let mut command = command(binary(), files);
        command.args(flags);
        let process = Self::start(&mut command);
        process.wait_until_ready();
        process
    }

    /// Starts a command that may never become ready.
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the binary starts");
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let err = Lines::of(child.stderr.take().expect("a pipe"));
        Process { child, out, err }
    }

    #[track_caller]
    pub fn wait_until_ready(&self) {
        let admin = self.admin();
        eventually("the process is ready", || client::get(admin, "admin", "/readyz").status == 200);
    }

    /// The address of a listener, by the words that the log has for it, such as `class vestibule (http)`.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        address_in(&self.err.wait_for(&["listening", listener]))
    }

    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.address("(http)")
    }

    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        self.address("(https)")
    }

    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        address_in(&self.err.wait_for(&["the admin listener answers"]))
    }

    /// Asks the admin listener.
    #[track_caller]
    pub fn ask(&self, path: &str) -> Answer {
        client::get(self.admin(), "admin", path)
    }

    /// The value of the first sample of a metric that begins with `name`, labels included.
    #[track_caller]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.ask("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// What it wrote to standard output: the access log.
    pub fn out(&self) -> &Lines {
        &self.out
    }

    /// What it wrote to standard error.
    pub fn err(&self) -> &Lines {
        &self.err
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a running process");
    }

    /// What it has in memory now.
    pub fn resident_bytes(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The same without what is read from files, which is the binary itself: every process that runs it shares that.
    pub fn own_bytes(&self) -> usize {
        self.status("RssAnon:")
    }

    /// The time of processors that it has used.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        // What follows the name in parentheses, which may hold blanks: user and system time are the 14th and 15th of all.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * TICK_MS)
    }

    fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    /// Lets it write files of any size again.
    pub fn raise_file_limit(&self) {
        let unlimited = Rlimit { current: None, maximum: None };
        let pid = Pid::from_child(&self.child);
        prlimit(Some(pid), Resource::Fsize, unlimited).expect("a limit that is ours to raise");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually_some("the process ends", || self.child.try_wait().expect("a child"))
    }

    /// Tells it to stop, and waits for that.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let tail: Vec<String> = self.err.all().into_iter().rev().take(TAIL_LINES).collect();
            for line in tail.iter().rev() {
                eprintln!("vestibule said: {line}");
            }
        }
    }
}

/// `serve` for these files on free ports; with their settings where there are some.
pub fn command(binary: &Path, files: &Files) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--manifests").arg(files.manifests());
    command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    if files.settings().exists() {
        command.arg("--settings").arg(files.settings());
    }
    command
}

fn address_in(line: &str) -> SocketAddr {
    let value = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no address in: {line}"))
}

const TAIL_LINES: usize = 40;
/// What Linux counts the time of processors in, on the architectures there are.
const TICK_MS: u64 = 10;
