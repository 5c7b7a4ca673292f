//! How many system calls a request takes, as perf counts them. A counted call is slower, so this has a window of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Pid, Signal};

use crate::failure::{Doing, Failure};

/// Counts the system calls of some processes between [`Counter::start`] and [`Counter::stop`].
pub(crate) struct Counter {
    perf: Child,
    control: File,
    acknowledged: File,
    output: PathBuf,
    /// Where the pipes to perf lie; removed with this.
    _directory: tempfile::TempDir,
}

impl Counter {
    /// Attaches perf to `pids`. `None`: it is not there, or this kernel does not let it count.
    pub(crate) fn attach(pids: &[u32]) -> Result<Option<Counter>, Failure> {
        if !is_possible() {
            return Ok(None);
        }
        let directory = tempfile::Builder::new().prefix("vestibule-bench-").tempdir();
        let directory = directory.doing(|| "make a scratch directory".into())?;
        let path = |name: &str| directory.path().join(name);
        let (control, acknowledged, output) = (pipe(&path("control"))?, pipe(&path("ack"))?, path("counts"));
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        // It begins when it is told to.
        let perf = Command::new("perf")
            .args(["stat", "--delay=-1", "--field-separator=,", EVENT, "--pid", &pids.join(",")])
            .arg("--control")
            .arg(format!("fifo:{},{}", path("control").display(), path("ack").display()))
            .arg("--output")
            .arg(&output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| "run perf".into())?;
        Ok(Some(Counter { perf, control, acknowledged, output, _directory: directory }))
    }

    /// Begins to count.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.tell("enable\n")
    }

    /// Ends counting.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.tell("disable\n")
    }

    /// What was counted.
    pub(crate) fn calls(mut self) -> Result<u64, Failure> {
        rustix::process::kill_process(Pid::from_child(&self.perf), Signal::INT)
            .map_err(std::io::Error::from)
            .doing(|| "end perf".into())?;
        self.perf.wait().doing(|| "wait for perf".into())?;
        let text = std::fs::read_to_string(&self.output).doing(|| "read what perf counted".into())?;
        count(&text).ok_or_else(|| Failure::Load(format!("perf counted no system calls: {}", text.trim())))
    }

    fn tell(&mut self, word: &str) -> Result<(), Failure> {
        self.control.write_all(word.as_bytes()).doing(|| "tell perf to begin or end".into())?;
        let mut answer = [0; ACKNOWLEDGEMENT_BYTES];
        self.acknowledged.read_exact(&mut answer).doing(|| "hear from perf".into())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It has ended already unless something failed.
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// Tries it on a program that ends at once.
fn is_possible() -> bool {
    let output = Command::new("perf").args(["stat", "--field-separator=,", EVENT, "true"]).output();
    output.is_ok_and(|output| count(&String::from_utf8_lossy(&output.stderr)).is_some())
}

/// The first field of the line of the event: `84,,raw_syscalls:sys_enter,…`.
fn count(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

fn pipe(path: &Path) -> Result<File, Failure> {
    let made = rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    made.map_err(std::io::Error::from).doing(|| format!("make {}", path.display()))?;
    // Both ways, so that opening does not wait for perf.
    OpenOptions::new().read(true).write(true).open(path).doing(|| format!("open {}", path.display()))
}

const EVENT: &str = "--event=raw_syscalls:sys_enter";
/// `ack`, a line feed, and the zero that ends the word in C.
const ACKNOWLEDGEMENT_BYTES: usize = 5;

#[cfg(test)]
mod tests;
