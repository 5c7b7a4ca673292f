//! The programs under test: their configuration, start, and reload. All serve the same hosts from the same backend.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use rustix::process::Signal;

use crate::child::{self, LOAD_CPU, PROXY_CPU, Running};
use crate::failure::{Doing, Failure};
use crate::workload::{PLAIN_HOST, SECURE_HOST, host_name};
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
            Program::Relay => "null relay",
        }
    }
}

/// What all programs of one run share.
pub(crate) struct Site {
    /// Emptied when the run ends.
    scratch: tempfile::TempDir,
    certificate: String,
    key: String,
    backend: Running,
    backend_address: SocketAddr,
    vestibule: PathBuf,
    baseline: Option<PathBuf>,
    started: std::cell::Cell<usize>,
}

impl Site {
    /// Makes a certificate and starts the backend.
    pub(crate) fn open(vestibule: PathBuf, baseline: Option<PathBuf>) -> Result<Site, Failure> {
        let scratch = tempfile::Builder::new().prefix("vestibule-bench-").tempdir();
        let scratch = scratch.doing(|| "make a scratch directory".into())?;
        let (certificate, key) = crate::tls::certificate()?;
        write(&scratch.path().join("root.pem"), &certificate)?;
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
            vestibule,
            baseline,
            started: 0.into(),
        };
        ready("the backend", &mut site.backend, backend_address)?;
        Ok(site)
    }

    /// The certificate that clients trust, as a file.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.path().join("root.pem")
    }

    /// Starts `program` with this many generated hosts, and waits until it serves the last of them.
    pub(crate) fn start(&self, program: Program, hosts: usize) -> Result<Target, Failure> {
        let number = self.started.replace(self.started.get() + 1);
        let directory = self.scratch.path().join(format!("{}-{number}", program.name().replace(' ', "-")));
        fs::create_dir(&directory).doing(|| format!("create {}", directory.display()))?;
        let (plain, tls) = (free_address()?, free_address()?);
        let log = directory.join("output.log");
        let path = |name: &str| directory.join(name).display().to_string();
        let (running, version) = match program {
            Program::Vestibule | Program::Baseline => {
                let binary = match (program, &self.baseline) {
                    (Program::Baseline, Some(baseline)) => baseline,
                    (Program::Baseline, None) => {
                        return Err(Failure::Usage("the peer baseline needs --baseline PATH".into()));
                    }
                    _ => &self.vestibule,
                };
                self.write_vestibule(&directory, plain, tls, hosts)?;
                let settings = path("vestibule.yaml");
                let manifests = path("manifests");
                let arguments = ["serve", "--manifests", &manifests, "--settings", &settings];
                let mend = "build it: cargo build --release -p proxy";
                let running = Running::start(PROXY_CPU, binary, &arguments, log, mend)?;
                (running, child::version(binary, "--version"))
            }
            Program::Nginx => {
                self.write_nginx(&directory, plain, tls, hosts)?;
                let directory = directory.display().to_string();
                let arguments = ["-p", &directory, "-c", "nginx.conf", "-e", "stderr"];
                let mend = "install it: apt-get install nginx-light";
                let running = Running::start(PROXY_CPU, Path::new("nginx"), &arguments, log, mend)?;
                (running, child::version(Path::new("nginx"), "-v"))
            }
            Program::Haproxy => {
                self.write_haproxy(&directory, plain, tls, hosts)?;
                let arguments = ["-db", "-f", &path("haproxy.cfg")];
                let mend = "install it: apt-get install haproxy";
                let running = Running::start(PROXY_CPU, Path::new("haproxy"), &arguments, log, mend)?;
                (running, child::version(Path::new("haproxy"), "-v"))
            }
            Program::Relay => {
                let own = child::own_path()?;
                let upstream = self.backend_address.to_string();
                let arguments = ["relay", "--listen", &plain.to_string(), "--upstream", &upstream];
                (Running::start(PROXY_CPU, &own, &arguments, log, "")?, String::new())
            }
        };
        let mut target = Target { program, version, running, plain, tls, directory };
        ready(program.name(), &mut target.running, plain)?;
        Ok(target)
    }

    /// Adds one host, as whoever runs the program would, and returns once the change is in the program's sight: the
    /// file has its new name, or the signal is sent.
    pub(crate) fn add_host(&self, target: &Target, host: &str) -> Result<(), Failure> {
        let rename = |text: &str, name: &str| {
            let (new, path) = (target.directory.join("new"), target.directory.join(name));
            write(&new, text)?;
            fs::rename(&new, &path).doing(|| format!("rename {}", path.display()))
        };
        match target.program {
            Program::Vestibule | Program::Baseline => {
                rename(&VESTIBULE_HOST.replace("@HOST@", host), "manifests/added.yaml")
            }
            Program::Nginx => {
                let server = NGINX_HOST.replace("@HOST@", host).replace("@PLAIN@", &target.plain.to_string());
                rename(&server, "added.conf")?;
                target.running.signal(Signal::HUP)
            }
            Program::Haproxy | Program::Relay => Err(Failure::Usage(format!(
                "the workload reload does not know how to change {} at run time; leave it out of --peers",
                target.program.name()
            ))),
        }
    }

    fn write_vestibule(
        &self,
        directory: &Path,
        plain: SocketAddr,
        tls: SocketAddr,
        hosts: usize,
    ) -> Result<(), Failure> {
        let admin = free_address()?.to_string();
        let settings = self.fill(VESTIBULE_SETTINGS, plain, tls, directory).replace("@ADMIN@", &admin);
        write(&directory.join("vestibule.yaml"), &settings)?;
        let manifests = directory.join("manifests");
        fs::create_dir(&manifests).doing(|| format!("create {}", manifests.display()))?;
        let base = self
            .fill(VESTIBULE_BASE, plain, tls, directory)
            .replace("@CERTIFICATE@", &BASE64_STANDARD.encode(&self.certificate))
            .replace("@KEY@", &BASE64_STANDARD.encode(&self.key));
        write(&manifests.join("base.yaml"), &base)?;
        for first in (0..hosts).step_by(HOSTS_PER_FILE) {
            let numbers = first..hosts.min(first + HOSTS_PER_FILE);
            let text: String =
                numbers.map(|number| VESTIBULE_HOST.replace("@HOST@", &host_name(number))).collect();
            write(&manifests.join(format!("hosts-{first}.yaml")), &text)?;
        }
        Ok(())
    }

    fn write_nginx(
        &self,
        directory: &Path,
        plain: SocketAddr,
        tls: SocketAddr,
        hosts: usize,
    ) -> Result<(), Failure> {
        // With root's privileges the worker would become nobody, who cannot reach its files.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        write(
            &directory.join("nginx.conf"),
            &self.fill(NGINX, plain, tls, directory).replace("@USER@", user),
        )?;
        write(&directory.join("bench.crt"), &self.certificate)?;
        write(&directory.join("bench.key"), &self.key)?;
        let host = self.fill(NGINX_HOST, plain, tls, directory);
        let servers: String = (0..hosts).map(|number| host.replace("@HOST@", &host_name(number))).collect();
        write(&directory.join("hosts.conf"), &servers)?;
        write(&directory.join("added.conf"), "")
    }

    fn write_haproxy(
        &self,
        directory: &Path,
        plain: SocketAddr,
        tls: SocketAddr,
        hosts: usize,
    ) -> Result<(), Failure> {
        write(&directory.join("haproxy.cfg"), &self.fill(HAPROXY, plain, tls, directory))?;
        write(&directory.join("bench.pem"), &format!("{}{}", self.certificate, self.key))?;
        let names =
            [PLAIN_HOST.to_owned(), SECURE_HOST.to_owned()].into_iter().chain((0..hosts).map(host_name));
        let map: String = names.map(|name| format!("{name} forward\n")).collect();
        write(&directory.join("hosts.map"), &map)
    }

    fn fill(&self, template: &str, plain: SocketAddr, tls: SocketAddr, directory: &Path) -> String {
        template
            .replace("@PLAIN@", &plain.to_string())
            .replace("@TLS@", &tls.to_string())
            .replace("@BACKEND@", &self.backend_address.to_string())
            .replace("@BACKEND_ADDRESS@", &self.backend_address.ip().to_string())
            .replace("@BACKEND_PORT@", &self.backend_address.port().to_string())
            .replace("@DIRECTORY@", &directory.display().to_string())
    }
}

