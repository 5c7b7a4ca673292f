//! `vestibule explain`: which route answers, by files or by the running process.

use std::fmt::Write as _;
use std::io::Write;

use super::paint::wrap;
use super::{Failure, Outcome, compile, load_settings};
use crate::admin::client::{ask, encode};
use crate::admin::explain::{Grounds, Question, Report, explain};
use crate::directory::Directory;
use crate::options::Explain;

pub(super) fn run(options: &Explain, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let question =
        Question::parse(&options.url, &options.method, &options.headers, options.client.as_deref())?;
    let report = match &options.manifests {
        Some(manifests) => {
            let settings = load_settings(options.settings.as_ref())?;
            let mut directory = Directory::open(manifests)?;
            let compiled = compile(&mut directory, &settings, |file| std::fs::read_to_string(file).ok())?;
            explain(Grounds { table: &compiled.table, settings: &settings, bound: &[] }, &question)
        }
        None => ask(options.admin, &query(options))?,
    };
    out.write_all(write_report(&report).as_bytes())?;
    Ok(if report.is_served() { Outcome::Done } else { Outcome::ProblemsFound })
}

fn query(options: &Explain) -> String {
    let mut query = format!("/explain?url={}&method={}", encode(&options.url), encode(&options.method));
    for header in &options.headers {
        // A `String` takes whatever is written to it.
        let _ = write!(query, "&header={}", encode(header));
    }
    if let Some(client) = &options.client {
        let _ = write!(query, "&client={}", encode(client));
    }
    query
}

pub(super) fn write_report(report: &Report) -> String {
    let mut text = wrap("", 2, &report.request);
    if let Some(refused) = &report.refused {
        text.push_str(&wrap(&format!("  no  {:<9} ", refused.step), 16, &refused.text));
    }
    for listener in &report.listeners {
        text.push('\n');
        text.push_str(&wrap("", 2, &format!("{} on {}", listener.listener, listener.addresses.join(", "))));
        for verdict in &listener.verdicts {
            let mark = if verdict.passes { "  " } else { "no" };
            text.push_str(&wrap(&format!("  {mark}  {:<9} ", verdict.step), 16, &verdict.text));
        }
        text.push_str(&wrap("  =>  ", 6, &listener.answer));
        if let Some(route) = &listener.route {
            text.push_str(&wrap("      ", 6, &format!("by {route}")));
        }
    }
    text
}
