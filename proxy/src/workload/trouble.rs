//! What keeps a workload that wakes from getting ready: in words for those who wait, and for those who can mend it.

use std::fmt;
use std::sync::Arc;

/// Found in a cluster by looking at Pods and Events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: TroubleReason,
    /// For those who can mend it: it names Pods, images and machines.
    pub detail: Arc<str>,
}

/// Why it takes so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleReason {
    /// Its image cannot be fetched.
    Image,
    /// It starts and ends again.
    Crash,
    /// What it is configured by is missing.
    Configuration,
    /// No machine has room for it, or fits.
    Room,
    /// Its volumes are not there.
    Volume,
    /// A quota of its namespace.
    Quota,
    /// The API server lets no Pod come into being.
    Rejected,
    /// Its machine cannot start it.
    Machine,
    /// It runs, and does not say that it is ready.
    Unready,
}

impl TroubleReason {
    /// One word, which does not change from version to version.
    pub fn as_str(self) -> &'static str {
        match self {
            TroubleReason::Image => "image",
            TroubleReason::Crash => "crash",
            TroubleReason::Configuration => "configuration",
            TroubleReason::Room => "room",
            TroubleReason::Volume => "volume",
            TroubleReason::Quota => "quota",
            TroubleReason::Rejected => "rejected",
            TroubleReason::Machine => "machine",
            TroubleReason::Unready => "unready",
        }
    }

    /// For whoever waits; the names of images and machines are not theirs to know.
    pub fn words(self) -> &'static str {
        match self {
            TroubleReason::Image => "Its image cannot be fetched.",
            TroubleReason::Crash => "It starts and ends again at once.",
            TroubleReason::Configuration => "Its configuration is incomplete.",
            TroubleReason::Room => {
                "The cluster has no room for it at the moment; a new machine may be on its way."
            }
            TroubleReason::Volume => "Its storage is not there yet.",
            TroubleReason::Quota => "A quota of the namespace leaves no room for it.",
            TroubleReason::Rejected => "The cluster does not let it start.",
            TroubleReason::Machine => "Its machine cannot start it.",
            TroubleReason::Unready => "It has started, and does not say that it is ready.",
        }
    }
}

impl fmt::Display for Trouble {
    /// For those who can mend it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}
