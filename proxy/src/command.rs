//! The commands: each reads its options, does its work and returns how it ended.

mod certificates;
mod check;
mod explain;
mod migrate;
mod paint;
mod release;
mod schema;
mod serve;
mod status;
mod why;
mod workloads;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wake::machine;

use crate::config::backend::Locality;
use crate::config::compile::{Compiled, Compiler};
use crate::config::objects::core::SecretBytes;
use crate::config::providers::Outside;
use crate::directory::{Directory, DirectoryError};
use crate::options::{Command, Options};
use crate::serve::{DefaultCertificateError, ServeError, fallback_certificate};
use crate::settings::{Settings, SettingsError};
use crate::tls::tickets::TicketSecret;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: the question was answered, and the answer is not a good one.
    ProblemsFound,
}

/// Why a command could not do its work: exit code 2, and one line that names the place and the mend.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("settings: {0}")]
    Settings(#[from] SettingsError),
    #[error("manifests: {0}")]
    Directory(#[from] DirectoryError),
    #[error("tls.defaultCertificate: {0}")]
    Certificate(#[from] DefaultCertificateError),
    #[error("serve: {0}")]
    Serve(#[from] ServeError),
    #[error("sample-app: {0}")]
    SampleApp(#[from] crate::sample_app::SampleAppError),
    /// A word of --log that is no level.
    #[error(
        "log: `{0}` is no level; write error, warn, info, debug, or levels by module such as info,proxy=debug"
    )]
    Log(String),
    #[error("explain: {0}")]
    Question(#[from] crate::admin::explain::QuestionError),
    #[error("migrate: {0}")]
    Migrate(#[from] crate::migrate::ReadError),
    #[error("cluster: {0}")]
    Cluster(#[from] crate::cluster::ClusterError),
    #[error("admin: {0}")]
    Ask(#[from] crate::admin::client::AskError),
    #[error("workload: {0}")]
    Workload(String),
    #[error("certificates: {0}")]
    Certificates(String),
    /// Why a way out that was asked for is not taken.
    #[error("release: {0}")]
    Release(String),
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command to its end; for those that serve, until they are told to stop.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &options.command {
        Command::Serve(options) => serve::run(options),
        Command::Check(options) => check::run(options, &mut io::stdin().lock(), out),
        Command::Explain(options) => explain::run(options, out),
        Command::Certificates(options) => certificates::run(options, out),
        Command::Migrate(options) => migrate::run(options, &mut io::stdin().lock(), out),
        Command::Status(options) => status::run(options, out),
        Command::Why(options) => why::run(options, out),
        Command::Release(options) => release::run(options, out),
        Command::Wake(place) => workloads::run(place, machine::Command::Wake, out),
        Command::Sleep(place) => workloads::run(place, machine::Command::Sleep, out),
        Command::KeepAwake(options) => {
            workloads::run(&options.place, machine::Command::KeepAwake(options.time), out)
        }
        Command::Schema(options) => schema::run(options, out),
        Command::SampleApp(options) => {
            crate::sample_app::run(options.listen, &options.name)?;
            Ok(Outcome::Done)
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::ProblemsFound => ExitCode::from(1),
        }
    }
}

/// The settings of a file, or the defaults without one.
fn load_settings(file: Option<&PathBuf>) -> Result<Settings, SettingsError> {
    file.map_or_else(|| Ok(Settings::default()), |file| Settings::load(file))
}

/// What the objects of a directory compile to, outside a running process. Problems have their places and their order.
fn compile(
    directory: &mut Directory,
    settings: &Settings,
    text_of: impl Fn(&Path) -> Option<String>,
) -> Result<Compiled, Failure> {
    let certificate = fallback_certificate(settings)?;
    // Outside the cluster nobody can tell whether a sealed Secret is a good one; it is taken for one.
    directory.assume_sealed(&stand_in()?);
    let mut compiler = Compiler::new(TicketSecret::random(), certificate, Locality::default());
    compiler.set_outside(Outside::read(settings));
    let mut compiled = compiler.compile(directory.objects(), settings);
    compiled.problems.extend(directory.problems());
    directory.locate(&mut compiled.problems, text_of);
    compiled.problems.sort_by(|a, b| {
        let key = |problem: &crate::config::problem::Problem| (problem.place.clone(), problem.severity);
        key(a).cmp(&key(b)).then_with(|| a.cmp(b))
    });
    compiled.problems.dedup();
    Ok(compiled)
}

/// What stands in for the content of a Secret that is encrypted or kept elsewhere.
fn stand_in() -> Result<BTreeMap<Box<str>, SecretBytes>, Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["vestibule.invalid".to_owned()])
        .map_err(|error| io::Error::other(error.to_string()))?;
    let certificate = SecretBytes::from(made.cert.pem().as_bytes());
    let key = SecretBytes::from(made.signing_key.serialize_pem().as_bytes());
    // Nobody has this password.
    let users = SecretBytes::from(b"nobody:$apr1$........$......................".as_slice());
    Ok([("tls.crt", certificate.clone()), ("tls.key", key), ("ca.crt", certificate), ("auth", users)]
        .map(|(name, value)| (name.into(), value))
        .into())
}

#[cfg(test)]
mod tests;
