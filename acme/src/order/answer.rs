//! What the CA's refusals mean (RFC 8555 §6.7).

use instant_acme::{Error, Problem};

use super::{Attempt, CA_TIMEOUT_MINUTES};
use crate::failure::Failure;
use crate::http::Recorder;

/// The short form of a problem's type.
fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.rsplit(':').next().unwrap_or_default()
}

pub(super) fn is_kind(error: &Error, wanted: &str) -> bool {
    matches!(error, Error::Api(problem) if kind(problem) == wanted)
}

/// Whether the same request may well be taken later: no answer, or one that says nothing of the request itself.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::Api(problem) => matches!(kind(problem), "badNonce" | "rateLimited" | "serverInternal"),
        Error::Unsupported(_) | Error::Str(_) => false,
        _ => true,
    }
}

/// The CA's own words: the detail, and what it says of single names.
pub(super) fn words(problem: &Problem) -> String {
    let mut words = problem.detail.clone().unwrap_or_else(|| kind(problem).to_owned());
    for part in &problem.subproblems {
        words.push_str(&format!("; {part}"));
    }
    words
}

impl Attempt<'_> {
    pub(super) fn ca_failure(&self, error: Error, recorder: &Recorder) -> Failure {
        let (seen, directory) = (recorder.seen(), self.directory().to_owned());
        if let Some(error) = seen.unreachable {
            return Failure::CaUnreachable { directory, error };
        }
        let status = seen.status.unwrap_or_default();
        let problem = match error {
            Error::Api(problem) => problem,
            Error::Timeout(_) => return Failure::CaSlow { minutes: CA_TIMEOUT_MINUTES },
            // An answer that is no JSON is a page of whatever stands before the CA.
            error if status >= 500 || matches!(error, Error::Json(_)) => {
                let (detail, retry_after) = (error.to_string(), seen.retry_after);
                return Failure::CaOutOfOrder { directory, status, detail, retry_after };
            }
            error => return Failure::Ca { detail: error.to_string() },
        };
        self.problem(&problem, status, seen.retry_after)
    }

    pub(super) fn problem(
        &self,
        problem: &Problem,
        status: u16,
        retry_after: Option<jiff::Timestamp>,
    ) -> Failure {
        let detail = words(problem);
        match kind(problem) {
            "badNonce" => Failure::Nonce,
            "rateLimited" => Failure::RateLimited { detail, retry_after },
            "externalAccountRequired" => Failure::ExternalAccount { detail },
            "accountDoesNotExist" | "unauthorized" | "badPublicKey" => {
                Failure::AccountRefused { account: self.account_key(), detail }
            }
            "rejectedIdentifier" | "unsupportedIdentifier" => Failure::Rejected { detail },
            "caa" => Failure::Caa { detail },
            _ if status >= 500 || kind(problem) == "serverInternal" => {
                Failure::CaOutOfOrder { directory: self.directory().to_owned(), status, detail, retry_after }
            }
            _ => Failure::Ca { detail },
        }
    }
}
