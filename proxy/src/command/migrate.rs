//! `vestibule migrate`: what of another controller's configuration comes along, and the YAML for what does.

use std::io::{Read, Write};
use std::path::Path;

use super::{Failure, Outcome};
use crate::cluster::{ClusterOptions, survey};
use crate::migrate::{Documents, Target, migrate, plan, render};
use crate::options::Migrate;

pub(super) fn run(options: &Migrate, input: &mut dyn Read, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut unreadable = Vec::new();
    let documents = if options.cluster || options.kubeconfig.is_some() {
        let place = ClusterOptions { kubeconfig: options.kubeconfig.clone(), ..ClusterOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(survey(&place))?;
        unreadable = found.unreadable;
        Documents::of(found.objects)
    } else if options.manifests == Path::new("-") {
        let mut text = String::new();
        input.take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
        Documents::parse(&text, "standard input")?
    } else {
        Documents::open(&options.manifests)?
    };
    let mut target = Target::new(&options.class, &options.namespace);
    target.entry_points.extend(options.entry_points.iter().cloned());
    let report = migrate(&documents, &target).without(&unreadable);
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
