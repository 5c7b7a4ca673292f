//! Processes that a bench starts: pinned to a CPU, ended with the bench, never anybody else's.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::failure::{Doing, Failure};

/// Where the program under test runs, alone.
pub(crate) const PROXY_CPU: usize = 1;

/// Where the load generator and the backend run.
pub(crate) const LOAD_CPU: usize = 0;

/// A running program. Dropping it ends it: first politely, then not.
pub(crate) struct Running {
    child: Child,
    program: String,
    output: PathBuf,
}

impl Running {
    /// Starts `program` on `cpu`. What it prints goes to the file `output`; `mend` says how to get a program that is not
    /// there.
    pub(crate) fn start(
        cpu: usize,
        program: &Path,
        arguments: &[&str],
        output: PathBuf,
        mend: &'static str,
    ) -> Result<Running, Failure> {
        let name = program.display().to_string();
        find(program).map_err(|source| Failure::Missing { program: name.clone(), mend, source })?;
        let file = File::create(&output).doing(|| format!("create {}", output.display()))?;
        let child = pinned(cpu, program)?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .doing(|| format!("start {name}"))?;
        Ok(Running { child, program: name, output })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal`.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .map_err(std::io::Error::from)
            .doing(|| format!("signal {}", self.program))
    }

    /// Fails if the program has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait().doing(|| format!("look after {}", self.program))? {
            None => Ok(()),
            Some(status) => {
                Err(Failure::Ended { program: self.program.clone(), status, output: self.last_output() })
            }
        }
    }

    /// The end of what the program printed, indented, on lines of its own.
    pub(crate) fn last_output(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..];
        last.iter().map(|line| format!("\n    {line}")).collect()
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        // The child is not reaped yet, so its number cannot belong to another process.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let ended = until(END_WAIT, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)));
        if !ended {
            self.child.kill()?;
        }
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: {} (process {}) could not be ended: {error}", self.program, self.child.id());
        }
    }
}

/// A command that runs `program` on `cpu` and ends with this process, however this process ends.
pub(crate) fn pinned(cpu: usize, program: &Path) -> Result<Command, Failure> {
    let mut command = own(&["pinned", "--cpu", &cpu.to_string(), "--"])?;
    command.arg(program);
    Ok(command)
}

/// A command that runs this very program.
pub(crate) fn own(arguments: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(own_path()?);
    command.args(arguments);
    Ok(command)
}

/// Where this program's file is.
pub(crate) fn own_path() -> Result<PathBuf, Failure> {
    std::env::current_exe().doing(|| "find this program's own file".into())
}

/// Becomes `program`, pinned to `cpu`; SIGTERM comes when the parent ends. Returns only if that fails.
pub(crate) fn become_pinned(cpu: usize, program: &Path, arguments: &[String]) -> Failure {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    let pin = rustix::thread::sched_setaffinity(None, &cpus)
        .and_then(|()| rustix::process::set_parent_process_death_signal(Some(Signal::TERM)));
    let result = pin.map_err(std::io::Error::from).doing(|| format!("pin a process to CPU {cpu}"));
    match result {
        Err(failure) => failure,
        Ok(()) => Failure::Io {
            doing: format!("run {}", program.display()),
            source: Command::new(program).args(arguments).exec(),
        },
    }
}

/// Asks until the answer is yes; `false` when `limit` has passed.
pub(crate) fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() >= limit {
            return false;
        }
        pause(POLL_PAUSE);
    }
    true
}

/// Lets time pass: between two looks at a condition, or while a measured program settles.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and measures nothing meanwhile"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What `program` prints about its version: the first line on either stream.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".into() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // The first word that looks like one, without what a package adds: "nginx/1.22.1", "2.6.12-1+deb12u4", "v2.11.0".
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let versions = line.split([' ', '/']).map(|word| word.strip_prefix('v').unwrap_or(word));
    let word = versions.filter(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let word = word.filter(|word| word.contains('.')).find_map(|word| word.split('-').next());
    word.unwrap_or("unknown").to_owned()
}

/// Fails if `program` is not there; [`become_pinned`] could only say so in another process.
fn find(program: &Path) -> std::io::Result<()> {
    if program.components().count() > 1 {
        return std::fs::metadata(program).map(drop);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        true => Ok(()),
        false => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "not in PATH")),
    }
}

const END_WAIT: Duration = Duration::from_secs(2);
const POLL_PAUSE: Duration = Duration::from_millis(10);
const OUTPUT_LINES_MAX: usize = 12;
