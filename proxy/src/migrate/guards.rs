//! What middlewares come to together: annotations of one Ingress, and whether they can be trusted to say it all.

use std::collections::BTreeMap;

use super::{ObjectReport, Verdict};

/// The annotations that are being put together for one Ingress.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The namespace of what is written.
    pub(super) namespace: String,
    /// Without our prefix.
    pub(super) keys: BTreeMap<String, String>,
    /// Prefixes to cut off, and what to put in front: they change the paths of the Ingress.
    pub(super) strip: Vec<String>,
    pub(super) add: Option<String>,
    pub(super) replace: Option<String>,
    /// Why nobody may enter.
    pub(super) closed: Option<String>,
}

impl Wanted {
    /// Nothing yet, for an object of this namespace.
    pub(super) fn of(namespace: &str) -> Wanted {
        Wanted { namespace: namespace.to_owned(), ..Wanted::default() }
    }

    /// Writes a key; a second value for the same key cannot be joined with the first, and closes what it guards.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: impl Into<String>,
        about: &str,
        report: &mut ObjectReport,
    ) {
        let value = value.into();
        let taken = self.keys.get(key).filter(|old| **old != value).cloned();
        match (taken, key) {
            (None, _) => {
                self.keys.insert(key.to_owned(), value);
            }
            // Rules of several middlewares all hold.
            (Some(old), "rate-limit" | "concurrency-limit") => {
                self.keys.insert(key.to_owned(), format!("{old}; {value}"));
            }
            (Some(old), "custom-request-headers" | "custom-response-headers") => {
                self.keys.insert(key.to_owned(), format!("{old}\n{value}"));
            }
            (Some(_), "allow-from" | "deny-from") => {
                self.close(
                    about,
                    "two lists of addresses cannot be joined; write the addresses that are in both",
                    report,
                );
            }
            (Some(_), _) => {
                report.say(
                    Verdict::ByHand,
                    about,
                    format!("`{key}` is asked for twice; the first value is written"),
                );
            }
        }
    }

    /// Lets nobody in.
    pub(super) fn close(&mut self, about: &str, words: &str, report: &mut ObjectReport) {
        report.say(Verdict::Closed, about, words);
        self.closed.get_or_insert_with(|| format!("{about}: {words}"));
    }

    /// The annotations with our prefix. One that nobody may enter by lets nobody enter: no network is left.
    pub(super) fn annotations(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut map = serde_json::Map::new();
        let own = |key: &str| format!("vestibule.dev/{key}");
        for (key, value) in &self.keys {
            map.insert(own(key), value.clone().into());
        }
        if let Some(why) = &self.closed {
            map.remove(&own("allow-from"));
            map.insert(own("deny-from"), "0.0.0.0/0, ::/0".into());
            map.insert("migrate.vestibule.dev/closed".into(), why.clone().into());
        }
        map
    }
}
