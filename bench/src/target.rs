//! The programs under test: what all of them share, their start, and reload. All serve the same hosts from the same
//! backend; [`crate::peers`] knows how each is told so.

use std::cell::{Cell, OnceCell};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;

use crate::child::{self, LOAD_CPU, PROXY_CPU, Running};
use crate::failure::{Doing, Failure};
use crate::peers::{self, Command};
use crate::workload::{GRPC_PATH, PLAIN_HOST, Workload};
use crate::{http1, idle, procfs};

/// A program that can stand between the load and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// The binary of this checkout, or the one that --vestibule names
    Vestibule,
    /// Another build of Vestibule, which --baseline names
    Baseline,
    /// nginx from the distribution
    Nginx,
    /// HAProxy from the distribution
    Haproxy,
    /// Envoy from its Python package
    Envoy,
    /// Caddy, built as a Go module
    Caddy,
    /// A program of a few lines on Pingora's crates
    Pingora,
    /// nginx that asks OAuth2-Proxy about each request, both together
    Oauth2Proxy,
    /// A TCP relay that does not parse: the floor
    Relay,
}

impl Program {
    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Program::Vestibule => "vestibule",
            Program::Baseline => "baseline",
            Program::Nginx => "nginx",
            Program::Haproxy => "haproxy",
            Program::Envoy => "envoy",
            Program::Caddy => "caddy",
            Program::Pingora => "pingora",
            Program::Oauth2Proxy => "nginx+oauth2p",
            Program::Relay => "null relay",
        }
    }
}

/// What a program is to do besides the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Generated hosts.
    pub(crate) hosts: usize,
    /// Whether it writes an access log in JSON.
    pub(crate) access_log: bool,
}

/// What all programs of one run share.
pub(crate) struct Site {
    /// Emptied when the run ends.
    scratch: tempfile::TempDir,
    pub(crate) certificate: String,
    pub(crate) key: String,
    backend: Running,
    pub(crate) backend_address: SocketAddr,
    /// Started when the first workload needs it.
    http2_backend: OnceCell<Running>,
    pub(crate) http2_backend_address: SocketAddr,
    pub(crate) vestibule: PathBuf,
    pub(crate) baseline: Option<PathBuf>,
    started: Cell<usize>,
}

impl Site {
    /// Makes a certificate and starts the backend.
    pub(crate) fn open(vestibule: PathBuf, baseline: Option<PathBuf>) -> Result<Site, Failure> {
        let scratch = tempfile::Builder::new().prefix("vestibule-bench-").tempdir();
        let scratch = scratch.doing(|| "make a scratch directory".into())?;
        let (certificate, key) = crate::tls::certificate()?;
        let backend_address = free_address()?;
        let own = child::own_path()?;
        let arguments = ["backend", "--listen", &backend_address.to_string()];
        let backend = Running::start(LOAD_CPU, &own, &arguments, scratch.path().join("backend.log"), "")?;
        let mut site = Site {
            scratch,
            certificate,
            key,
            backend,
            backend_address,
            http2_backend: OnceCell::new(),
            http2_backend_address: free_address()?,
            vestibule,
            baseline,
            started: 0.into(),
        };
        write(&site.root(), &site.certificate)?;
        write(&site.wrk_script(), include_str!("../load/wrk.lua"))?;
        write(&site.openssl_settings(), include_str!("../load/openssl.cnf"))?;
        // A gRPC message: not compressed, of 5 bytes, and those.
        let message = b"\0\0\0\0\x05hello";
        fs::write(site.grpc_message(), message).doing(|| "write a message".into())?;
        let method = site.scratch.path().join("grpc").join(&GRPC_PATH[1..]);
        fs::create_dir_all(method.parent().unwrap_or(&method)).doing(|| "make a directory".into())?;
        fs::write(method, message).doing(|| "write a message".into())?;
        ready("the backend", &mut site.backend, backend_address)?;
        Ok(site)
    }

