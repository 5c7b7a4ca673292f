//! What the kernel counts: CPU time and memory of a process and its children, and what else ran on the machine.

use std::fs;
use std::path::Path;

use crate::failure::{Doing, Failure};

/// CPU time of some processes since they started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Nanoseconds on a CPU, user and system together. Loopback traffic is received in the sender's system time, so
    /// the network's work is in here too.
    pub(crate) cpu_ns: u64,
    /// Nanoseconds for which a thread could have run and had to wait for a CPU.
    pub(crate) wait_ns: u64,
    /// How often a thread was put on a CPU.
    pub(crate) slices: u64,
}

/// What one CPU did since the machine started, in clock ticks (10 ms).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticks {
    /// Everything but idle and waiting for a disk.
    pub(crate) busy: u64,
    /// Taken away by the hypervisor.
    pub(crate) steal: u64,
}

/// `pid` and everything below it. A process that ends meanwhile is left out.
pub(crate) fn tree(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").doing(|| "list /proc".into())?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything; the fields behind it are state, parent, …
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.push((child, parent.ok_or_else(|| Failure::Proc(format!("{child}/stat")))?));
    }
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    Ok(tree)
}

/// The CPU time of `pids`, all their living threads together. A process that has ended counts nothing.
pub(crate) fn usage(pids: &[u32]) -> Result<Usage, Failure> {
    let mut usage = Usage::default();
    for pid in pids {
        // What has just ended has no directory, and a thread no file, any more.
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
            let (Some(Ok(cpu)), Some(Ok(wait)), Some(Ok(slices))) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(Failure::Proc(format!("{pid}/task/*/schedstat")));
            };
            usage.cpu_ns += cpu;
            usage.wait_ns += wait;
            usage.slices += slices;
        }
    }
    Ok(usage)
}

/// Resident bytes of each of `pids`, exact (`smaps_rollup`, not the kernel's batched counter).
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<Vec<u64>, Failure> {
    let one = |pid: &u32| {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).ok_or(Failure::Proc(format!("{pid}/smaps_rollup")))
    };
    pids.iter().map(one).collect()
}

/// What CPU number `cpu` did.
pub(crate) fn ticks(cpu: usize) -> Result<Ticks, Failure> {
    let stat = fs::read_to_string("/proc/stat").doing(|| "read /proc/stat".into())?;
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    // user nice system idle iowait irq softirq steal
    let fields: Vec<u64> =
        line.unwrap_or_default().split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else {
        return Err(Failure::Proc(format!("stat (line of CPU {cpu})")));
    };
    Ok(Ticks { busy: user + nice + system + irq + softirq, steal })
}

/// Kernel release, CPU model, and the number of CPUs, for the record.
pub(crate) fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("Linux {}, {cpus} × {}", kernel.trim(), model.map_or("unknown CPU", |(_, model)| model.trim()))
}

/// Whether scheduler statistics are there at all: a kernel without them would give a row of zeros.
pub(crate) fn check() -> Result<(), Failure> {
    if Path::new("/proc/self/schedstat").exists() {
        return Ok(());
    }
    Err(Failure::Usage(
        "this kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO); the benches need it".into(),
    ))
}

/// Length of one clock tick of `/proc/stat`.
pub(crate) const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests;
