//! The commands: each reads its options, does its work and returns how it ended.

mod check;
mod explain;
mod paint;
mod schema;
mod status;
mod why;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::backend::Locality;
use crate::config::compile::{Compiled, Compiler};
use crate::directory::{Directory, DirectoryError};
use crate::options::{Command, Options};
use crate::settings::{Settings, SettingsError};
use crate::tls::certificates::{Certificate, CertificateError};
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
    #[error("default certificate: {0}")]
    Certificate(#[from] DefaultCertificateError),
    #[error("explain: {0}")]
    Question(#[from] crate::admin::explain::QuestionError),
    #[error("admin: {0}")]
    Ask(#[from] crate::admin::client::AskError),
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// A default certificate that the settings name and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefaultCertificateError {
    #[error("tls.defaultCertificate.pem: {0}")]
    Value(#[from] crate::settings::ValueError),
    #[error("tls.defaultCertificate.pem: {0}")]
    Certificate(#[from] CertificateError),
}

/// Runs every command but the two that serve, which the binary itself starts. `None` for those.
pub fn run(options: &Options, out: &mut dyn Write) -> Option<Result<Outcome, Failure>> {
    Some(match &options.command {
        Command::Serve(_) | Command::SampleApp(_) => return None,
        Command::Check(options) => check::run(options, &mut io::stdin().lock(), out),
        Command::Explain(options) => explain::run(options, out),
        Command::Status(options) => status::run(options, out),
        Command::Why(options) => why::run(options, out),
        Command::Schema(options) => schema::run(options, out),
    })
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
pub fn load_settings(file: Option<&PathBuf>) -> Result<Settings, SettingsError> {
    file.map_or_else(|| Ok(Settings::default()), |file| Settings::load(file))
}

/// The certificate for names that no object has one for, save where the settings name a Secret, which the compiler looks up.
pub fn default_certificate(
    settings: &Settings,
    now: jiff::Timestamp,
) -> Result<Option<std::sync::Arc<Certificate>>, DefaultCertificateError> {
    use crate::settings::DefaultCertificate;
    let certificate = match &settings.tls.default_certificate {
        DefaultCertificate::Refuse | DefaultCertificate::SecretRef(_) => return Ok(None),
        DefaultCertificate::SelfSigned => Certificate::self_signed(&["vestibule.invalid"], now)?,
        DefaultCertificate::Pem(pem) => {
            let (certificate, key) = (pem.certificate.read()?, pem.key.read()?);
            Certificate::from_pem(&certificate, &key)?
        }
    };
    Ok(Some(certificate.into()))
}

/// What the objects of a directory compile to, outside a running process. Problems have their places and their order.
fn compile(
    directory: &Directory,
    settings: &Settings,
    text_of: impl Fn(&Path) -> Option<String>,
) -> Result<Compiled, Failure> {
    let certificate = default_certificate(settings, jiff::Timestamp::now())?;
    let mut compiler = Compiler::new(TicketSecret::random(), certificate, Locality::default());
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

#[cfg(test)]
mod tests;
