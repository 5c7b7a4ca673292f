//! Memory per idle connection.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::{self, LOAD_CPU};
use crate::failure::{Doing, Failure};
use crate::measure::{self, Load, Plan};
use crate::target::{Program, Setup, Site, Target};
use crate::workload::Traffic;

/// What idle connections cost one program.
#[derive(Debug, Serialize)]
pub(crate) struct IdleResult {
    pub(crate) label: String,
    pub(crate) version: String,
    pub(crate) connections: usize,
    /// Resident bytes after a short warm-up.
    pub(crate) before_bytes: u64,
    /// Resident bytes while all connections are idle.
    pub(crate) held_bytes: u64,
    /// Resident bytes after they were closed.
    pub(crate) closed_bytes: u64,
}

impl IdleResult {
    /// Bytes per connection.
    pub(crate) fn per_connection(&self) -> f64 {
        (self.held_bytes as f64 - self.before_bytes as f64) / self.connections as f64
    }
}

/// What the idle connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    Plain,
    Tls,
    Http2,
}

/// Opens `connections` to a fresh `program`, asks once on each, and compares its memory before and after; then asks again
/// on each, which must work.
pub(crate) fn run(
    site: &Site,
    program: Program,
    idle: Idle,
    connections: usize,
) -> Result<IdleResult, Failure> {
    let target = site.start(program, Setup::default())?;
    // Code and buffers that every busy process has do not belong to the idle connections.
    let plan = Plan {
        rounds: 1,
        window_ms: WARM_UP_MS,
        warm_up_ms: 0,
        connections: WARM_UP_CONNECTIONS,
        keep_disturbed: true,
    };
    let traffic = match idle {
        Idle::Plain => Traffic::Get,
        Idle::Tls => Traffic::Tls,
        Idle::Http2 => Traffic::Http2,
    };
    let load = Load { label: program.name().into(), target: &target, traffic, hosts: 0 };
    measure::window(site, &plan, &load)?;
    let before_bytes = settled(&target)?;

    let own = child::own_path()?;
    let mut command = child::pinned(LOAD_CPU, &own)?;
    let address = if idle == Idle::Plain { target.plain } else { target.tls };
    command.args(["hold", "--address", &address.to_string(), "--connections", &connections.to_string()]);
    if idle != Idle::Plain {
        command.arg("--root").arg(site.root());
    }
    if idle == Idle::Http2 {
        command.arg("--http2");
    }
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut holder = spawned.doing(|| "start the holder of idle connections".into())?;
    let mut line = String::new();
    if let Some(output) = &mut holder.stdout {
        BufReader::new(output)
            .read_line(&mut line)
            .doing(|| "hear from the holder of idle connections".into())?;
    }
    let held = if line == "open\n" { settled(&target) } else { Ok(0) };
    if let Some(input) = &mut holder.stdin {
        // A holder that has failed reads no more; its own message is what counts.
        let _ = input.write_all(b"\n");
    }
    let output = holder.wait_with_output().doing(|| "wait for the holder of idle connections".into())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Load(format!("{} ({})", text.trim(), program.name())));
    }
    Ok(IdleResult {
        label: program.name().into(),
        version: target.version.clone(),
        connections,
        before_bytes,
        held_bytes: held?,
        closed_bytes: settled(&target)?,
    })
}

/// Resident bytes once they have not moved for a while: programs give buffers back with a delay.
fn settled(target: &Target) -> Result<u64, Failure> {
    let start = Instant::now();
    let mut last = target.resident_bytes()?;
    let mut since = start;
    while since.elapsed() < STEADY_WAIT && start.elapsed() < SETTLE_WAIT {
        child::pause(SETTLE_STEP);
        let now = target.resident_bytes()?;
        if now.abs_diff(last) > last / STEADY_DIVISOR {
            last = now;
            since = Instant::now();
        }
    }
    target.resident_bytes()
}

const WARM_UP_MS: u64 = 500;
const WARM_UP_CONNECTIONS: usize = 64;
const STEADY_WAIT: Duration = Duration::from_secs(3);
const SETTLE_WAIT: Duration = Duration::from_secs(30);
const SETTLE_STEP: Duration = Duration::from_millis(200);
/// A part in so many is not a movement.
const STEADY_DIVISOR: u64 = 500;
