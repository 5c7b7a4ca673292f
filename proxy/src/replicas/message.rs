//! What replicas say to each other, as JSON. A field that one side does not know is left out or has its default, so that
//! versions can be mixed while they are rolled out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::seal::Incarnation;

/// `/v1/applied-version`: who are you, and which configuration do you serve? It also says who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AppliedQuestion {
    /// Whoever asks puts workloads to sleep.
    pub(super) leads: bool,
    /// Whoever asks can wake workloads for others.
    pub(super) wakes: bool,
    /// Where whoever asks takes calls; `None`: it does not know yet.
    pub(super) address: Option<SocketAddr>,
    /// The process that will be asked before anything is put to sleep from now on.
    pub(super) introduced: Option<Incarnation>,
    /// What whoever asks has applied: the answer names Gateways only where it differs.
    pub(super) digest: Box<str>,
}

/// The answer to [`AppliedQuestion`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AppliedAnswer {
    pub(super) incarnation: Option<Incarnation>,
    /// Clients come to this process.
    pub(super) serves: bool,
    /// Something is live.
    pub(super) ready: bool,
    /// It has decided to put something to sleep, and that can still take effect.
    pub(super) writes: bool,
    pub(super) version: u64,
    /// What is served; `None` where that is what the question named.
    pub(super) applied: Option<BTreeMap<Box<str>, i64>>,
}

/// The generations of Gateways and ListenerSets that are served whole, by the name of the object (`Gateway shop/public`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: u64,
    pub(crate) digest: Box<str>,
    pub(crate) generations: Arc<BTreeMap<Box<str>, i64>>,
}

impl Applied {
    pub(crate) fn new(version: u64, generations: BTreeMap<Box<str>, i64>) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for (name, generation) in &generations {
            context.update(&(name.len() as u64).to_be_bytes());
            context.update(name.as_bytes());
            context.update(&generation.to_be_bytes());
        }
        let digest = super::seal::hex(&context.finish().as_ref()[..16]).into();
        Applied { version, digest, generations: Arc::new(generations) }
    }
}
