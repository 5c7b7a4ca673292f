//! A real Redis: a store that replicas share.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// A Redis with a password, on a port of its own; ended with the test.
pub struct Redis {
    port: u16,
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl Redis {
    /// Starts one.
    pub fn start() -> Redis {
        let port = crate::ports::unused().port();
        let mut redis = Redis { port, directory: tempfile::tempdir().expect("a directory"), process: None };
        redis.begin();
        redis
    }

    /// Starts it again, with nothing in it.
    pub fn begin(&mut self) {
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--requirepass", PASSWORD, "--dir"])
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: apt-get install redis-server");
        self.process = Some(process);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        eventually("Redis answers", || TcpStream::connect(address).is_ok());
    }

    /// Ends it; its port stays its own.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Lets it answer nobody, or go on.
    pub fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).expect("a signal");
    }

    /// The key `sharedStore` in the settings of an edge that shares it.
    pub fn settings(&self) -> String {
        self.settings_with(PASSWORD)
    }

    /// The same, with what may be another password.
    pub fn settings_with(&self, password: &str) -> String {
        let file = self.directory.path().join(format!("password-{}", password.len()));
        std::fs::write(&file, format!("{password}\n")).expect("a file");
        format!(
            "sharedStore: {{address: \"127.0.0.1:{}\", password: {{file: {}}}}}",
            self.port,
            file.display()
        )
    }

    /// The keys that begin so.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let answer = self.command(&["KEYS", &format!("{prefix}*")]);
        answer.split("\r\n").filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// What it answers to a command, as it stands on the wire (RESP 2), text or not.
    pub fn command(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Redis");
        let mut lines = String::new();
        for words in [&["AUTH", PASSWORD][..], words, &["QUIT"]] {
            let _ = write!(lines, "*{}\r\n", words.len());
            for word in words {
                let _ = write!(lines, "${}\r\n{word}\r\n", word.len());
            }
        }
        stream.write_all(lines.as_bytes()).expect("Redis reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("Redis answers");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

const PASSWORD: &str = "not-to-be-seen";
