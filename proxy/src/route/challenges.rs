//! Answers to a CA's HTTP-01 challenges (RFC 8555 §8.3), the same on every replica: they need no more than the thumbprint of
//! the account that orders for a name.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::Method;

use acme::http01::{CHALLENGE_PATH, key_authorization};

use super::PathPattern;
use super::matches::Lookup;
use super::table::Found;

/// The names that are proved so, each with the thumbprint of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenges {
    thumbprints: HashMap<Box<str>, Arc<str>, RandomState>,
}

impl Challenges {
    /// `None` without names. Names are lower case.
    pub fn new(names: impl IntoIterator<Item = (Box<str>, Arc<str>)>) -> Option<Challenges> {
        let thumbprints: HashMap<_, _, _> = names.into_iter().collect();
        (!thumbprints.is_empty()).then_some(Challenges { thumbprints })
    }

    /// Each once, in order.
    pub(crate) fn thumbprints(&self) -> BTreeSet<&str> {
        self.thumbprints.values().map(|thumbprint| &**thumbprint).collect()
    }

    /// The answer, where this request is such a question and no route is there for just that path: whoever makes one for a
    /// single token (cert-manager does) is asked by another CA, or for another account.
    pub(crate) fn answer(&self, lookup: &Lookup<'_>, found: &Found<'_>) -> Option<String> {
        let token = lookup.path.strip_prefix(CHALLENGE_PATH.as_bytes())?;
        if !matches!(*lookup.method, Method::GET | Method::HEAD) || is_closer(found) {
            return None;
        }
        let thumbprint = self.thumbprints.get(lookup.host?.as_str())?;
        key_authorization(std::str::from_utf8(token).ok()?, thumbprint)
    }
}

fn is_closer(found: &Found<'_>) -> bool {
    let Found::Route(route) = found else { return false };
    match &route.origin.path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) => path.starts_with(CHALLENGE_PATH),
        PathPattern::Regex(_) => false,
    }
}

#[cfg(test)]
mod tests;
