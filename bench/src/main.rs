//! The bundled benches: the same load against Vestibule and its peers, in the same run.
//!
//! The program under test has CPU 1 to itself; the load and the backend share CPU 0. What is compared is CPU time per
//! request, which a noisy machine disturbs least, in windows of all programs in turn. Start with `bench/run --help`.

#![allow(clippy::print_stdout, reason = "standard output is where the tables go")]

mod backend;
mod child;
mod churn;
mod cold_start;
mod failure;
mod generator;
mod http1;
mod http2;
mod idle;
mod latency;
mod measure;
mod memory;
mod peers;
mod procfs;
mod relay;
mod reload;
mod report;
mod resumed;
mod statistics;
mod streams;
mod syscalls;
mod target;
mod tls;
mod websocket;
mod window;
mod workload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit};

use child::LOAD_CPU;
use failure::{Doing, Failure};
use measure::{Load, Plan, Series};
use report::{Data, Finding, HostsResult, Report};
use target::{Program, Setup, Site, Target};
use workload::{HOSTS_FEW, HOSTS_MANY, HOSTS_MOST, Traffic, Workload};

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
    /// Where to write the results [default: a new directory in target/bench]
    #[arg(long)]
    output: Option<PathBuf>,
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
        started: now().as_second(),
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
    let directory = output(options, report.started)?;
    let pictures = report::plot::all(&directory, &report.findings)?;
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let pictures: Vec<String> = pictures.iter().filter_map(name).collect();
    target::write(&directory.join("results.md"), &report.markdown(&pictures))?;
    target::write(&directory.join("results.json"), &serde_json::to_string_pretty(&report)?)?;
    println!(
        "\nresults.md, every window in results.json, and {} pictures: {}",
        pictures.len(),
        directory.display()
    );
    Ok(())
}

fn measure(site: &Site, options: &Options, plan: &Plan, workload: Workload) -> Result<Data, Failure> {
    let all = [options.subject].into_iter().chain(options.peers.iter().copied());
    let all: Vec<Program> = all.filter(|program| workload.suits(*program)).collect();
    site.prepare(workload)?;
    if let Some(traffic) = workload.traffic() {
        return cost(site, plan, workload, traffic, &all).map(Data::Cost);
    }
    let changes = if options.quick { CHANGES_QUICK } else { CHANGES };
    match workload {
        Workload::Hosts => {
            // Some programs take minutes to start with the most.
            let most = if options.quick { HOSTS_MANY } else { HOSTS_MOST };
            hosts(site, plan, most, &all).map(Data::Hosts)
        }
        Workload::Idle => {
            each(&all, |program| memory::run(site, program, memory::Idle::Plain, IDLE_PLAIN)).map(Data::Idle)
        }
        Workload::IdleTls => {
            each(&all, |program| memory::run(site, program, memory::Idle::Tls, IDLE_TLS)).map(Data::Idle)
        }
        Workload::IdleHttp2 => {
            each(&all, |program| memory::run(site, program, memory::Idle::Http2, IDLE_TLS)).map(Data::Idle)
        }
        Workload::Reload => each(&all, |program| reload::run(site, program, changes)).map(Data::Reload),
        Workload::Churn => {
            each(&all, |program| churn::run(site, plan, program, changes * CHURN_TIMES)).map(Data::Churn)
        }
        Workload::Latency => {
            let twice: Vec<Program> = all.first().into_iter().chain(&all).copied().collect();
            latency::run(site, plan, &twice).map(Data::Latency)
        }
        _ => each(&all, |program| cold_start::run(site, program, if options.quick { 1 } else { STARTS }))
            .map(Data::ColdStart),
    }
}

fn each<T>(programs: &[Program], one: impl FnMut(Program) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    programs.iter().copied().map(one).collect()
}

/// The subject twice (two equal programs must come out equal) and the peers, all under the same load.
fn cost(
    site: &Site,
    plan: &Plan,
    workload: Workload,
    traffic: Traffic,
    programs: &[Program],
) -> Result<Vec<Series>, Failure> {
    let access_log = workload == Workload::Log;
    let setup = Setup { hosts: 0, access_log };
    let mut named: Vec<(Program, String, Setup, Traffic)> =
        programs.iter().map(|program| (*program, program.name().to_owned(), setup, traffic)).collect();
    let Some((subject, ..)) = named.first().cloned() else { return Ok(Vec::new()) };
    let without = workload.without();
    let bare = without.map(|(what, traffic)| (subject, what.to_owned(), Setup::default(), traffic));
    let again = (subject, format!("{} again", subject.name()), setup, traffic);
    named.splice(1..1, [again].into_iter().chain(bare));
    let start = |(program, _, setup, _): &(Program, String, Setup, Traffic)| site.start(*program, *setup);
    let targets: Vec<Target> = named.iter().map(start).collect::<Result<_, _>>()?;
    let loads: Vec<Load<'_>> = named
        .into_iter()
        .zip(&targets)
        .map(|((_, label, _, traffic), target)| Load { label, target, traffic, hosts: 0 })
        .collect();
    measure::run(site, plan, workload.title(), &loads)
}

/// Each program with few hosts, with few hosts again, with many, and with `most`.
fn hosts(site: &Site, plan: &Plan, most: usize, programs: &[Program]) -> Result<Vec<HostsResult>, Failure> {
    let one = |program: Program| {
        let sizes = [HOSTS_FEW, HOSTS_FEW, HOSTS_MANY, most];
        let start = |hosts: &usize| site.start(program, Setup { hosts: *hosts, access_log: false });
        let targets: Vec<Target> = sizes.iter().map(start).collect::<Result<_, _>>()?;
        let empty = site.start(program, Setup::default())?.resident_bytes()?;
        let load =
            |(target, hosts)| Load { label: program.name().to_owned(), target, traffic: Traffic::Get, hosts };
        let loads: Vec<Load<'_>> = targets.iter().zip(sizes).map(load).collect();
        let title = format!("{}: {HOSTS_FEW}, {HOSTS_MANY}, {most} hosts", program.name());
        let mut series = measure::run(site, plan, &title, &loads)?.into_iter();
        let mut next = || series.next().ok_or_else(|| Failure::Load("a series is missing".into()));
        Ok(HostsResult {
            most_hosts: most,
            few: next()?,
            again: next()?,
            many: next()?,
            most: next()?,
            empty_bytes: empty,
            many_bytes: targets[2].resident_bytes()?,
            most_bytes: targets[3].resident_bytes()?,
        })
    };
    each(programs, one)
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

fn output(options: &Options, started: i64) -> Result<PathBuf, Failure> {
    let directory = match &options.output {
        Some(directory) => directory.clone(),
        None => {
            let own = child::own_path()?;
            let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
            target.join("bench").join(started.to_string())
        }
    };
    std::fs::create_dir_all(&directory).doing(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// The time of the day: results carry it, and sessions begin at it.
#[expect(clippy::disallowed_methods, reason = "what is measured is not decided by it")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

const IDLE_PLAIN: usize = 5000;
const IDLE_TLS: usize = 2000;
const CHANGES: usize = 100;
const CHANGES_QUICK: usize = 10;
/// Changes under load are many more: each is one chance to break something.
const CHURN_TIMES: usize = 10;
const STARTS: usize = 5;
const FILES_MIN: u64 = 12_000;
const WARM_UP_MS: u64 = 300;
