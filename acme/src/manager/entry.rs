//! What the manager knows of one certificate.

use jiff::{SignedDuration, Timestamp};

use crate::chain::Chain;
use crate::plan::{CertificateId, Wanted};
use crate::renewal::Held;
use crate::state::{LastError, State};
use crate::store::{StoreError, Stored};

pub(super) struct Entry {
    pub(super) id: CertificateId,
    /// Absent for one that nobody wants any more.
    pub(super) wanted: Option<Wanted>,
    pub(super) held: Held,
    pub(super) state: State,
    /// How it was seen from outside when it was read; absent before it was wanted.
    pub(super) mark: Option<Option<u64>>,
    pub(super) must_load: bool,
    /// After the store could not be read.
    pub(super) load_again: Option<Timestamp>,
    pub(super) clean_up_at: Timestamp,
    pub(super) clean_ups_failed: u32,
    /// A task has its state.
    pub(super) is_busy: bool,
    pub(super) is_ordering: bool,
    /// The last one.
    pub(super) task: Option<tokio::task::Id>,
}

impl Entry {
    pub(super) fn new(id: CertificateId) -> Entry {
        Entry {
            id,
            wanted: None,
            held: Held::Nothing,
            state: State::default(),
            mark: None,
            must_load: true,
            load_again: None,
            clean_up_at: Timestamp::MIN,
            clean_ups_failed: 0,
            is_busy: false,
            is_ordering: false,
            task: None,
        }
    }

    /// Its task is gone with the state: it is read again after a pause.
    pub(super) fn ended_badly(&mut self, now: Timestamp) {
        (self.is_busy, self.is_ordering, self.must_load) = (false, false, true);
        self.load_again = Some(now + LOAD_AGAIN_AFTER);
    }

    pub(super) fn loaded(
        &mut self,
        loaded: Result<Stored, StoreError>,
        mark: Option<Option<u64>>,
        now: Timestamp,
    ) {
        match loaded {
            Ok(stored) => {
                self.state = stored.state;
                self.held = match stored.certificate {
                    None => Held::Nothing,
                    Some(kept) => match Chain::parse(&kept.chain, &kept.key) {
                        Ok(chain) => {
                            self.state.issuer = self.state.issuer.take().or(kept.issuer);
                            Held::Chain(chain.facts)
                        }
                        Err(error) => {
                            tracing::warn!(certificate = %self.id, %error, "what is stored cannot be used");
                            Held::Unusable
                        }
                    },
                };
                (self.mark, self.must_load, self.load_again) = (mark, false, None);
            }
            Err(error) => {
                // It is told like every other failure; what the store has takes its place when that can be read.
                let (reason, message) = (error.reason().to_owned(), error.to_string());
                if self.state.last_error.as_ref().is_none_or(|known| known.message != message) {
                    tracing::warn!(certificate = %self.id, %error, "it is tried again");
                }
                self.must_load = true;
                self.load_again = Some(now + LOAD_AGAIN_AFTER);
                self.state.last_error = Some(LastError { reason, message, at: now });
                self.state.next_try = self.load_again;
            }
        }
    }

    /// After a change that may have mended it, it is tried at once; what the CA's limits say stays.
    pub(super) fn forgive(&mut self) {
        let is_limit = self
            .state
            .last_error
            .as_ref()
            .is_some_and(|error| error.reason == "RateLimited" || error.reason == "LimitReached");
        if !is_limit {
            self.state.next_try = None;
            self.state.failures = 0;
        }
    }
}

const LOAD_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(10);
