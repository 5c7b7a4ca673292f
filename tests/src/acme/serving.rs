//! An edge beside a CA: started, waited for, looked into.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{World, stored};
use crate::certificates::ClientOptions;
use crate::client::Client;
use crate::process::{Files, Process};
use crate::wait::{eventually, eventually_some};

/// True when the edge shows a certificate for this host that the CA vouches for.
pub fn is_served(world: &World, process: &Process, host: &str) -> bool {
    let config = ClientOptions::trusting(&world.authorities()).build();
    let Ok(mut client) = Client::connect_tls(process.https(), &config, host, b"") else { return false };
    client.get(host, "/").status == 200
}

/// Waits until it does.
#[track_caller]
pub fn wait_until_served(world: &World, process: &Process, host: &str) {
    eventually(&format!("{host} has a certificate"), || is_served(world, process, host));
}

/// What the store has of the order of this certificate.
#[track_caller]
pub fn state(files: &Files, name: &str) -> Value {
    stored(files, &format!(".orders/shop.{name}.json"))
}

/// Waits until the last attempt at a certificate has failed for this reason; returns the words.
#[track_caller]
pub fn wait_for_failure(files: &Files, name: &str, reason: &str) -> String {
    let mut seen = Value::Null;
    let found = |seen: &mut Value| {
        let path = files.manifests().join(format!("acme/.orders/shop.{name}.json"));
        *seen = serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok()?["lastError"].clone();
        (seen["reason"] == reason).then(|| seen["message"].as_str().unwrap_or_default().to_owned())
    };
    eventually_some(&format!("it fails with {reason}"), || found(&mut seen))
}

/// An edge for these hosts, with the settings of [`World::settings`].
pub fn start(
    world: &World,
    provider: &str,
    propagation: &str,
    more: &str,
    hosts: &[&str],
    at: SocketAddr,
) -> (Files, Process) {
    let files = world.files(&world.settings(provider, propagation, more), hosts, at);
    let process = Process::serve(&files);
    (files, process)
}

/// The metadata of what an issuer keeps.
pub fn managed() -> Value {
    json!({"labels": {"vestibule.dev/certificate": "managed"}})
}

/// One more rule of a site.
pub fn rule(host: &str) -> String {
    format!(
        "  - host: '{host}'\n    http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}\n"
    )
}
