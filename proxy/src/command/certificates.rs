//! `vestibule certificates`: what is ordered, until when it lasts, and what went wrong; and the way out of a store and back.

use std::io::{self, Read, Write};

use acme::manager::Status;
use acme::store::directory::DirectoryStore;
use acme::store::{Bundle, Store, StoreError, export, import};
use jiff::Timestamp;

use super::{Failure, Outcome, load_settings};
use crate::admin::client::ask;
use crate::cluster::secrets::{Namespaces, SecretStore};
use crate::cluster::{ClusterOptions, client};
use crate::options::{self, CertificatesCommand};
use crate::settings::Settings;

pub(super) fn run(options: &options::Certificates, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &options.command {
        None | Some(CertificatesCommand::List) => list(options, out),
        Some(CertificatesCommand::Export(place)) => {
            let bundle = with_store(place, async |store| export(store, now()).await)?;
            let text = serde_json::to_string_pretty(&bundle).map_err(io::Error::other)?;
            writeln!(out, "{text}")?;
            Ok(Outcome::Done)
        }
        Some(CertificatesCommand::Import(place)) => {
            let mut text = Vec::new();
            io::stdin().lock().take(BUNDLE_BYTES_MAX).read_to_end(&mut text)?;
            // serde's words may quote the text, which holds keys.
            let bundle: Bundle = serde_json::from_slice(&text).map_err(|error| {
                let message = format!("standard input is no export, or breaks off, at line {}", error.line());
                Failure::Certificates(message)
            })?;
            let imported = with_store(place, async |store| import(store, &bundle).await)?;
            for id in &imported.certificates {
                writeln!(out, "imported {id}")?;
            }
            for (id, why) in &imported.kept {
                writeln!(out, "left {id}: {why}")?;
            }
            writeln!(out, "{} certificates, {} accounts", imported.certificates.len(), imported.accounts)?;
            Ok(Outcome::Done)
        }
    }
}

fn list(options: &options::Certificates, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let certificates: Vec<Status> = ask(options.admin, "/certificates")?;
    out.write_all(write_list(&certificates, now()).as_bytes())?;
    let is_fine = |status: &Status| status.last_error.is_none() && status.alarm == "fine";
    Ok(if certificates.iter().all(is_fine) { Outcome::Done } else { Outcome::ProblemsFound })
}

/// One line for each certificate, and one more for its last error.
fn write_list(certificates: &[Status], now: Timestamp) -> String {
    let mut text =
        format!("{:<40} {:<16} {:<12} {:<12} NAMES\n", "CERTIFICATE", "ISSUER", "EXPIRES", "RENEWED");
    for status in certificates {
        let expires = status.not_after.map_or_else(|| "none yet".to_owned(), |end| until(end, now));
        let renewed = match status.renew_at {
            _ if status.is_under_way => "under way".to_owned(),
            Some(moment) => until(moment, now),
            None => "-".to_owned(),
        };
        let place = format!("{}/{}", status.namespace, status.name);
        let names = status.names.join(" ");
        text.push_str(&format!("{place:<40} {:<16} {expires:<12} {renewed:<12} {names}\n", status.issuer));
        if let Some(error) = &status.last_error {
            let again = status
                .next_try
                .map(|moment| format!("; tried again {}", until(moment, now)))
                .unwrap_or_default();
            text.push_str(&format!("  {} at {}: {}{again}\n", error.reason, error.at, error.message));
        }
    }
    text
}

/// Runs with the store that the options name, in a runtime of its own.
fn with_store<T>(
    place: &options::StorePlace,
    work: impl AsyncFnOnce(&dyn Store) -> Result<T, StoreError>,
) -> Result<T, Failure> {
    let failed = |error: StoreError| Failure::Certificates(error.to_string());
    let settings = load_settings(place.settings.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(manifests) = &place.manifests {
            let root = settings.certificates.directory(manifests).map_err(failed)?;
            let store = DirectoryStore::open(&root, settings.certificates.namespace()).map_err(failed)?;
            // Reading needs no lock; a write says so when another process has it.
            let is_alone = store.try_acquire();
            return work(&store).await.map_err(|error| match error {
                StoreError::Lost if !is_alone => Failure::Certificates(format!(
                    "{}: a running process has it locked; stop that first",
                    root.display()
                )),
                error => failed(error),
            });
        }
        let options = ClusterOptions { kubeconfig: place.kubeconfig.clone(), ..ClusterOptions::default() };
        let client = client(&options).await.map_err(|error| Failure::Certificates(error.to_string()))?;
        let namespaces = namespaces(&settings, client.default_namespace());
        work(&SecretStore::for_a_person(&client, namespaces)).await.map_err(failed)
    })
}

fn namespaces<'s>(settings: &'s Settings, of_client: &'s str) -> Namespaces<'s> {
    let own = settings.certificates.namespace.as_deref().unwrap_or(of_client);
    Namespaces { own, private: settings.certificates.private_namespace.as_deref().unwrap_or(own) }
}

/// `in 3 d`, `2 h ago`.
fn until(moment: Timestamp, now: Timestamp) -> String {
    let seconds = moment.duration_since(now).as_secs();
    let words = match seconds.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    };
    if seconds < 0 { format!("{words} ago") } else { format!("in {words}") }
}

#[expect(clippy::disallowed_methods, reason = "a command runs once, and now is when")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A thousand certificates with room to spare.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;
