//! Answers that are kept for a while, so that not every request costs a question.
//!
//! Each worker keeps its own. Only what let a request pass is kept, never an answer that sets cookies: those are for one
//! browser alone.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use foldhash::quality::RandomState;
use http::StatusCode;

use super::answer::Given;
use super::template::{Subject, Template};
use crate::route::Route;

/// Which answers are kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRules {
    pub key: Template,
    /// The first entry that names the status counts. Statuses that are no yes have no effect.
    pub durations: Box<[(StatusCode, Duration)]>,
}

impl CacheRules {
    pub(super) fn duration(&self, status: StatusCode) -> Option<Duration> {
        self.durations.iter().find(|(known, _)| *known == status).map(|(_, duration)| *duration)
    }

    /// What makes two requests the same: route, host, and the values of the variables.
    pub(super) fn key(&self, route: &Route, subject: Subject<'_>) -> Box<[u8]> {
        let mut key = Vec::new();
        let mut part = |bytes: &[u8]| {
            key.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.extend_from_slice(bytes);
        };
        part(route.origin.to_string().as_bytes());
        part(route.origin.path.to_string().as_bytes());
        part(subject.host);
        part(&self.key.fill_distinct(subject));
        key.into()
    }
}

/// The answers that one worker keeps.
#[derive(Default)]
pub(crate) struct Answers {
    kept: HashMap<Rc<[u8]>, Kept, RandomState>,
    /// Oldest first.
    order: VecDeque<Rc<[u8]>>,
}

struct Kept {
    given: Rc<Given>,
    until_ms: u64,
}

impl Answers {
    pub(super) fn find(&self, key: &[u8], now_ms: u64) -> Option<Rc<Given>> {
        let kept = self.kept.get(key)?;
        (now_ms < kept.until_ms).then(|| Rc::clone(&kept.given))
    }

    /// Keeps an answer; the oldest goes when there are [`ANSWERS_LEN_MAX`].
    pub(super) fn keep(&mut self, key: Box<[u8]>, given: Rc<Given>, now_ms: u64, duration: Duration) {
        let key: Rc<[u8]> = key.into();
        let until_ms = now_ms.saturating_add(duration.as_millis() as u64);
        if self.kept.insert(Rc::clone(&key), Kept { given, until_ms }).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > ANSWERS_LEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// Answers that one worker keeps.
pub(crate) const ANSWERS_LEN_MAX: usize = 4096;
/// The longest that an answer is kept, whatever is configured.
pub const CACHE_DURATION_MAX: Duration = Duration::from_secs(3600);
