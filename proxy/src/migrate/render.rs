//! The report as text, Markdown or JSON.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::json;

use super::{Report, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Markdown,
    Json,
}

/// The report, with the steps of a plan if there is one.
pub fn render(report: &Report, steps: &[String], format: Format) -> String {
    match format {
        Format::Json => format!(
            "{:#}\n",
            json!({"objects": report.objects, "complete": report.is_complete(), "plan": steps})
        ),
        Format::Text => text(report, steps),
        Format::Markdown => markdown(report, steps),
    }
}

fn text(report: &Report, steps: &[String]) -> String {
    let mut out = String::new();
    for object in &report.objects {
        let _ = writeln!(out, "{}", object.object);
        for finding in &object.findings {
            let _ = writeln!(out, "  {:<8} {}: {}", finding.verdict.as_str(), finding.about, finding.words);
        }
    }
    let _ = writeln!(out, "{}", summary(report));
    for (index, step) in steps.iter().enumerate() {
        let _ = writeln!(out, "{}. {step}", index + 1);
    }
    out
}

fn markdown(report: &Report, steps: &[String]) -> String {
    let mut out = String::from("| object | verdict | about | words |\n|---|---|---|---|\n");
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    for object in &report.objects {
        for finding in &object.findings {
            let (verdict, about, words) =
                (finding.verdict.as_str(), cell(&finding.about), cell(&finding.words));
            let _ = writeln!(out, "| {} | {verdict} | {about} | {words} |", object.object);
        }
    }
    let _ = writeln!(out, "\n{}", summary(report));
    for (index, step) in steps.iter().enumerate() {
        let _ = writeln!(out, "{}. {step}", index + 1);
    }
    out
}

fn summary(report: &Report) -> String {
    let count = |wanted: Verdict| {
        report
            .objects
            .iter()
            .flat_map(|object| &object.findings)
            .filter(|finding| finding.verdict == wanted)
            .count()
    };
    format!(
        "{} the same, {} changes, {} by hand, {} closed; {} objects written",
        count(Verdict::Same),
        count(Verdict::Changes),
        count(Verdict::ByHand),
        count(Verdict::Closed),
        report.written().count()
    )
}
