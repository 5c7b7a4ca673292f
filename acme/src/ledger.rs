//! The CA's limits, counted before they are met. Pure.
//!
//! The two that a fault meets first are five certificates a week for one set of names and five failed proofs an hour for one
//! name; a third keeps a fault from spending the account. The counts live in the states of the certificates.

use jiff::{SignedDuration, Timestamp};

use crate::failure::Failure;
use crate::name::Name;
use crate::state::{Event, What};

/// Refuses an order that would be beyond a limit. `events` are those of every certificate at every CA.
///
/// `exempt` is an order that replaces a certificate in the CA's window: the CA counts it towards nothing.
pub fn admit<'e>(
    now: Timestamp,
    directory: &str,
    names: &[Name],
    exempt: bool,
    events: impl Iterator<Item = &'e Event> + Clone,
) -> Result<(), Failure> {
    let own = events.filter(|event| event.directory == directory);
    let proofs = |name: &Name| {
        let failed = own
            .clone()
            .filter(move |event| matches!(&event.what, What::ProofFailed { name: of } if of == name));
        failed.map(|event| event.at).collect::<Vec<_>>()
    };
    for name in names {
        within(
            now,
            &mut proofs(name),
            FAILED_PROOFS_MAX,
            FAILED_PROOFS_SPAN,
            "another proof for a name that failed",
        )?;
    }
    if exempt {
        return Ok(());
    }
    let same_names =
        |event: &&Event| matches!(&event.what, What::Ordered { names: of, exempt: false } if of == names);
    let mut same: Vec<_> = own.clone().filter(same_names).map(|event| event.at).collect();
    within(now, &mut same, ORDERS_OF_SET_MAX, ORDERS_OF_SET_SPAN, "another certificate for the same names")?;
    let mut all: Vec<_> =
        own.filter(|event| matches!(event.what, What::Ordered { .. })).map(|event| event.at).collect();
    within(now, &mut all, ORDERS_MAX, ORDERS_SPAN, "another order of this account")
}

/// A sliding window: `most` events within `span` are allowed.
fn within(
    now: Timestamp,
    moments: &mut Vec<Timestamp>,
    most: usize,
    span: SignedDuration,
    limit: &'static str,
) -> Result<(), Failure> {
    moments.retain(|moment| now.duration_since(*moment) < span);
    if moments.len() < most {
        return Ok(());
    }
    moments.sort_unstable();
    // When this one leaves the window, there is room for one more.
    let first_to_leave = moments[moments.len() - most];
    Err(Failure::OwnLimit { limit, until: first_to_leave + span })
}

/// Three of the five that Let's Encrypt bears, so that a person can still try.
pub const FAILED_PROOFS_MAX: usize = 3;
pub const FAILED_PROOFS_SPAN: SignedDuration = SignedDuration::from_hours(1);
/// Four of the five.
pub const ORDERS_OF_SET_MAX: usize = 4;
pub const ORDERS_OF_SET_SPAN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A third of the 300 that Let's Encrypt bears.
pub const ORDERS_MAX: usize = 100;
pub const ORDERS_SPAN: SignedDuration = SignedDuration::from_hours(3);

#[cfg(test)]
mod tests;
