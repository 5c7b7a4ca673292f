//! `vestibule migrate`: what of another controller's configuration comes along, and the YAML for what does.

use std::io::{Read, Write};
use std::path::Path;

use super::{Failure, Outcome};
use crate::migrate::{Documents, Target, migrate, plan, render};
use crate::options::Migrate;

pub(super) fn run(options: &Migrate, input: &mut dyn Read, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let documents = if options.manifests == Path::new("-") {
        let mut text = String::new();
        input.take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
        Documents::parse(&text, "standard input")?
    } else {
        Documents::open(&options.manifests)?
    };
    let target = Target { class: options.class.clone(), namespace: options.namespace.clone() };
    let report = migrate(&documents, &target);
    let steps = if options.plan { plan(&report, &target) } else { Vec::new() };
    out.write_all(render(&report, &steps, options.format).as_bytes())?;
    if let Some(directory) = &options.write {
        std::fs::create_dir_all(directory)?;
        for (from, object) in report.written() {
            let name = |field: &str| object["metadata"][field].as_str().unwrap_or("default").to_owned();
            let file = directory.join(format!("{}-{}.yaml", name("namespace"), name("name")));
            let yaml = serde_saphyr::to_string(object).map_err(std::io::Error::other)?;
            std::fs::write(file, format!("# From {from}.\n{yaml}"))?;
        }
    }
    Ok(if report.is_complete() { Outcome::Done } else { Outcome::ProblemsFound })
}

/// Of standard input, more is not read.
const INPUT_BYTES_MAX: u64 = 256 << 20;
