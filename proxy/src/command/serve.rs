//! `vestibule serve`: from options to the running process.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::{Failure, Outcome};
use crate::options;
use crate::serve::{Overrides, ServeOptions, SourceOptions, serve};

pub(super) fn run(options: &options::Serve) -> Result<Outcome, Failure> {
    // What the client of the API server would call errors is tried again, and told as a problem while it lasts.
    let filter = EnvFilter::try_new(format!("kube_client=off,{}", options.log))
        .map_err(|_| Failure::Log(options.log.clone()))?;
    // Standard output belongs to the access log. Set already, it was by a test.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let source = match &options.manifests {
        Some(directory) => SourceOptions::Directory(directory.clone()),
        None => SourceOptions::Cluster { kubeconfig: options.kubeconfig.clone() },
    };
    serve(&ServeOptions {
        source,
        role: options.role,
        settings: options.settings.clone(),
        sample_apps: options.sample_app.clone(),
        overrides: Overrides {
            http: options.http.clone(),
            https: options.https.clone(),
            workers: options.workers,
            admin: options.admin,
            access_log: options.access_log,
        },
    })?;
    Ok(Outcome::Done)
}
