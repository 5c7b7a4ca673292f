//! Traffic while the configuration changes: what it breaks, and what it costs in latency.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::child;
use crate::failure::Failure;
use crate::measure::{self, Load, Plan};
use crate::target::{Program, Setup, Site};
use crate::window::Window;
use crate::workload::{HOSTS_FEW, Traffic};

/// Traffic without and with changes.
#[derive(Debug, Serialize)]
pub(crate) struct ChurnResult {
    pub(crate) label: String,
    pub(crate) version: String,
    pub(crate) changes: usize,
    pub(crate) quiet: Window,
    pub(crate) changing: Window,
}

/// Sends GETs for as long as `changes` changes take, and as long without any.
pub(crate) fn run(
    site: &Site,
    plan: &Plan,
    program: Program,
    changes: usize,
) -> Result<ChurnResult, Failure> {
    let target = site.start(program, Setup { hosts: HOSTS_FEW, access_log: false })?;
    let time = CHANGE_PAUSE * changes as u32;
    let load = Load { label: program.name().into(), target: &target, traffic: Traffic::Get, hosts: 0 };
    measure::window(site, &Plan { window_ms: plan.warm_up_ms, ..plan.clone() }, &load)?;
    let plan = Plan { window_ms: time.as_millis() as u64, ..plan.clone() };
    let quiet = measure::window(site, &plan, &load)?;
    let over = AtomicBool::new(false);
    let (changing, made) = std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut made = 0;
            while made < changes && !over.load(Ordering::Relaxed) {
                target.add_host(&format!("added-{made}.bench.test"))?;
                made += 1;
                child::pause(CHANGE_PAUSE);
            }
            Ok::<usize, Failure>(made)
        });
        let window = measure::window(site, &plan, &load);
        over.store(true, Ordering::Relaxed);
        (window, changer.join())
    });
    let made = made.map_err(|_| Failure::Load("the changes broke off".into()))??;
    Ok(ChurnResult {
        label: program.name().into(),
        version: target.version.clone(),
        changes: made,
        quiet,
        changing: changing?,
    })
}

const CHANGE_PAUSE: Duration = Duration::from_millis(20);
