//! `vestibule release`: the way out of a cluster, told first and done on demand.

use std::io::Write;

use super::{Failure, Outcome};
use crate::cluster::release::{Installation, look};
use crate::options::Release;

pub(super) fn run(options: &Release, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let installation = Installation {
        kubeconfig: options.kubeconfig.clone(),
        namespace: options.namespace.clone(),
        lease: options.lease.clone(),
    };
    // The Lease tells in the time of day until when it lasts.
    #[allow(clippy::disallowed_methods)]
    let now = jiff::Timestamp::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let plan = look(&installation, now).await?;
        for line in &plan.left {
            writeln!(out, "{line}")?;
        }
        if plan.steps.is_empty() {
            writeln!(out, "there is nothing to do")?;
            return Ok(Outcome::Done);
        }
        if !options.yes {
            for step in &plan.steps {
                writeln!(out, "would {step}")?;
            }
            match &plan.obstacle {
                Some(obstacle) => writeln!(out, "not yet: {obstacle}")?,
                None => writeln!(out, "nothing was changed; --yes does it")?,
            }
            return Ok(Outcome::Done);
        }
        if let Some(obstacle) = &plan.obstacle {
            return Err(Failure::Release(obstacle.to_string()));
        }
        for (done, step) in plan.steps.iter().enumerate() {
            if let Err(error) = plan.carry_out(step).await {
                // What follows is what the rest is found by: it stays until all before it was done.
                writeln!(out, "could not {step}: {error}")?;
                writeln!(out, "{} steps are left; try again once that is mended", plan.steps.len() - done)?;
                return Ok(Outcome::ProblemsFound);
            }
            writeln!(out, "{step}: done")?;
        }
        Ok(Outcome::Done)
    })
}
