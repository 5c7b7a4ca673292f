//! `vestibule wake`, `sleep` and `keep-awake`: what a person wants of a workload.
//!
//! In a cluster the wish is written on the workload, by the caller and with the caller's rights; on one machine it goes to the
//! admin socket, which the kernel guards. Then it is waited for a while whether it comes true.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use wake::machine::Command;
use wake::scaler::ScaleError;
use wake::workload::{Kind, Workload};

use super::{Failure, Outcome};
use crate::admin::client::{ask_socket, encode};
use crate::admin::status::WorkloadStatus;
use crate::cluster::scale::commands;
use crate::cluster::{ClusterOptions, client};
use crate::options::WorkloadPlace;

pub(super) fn run(place: &WorkloadPlace, command: Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let found = match &place.socket {
        Some(socket) => by_socket(socket, place, command)?,
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(in_cluster(place, command))?
        }
    };
    let (state, is_done) = found;
    if is_done {
        writeln!(out, "{state}")?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "{state}: it was asked for, and has not come yet. Does a route wake it (vestibule.dev/wake), and is it in use?"
    )?;
    Ok(Outcome::ProblemsFound)
}

/// How it is after a while, and whether that is what was asked for.
type Found = (String, bool);

async fn in_cluster(place: &WorkloadPlace, command: Command) -> Result<Found, Failure> {
    let options = ClusterOptions { kubeconfig: place.kubeconfig.clone(), ..ClusterOptions::default() };
    let client = client(&options).await?;
    let namespace: Arc<str> = place.namespace.as_deref().unwrap_or(client.default_namespace()).into();
    let workload = place.workload.clone().within(&namespace);
    if workload.reference.kind == Kind::Process {
        let message = format!("{workload} is a program of one machine: give its socket with --socket");
        return Err(Failure::Workload(message));
    }
    let failed = |error: ScaleError| Failure::Workload(format!("{workload}: {error}"));
    let mut seen = commands::ask(&client, &workload, command, now()).await.map_err(failed)?;
    let end = Instant::now() + WAIT_MAX;
    loop {
        let is_done = match command {
            Command::Sleep => seen.desired == 0,
            Command::Wake => seen.desired > 0,
            Command::KeepAwake(time) => time.is_zero() || seen.desired > 0,
        };
        if is_done || Instant::now() > end {
            let state = format!("{workload}: {} replicas are wanted, {} ready", seen.desired, seen.ready);
            return Ok((state, is_done));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        seen = commands::look(&client, &workload).await.map_err(failed)?;
    }
}

fn by_socket(socket: &Path, place: &WorkloadPlace, command: Command) -> Result<Found, Failure> {
    let namespace: Arc<str> = place.namespace.as_deref().unwrap_or("default").into();
    let workload = place.workload.clone().within(&namespace);
    let name = encode(&workload.to_string());
    let path = match command {
        Command::Wake => format!("/wake?workload={name}"),
        Command::Sleep => format!("/sleep?workload={name}"),
        Command::KeepAwake(time) => format!("/keep-awake?workload={name}&seconds={}", time.as_secs()),
    };
    let serde_json::Map { .. } = ask_socket(socket, "POST", &path)?;
    let end = Instant::now() + WAIT_MAX;
    loop {
        let state = state_of(socket, &workload)?;
        let is_done = match command {
            Command::Sleep => state == "asleep",
            Command::Wake => state == "awake",
            Command::KeepAwake(time) => time.is_zero() || state == "awake",
        };
        if is_done || Instant::now() > end {
            return Ok((format!("{workload}: {state}"), is_done));
        }
        #[expect(clippy::disallowed_methods, reason = "nothing else runs in this process")]
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn state_of(socket: &Path, workload: &Workload) -> Result<String, Failure> {
    let all: Vec<WorkloadStatus> = ask_socket(socket, "GET", "/workloads")?;
    let name = workload.to_string();
    let found = all.into_iter().find(|status| status.name == name);
    Ok(found.map_or_else(|| "unknown".to_owned(), |status| status.state))
}

#[expect(clippy::disallowed_methods, reason = "a command runs once, and now is when")]
fn now() -> Timestamp {
    Timestamp::now()
}

const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long it is waited for: a leader looks at once, and those that run are told.
const WAIT_MAX: Duration = Duration::from_secs(15);
