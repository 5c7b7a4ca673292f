//! Limits that cannot be all that was written: the routes are served with what can be had, and their author is told.

use super::annotations::LimitWords;
use super::lower::Scope;
use super::problem::Severity;
use super::providers::Guard;

/// Tells what `words` ask for and nothing here gives.
pub(crate) fn tell(scope: &mut Scope<'_>, words: &LimitWords, guard: &Guard) {
    if words.asks_who() && guard.auth.is_none() {
        let message = "a limit counts by who is asking, which nobody finds out here: it counts by address; name a provider in `auth`";
        scope.problem(Severity::Degraded, "", "LimitWithoutIdentity", message);
    }
    if words.spans_replicas() && scope.settings.shared_store.is_none() {
        let message = "a rate is for the whole cluster, but there is no store that replicas share: each counts by itself; \
                       set `sharedStore` in the settings";
        scope.problem(Severity::Degraded, "", "LimitWithoutStore", message);
    }
}
