//! The command line: what can be asked of the binary, and by which words.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use wake::workload::Reference;

use crate::settings::AccessLogFormat;

/// The room between the street and the house: a reverse proxy configured by Kubernetes objects.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to say in place of running a command.
#[derive(Debug)]
pub struct NotRun(clap::Error);

impl Options {
    /// Reads the arguments of the process.
    pub fn from_command_line() -> Result<Options, NotRun> {
        Options::try_parse().map_err(NotRun)
    }
}

impl NotRun {
    /// Prints help and version to standard output, and what is wrong with the arguments as one line to standard error.
    pub fn give(&self) -> ExitCode {
        if !self.0.use_stderr() {
            // Nobody is left to tell when standard output is closed.
            let _ = self.0.print();
            return ExitCode::SUCCESS;
        }
        // Without a command there is nothing to be wrong; what follows is the whole help.
        if self.0.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let _ = self.0.print();
        } else {
            let _ = writeln!(io::stderr(), "vestibule: {}", self.line());
        }
        ExitCode::from(2)
    }

    /// What is wrong, and where to look for what is right.
    fn line(&self) -> String {
        let text = self.0.to_string();
        let (mut words, mut command) = (Vec::new(), "vestibule".to_owned());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(usage) = line.strip_prefix("Usage: ") {
                let is_name =
                    |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                let names = usage.split(' ').take_while(|word| is_name(word) && !word.starts_with('-'));
                command = names.collect::<Vec<_>>().join(" ");
            } else if !line.starts_with("For more information") {
                let line = line.strip_prefix("error: ").unwrap_or(line);
                words.push(line.strip_prefix("tip: ").map_or(line.into(), |tip| format!("({tip})")));
            }
        }
        let words = words.join(" ").replace(char::is_control, " ");
        format!("{words}; see `{command} --help`")
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve traffic by the objects of a cluster or of a directory of manifests, and take up their changes.
    Serve(Serve),
    /// Print the routes that manifests make, and every problem with file and line.
    ///
    /// Exit code 1 when there are problems.
    Check(Check),
    /// Say which route answers a request, and what each step says to it.
    ///
    /// Exit code 1 when no route answers, or the one that does refuses because it is not in force. A redirect, a fixed
    /// status and an address that may not enter are answers like any other.
    Explain(Explain),
    /// Say what comes along from ingress-nginx, Traefik and their companions, and write the YAML for it.
    ///
    /// Reads manifests: a directory, or what `kubectl get -o yaml` printed; or a cluster. Exit code 1 when something is left to be
    /// done by hand.
    Migrate(Migrate),
    /// Show an overview of a running process.
    Status(Status),
    /// List the certificates that a running process orders, or carry them elsewhere.
    ///
    /// Exit code 1 when one is late or failed.
    Certificates(Certificates),
    /// Say why a request was refused, by the request id on its error page.
    Why(Why),
    /// Wake what sleeps and remove what this edge has made in a cluster, once it is uninstalled.
    ///
    /// Says what it would do; --yes does it. Certificates and statuses stay. Exit code 1 when something could not be done.
    Release(Release),
    /// Wake a workload and what it needs, before anybody uses it.
    ///
    /// In a cluster this takes the right to patch the workload. Exit code 1 when it was asked for and has not come.
    Wake(WorkloadPlace),
    /// Put a workload to sleep as soon as nobody uses it, without waiting for its idle time.
    Sleep(WorkloadPlace),
    /// Wake a workload and keep it awake for a while.
    KeepAwake(KeepAwake),
    /// Print the JSON Schema of the settings file, or of the annotations.
    Schema(Schema),
    /// Serve as an upstream that answers what it saw, for trying things out.
    SampleApp(SampleApp),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The directory of manifests (*.yaml, *.yml, *.json); without it the API server of the cluster is asked.
    #[arg(long, value_name = "DIR", env = "VESTIBULE_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// The kubeconfig file for the API server, where the process has no service account.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// What this process does for the cluster; one without a cluster does everything.
    #[arg(long, value_enum, default_value_t = Role::All, conflicts_with = "manifests")]
    pub role: Role,
    /// The settings file.
    #[arg(long, value_name = "FILE", env = "VESTIBULE_SETTINGS")]
    pub settings: Option<PathBuf>,
    /// Where the first class speaks plain HTTP, in place of the settings. May be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    pub http: Vec<SocketAddr>,
    /// Where the first class speaks TLS, in place of the settings. May be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    pub https: Vec<SocketAddr>,
    /// Threads that serve requests, in place of the settings.
    #[arg(long, value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// The address of the admin listener, in place of the settings.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// How the access log is written, in place of the settings.
    #[arg(long, value_name = "FORMAT")]
    pub access_log: Option<AccessLogFormat>,
    /// Serve a sample upstream too, such as shop=127.0.0.1:9001, for trying things out. May be given more than once.
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = sample_app_at)]
    pub sample_app: Vec<SampleAppAt>,
    /// What the process says about itself on standard error: a level, or levels by module.
    #[arg(long, value_name = "LEVEL", env = "VESTIBULE_LOG", default_value = "info")]
    pub log: String,
}

