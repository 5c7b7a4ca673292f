//! The bundled benches: the same load against Vestibule and its peers, in the same run.
//!
//! The program under test has CPU 1 to itself; the load and the backend share CPU 0. What is compared is CPU time per
//! request, which a noisy machine disturbs least, in windows of all programs in turn. Start with `bench/run --help`.

#![allow(clippy::print_stdout, reason = "standard output is where the tables go")]

mod backend;
mod child;
mod failure;
mod http1;
mod idle;
mod load;
mod measure;
mod memory;
mod procfs;
mod relay;
mod reload;
mod report;
mod statistics;
mod target;
mod tls;
mod workload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit};

use child::LOAD_CPU;
use failure::{Doing, Failure};
use measure::{Load, Plan};
use report::{Data, Finding, HostsResult, Report};
use target::{Program, Site, Target};
use workload::{HOSTS_FEW, HOSTS_MANY, Shape, Workload};

/// Measure Vestibule beside its peers: CPU time per request, memory, reload
#[derive(Parser)]
#[command(name = "bench/run", args_conflicts_with_subcommands = true, max_term_width = 80)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure; everything if none is named
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// The program that the others are compared with
    #[arg(long, value_enum, default_value = "vestibule")]
    subject: Program,
    /// The programs beside it
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nginx", "haproxy", "relay"])]
    peers: Vec<Program>,
    /// Short windows and few rounds: to see that everything works, not to claim anything
    #[arg(long)]
    quick: bool,
    /// Rounds; each holds one window of each program
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a window
    #[arg(long)]
    seconds: Option<f64>,
    /// Connections of the load
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Keep windows in which the machine was busy with something else
    #[arg(long)]
    keep_disturbed: bool,
    /// Vestibule's binary [default: the release build of this checkout]
    #[arg(long)]
    vestibule: Option<PathBuf>,
    /// Another build of Vestibule, for the peer "baseline"
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Where to write the results as JSON [default: a new file in target/bench]
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The parts of a bench that are processes of their own.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        listen: SocketAddr,
    },
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    #[command(hide = true)]
    Load(load::LoadOptions),
    #[command(hide = true)]
    Hold(idle::IdleOptions),
    #[command(hide = true)]
    Pinned {
        #[arg(long)]
        cpu: usize,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    let result = match options.part.take() {
        None => run(&options),
        Some(part) => part.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(2)
        }
    }
}

