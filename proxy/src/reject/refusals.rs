//! The last refusals, so that `vestibule why REQUEST-ID` can tell what a visitor met.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reject;

/// The refusals of one worker, newest last. Each worker has its own, so that its lock is never waited for on the path;
/// the admin listener asks them all.
#[derive(Debug, Default)]
pub struct Refusals {
    entries: Mutex<VecDeque<Record>>,
}

/// One refusal, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    pub request_id: String,
    /// The HTTP status; for gRPC, the one an HTTP client would have got.
    pub status: u16,
    pub reason: String,
    /// What is wrong and how to mend it, where more is known than the reason.
    pub detail: Option<String>,
    pub client: IpAddr,
    pub method: String,
    pub host: String,
    /// Without the query, which may hold secrets; cut at [`PATH_BYTES_MAX`].
    pub path: String,
    /// The route, if one was found: `HTTPRoute shop/web`.
    pub route: Option<String>,
}

/// The request a refusal answers, as far as it was understood. Empty where it was not.
#[derive(Clone, Copy)]
pub struct Refused<'a> {
    pub request_id: &'a str,
    pub client: IpAddr,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a [u8],
    pub route: Option<&'a dyn std::fmt::Display>,
}

impl Refusals {
    /// Remembers one refusal and forgets the oldest when [`REFUSALS_LEN_MAX`] are kept.
    pub fn record(&self, now: Timestamp, reject: &Reject, request: Refused<'_>) {
        let record = Record::new(now, reject.status(), reject, request);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == REFUSALS_LEN_MAX {
            entries.pop_front();
        }
        entries.push_back(record);
    }

    /// The newest refusal with this request id.
    pub fn find(&self, request_id: &str) -> Option<Record> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().find(|record| record.request_id == request_id).cloned()
    }

    /// The newest refusals, newest first, at most `limit`.
    pub fn latest(&self, limit: usize) -> Vec<Record> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().take(limit).cloned().collect()
    }
}

impl Record {
    fn new(now: Timestamp, status: StatusCode, reject: &Reject, request: Refused<'_>) -> Self {
        Record {
            at: now,
            request_id: request.request_id.to_owned(),
            status: status.as_u16(),
            reason: reject.reason().to_owned(),
            detail: reject.detail(),
            client: request.client,
            method: cut(request.method.as_bytes(), METHOD_BYTES_MAX),
            host: cut(request.host.as_bytes(), HOST_BYTES_MAX),
            path: cut(request.path, PATH_BYTES_MAX),
            route: request.route.map(ToString::to_string),
        }
    }
}

/// At most `bytes_max` bytes, with everything that could confuse a terminal escaped.
fn cut(bytes: &[u8], bytes_max: usize) -> String {
    bytes[..bytes.len().min(bytes_max)].escape_ascii().to_string()
}

/// Refusals kept for each worker.
pub const REFUSALS_LEN_MAX: usize = 1024;
/// Bytes of a path that are kept.
pub const PATH_BYTES_MAX: usize = 256;
const HOST_BYTES_MAX: usize = 256;
const METHOD_BYTES_MAX: usize = 32;
