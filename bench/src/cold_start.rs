//! How long a program takes from its start to the first answer, and what it answers meanwhile.

use std::time::Instant;

use serde::Serialize;

use crate::child;
use crate::failure::Failure;
use crate::statistics::median;
use crate::target::{self, Program, Setup, Site};
use crate::workload::{HOSTS_MANY, host_name};
use crate::{http1, idle};

/// The starts of one program.
#[derive(Debug, Serialize)]
pub(crate) struct ColdStartResult {
    pub(crate) label: String,
    pub(crate) version: String,
    pub(crate) milliseconds: Vec<f64>,
    /// Answers other than 200 before the first 200: a program that listens before it knows its hosts.
    pub(crate) wrong: usize,
    /// CPU time until then.
    pub(crate) cpu_ms: f64,
    /// Resident bytes then.
    pub(crate) resident_bytes: u64,
}

impl ColdStartResult {
    pub(crate) fn median_ms(&self) -> f64 {
        median(self.milliseconds.clone())
    }
}

/// Starts `program` with many hosts, `starts` times, and asks for the last of them until it answers.
pub(crate) fn run(site: &Site, program: Program, starts: usize) -> Result<ColdStartResult, Failure> {
    let request = http1::get(&host_name(HOSTS_MANY - 1), "/");
    let mut result = ColdStartResult {
        label: program.name().into(),
        version: String::new(),
        milliseconds: Vec::new(),
        wrong: 0,
        cpu_ms: 0.0,
        resident_bytes: 0,
    };
    for _ in 0..starts {
        let mut target = site.launch(program, Setup { hosts: HOSTS_MANY, access_log: false })?;
        // The configuration is written, and the process has just been made.
        let start = Instant::now();
        let answered = child::until(target::READY_WAIT, || match idle::ask(target.plain, &request) {
            Ok(200) => true,
            Ok(_) => {
                result.wrong += 1;
                false
            }
            Err(_) => target.running[0].check().is_err(),
        });
        let elapsed = start.elapsed();
        target.running[0].check()?;
        if !answered {
            return Err(Failure::Load(format!("{} did not answer", program.name())));
        }
        result.milliseconds.push(elapsed.as_secs_f64() * 1000.0);
        result.cpu_ms = crate::procfs::usage(&target.pids()?)?.cpu_ns as f64 / 1e6;
        result.resident_bytes = target.resident_bytes()?;
        result.version = target.version;
    }
    Ok(result)
}