impl Part {
    fn run(self) -> Result<(), Failure> {
        match self {
            Part::Backend { listen } => backend::serve(listen),
            Part::Relay { listen, upstream } => relay::serve(listen, upstream),
            Part::Load(options) => {
                println!("{}", serde_json::to_string(&load::run(&options)?)?);
                Ok(())
            }
            Part::Hold(options) => idle::run(&options, &mut std::io::stdin().lock(), &mut std::io::stdout()),
            Part::Pinned { cpu, program, arguments } => Err(child::become_pinned(cpu, &program, &arguments)),
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    prepare()?;
    let plan = plan(options);
    // Both binaries are built into the same directory.
    let vestibule = options.vestibule.clone().unwrap_or(child::own_path()?.with_file_name("vestibule"));
    let site = Site::open(vestibule, options.baseline.clone())?;
    let mut report = Report {
        started: now(),
        machine: procfs::machine(),
        command: std::env::args().skip(1).collect(),
        plan,
        findings: Vec::new(),
    };
    println!("{}", report.machine);
    let workloads = match options.workloads.as_slice() {
        [] => <Workload as clap::ValueEnum>::value_variants(),
        named => named,
    };
    for &workload in workloads {
        let data = measure(&site, options, &report.plan, workload)?;
        let finding = Finding { workload, data };
        print!("{}", finding.table(&report.plan));
        report.findings.push(finding);
    }
    let path = json_path(options, report.started)?;
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)
        .doing(|| format!("write {}", path.display()))?;
    println!("\nEvery window: {}", path.display());
    Ok(())
}

fn measure(site: &Site, options: &Options, plan: &Plan, workload: Workload) -> Result<Data, Failure> {
    let all: Vec<Program> = [options.subject].into_iter().chain(options.peers.iter().copied()).collect();
    // The relay knows neither TLS nor hosts nor a configuration.
    let proxies: Vec<Program> = all.iter().copied().filter(|program| *program != Program::Relay).collect();
    match workload {
        Workload::Get => cost(site, plan, workload, &all, Shape::Get),
        Workload::Post => cost(site, plan, workload, &all, Shape::Post),
        Workload::Chunked => cost(site, plan, workload, &all, Shape::Chunked),
        Workload::Tls => cost(site, plan, workload, &proxies, Shape::Get),
        Workload::Idle => {
            let one = |program: &Program| memory::run(site, *program, false, IDLE_PLAIN);
            all.iter().map(one).collect::<Result<_, _>>().map(Data::Idle)
        }
        Workload::IdleTls => {
            let one = |program: &Program| memory::run(site, *program, true, IDLE_TLS);
            proxies.iter().map(one).collect::<Result<_, _>>().map(Data::Idle)
        }
        Workload::Hosts => hosts(site, plan, &proxies).map(Data::Hosts),
        Workload::Reload => {
            let changes = if options.quick { CHANGES_QUICK } else { CHANGES };
            let known = proxies.iter().filter(|program| **program != Program::Haproxy);
            let one = |program: &Program| reload::run(site, *program, changes);
            known.map(one).collect::<Result<_, _>>().map(Data::Reload)
        }
    }
}

/// The subject twice (two equal programs must come out equal) and the peers, all under the same load.
fn cost(
    site: &Site,
    plan: &Plan,
    workload: Workload,
    programs: &[Program],
    shape: Shape,
) -> Result<Data, Failure> {
    let subject = programs.first().copied();
    let again = subject.map(|program| (program, format!("{} again", program.name())));
    let named = programs.iter().map(|program| (*program, program.name().to_owned()));
    let mut named: Vec<(Program, String)> = named.collect();
    named.splice(1..1, again);
    let start = |(program, _): &(Program, String)| site.start(*program, 0);
    let targets: Vec<Target> = named.iter().map(start).collect::<Result<_, _>>()?;
    let loads: Vec<Load<'_>> = named
        .into_iter()
        .zip(&targets)
        .map(|((_, label), target)| Load { label, target, shape, tls: workload == Workload::Tls, hosts: 0 })
        .collect();
    measure::run(site, plan, workload.title(), &loads).map(Data::Cost)
}

/// Each program with few hosts, with few hosts again, and with many.
fn hosts(site: &Site, plan: &Plan, programs: &[Program]) -> Result<Vec<HostsResult>, Failure> {
    let one = |program: &Program| {
        let sizes = [HOSTS_FEW, HOSTS_FEW, HOSTS_MANY];
        let targets: Vec<Target> =
            sizes.iter().map(|size| site.start(*program, *size)).collect::<Result<_, _>>()?;
        let load = |(target, hosts)| Load {
            label: program.name().to_owned(),
            target,
            shape: Shape::Get,
            tls: false,
            hosts,
        };
        let loads: Vec<Load<'_>> = targets.iter().zip(sizes).map(load).collect();
        let title = format!("{}: {HOSTS_FEW} and {HOSTS_MANY} hosts", program.name());
        let mut series = measure::run(site, plan, &title, &loads)?.into_iter();
        let (Some(few), Some(again), Some(many)) = (series.next(), series.next(), series.next()) else {
            return Err(Failure::Load("a series is missing".into()));
        };
        let (few_bytes, many_bytes) = (targets[0].resident_bytes()?, targets[2].resident_bytes()?);
        Ok(HostsResult { few, again, many, few_bytes, many_bytes })
    };
    programs.iter().map(one).collect()
}

fn plan(options: &Options) -> Plan {
    let (rounds, seconds) = if options.quick { (4, 0.5) } else { (12, 3.0) };
    Plan {
        rounds: options.rounds.unwrap_or(rounds),
        window_ms: (options.seconds.unwrap_or(seconds) * 1000.0) as u64,
        warm_up_ms: WARM_UP_MS,
        connections: options.connections,
        keep_disturbed: options.keep_disturbed,
    }
}

/// Looks for what every measurement needs, and leaves CPU 1 alone.
fn prepare() -> Result<(), Failure> {
    procfs::check()?;
    if procfs::ticks(child::PROXY_CPU).is_err() {
        return Err(Failure::Usage("the benches need two CPUs: one for the proxy, one for the load".into()));
    }
    let files = rustix::process::getrlimit(Resource::Nofile);
    if files.maximum.is_some_and(|maximum| maximum < FILES_MIN) {
        return Err(Failure::Usage(format!("the benches need {FILES_MIN} open files: raise ulimit -Hn")));
    }
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
        .map_err(std::io::Error::from)
        .doing(|| "raise the number of open files".into())?;
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(LOAD_CPU);
    rustix::thread::sched_setaffinity(None, &cpus)
        .map_err(std::io::Error::from)
        .doing(|| "choose a CPU".into())
}

fn json_path(options: &Options, started: u64) -> Result<PathBuf, Failure> {
    if let Some(path) = &options.json {
        return Ok(path.clone());
    }
    let own = child::own_path()?;
    let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let directory = target.join("bench");
    std::fs::create_dir_all(&directory).doing(|| format!("create {}", directory.display()))?;
    Ok(directory.join(format!("{started}.json")))
}

#[expect(clippy::disallowed_methods, reason = "the results carry the time at which they were taken")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const IDLE_PLAIN: usize = 5000;
const IDLE_TLS: usize = 2000;
const CHANGES: usize = 100;
const CHANGES_QUICK: usize = 10;
const FILES_MIN: u64 = 12_000;
const WARM_UP_MS: u64 = 300;