/// A program that runs and answers.
pub(crate) struct Target {
    pub(crate) program: Program,
    /// What the program says of its version; empty for the relay.
    pub(crate) version: String,
    pub(crate) running: Running,
    /// Where it speaks plain HTTP.
    pub(crate) plain: SocketAddr,
    /// Where it speaks TLS (the relay does not).
    pub(crate) tls: SocketAddr,
    directory: PathBuf,
}

impl Target {
    /// Its processes.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Failure> {
        procfs::tree(self.running.pid())
    }

    /// Resident bytes of the largest of its processes (a master process is not counted twice).
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let all = procfs::resident_bytes(&self.pids()?)?;
        Ok(all.into_iter().max().unwrap_or_default())
    }
}

/// Waits for the first answer with 200.
fn ready(name: &str, running: &mut Running, address: SocketAddr) -> Result<(), Failure> {
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
fn free_address() -> Result<SocketAddr, Failure> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    TcpListener::bind(any).and_then(|listener| listener.local_addr()).doing(|| "find a free port".into())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).doing(|| format!("write {}", path.display()))
}

const NGINX: &str = include_str!("../peers/nginx.conf");
const NGINX_HOST: &str = include_str!("../peers/nginx-host.conf");
const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const VESTIBULE_SETTINGS: &str = include_str!("../peers/vestibule.yaml");
const VESTIBULE_BASE: &str = include_str!("../peers/vestibule-base.yaml");
const VESTIBULE_HOST: &str = include_str!("../peers/vestibule-host.yaml");

const HOSTS_PER_FILE: usize = 100;
const READY_WAIT: Duration = Duration::from_secs(60);
