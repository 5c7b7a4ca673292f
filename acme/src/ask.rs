//! The CA's word on when to renew (ARI, RFC 9773).

use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use serde::Deserialize;

use crate::chain::Facts;
use crate::http::retry_after;
use crate::issuer::Issuer;
use crate::renewal::{choose, known_renewal, next_check, next_check_after_failure};
use crate::state::{Renewal, State};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    renewal_info: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: Window,
    #[serde(rename = "explanationURL")]
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// Why there is no word, and whether asking soon may help.
struct NoWord {
    words: String,
    is_temporary: bool,
}

/// Asks about one certificate. What comes back is kept whatever happened: no answer says when to ask again, and a moment
/// that was drawn before stays.
pub(crate) async fn ask(issuer: &Issuer, facts: &Facts, id: &str, state: &State, now: Timestamp) -> Renewal {
    let before = known_renewal(facts, state);
    match answer(issuer, id, now).await {
        Ok((info, retry)) => {
            let window = (info.suggested_window.start, info.suggested_window.end);
            let is_same = before.is_some_and(|before| before.window == Some(window));
            // A new draw at each look would move all renewals to the beginning of the window.
            let kept = before.and_then(|before| before.chosen).filter(|_| is_same);
            Renewal {
                certificate: id.to_owned(),
                window: Some(window),
                chosen: Some(kept.unwrap_or_else(|| choose(window, fastrand::f64()))),
                explanation: info.explanation,
                next_check: next_check(now, retry),
                failures: 0,
            }
        }
        Err(NoWord { words, is_temporary }) => {
            tracing::debug!(issuer = issuer.name(), "the CA does not say when to renew: {words}");
            let failures = before.map_or(0, |before| before.failures);
            Renewal {
                certificate: id.to_owned(),
                window: before.and_then(|before| before.window),
                chosen: before.and_then(|before| before.chosen),
                explanation: before.and_then(|before| before.explanation.clone()),
                next_check: next_check_after_failure(now, failures, is_temporary),
                failures: failures.saturating_add(1),
            }
        }
    }
}

/// True when the CA now wants a certificate replaced before the moment that it named first: a sign that many are revoked.
pub(crate) fn moved_earlier(before: Option<&Renewal>, after: &Renewal) -> bool {
    let window = |renewal: &Renewal| renewal.window;
    let before = before.filter(|before| before.certificate == after.certificate).and_then(window);
    matches!((before, after.window), (Some(before), Some(after)) if after.0 < before.0)
}

async fn answer(
    issuer: &Issuer,
    id: &str,
    now: Timestamp,
) -> Result<(RenewalInfo, Option<Timestamp>), NoWord> {
    let (body, _) = read(issuer, &issuer.directory, now).await?;
    let final_word = |words: String| NoWord { words, is_temporary: false };
    let directory: Directory =
        serde_json::from_slice(&body).map_err(|error| final_word(error.to_string()))?;
    let Some(base) = directory.renewal_info else {
        return Err(final_word("it has no renewalInfo".to_owned()));
    };
    let (body, retry) = read(issuer, &format!("{}/{id}", base.trim_end_matches('/')), now).await?;
    let info: RenewalInfo = serde_json::from_slice(&body).map_err(|error| final_word(error.to_string()))?;
    if info.suggested_window.end <= info.suggested_window.start {
        // RFC 9773 §4.2: such a window is as if there were none.
        return Err(final_word("its window ends before it begins".to_owned()));
    }
    Ok((info, retry))
}

async fn read(issuer: &Issuer, uri: &str, now: Timestamp) -> Result<(Bytes, Option<Timestamp>), NoWord> {
    let request = Request::get(uri).header("user-agent", crate::USER_AGENT).body(Bytes::new());
    let request = request.map_err(|error| NoWord { words: error.to_string(), is_temporary: false })?;
    let answer = issuer.http.send(request).await;
    let answer = answer.map_err(|error| NoWord { words: error.to_string(), is_temporary: true })?;
    match answer.status().as_u16() {
        200 => Ok((answer.body().clone(), retry_after(answer.headers(), now))),
        status => {
            Err(NoWord { words: format!("status {status}"), is_temporary: status >= 500 || status == 429 })
        }
    }
}

#[cfg(test)]
mod tests;
