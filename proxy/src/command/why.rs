//! `vestibule why REQUEST-ID`: what a visitor met.

use std::io::Write;

use super::paint::wrap;
use super::{Failure, Outcome};
use crate::admin::client::{AskError, ask, encode};
use crate::options::Why;
use crate::reject::refusals::Record;

pub(super) fn run(options: &Why, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let record: Record = match ask(options.admin, &format!("/why/{}", encode(&options.request_id))) {
        Ok(record) => record,
        Err(AskError::Refused { status: 404, message }) => {
            out.write_all(wrap("", 0, &message).as_bytes())?;
            return Ok(Outcome::ProblemsFound);
        }
        Err(error) => return Err(error.into()),
    };
    out.write_all(write_record(&record).as_bytes())?;
    Ok(Outcome::Done)
}

pub(super) fn write_record(record: &Record) -> String {
    let mut text = wrap("", 2, &format!("{} {}", record.status, record.reason));
    let fields = [
        ("detail", record.detail.clone()),
        ("request", Some(format!("{} {}{}", record.method, record.host, record.path))),
        ("client", Some(record.client.to_string())),
        ("route", record.route.clone()),
        ("at", Some(record.at.to_string())),
        ("id", Some(record.request_id.clone())),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            text.push_str(&wrap(&format!("  {name:<8} "), 11, &value));
        }
    }
    text
}
