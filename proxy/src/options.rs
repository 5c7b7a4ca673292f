//! The command line: what can be asked of the binary, and by which words.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::AccessLogFormat;

/// The room between the street and the house: a reverse proxy configured by Kubernetes objects.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
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
    Explain(Explain),
    /// Show an overview of a running process.
    Status(Status),
    /// Say why a request was refused, by the request id on its error page.
    Why(Why),
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
    /// What the process says about itself on standard error: a level, or levels by module.
    #[arg(long, value_name = "LEVEL", env = "VESTIBULE_LOG", default_value = "info")]
    pub log: String,
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
pub struct Why {
    /// The request id, from an error page or the X-Request-ID header.
    pub request_id: String,
    /// The admin address of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = ADMIN_ADDRESS)]
    pub admin: SocketAddr,
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
    fn explain_takes_headers_and_a_method() {
        let words = ["vestibule", "explain", "https://a/", "-H", "A: b", "-X", "POST", "--manifests", "d"];
        let Command::Explain(explain) = Options::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!((explain.headers.len(), &*explain.method), (1, "POST"));
        assert!(Options::try_parse_from(["vestibule", "why"]).is_err());
        assert!(Options::try_parse_from(["vestibule", "explain", "a", "--settings", "x"]).is_err());
    }
}
