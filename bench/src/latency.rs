//! Latency at half load, in an open loop: requests leave when they are due, whatever became of those before them, and a
//! late one counts from when it was due.

use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::child::{self, LOAD_CPU};
use crate::failure::{Doing, Failure};
use crate::measure::{self, Load, Plan};
use crate::statistics::median;
use crate::target::{Program, Setup, Site, Target};
use crate::workload::{PLAIN_HOST, Traffic};

/// The latencies through one program, or of the backend without any.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyResult {
    pub(crate) label: String,
    pub(crate) version: String,
    /// Requests per second that were due.
    pub(crate) rate: u64,
    /// For each of [`PERCENTILES`] the median of all rounds, in milliseconds.
    pub(crate) milliseconds: Vec<f64>,
}

/// What is read of each window.
pub(crate) const PERCENTILES: [f64; 7] = [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// Finds what the slowest of `programs` can do, and asks all of them, and the backend itself, for half as much.
pub(crate) fn run(site: &Site, plan: &Plan, programs: &[Program]) -> Result<Vec<LatencyResult>, Failure> {
    let start = |program: &Program| site.start(*program, Setup::default());
    let targets: Vec<Target> = programs.iter().map(start).collect::<Result<_, _>>()?;
    let mut slowest = f64::INFINITY;
    for target in &targets {
        let load = Load { label: target.program.name().into(), target, traffic: Traffic::Get, hosts: 0 };
        let window = measure::window(site, plan, &load)?;
        slowest = slowest.min(window.requests as f64 * 1e9 / window.elapsed_ns as f64);
    }
    let rate = (slowest / 2.0) as u64;
    let direct = ("no proxy".to_owned(), String::new(), site.backend_address);
    let through = targets.iter().map(|target| {
        let again = targets[0].plain != target.plain && targets[0].program == target.program;
        let label = format!("{}{}", target.program.name(), if again { " again" } else { "" });
        (label, target.version.clone(), target.plain)
    });
    let all: Vec<_> = [direct].into_iter().chain(through).collect();
    let mut windows: Vec<Vec<Vec<f64>>> = vec![Vec::new(); all.len()];
    for _ in 0..plan.rounds {
        for (place, (_, _, address)) in all.iter().enumerate() {
            windows[place].push(window(plan, &format!("http://{address}/"), rate)?);
        }
    }
    let result = |((label, version, _), windows): ((String, String, _), Vec<Vec<f64>>)| {
        let at = |place: usize| median(windows.iter().map(|window| window[place]).collect());
        LatencyResult { label, version, rate, milliseconds: (0..PERCENTILES.len()).map(at).collect() }
    };
    Ok(all.into_iter().zip(windows).map(result).collect())
}

/// One window of oha; the latencies in milliseconds, one for each of [`PERCENTILES`].
fn window(plan: &Plan, url: &str, rate: u64) -> Result<Vec<f64>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary {
        latency_percentiles: std::collections::BTreeMap<String, f64>,
        status_code_distribution: std::collections::BTreeMap<String, u64>,
        error_distribution: std::collections::BTreeMap<String, u64>,
    }

    let mut command = child::pinned(LOAD_CPU, Path::new("oha"))?;
    command.args(["--no-tui", "--output-format", "json", "--latency-correction"]);
    command.args(["--host", PLAIN_HOST, "-c", &plan.connections.to_string(), "-q", &rate.to_string()]);
    command.args(["-z", &format!("{}ms", plan.window_ms), url]);
    let output = command.stdin(Stdio::null()).output().doing(|| "run oha".into())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Load(format!("oha said {:?}", text.trim())));
    }
    let summary: Summary = serde_json::from_slice(&output.stdout)?;
    // Those that are under way at the end of the time are broken off by oha itself.
    let errors = summary.error_distribution.iter().find(|(error, _)| !error.contains("deadline"));
    let other = summary.status_code_distribution.iter().find(|(status, _)| *status != "200");
    if let Some((what, count)) = errors.or(other) {
        return Err(Failure::Load(format!("{count} times {what} from {url}")));
    }
    let of = |percentile: &f64| {
        let seconds = summary.latency_percentiles.get(&format!("p{percentile}"));
        seconds.map(|seconds| seconds * 1000.0).ok_or_else(|| Failure::Load("oha told no latencies".into()))
    };
    PERCENTILES.iter().map(of).collect()
}
