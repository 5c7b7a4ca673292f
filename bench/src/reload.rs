//! How long a changed file takes to be live.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;
use crate::statistics::{median, quantile};
use crate::target::{Program, Setup, Site};
use crate::workload::HOSTS_MANY;
use crate::{child, http1, idle};

/// The times of all changes of one program.
#[derive(Debug, Serialize)]
pub(crate) struct ReloadResult {
    pub(crate) label: String,
    pub(crate) version: String,
    pub(crate) milliseconds: Vec<f64>,
}

impl ReloadResult {
    pub(crate) fn median_ms(&self) -> f64 {
        median(self.milliseconds.clone())
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        quantile(self.milliseconds.clone(), 0.99)
    }

    pub(crate) fn max_ms(&self) -> f64 {
        quantile(self.milliseconds.clone(), 1.0)
    }
}

/// Replaces one host by another, `changes` times, and asks for the new one until it answers: each question on a
/// connection of its own, since a program may keep old connections on the old configuration.
pub(crate) fn run(site: &Site, program: Program, changes: usize) -> Result<ReloadResult, Failure> {
    let mut target = site.start(program, Setup { hosts: HOSTS_MANY, access_log: false })?;
    let mut milliseconds = Vec::with_capacity(changes);
    for number in 0..changes {
        let host = format!("added-{number}.bench.test");
        let request = http1::get(&host, "/");
        target.add_host(&host)?;
        // The clock starts behind the rename; what the bench itself takes to write the file is not in it.
        let start = Instant::now();
        let mut ended = Ok(());
        while !idle::ask(target.plain, &request).is_ok_and(|status| status == 200) {
            ended = target.running[0].check();
            if ended.is_err() || start.elapsed() > CHANGE_WAIT {
                break;
            }
            // The questions must not take the CPU from the change that they wait for.
            child::pause(QUESTION_PAUSE);
        }
        ended?;
        if start.elapsed() > CHANGE_WAIT {
            return Err(Failure::NotReady {
                program: format!("{} (change {number}: host {host})", program.name()),
                address: target.plain,
                seconds: CHANGE_WAIT.as_secs(),
                output: target.running[0].last_output(),
            });
        }
        milliseconds.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(ReloadResult { label: program.name().into(), version: target.version.clone(), milliseconds })
}

const QUESTION_PAUSE: Duration = Duration::from_micros(300);
const CHANGE_WAIT: Duration = Duration::from_secs(20);