/// The part of the work that a process in a cluster does. The rights that it needs differ accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Serve, and write when this replica holds the Lease.
    All,
    /// Serve; write nothing.
    Edge,
    /// Write when this replica holds the Lease; serve nobody.
    Control,
}

impl Role {
    /// Whether clients are served.
    pub fn serves(self) -> bool {
        match self {
            Role::All | Role::Edge => true,
            Role::Control => false,
        }
    }

    /// Whether the API server is written to.
    pub fn writes(self) -> bool {
        match self {
            Role::All | Role::Control => true,
            Role::Edge => false,
        }
    }
}

#[derive(Debug, Args)]
pub struct Check {
    /// The directory of manifests, or `-` for standard input.
    #[arg(value_name = "DIR", default_value = "-")]
    pub manifests: PathBuf,
    /// The settings file.
    #[arg(long, value_name = "FILE", env = "VESTIBULE_SETTINGS")]
    pub settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Migrate {
    /// The manifests: a file, a directory, or `-` for standard input.
    #[arg(value_name = "PATH", default_value = "-", conflicts_with_all = ["cluster", "kubeconfig"])]
    pub manifests: PathBuf,
    /// Read the objects of the cluster that the service account, or KUBECONFIG, names. Nothing is written there.
    #[arg(long)]
    pub cluster: bool,
    /// Read those of the cluster that this kubeconfig file names.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Write the objects that say the same here into this directory.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// Print the steps of moving in, and the way back.
    #[arg(long)]
    pub plan: bool,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = crate::migrate::Format::Text)]
    pub format: crate::migrate::Format,
    /// The class of the Ingresses that are written.
    #[arg(long, default_value = "vestibule")]
    pub class: String,
    /// The namespace that Vestibule runs in, which network policies have to admit.
    #[arg(long, default_value = "vestibule")]
    pub namespace: String,
    /// The port of one of Traefik's entry points, for IngressRouteTCP and IngressRouteUDP; web and websecure are known. May be
    /// given more than once.
    #[arg(long = "entry-point", value_name = "NAME=PORT", value_parser = parse_entry_point)]
    pub entry_points: Vec<(String, u16)>,
}

fn parse_entry_point(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text.split_once('=').ok_or("write it as NAME=PORT")?;
    let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    Ok((name.to_owned(), port))
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The URL that a client would ask for.
    pub url: String,
    /// A request header, as 'Name: value'. May be given more than once.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The request's method.
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The client's address, to judge access by it.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
    /// Explain by these manifests; without it the running process is asked.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub manifests: Option<PathBuf>,
    /// The settings file, for --manifests.
    #[arg(long, value_name = "FILE", requires = "manifests")]
    pub settings: Option<PathBuf>,
    /// The admin address of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = ADMIN_ADDRESS)]
    pub admin: SocketAddr,
}

