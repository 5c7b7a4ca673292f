use super::*;
use crate::window::{Latency, Window};

fn plan() -> Plan {
    Plan { rounds: 4, window_ms: 2500, warm_up_ms: 300, connections: 64, keep_disturbed: false }
}

fn series(label: &str, version: &str, cost_us: u64) -> Series {
    let window = |round: u64| Window {
        requests: 100_000,
        elapsed_ns: 2_500_000_000,
        cpu_ns: 100_000 * (cost_us * 1000 + round),
        ..Window::default()
    };
    let windows = (0..4).map(|round| Some(window(round))).collect();
    let error = Some(format!("unexpected answer {}", "x".repeat(200)));
    Series {
        label: label.into(),
        version: version.into(),
        windows,
        disturbed: 2,
        failed: 1,
        error,
        syscalls: Some(4.0),
    }
}

fn narrow(finding: &Finding) -> String {
    let table = finding.table(&plan());
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    table
}

#[test]
fn costs_are_told_with_their_ratios() {
    let all = vec![
        series("vestibule", "0.1.0", 9),
        series("vestibule again", "0.1.0", 9),
        series("haproxy", "2.6.12-1+deb12u4", 10),
    ];
    let table = narrow(&Finding { workload: Workload::Chunked, data: Data::Cost(all) });
    assert!(table.contains("9.00   4.00  40000"), "{table}");
    assert!(table.contains("1.000"), "{table}");
    assert!(table.contains("0.900   0.900–0.900"), "{table}");
    assert!(table.contains("6 windows dropped"), "{table}");
}

#[test]
fn what_a_workload_is_about_is_told_in_microseconds() {
    let all = vec![
        series("vestibule", "0.1.0", 11),
        series("vestibule again", "0.1.0", 11),
        series("not guarded", "0.1.0", 9),
    ];
    let table = narrow(&Finding { workload: Workload::SignedIn, data: Data::Cost(all) });
    assert!(table.contains("vestibule − not guarded: +2.00 µs each (+2.00 to +2.00)"), "{table}");
}

#[test]
fn the_other_tables_fit_into_80_columns() {
    let hosts = HostsResult {
        most_hosts: 50_000,
        few: series("vestibule", "0.1.0", 13),
        again: series("vestibule again", "0.1.0", 13),
        many: series("vestibule", "0.1.0", 14),
        most: series("vestibule", "0.1.0", 15),
        empty_bytes: 10 << 20,
        many_bytes: 999 << 20,
        most_bytes: 9_999 << 20,
    };
    narrow(&Finding { workload: Workload::Hosts, data: Data::Hosts(vec![hosts]) });
    let idle = IdleResult {
        label: "null relay".into(),
        version: "12.345.678".into(),
        connections: 5000,
        before_bytes: 10 << 20,
        held_bytes: 100 << 20,
        closed_bytes: 99 << 20,
    };
    let table = narrow(&Finding { workload: Workload::IdleTls, data: Data::Idle(vec![idle]) });
    assert!(table.contains("18.87"), "{table}");
    let reload = ReloadResult {
        label: "nginx".into(),
        version: "1.22.1".into(),
        milliseconds: vec![3.0, 1.0, 2000.0],
    };
    let table = narrow(&Finding { workload: Workload::Reload, data: Data::Reload(vec![reload]) });
    assert!(table.contains("3.0 ms"), "{table}");
    let latency = Some(Latency { p50_us: 1_000.0, p99_us: 123_456.0, max_us: 200_000.0 });
    let window = Window { requests: 10_000_000, errors: 1_000_000, latency, ..Window::default() };
    let churn = ChurnResult {
        label: "vestibule".into(),
        version: "0.1.0".into(),
        changes: 1000,
        quiet: Window::default(),
        changing: window,
    };
    let table = narrow(&Finding { workload: Workload::Churn, data: Data::Churn(vec![churn]) });
    assert!(table.contains("123.46 ms"), "{table}");
    let start = ColdStartResult {
        label: "vestibule".into(),
        version: "0.1.0".into(),
        milliseconds: vec![12_345.0, 12_346.0, 12_347.0],
        wrong: 10_000,
        cpu_ms: 12_345.0,
        resident_bytes: 1 << 30,
    };
    let table = narrow(&Finding { workload: Workload::ColdStart, data: Data::ColdStart(vec![start]) });
    assert!(table.contains("12346 ms"), "{table}");
}