    /// The certificate that clients trust, as a file.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("root.pem")
    }

    /// What wrk sends.
    pub(crate) fn wrk_script(&self) -> PathBuf {
        self.scratch.path().join("wrk.lua")
    }

    /// What wrk and OpenSSL agree to.
    pub(crate) fn openssl_settings(&self) -> PathBuf {
        self.scratch.path().join("openssl.cnf")
    }

    /// What gRPC calls send.
    pub(crate) fn grpc_message(&self) -> PathBuf {
        self.scratch.path().join("message")
    }

    /// Starts `program` and waits until it serves.
    pub(crate) fn start(&self, program: Program, setup: Setup) -> Result<Target, Failure> {
        let mut target = self.launch(program, setup)?;
        ready(program.name(), &mut target.running[0], target.plain)?;
        if program == Program::Oauth2Proxy {
            target.cookie = Some(peers::oauth2_proxy::sign_in(target.tls)?);
        }
        Ok(target)
    }

    /// Starts `program`, and waits for nothing.
    pub(crate) fn launch(&self, program: Program, setup: Setup) -> Result<Target, Failure> {
        let number = self.started.replace(self.started.get() + 1);
        let directory = self.scratch.path().join(format!("{}-{number}", program.name().replace(' ', "-")));
        fs::create_dir(&directory).doing(|| format!("create {}", directory.display()))?;
        let (plain, tls) = (free_address()?, free_address()?);
        let place = peers::Place { site: self, directory: directory.clone(), plain, tls, setup };
        let peers::Prepared { commands, version, cookie } = peers::prepare(program, &place)?;
        let mut running = Vec::with_capacity(commands.len());
        for (number, Command { binary, arguments, mend }) in commands.iter().enumerate() {
            let log = directory.join(format!("output-{number}.log"));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            running.push(Running::start(PROXY_CPU, binary, &arguments, log, mend)?);
        }
        Ok(Target { program, version, running, plain, tls, cookie, directory })
    }

    /// Sees to it that what `workload` needs behind the programs is there.
    pub(crate) fn prepare(&self, workload: Workload) -> Result<(), Failure> {
        if workload != Workload::Grpc || self.http2_backend.get().is_some() {
            return Ok(());
        }
        let documents = self.scratch.path().join("grpc").display().to_string();
        let (address, port) = (self.http2_backend_address.ip(), self.http2_backend_address.port());
        let arguments = [
            "--no-tls",
            "--trailer=grpc-status: 0",
            "-d",
            &documents,
            "-a",
            &address.to_string(),
            &port.to_string(),
        ];
        let log = self.scratch.path().join("http2-backend.log");
        let mend = "install it: apt-get install nghttp2-server";
        let running = Running::start(LOAD_CPU, Path::new("nghttpd"), &arguments, log, mend)?;
        let listens = || std::net::TcpStream::connect(self.http2_backend_address).is_ok();
        if !child::until(READY_WAIT, listens) {
            return Err(Failure::NotReady {
                program: "nghttpd".into(),
                address: self.http2_backend_address,
                seconds: READY_WAIT.as_secs(),
                output: running.last_output(),
            });
        }
        // It is not there yet: this was looked at above.
        let _ = self.http2_backend.set(running);
        Ok(())
    }
}

/// A program that runs and answers.
pub(crate) struct Target {
    pub(crate) program: Program,
    /// What the program says of its version; empty for our own.
    pub(crate) version: String,
    /// The program, and what it needs besides.
    pub(crate) running: Vec<Running>,
    /// Where it speaks plain HTTP.
    pub(crate) plain: SocketAddr,
    /// Where it speaks TLS (the relay does not).
    pub(crate) tls: SocketAddr,
    /// What a browser sends that has signed in.
    pub(crate) cookie: Option<String>,
    directory: PathBuf,
}

impl Target {
    /// Adds one host, as whoever runs the program would, and returns once the change is in the program's sight: the
    /// file has its new name, or the signal is sent.
    pub(crate) fn add_host(&self, host: &str) -> Result<(), Failure> {
        let rename = |text: &str, name: &str| {
            let (new, path) = (self.directory.join("new"), self.directory.join(name));
            write(&new, text)?;
            fs::rename(&new, &path).doing(|| format!("rename {}", path.display()))
        };
        match self.program {
            Program::Vestibule | Program::Baseline => {
                rename(&peers::vestibule::host(host), "manifests/added.yaml")
            }
            Program::Nginx => {
                rename(&peers::nginx::host(host, self.plain), "added.conf")?;
                self.running[0].signal(Signal::HUP)
            }
            other => Err(Failure::Usage(format!("how to change {} at run time is not known", other.name()))),
        }
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Failure> {
        let trees: Vec<Vec<u32>> =
            self.running.iter().map(|running| procfs::tree(running.pid())).collect::<Result<_, _>>()?;
        Ok(trees.concat())
    }

    /// Resident bytes of the largest of its processes (a master process is not counted twice).
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let all = procfs::resident_bytes(&self.pids()?)?;
        Ok(all.into_iter().max().unwrap_or_default())
    }
}

/// Waits for the first answer with 200.
pub(crate) fn ready(name: &str, running: &mut Running, address: SocketAddr) -> Result<(), Failure> {
    let request = http1::get(PLAIN_HOST, "/");
    let mut ended = Ok(());
    let answered = child::until(READY_WAIT, || {
        ended = running.check();
        ended.is_err() || idle::ask(address, &request).is_ok_and(|status| status == 200)
    });
    ended?;
    match answered {
        true => Ok(()),
        false => Err(Failure::NotReady {
            program: name.into(),
            address,
            seconds: READY_WAIT.as_secs(),
            output: running.last_output(),
        }),
    }
}

/// An address that nobody listens on. Another program could take it before ours does; ours then fails to start.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    TcpListener::bind(any).and_then(|listener| listener.local_addr()).doing(|| "find a free port".into())
}

/// Writes `text` to the file `path`.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).doing(|| format!("write {}", path.display()))
}

/// How long a program may take to serve: nginx reads 50,000 servers for minutes.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(300);
