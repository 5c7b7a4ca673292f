//! `vestibule status`: a running process on one screen of 80 by 24.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::paint::WIDTH;
use super::paint::cut;
use super::{Failure, Outcome};
use crate::admin::client::ask;
use crate::admin::status::Status;
use crate::options;

pub(super) fn run(options: &options::Status, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let before: Status = ask(options.admin, "/status")?;
    #[expect(
        clippy::disallowed_methods,
        reason = "rates need two looks, and nothing else runs in this process"
    )]
    std::thread::sleep(RATE_INTERVAL);
    let now: Status = ask(options.admin, "/status")?;
    out.write_all(write_status(&before, &now).as_bytes())?;
    Ok(if now.ready { Outcome::Done } else { Outcome::ProblemsFound })
}

pub(super) fn write_status(before: &Status, now: &Status) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&cut(&words, WIDTH));
        text.push('\n');
    };
    let uptime = age(now.started, now.now);
    let state = if now.ready { "ready" } else { "not ready: no configuration is live" };
    line(format!("vestibule {}, up {uptime}, {} workers, {state}", now.version, now.workers));
    let applied =
        now.config_applied.map_or_else(String::new, |at| format!(", live for {}", age(at, now.now)));
    line(format!("configuration {}{applied}: {} routes", now.config_version, now.routes));
    line(match now.certificates_expire {
        Some(end) => format!("certificates: the first ends {}", until(now.now, end)),
        None => "certificates: none in use".into(),
    });
    let seconds = now.now.duration_since(before.now).as_secs_f64().max(0.001);
    let rate = |then: u64, now: u64| now.saturating_sub(then) as f64 / seconds;
    let (old, new) = (&before.totals, &now.totals);
    line(String::new());
    line(format!("{:<22}{:>12}{:>16}", "", "per second", "in all"));
    for (name, then, total) in [
        ("requests", old.requests, new.requests),
        ("refused by the edge", old.rejects, new.rejects),
        ("connections", old.connections_opened, new.connections_opened),
        ("TLS handshakes", old.tls_handshakes, new.tls_handshakes),
        ("upstream connects", old.upstream_connects, new.upstream_connects),
        ("  failed", old.upstream_connects_failed, new.upstream_connects_failed),
    ] {
        line(format!("{name:<22}{:>12.1}{total:>16}", rate(then, total)));
    }
    line(format!("{:<22}{:>28}", "connections open", new.connections_open));
    line(String::new());
    for listener in now.listeners.iter().take(LISTENERS_SHOWN_MAX) {
        line(format!("{:<38} {}", cut(&listener.name, 38), listener.addresses.join(" ")));
    }
    if now.listeners.len() > LISTENERS_SHOWN_MAX {
        line(format!("and {} more listeners", now.listeners.len() - LISTENERS_SHOWN_MAX));
    }
    line(String::new());
    if !now.workloads.is_empty() {
        let counts: Vec<String> =
            now.workloads.iter().map(|(state, count)| format!("{count} {state}")).collect();
        line(format!("workloads: {}", counts.join(", ")));
    }
    if let Some(late) = now.late.first() {
        line(format!("  {} {}: {}", late.name, late.state, late.trouble.as_deref().unwrap_or_default()));
    }
    let [refused, degraded, warning] = now.problems;
    let plural = if warning == 1 { "" } else { "s" };
    line(format!("problems: {refused} refused, {degraded} degraded, {warning} warning{plural}"));
    for problem in now.worst.iter().take(PROBLEMS_SHOWN_MAX) {
        let object = problem.object.as_deref().or(problem.place.as_deref()).unwrap_or("settings");
        line(format!("  {} {object}: {}", problem.severity, problem.message));
    }
    let hidden = now.problems.iter().sum::<usize>().saturating_sub(now.worst.len().min(PROBLEMS_SHOWN_MAX));
    if hidden > 0 {
        let mut more = String::new();
        // A `String` takes whatever is written to it.
        let _ = write!(more, "  and {hidden} more; `vestibule check` lists all");
        line(more);
    }
    text
}

/// `3d 4h`, `5m 6s`: the two largest units.
fn age(then: Timestamp, now: Timestamp) -> String {
    in_words(now.duration_since(then))
}

fn until(now: Timestamp, end: Timestamp) -> String {
    let left = end.duration_since(now);
    if left.is_negative() {
        format!("{} AGO", in_words(left.abs()))
    } else {
        format!("in {}", in_words(left))
    }
}

fn in_words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

const RATE_INTERVAL: Duration = Duration::from_secs(1);
/// With these the screen has 24 lines at the most.
const LISTENERS_SHOWN_MAX: usize = 3;
const PROBLEMS_SHOWN_MAX: usize = 2;
