//! `vestibule check`: what manifests come to, and what is wrong with them.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;

use super::paint::{plain, wrap};
use super::{Failure, Outcome, compile, load_settings};
use crate::config::compile::describe;
use crate::config::problem::{Problem, Severity};
use crate::directory::{Counts, Directory};
use crate::options::Check;

pub(super) fn run(options: &Check, input: &mut dyn Read, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let settings = load_settings(options.settings.as_ref())?;
    let (mut directory, text) = if options.manifests == Path::new("-") {
        let (directory, text) = Directory::from_reader(STANDARD_INPUT, input)?;
        (directory, Some(text))
    } else {
        (Directory::open(&options.manifests)?, None)
    };
    let compiled = compile(&mut directory, &settings, |file| match &text {
        Some(text) => Some(text.clone()),
        None => std::fs::read_to_string(file).ok(),
    })?;
    let mut report = String::new();
    write_routes(&mut report, &describe(&compiled.table));
    write_problems(&mut report, &compiled.problems);
    write_counts(&mut report, &directory.counts(), &compiled.problems);
    out.write_all(report.as_bytes())?;
    Ok(if compiled.problems.is_empty() { Outcome::Done } else { Outcome::ProblemsFound })
}

/// Lines that are too wide go on below, indented further than they began.
fn write_routes(report: &mut String, routes: &str) {
    for line in routes.lines() {
        let indent = line.len() - line.trim_start().len();
        report.push_str(&wrap(&line[..indent], indent + 6, line.trim_start()));
    }
    if routes.is_empty() {
        report.push_str("No listener, no route.\n");
    }
    report.push('\n');
}

fn write_problems(report: &mut String, problems: &[Problem]) {
    for problem in problems {
        let place = problem.place.as_ref().map_or_else(|| "(no file)".to_owned(), ToString::to_string);
        let object = problem.object.as_ref().map_or_else(String::new, |object| format!("{object}: "));
        let head = format!("{}: {}: {object}{}", plain(&place), word(problem.severity), problem.reason);
        // The place is one word, so that a terminal finds it; it may be wider than the line.
        report.push_str(&wrap("", 4, &head));
        if !problem.field.is_empty() {
            report.push_str(&wrap("    ", 4, &problem.field));
        }
        report.push_str(&wrap("    ", 4, &problem.message));
    }
    if !problems.is_empty() {
        report.push('\n');
    }
}

fn write_counts(report: &mut String, counts: &Counts, problems: &[Problem]) {
    let mut line = format!("Read {}", count(counts.files, "file"));
    for (kind, number) in &counts.read {
        // A `String` takes whatever is written to it.
        let _ = write!(line, ", {number} {kind}");
    }
    report.push_str(&wrap("", 4, &line));
    if counts.sealed > 0 {
        let line = format!(
            "{} encrypted or kept elsewhere: taken as present, content not checked",
            count(counts.sealed, "Secret")
        );
        report.push_str(&wrap("", 4, &line));
    }
    if !counts.foreign.is_empty() {
        let kinds: Vec<String> =
            counts.foreign.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        report.push_str(&wrap("", 4, &format!("Not read: {}", kinds.join(", "))));
    }
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let line = match problems.len() {
        0 => "No problems.".to_owned(),
        all => format!(
            "{}: {} refused, {} degraded, {}.",
            count(all, "problem"),
            of(Severity::Refused),
            of(Severity::Degraded),
            count(of(Severity::Warning), "warning")
        ),
    };
    report.push_str(&wrap("", 4, &line));
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Refused => "refused",
        Severity::Degraded => "degraded",
        Severity::Warning => "warning",
    }
}

const STANDARD_INPUT: &str = "<stdin>";