#[derive(Debug, Args)]
pub struct Status {
    /// The admin address of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = ADMIN_ADDRESS)]
    pub admin: SocketAddr,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Certificates {
    #[command(subcommand)]
    pub command: Option<CertificatesCommand>,
    /// The admin address of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = ADMIN_ADDRESS)]
    pub admin: SocketAddr,
}

#[derive(Debug, Subcommand)]
pub enum CertificatesCommand {
    /// Name, issuer, expiry, renewal and last error of each.
    #[command(hide = true)]
    List,
    /// Print accounts, certificates and keys as JSON. Keep it as you would keep a private key.
    Export(StorePlace),
    /// Put an export from standard input into the store; what lasts longer there stays.
    Import(StorePlace),
}

/// Which store of certificates.
#[derive(Debug, Args)]
pub struct StorePlace {
    /// That of this directory of manifests; without it that of the cluster.
    #[arg(long, value_name = "DIR", env = "VESTIBULE_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// The kubeconfig file for the API server.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// The settings file.
    #[arg(long, value_name = "FILE", env = "VESTIBULE_SETTINGS")]
    pub settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Why {
    /// The request id, from an error page or the X-Request-ID header.
    pub request_id: String,
    /// The admin address of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = ADMIN_ADDRESS)]
    pub admin: SocketAddr,
}

/// Which workload, and who is to be told.
#[derive(Debug, Args)]
pub struct WorkloadPlace {
    /// Such as deployment/web, statefulset/db, cluster.postgresql.cnpg.io/pg or process/library.
    #[arg(value_name = "KIND/NAME", value_parser = Reference::parse)]
    pub workload: Reference,
    /// Default: that of the kubeconfig file, or `default`.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The kubeconfig file of whoever asks; without it the service account, or KUBECONFIG.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub kubeconfig: Option<PathBuf>,
    /// The admin socket of a process without a cluster (`admin.socket` of its settings).
    #[arg(long, value_name = "PATH", env = "VESTIBULE_SOCKET")]
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct KeepAwake {
    #[command(flatten)]
    pub place: WorkloadPlace,
    /// For how long, such as 8h; 0s takes back what was said before.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub time: Duration,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::settings::units::parse_duration(text)
        .ok_or_else(|| "write a duration such as 30m or 8h".to_owned())
}

#[derive(Debug, Args)]
pub struct Release {
    /// Do it.
    #[arg(long)]
    pub yes: bool,
    /// The kubeconfig file of an administrator; without it the service account, or what KUBECONFIG names.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where Vestibule ran; without it the namespace of the service account, or of the kubeconfig's context.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Arc<str>>,
    /// The Lease of the processes that write (in the settings: cluster.lease; the chart: the name of the release).
    #[arg(long, value_name = "NAME", default_value = "vestibule")]
    pub lease: Arc<str>,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// What to describe.
    #[arg(value_enum, default_value_t = SchemaOf::Settings)]
    pub of: SchemaOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The settings file.
    Settings,
    /// The annotations of Ingress and HTTPRoute.
    Annotations,
}

#[derive(Debug, Args)]
pub struct SampleApp {
    /// The address to serve on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// The name that answers carry.
    #[arg(long, value_name = "NAME", default_value = "sample-app")]
    pub name: String,
}

/// A sample upstream that `serve` runs itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleAppAt {
    /// The name that answers carry.
    pub name: Arc<str>,
    pub address: SocketAddr,
}

fn sample_app_at(text: &str) -> Result<SampleAppAt, String> {
    let expected = || "write a name and an address, such as shop=127.0.0.1:9001".to_owned();
    let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(expected)?;
    Ok(SampleAppAt { name: name.into(), address: address.parse().map_err(|_| expected())? })
}

/// Where `serve` puts the admin listener unless it is told otherwise.
const ADMIN_ADDRESS: &str = "127.0.0.1:10254";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn the_admin_address_is_that_of_the_settings() {
        assert_eq!(ADMIN_ADDRESS, crate::settings::Settings::default().admin.address.to_string());
    }

    #[test]
    fn what_is_wrong_with_the_arguments_is_one_line() {
        let line = |words: &[&str]| {
            let words = ["vestibule"].iter().chain(words);
            NotRun(Options::try_parse_from(words).unwrap_err()).line()
        };
        assert_eq!(line(&["bogus"]), "unrecognized subcommand 'bogus'; see `vestibule --help`");
        assert_eq!(
            line(&["why"]),
            "the following required arguments were not provided: <REQUEST_ID>; see `vestibule why --help`"
        );
        assert_eq!(
            line(&["serve", "--manifest", "x"]),
            "unexpected argument '--manifest' found (a similar argument exists: '--manifests'); see `vestibule serve --help`"
        );
        assert_eq!(
            line(&["serve", "--http", "a\nb"]),
            "invalid value 'a b' for '--http <ADDRESS>': invalid socket address syntax; see `vestibule --help`"
        );
    }

    #[test]
    fn a_sample_upstream_has_a_name_and_an_address() {
        let app = sample_app_at("shop=[::1]:9001").unwrap();
        assert_eq!((&*app.name, app.address), ("shop", "[::1]:9001".parse().unwrap()));
        for wrong in ["shop", "=127.0.0.1:9001", "shop=9001", "127.0.0.1:9001"] {
            assert!(sample_app_at(wrong).unwrap_err().contains("shop=127.0.0.1:9001"), "{wrong}");
        }
    }

    #[test]
    fn explain_takes_headers_and_a_method() {
        let words = ["vestibule", "explain", "https://a/", "-H", "A: b", "-X", "POST", "--manifests", "d"];
        let Command::Explain(explain) = Options::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!((explain.headers.len(), &*explain.method), (1, "POST"));
        assert!(Options::try_parse_from(["vestibule", "why"]).is_err());
        assert!(Options::try_parse_from(["vestibule", "explain", "a", "--settings", "x"]).is_err());
    }
}
